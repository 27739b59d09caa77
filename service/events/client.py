"""Where a process finds the events of listeners: in its own store, or at the events role."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Protocol

import httpx
from sqlalchemy.exc import SQLAlchemyError

from ..errors import Problem
from ..settings import ROLE_HEADER, ServeOptions
from .store import EventStore, RecentEvents, StoredEvent

REMOTE_SECONDS = 0.25
"""how long an answer may wait for the events role"""
PAUSE_SECONDS = 1.0
"""how long the events role is left alone after it did not answer"""


class Unreachable(Exception):
    """The events cannot be had now; `str` says why, for a person."""


class ListenerEvents(Protocol):
    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents:
        """See `EventStore.recent`; Unreachable where they cannot be had."""
        ...

    def close(self) -> None: ...


class OwnEvents:
    """The store of this process. It is opened when the folder that it lies in is there."""

    def __init__(self, options: ServeOptions) -> None:
        if options.database is not None:
            EventStore.check_url(options.database)
        self._options = options
        self._store: EventStore | None = None
        self._turn = threading.Lock()

    @property
    def store(self) -> EventStore:
        """Raises a Problem (503) while there is no place for it."""
        if self._store is None:
            with self._turn:
                if self._store is None:
                    self._store = self._opened()
        return self._store

    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents:
        try:
            return self.store.recent(user_id, k, after=after)
        except (SQLAlchemyError, Problem) as error:
            raise Unreachable(f"events: the store does not answer ({type(error).__name__})") from None

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _opened(self) -> EventStore:
        folder: Path = self._options.library
        if self._options.database is None and not (folder / "library.db").exists():
            raise Problem(503, f"{folder.name}: no library here, so there is no place for events")
        return EventStore(self._options.database_url)


class RemoteEvents:
    """The events role, over HTTP. One that does not answer is left alone for a moment, so that answers stay quick."""

    def __init__(self, options: ServeOptions) -> None:
        headers = {ROLE_HEADER: str(options.role)}
        if options.outgoing_key:
            headers["X-API-Key"] = options.outgoing_key
        self._url = options.events_url
        # An environment's proxy is not for our own roles.
        self._client = httpx.Client(
            base_url=options.events_url, timeout=REMOTE_SECONDS, headers=headers, trust_env=False
        )
        self._paused_until = 0.0

    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents:
        if time.monotonic() < self._paused_until:
            raise Unreachable(f"events: {self._url} does not answer")
        try:
            asked: dict[str, str | int] = {"user_id": user_id, "k": k}
            if after:
                asked["after"] = after
            answer = self._client.get("/v1/events", params=asked)
        except httpx.HTTPError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise Unreachable(f"events: {self._url} does not answer ({type(error).__name__})") from None
        # It is there, and quick: what it says to this question says nothing of the next one's.
        if answer.status_code != 200:
            raise Unreachable(f"events: {self._url} answers {answer.status_code} {answer.reason_phrase}")
        try:
            found = answer.json()
            events = tuple(StoredEvent(**one) for one in found["events"])
            return RecentEvents(events, found["forgotten_at"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(f"events: {self._url} is no events role ({type(error).__name__})") from None

    def close(self) -> None:
        self._client.close()
