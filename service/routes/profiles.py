"""For one listener: recommendations with what they are shown and sorted by, and a picture of what they listen to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from threading import BoundedSemaphore
from typing import Annotated, Any

import numpy as np
import polars as pl
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ...models.arrays import top_k
from ...pipelines.interactions.live_events import listens_of
from ...pipelines.library.store import Library
from ...pipelines.search.profile import past, profile
from ..errors import Problem, documented
from ..parameters import MANAGER, K, UserId
from ..response_schemas import FoundTrack, PersonalTracks, Recommended, found, likeliest, personal
from ..snapshot.follower import LibraryFollower
from ..snapshot.overview import LogState, log_state
from ..snapshot.recommendations import RecommendationService
from ..snapshot.snapshot import Snapshot

MOST_SHOWN = 12
MAX_READERS = 2
"""that look through the listening log at a time"""
KEPT_LISTENERS = 16
"""whose part of the log is not looked for again while the log is the same: their picture is drawn after every listen"""


class Described(Recommended):
    """A recommended track with what lists of them are made by."""

    genres: list[str] = Field(description="of its analysis, the likeliest three, best first")
    moods: list[str]
    duration_seconds: float | None
    known_artist: bool = Field(description="whether they have listened to one of its artists")
    listeners: int | None = Field(description="in the training; null where the library is not trained")
    weight: float | None = Field(description="w, how far it has crossed over from sound (0) to taste (1)")


class DescribedTracks(PersonalTracks):
    tracks: list[Described]


class Share(BaseModel):
    name: str
    share: float


class Month(BaseModel):
    month: str = Field(examples=["2024-07"])
    listens: int


class ArtistCount(BaseModel):
    name: str
    tracks: int


class ListenerPicture(BaseModel):
    user_id: str
    tracks: int = Field(description="that they like, as far as is known")
    genres: list[Share] = Field(description="the largest first")
    decades: list[Share] = Field(description="in order of time")
    artists: list[ArtistCount] = Field(description="the most tracks first")
    months: list[Month] = Field(description="their last two years; empty where the log has no times")
    used_to_love: list[FoundTrack] = Field(description="often listened to or liked, and not in their last 90 days")


class KnownListener(BaseModel):
    user_id: str
    tracks: int


class KnownListeners(BaseModel):
    listeners: list[KnownListener]


def profile_routes(service: RecommendationService, follower: LibraryFollower) -> APIRouter:
    routes = APIRouter(tags=["recommendations"])
    readers = BoundedSemaphore(MAX_READERS)

    @lru_cache(KEPT_LISTENERS)
    def part_of_log(_: LogState, user_id: str) -> tuple[pl.DataFrame, ...]:
        with Library.open(follower.folder) as library:
            return tuple(listens_of(library, user_id))

    def all_listens(snapshot: Snapshot, state: LogState, user_id: str) -> Iterator[dict[str, Any]]:
        """Of the log, and of what came since it was last brought up to date."""
        for part in part_of_log(state, user_id):
            yield from part.iter_rows(named=True)
        mark = None if snapshot.model is None else snapshot.model.metadata.get("events")
        for event in service.newest(user_id, after=mark):
            yield vars(event)

    @routes.get("/v1/described_recommendations", responses=documented())
    def described(user_id: UserId, k: K = 60) -> DescribedTracks:
        """`/v1/recommendations` with the genres, moods, lengths and crossfade weights to make several lists of."""
        answer = service.live(user_id, k)
        snapshot, listener, _ = service.listener(user_id)
        rows = answer.rows.tolist()
        summaries = snapshot.table.summaries
        known = {artist for row in listener.history.track_rows.tolist() for artist in summaries[row].artists}
        plain = personal(answer)
        with Library.open(follower.folder) as library:
            lengths = [one.duration_seconds for one in library.listed_tracks([one.track_id for one in plain.tracks])]
            tracks = [
                Described(
                    **dict(one),
                    **_described(library, one.track_id),
                    duration_seconds=seconds,
                    known_artist=any(artist in known for artist in one.artists),
                    **_crossed_over(answer.snapshot, row),
                )
                for one, row, seconds in zip(plain.tracks, rows, lengths, strict=True)
            ]
        return DescribedTracks(**dict(plain) | {"tracks": tracks})

    @routes.get("/v1/profile", responses=documented())
    def picture(user_id: UserId) -> ListenerPicture:
        """What they listen to and when. The first of a listener reads the listening log: few are made at a time."""
        snapshot, listener, _ = service.listener(user_id)
        liked = listener.history.liked
        rows, weights = listener.history.track_rows[liked].tolist(), listener.history.weights[liked].tolist()
        if not readers.acquire(blocking=False):
            raise Problem(503, f"profiles: {MAX_READERS} are being made already", headers={"Retry-After": "5"})
        try:
            with Library.open(follower.folder) as library:
                shown = profile(library, [snapshot.tracks.track_ids[row] for row in rows], weights)
                then = past(all_listens(snapshot, log_state(library), user_id))
        finally:
            readers.release()
        loved = [row for track_id in then.forgotten if (row := snapshot.tracks.row_of(track_id)) is not None]
        return ListenerPicture(
            user_id=user_id,
            tracks=len(rows),
            genres=[Share(name=name, share=share) for name, share in shown.genres.items()],
            decades=[Share(name=name, share=share) for name, share in shown.decades.items()],
            artists=[ArtistCount(name=name, tracks=n) for name, n in list(shown.artists.items())[:MOST_SHOWN]],
            months=[Month(month=month, listens=listens) for month, listens in then.months.items()],
            used_to_love=[FoundTrack(**found(snapshot, row)) for row in loved[:MOST_SHOWN]],
        )

    @routes.get("/v1/profiles", responses=documented(403), dependencies=[MANAGER])
    def who(
        query: Annotated[str, Query(max_length=200, description="a part of the id")] = "", k: K = 20
    ) -> KnownListeners:
        """The listeners of the training, those with the most tracks first."""
        model = follower.snapshot.model
        if model is None:
            return KnownListeners(listeners=[])
        counts = np.diff(model.hybrid.history.matrix.indptr)
        part = query.casefold()
        named = np.array([user_id is not None and part in user_id.casefold() for user_id in model.user_ids], bool)
        rows, _ = top_k(np.where(named, counts.astype(np.float32), -np.inf), k)
        return KnownListeners(
            listeners=[
                KnownListener(user_id=model.user_ids[row] or "", tracks=int(counts[row])) for row in rows.tolist()
            ]
        )

    return routes


def _described(library: Library, track_id: str) -> dict[str, Any]:
    moods = library.description_of(track_id).get("moods", [])
    return {"genres": likeliest(library.genres_of(track_id)), "moods": moods}


def _crossed_over(snapshot: Snapshot, row: int) -> dict[str, Any]:
    if snapshot.model is None:
        return {"listeners": None, "weight": None}
    hybrid = snapshot.model.hybrid
    return {"listeners": int(hybrid.listeners[row]), "weight": round(float(hybrid.weights[row]), 3)}
