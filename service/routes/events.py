"""The events role: what listeners do, as it happens."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from ..errors import Problem, documented
from ..events.store import EventStore, RecentEvents, StoredEvent
from ..metrics import Metrics
from ..parameters import MAX_K, Id, K, QueryOrBodyRoute, TrackId, UserId, WholeNumber
from ..response_schemas import Result, TrackIds

Known = Callable[[str], bool]
"""whether the library has a track; True where it cannot be read now: an event is worth more than the check"""

_LATEST = 2**40


class Event(BaseModel):
    """A listen, a skip or a like. Sent twice with the same `event_id`, it is written once."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [{"event_id": "5b6e", "user_id": "123", "track_id": "folk/nocturne.mp3", "played_ratio": 0.9}]
        },
    )

    user_id: Id
    track_id: Id
    event_id: Id | None = None
    """made here where it is left out; then nothing guards against repeats"""
    time: Annotated[WholeNumber, Field(ge=0, le=_LATEST, description="seconds since 1970")] | None = None
    """now where it is left out"""
    played_ratio: Annotated[float, Field(ge=0, le=1000, description="share of the track")] | None = None
    liked: Annotated[WholeNumber, Field(ge=-1, le=1, description="1 liked, -1 disliked, 0 took it back")] | None = None

    def stored(self, now: int) -> StoredEvent:
        made = {"event_id": self.event_id or uuid.uuid4().hex, "time": now if self.time is None else self.time}
        return StoredEvent(**{**vars(self), **made})


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    events: Annotated[list[Event], Field(min_length=1, max_length=1000)]


class Received(BaseModel):
    """All of a batch is on disk, or an error came instead of this."""

    accepted: int
    duplicates: int = Field(description="were there already")
    conflicts: list[str] = Field(description="event ids that are taken by a different event, which stays as it was")
    event_ids: list[str] = Field(description="of the batch, in its order")


class Deleted(BaseModel):
    deleted: int


def event_routes(store: EventStore, known: Known, metrics: Metrics) -> APIRouter:
    routes = APIRouter(route_class=QueryOrBodyRoute, tags=["events"])

    def check(track_ids: list[str]) -> None:
        for track_id in dict.fromkeys(track_ids):
            if not known(track_id):
                raise Problem(404, f"{track_id}: no such track")

    @routes.post("/add_event", responses=documented(404))
    def add_event(user_id: UserId, track_id: TrackId) -> Result:
        """The user has listened to the track. Parameters may also come as a JSON body."""
        check([track_id])
        store.add([Event(user_id=user_id, track_id=track_id).stored(int(time.time()))])
        metrics.events.labels("accepted").inc()
        return Result(result="ok")

    @routes.post("/get_events", responses=documented())
    def get_events(user_id: UserId, k: K = 10) -> TrackIds:
        """The user's newest tracks. Parameters may also come as a JSON body."""
        return TrackIds(events=[one.track_id for one in store.recent(user_id, k).events])

    @routes.post("/v1/events", responses=documented(400, 404))
    def add_events(batch: Batch) -> Received:
        """All of the batch or none of it; on disk when this answers."""
        now = int(time.time())
        check([one.track_id for one in batch.events])
        events = [one.stored(now) for one in batch.events]
        receipt = store.add(events)
        metrics.events.labels("accepted").inc(receipt.accepted)
        metrics.events.labels("duplicate").inc(receipt.duplicates)
        return Received(**vars(receipt), event_ids=[one.event_id for one in events])

    @routes.get("/v1/events", responses=documented())
    def list_events(
        user_id: UserId,
        k: K = MAX_K,
        after: Annotated[str | None, Query(max_length=100, description="a mark of a trained version")] = None,
    ) -> RecentEvents:
        """The listener's newest events; with `after`, those that the version has not been trained on."""
        return store.recent(user_id, k, after=after)

    @routes.delete("/v1/events", responses=documented())
    def delete_events(user_id: UserId, event_id: Annotated[list[Id], Query(min_length=1, max_length=200)]) -> Deleted:
        """Deletes these events of the listener."""
        return Deleted(deleted=store.remove(user_id, event_id))

    return routes
