"""The map: where every track lies, in one file, the names of its points, where a song that is new would lie, and paths
from one track to another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, Field, FiniteFloat

from ...pipelines.analysis.track_map import Layout
from ...pipelines.search.paths import MAX_TRACKS, path
from ..errors import Problem, documented
from ..parameters import Blend, Id, K
from ..response_schemas import FoundTrack, ScoredTracks, found, scored_tracks
from ..snapshot.follower import LibraryFollower
from ..snapshot.library_map import COLUMNS, MEDIA_TYPE, LibraryMap, MapMaker

_MOST = 200


class MappedTrack(FoundTrack):
    place: int = Field(description="of the track in the map's columns, from 0")


class Place(BaseModel):
    """On the map by sound."""

    x: float = Field(description="0 … 1, as 0 … 65534 in the map's file")
    y: float


class MappedTracks(BaseModel):
    revision: str = Field(description="of the map that has these places; another one than the file's: fetch that again")
    tracks: list[MappedTrack]


def map_routes(follower: LibraryFollower) -> APIRouter:
    routes, maker = APIRouter(tags=["tracks"]), MapMaker(follower)

    @routes.get(
        "/v1/map",
        response_class=Response,
        responses={
            200: {
                "description": (
                    "Little-endian: uint32 bytes of a header; the header, JSON with revision, count, columns, "
                    "layouts, genres, artists, groups and regions; then the columns, count values each: "
                    f"{', '.join(COLUMNS)}. x and y are uint16, both 65535 where a track has no place, the others "
                    "uint8 with 255 for unknown: the place in genres; 8 log2(1 + listeners); 254 times the "
                    "crossfade weight; the year of release less 1900; the places in artists and in groups"
                ),
                "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            },
            304: {"description": "If-None-Match names this map"},
            **documented(),
        },
    )
    def positions(
        request: Request,
        layout: Annotated[
            Layout | None, Query(description="near is alike by sound, by who listens, or by both; the first there is")
        ] = None,
    ) -> Response:
        """Where every track lies: near tracks are alike, axes mean nothing. Tracks that come move nobody.

        10 bytes a track. The first request lays the library out, which can take some seconds.
        """
        return maker.file(layout).answer(request)

    @routes.get("/v1/map/tracks", responses=documented())
    def tracks(
        place: Annotated[list[int] | None, Query(max_length=_MOST, description="points by their places")] = None,
        track_id: Annotated[list[Id] | None, Query(max_length=_MOST, description="points by their tracks")] = None,
        query: Annotated[str, Query(max_length=200, description="points by words of title, artist or track_id")] = "",
        k: K = 20,
    ) -> MappedTracks:
        """The tracks at these places, these tracks, and the first k that have all words; what is not on the map is
        left out."""
        drawn = maker.newest
        places = [one for one in place or () if 0 <= one < len(drawn.rows)]
        places += _places(drawn, (drawn.snapshot.tracks.row_of(one) for one in track_id or ()))
        if query.strip():
            places += islice(_places(drawn, drawn.snapshot.table.find(query)), k)
        rows = drawn.rows
        return MappedTracks(
            revision=drawn.revision,
            tracks=[MappedTrack(**found(drawn.snapshot, int(rows[one])), place=one) for one in dict.fromkeys(places)],
        )

    @routes.post("/v1/map/place", responses=documented(400, 409))
    def place(embedding: Annotated[list[FiniteFloat], Body(min_length=1, max_length=4096, embed=True)]) -> Place:
        """Where a sound that is not in the library would lie: `embedding` is that of `POST /v1/compared_tracks`."""
        vector = np.array([embedding], np.float32)
        x, y = maker.places(vector)[0].tolist()
        if math.isnan(x):
            raise Problem(409, f"embedding: {len(embedding)} numbers that have no place on this library's map")
        return Place(x=x, y=y)

    @routes.get("/v1/path", responses=documented(404))
    def path_between(
        start: Annotated[Id, Query(description="a track_id of the library")],
        end: Annotated[Id, Query(description="another")],
        k: Annotated[int, Query(ge=2, le=MAX_TRACKS, description="how many tracks, both included")] = 12,
        blend: Blend = 0.5,
    ) -> ScoredTracks:
        """From one track to another by small steps: `score` is how similar a track is to the one before it."""
        snapshot = follower.snapshot
        for track_id in (start, end):
            snapshot.check_track(track_id)
        rows, scores = path(snapshot.tracks, start, end, k, blend=blend)
        return scored_tracks(snapshot, rows, scores)

    return routes


def _places(drawn: LibraryMap, rows: Iterable[int | None]) -> Iterator[int]:
    return (place for row in rows if row is not None and (place := drawn.place_of(row)) is not None)
