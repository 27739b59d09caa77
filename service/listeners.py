"""Listeners' own data: all that is kept of one, for them to take away or to have deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from fastapi import APIRouter
from pydantic import BaseModel, Field

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

    @routes.get("/v1/listeners/{user_id:path}", responses=documented())
    def export(user_id: Id) -> ListenerData:
        """A listener's own data; empty lists for somebody unknown."""
        recent = store().recent(user_id, _ALL)
        return ListenerData(
            user_id=user_id,
            events=[ListedEvent(**vars(one)) for one in recent.events],
            listens=log_of(folder, user_id),
        )

    @routes.delete("/v1/listeners/{user_id:path}", responses=documented())
    def forget(user_id: Id) -> Forgotten:
        """Deletes it all, and leaves out what the models learned of the listener until they are trained again."""
        events = store().forget(user_id)
        listens = delete_from_log(folder, user_id)
        _LOG.info("listener deleted", extra={"events": events, "listens": listens})
        return Forgotten(
            events=events,
            listens=listens,
            note="the trained models no longer use what they learned of this listener; train again to remove it there",
        )

    return routes


def log_of(folder: Path, user_id: str) -> list[dict[str, Any]]:
    """The listener's rows in the listening log."""
    mine = pl.col("user_id") == user_id
    return [
        row
        for part in _parts(folder)
        for row in pl.scan_parquet(part, glob=False).filter(mine).collect(engine="streaming").to_dicts()
    ]


def delete_from_log(folder: Path, user_id: str) -> int:
    """Writes the parts of the log that name the listener anew, without them; gives how many rows that were."""
    mine = pl.col("user_id") == user_id
    deleted = 0
    for part in _parts(folder):
        rows = pl.scan_parquet(part, glob=False)
        count = rows.filter(mine).select(pl.len()).collect(engine="streaming").item()
        if count:
            with TemporaryDirectory(prefix=".deleting-", dir=part.parent) as scratch:
                left = Path(scratch) / part.name
                rows.filter(~mine).sink_parquet(left)
                left.replace(part)
            deleted += count
    return deleted


def _parts(folder: Path) -> list[Path]:
    with Library.open(folder) as library:
        return sorted(library.listens_folder.glob("*.parquet"))
