"""The listening room: radio from a seed, and the order in which tracks pass into one another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from ...errors import LibraryError
from ...pipelines.library.store import Library
from ...pipelines.search.playback_order import MOST_TRACKS, crossfaded
from ...pipelines.search.radio import radio
from ...pipelines.search.text import find
from ..errors import Problem, check_tracks, documented, without_folders
from ..parameters import Id, WholeNumber
from ..response_schemas import ScoredTracks, scored_tracks
from ..snapshot.follower import LibraryFollower
from ..snapshot.snapshot import Snapshot

MOST_SEEDS = 50
PER_ARTIST = 2
_Tracks = Annotated[list[Id], Field(max_length=1000)]


class RadioSeed(BaseModel):
    """What a radio begins with, and how it was taken so far."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"track_ids": ["folk/nocturne.mp3"], "k": 10}]}
    )

    track_ids: Annotated[list[Id], Field(max_length=MOST_SEEDS)] = []
    artist: Id | None = Field(default=None, description="their tracks are the seed")
    text: Id | None = Field(default=None, description="a description, where the library has an encoder of text")
    played: _Tracks = Field(default=[], description="to the end")
    skipped: _Tracks = []
    exclude: _Tracks = Field(default=[], description="what is queued already")
    k: Annotated[WholeNumber, Field(ge=1, le=100)] = 10
    blend: Annotated[float, Field(ge=0, le=1)] = 0.5


class TracksToOrder(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    track_ids: Annotated[list[Id], Field(max_length=MOST_TRACKS)]


class OrderedTracks(BaseModel):
    track_ids: list[str]


def listening_routes(follower: LibraryFollower) -> APIRouter:
    routes = APIRouter(tags=["listening"])

    @routes.post("/v1/radio", responses=documented(400, 404))
    def go_on(seed: RadioSeed) -> ScoredTracks:
        """The next tracks that can be played here: near the seed and what was played, away from what was skipped."""
        snapshot = follower.snapshot
        tracks = snapshot.tracks
        seeds = _seeds(follower, snapshot, seed)
        played, skipped, queued = (_rows(snapshot, ids) for ids in (seed.played, seed.skipped, seed.exclude))
        playable = tracks.in_library & snapshot.table.has_audio[: len(tracks)]
        playable[[*_rows(snapshot, seed.track_ids), *played, *skipped, *queued]] = False
        rows, scores = radio(
            tracks,
            seeds,
            seed.k,
            played=played,
            skipped=skipped,
            candidates=playable,
            blend=seed.blend,
            artists_of=lambda row: snapshot.table.summaries[row].artists,
            per_artist=None if seed.artist else PER_ARTIST,
        )
        notes = [] if len(rows) else ["nothing is left that could be played here"]
        return scored_tracks(snapshot, rows, scores, notes)

    @routes.post("/v1/playback_order", responses=documented(400, 404))
    def order(wanted: TracksToOrder) -> OrderedTracks:
        """The same tracks so that each passes well into the next, by sound, tempo and key; the first stays first."""
        with Library.open(follower.folder) as library:
            check_tracks(library, wanted.track_ids)
            return OrderedTracks(track_ids=crossfaded(library, wanted.track_ids))

    return routes


def _seeds(follower: LibraryFollower, snapshot: Snapshot, seed: RadioSeed) -> list[int]:
    for track_id in seed.track_ids:
        snapshot.check_track(track_id)
    rows = _rows(snapshot, seed.track_ids)
    if seed.artist is not None:
        by_artist = snapshot.table.by_artist(seed.artist)
        rows += by_artist[by_artist < len(snapshot)][:MOST_SEEDS].tolist()
        if not rows:
            raise Problem(404, f"{seed.artist}: no track by this artist")
    if seed.text is not None:
        try:
            with Library.open(follower.folder) as library:
                rows += _rows(snapshot, [one.track_id for one in find(library, seed.text, 5)])
        except LibraryError as error:
            raise Problem(422, f"text: {without_folders(str(error))}") from None
    if not rows:
        raise Problem(422, "seed: none; name track_ids, an artist or a text")
    return rows


def _rows(snapshot: Snapshot, track_ids: list[str]) -> list[int]:
    """Those that the snapshot does not have are left out."""
    return [row for track_id in track_ids if (row := snapshot.tracks.row_of(track_id)) is not None]
