"""The map: where every track lies, in one file, and the names of its points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from ..errors import documented
from ..parameters import Id, K
from ..response_schemas import FoundTrack, found
from ..snapshot.follower import LibraryFollower
from ..snapshot.library_map import COLUMNS, MEDIA_TYPE, LibraryMap, MapMaker

_MOST = 200


class MappedTrack(FoundTrack):
    place: int = Field(description="of the track in the map's columns, from 0")


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
                    "Little-endian: uint32 bytes of a header; the header, JSON with revision, count, columns and "
                    f"genres; then the columns, count values each: {', '.join(COLUMNS)}. x and y are uint16, the "
                    "others uint8 with 255 for unknown: the place in genres; 8 log2(1 + listeners); 254 times the "
                    "crossfade weight; the year of release less 1900"
                ),
                "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            },
            304: {"description": "If-None-Match names this map"},
            **documented(),
        },
    )
    def positions(request: Request) -> Response:
        """Where every track with sound lies: near tracks sound alike, axes mean nothing. Tracks that come move nobody.

        8 bytes a track. The first request lays the library out, which can take some seconds.
        """
        return maker.newest.file.answer(request)

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

    return routes


def _places(drawn: LibraryMap, rows: Iterable[int | None]) -> Iterator[int]:
    return (place for row in rows if row is not None and (place := drawn.place_of(row)) is not None)
