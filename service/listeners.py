"""Listeners' own data: all that is kept of one, for them to take away or to have deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..pipelines.event_log import listens_of
from ..pipelines.forgetting import EVER, user_hash
from ..pipelines.forgetting import forget as forget_listens
from ..pipelines.library import Library
from .event_store import EventStore
from .events import ListedEvent
from .parameters import Id
from .problems import documented

_LOG = logging.getLogger("crossfade.service")
_ALL = 10**9


class ListenerData(BaseModel):
    """Everything that names the listener."""

    user_id: str
    events: list[ListedEvent] = Field(description="sent to this service, newest first")
    listens: list[dict[str, Any]] = Field(description="rows of the library's listening log")


class Forgotten(BaseModel):
    events: int = Field(description="deleted from the event store")
    listens: int = Field(description="deleted from the listening log")
    note: str


def listener_routes(store: Callable[[], EventStore], folder: Path) -> APIRouter:
    routes = APIRouter(tags=["listeners"])

    def _listens(user_id: str) -> list[dict[str, Any]]:
        with Library.open(folder) as library:
            return listens_of(library, user_id)

    @routes.get("/v1/listeners/{user_id:path}", responses=documented())
    def export(user_id: Id) -> ListenerData:
        """A listener's own data; empty lists for somebody unknown."""
        recent = store().recent(user_id, _ALL)
        return ListenerData(
            user_id=user_id,
            events=[ListedEvent(**vars(one)) for one in recent.events],
            listens=_listens(user_id),
        )

    @routes.delete("/v1/listeners/{user_id:path}", responses=documented())
    def forget(user_id: Id) -> Forgotten:
        """Deletes it all: events, listens, and the listener's part of every trained version."""
        events = store().forget(user_id)
        with Library.open(folder) as library:
            listens = forget_listens(library, {user_hash(user_id): EVER})
        _LOG.info("listener deleted", extra={"events": events, "listens": listens})
        return Forgotten(
            events=events,
            listens=listens,
            note="also deleted from the trained versions; what their tracks learned from all listeners together stays "
            "until the library is trained again",
        )

    return routes
