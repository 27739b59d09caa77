"""The events of listeners from another process: the events role, over HTTP."""

from __future__ import annotations

import time
from typing import Protocol

import httpx

from ..settings import ROLE_HEADER, ServeOptions
from .store import RecentEvents, StoredEvent

TIMEOUT_SECONDS = 0.25
"""how long an answer may wait for the events role"""
PAUSE_SECONDS = 1.0
"""how long the events role is left alone after it did not answer"""


class Unreachable(Exception):
    """The events role does not answer; `str` is the reason, for a person."""


class EventSource(Protocol):
    """An `EventStore`, or the events role."""

    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents: ...

    def close(self) -> None: ...


class RemoteEvents:
    """The events role. One that does not answer is left alone for a moment, so that answers stay quick."""

    def __init__(self, options: ServeOptions) -> None:
        headers = {ROLE_HEADER: str(options.role)}
        if options.outgoing_key:
            headers["X-API-Key"] = options.outgoing_key
        self._url = options.events_url
        # An environment's proxy is not for our own roles.
        self._client = httpx.Client(
            base_url=options.events_url, timeout=TIMEOUT_SECONDS, headers=headers, trust_env=False
        )
        self._paused_until = 0.0

    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents:
        """See `EventStore.recent`; Unreachable where they cannot be had."""
        if time.monotonic() < self._paused_until:
            raise Unreachable(f"events: {self._url} does not answer")
        parameters: dict[str, str | int] = {"user_id": user_id, "k": k, **({"after": after} if after else {})}
        try:
            answer = self._client.get("/v1/events", params=parameters)
        except httpx.HTTPError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise Unreachable(f"events: {self._url} does not answer ({type(error).__name__})") from None
        # It answers quickly: a refusal of this request is no reason to leave out the next one.
        if answer.status_code != 200:
            raise Unreachable(f"events: {self._url} answers {answer.status_code} {answer.reason_phrase}")
        try:
            found = answer.json()
            return RecentEvents(tuple(StoredEvent(**one) for one in found["events"]), found["forgotten_at"])
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(f"events: {self._url} is no events role ({type(error).__name__})") from None

    def close(self) -> None:
        self._client.close()
