"""Tracks: what is known of them, their audio, and new ones."""

from __future__ import annotations

import json
import mimetypes
import os
from itertools import islice
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from ...pipelines.genres.labels import AUDIO_SUFFIXES
from ...pipelines.library.store import Library
from ..errors import Problem, documented
from ..parameters import Id, K
from ..snapshot.follower import Follower
from ..snapshot.snapshot import Snapshot
from ..upload_analysis import Ears
from ..uploads import AudioFile, add_track, on_disk
from .similar import Classified, Genre, classified


class Track(BaseModel):
    """What the library says of a track; null where it doesn't."""

    track_id: str
    title: str | None
    artists: list[str]
    album: str | None
    labels: list[str] = Field(description="the catalogue's own genres")
    released_at: int | None
    duration_seconds: float | None
    genres: list[Genre] = Field(description="as heard, best first; empty where the track was never heard")
    moods: list[str]
    tempo_bpm: float | None
    key: str | None
    has_audio: bool


class FoundTrack(BaseModel):
    track_id: str
    title: str | None
    artists: list[str]
    has_audio: bool


class FoundTracks(BaseModel):
    tracks: list[FoundTrack]


class AddedTrack(BaseModel):
    track_id: str
    new: bool = Field(description="false: the library has this audio already, under this track_id")
    heard: Classified


_SQL = (
    "SELECT track_id, title, artists, album, tracks.genres, released_at, duration_seconds, description, path "
    "FROM tracks LEFT JOIN heard USING (content_hash) WHERE track_id = ?"
)


def track_routes(follower: Follower, ears: Ears) -> APIRouter:
    routes = APIRouter(tags=["tracks"])

    @routes.get("/v1/tracks", responses=documented())
    def find_tracks(
        query: Annotated[str, Query(max_length=200, description="words of title, artist or track_id")] = "", k: K = 20
    ) -> FoundTracks:
        """The tracks that have all of the words, in the library's order."""
        snapshot = follower.snapshot
        there = (row for row in snapshot.shelf.find(query) if row < len(snapshot) and snapshot.there[row])
        return FoundTracks(tracks=[_found(snapshot, row) for row in islice(there, k)])

    @routes.post("/v1/tracks", status_code=201, responses=documented(400, 409, 413, 415))
    def add(
        response: Response,
        file: AudioFile,
        track_id: Annotated[Id | None, Form()] = None,
        title: Annotated[Id | None, Form()] = None,
        artist: Annotated[Id | None, Form()] = None,
    ) -> AddedTrack:
        """Adds an uploaded file to the library: it can be found and recommended when this answers."""
        _ = follower.snapshot
        with on_disk(file) as path:
            heard = ears.hear(path)
            name, new = add_track(
                follower.folder, path, heard, track_id=track_id, title=title, artists=[artist] if artist else []
            )
        if new:
            follower.check()
        else:
            response.status_code = 200
        return AddedTrack(track_id=name, new=new, heard=classified(heard))

    @routes.get("/v1/tracks/{track_id:path}", responses=documented(404))
    def track(track_id: Id) -> Track:
        """All that is known of a track."""
        with Library.open(follower.folder) as library:
            rows, genres = library.query(_SQL, (track_id,)), library.genres_of(track_id)
            if not rows:
                raise Problem(404, f"{track_id}: no such track")
            *facts, path = rows[0]
            file = _audio_file(library, path)
        name, title, artists, album, labels, released_at, seconds, description = facts
        said = json.loads(description) if description else {}
        return Track(
            track_id=name,
            title=title,
            artists=json.loads(artists),
            album=album,
            labels=json.loads(labels),
            released_at=released_at,
            duration_seconds=seconds,
            genres=[
                Genre(genre=genre, probability=round(probability, 4))
                for genre, probability in sorted(genres.items(), key=lambda pair: -pair[1])
            ],
            moods=said.get("moods", []),
            tempo_bpm=said.get("tempo_bpm"),
            key=said.get("key"),
            has_audio=file is not None,
        )

    @routes.get(
        "/v1/audio/{track_id:path}",
        response_class=FileResponse,
        responses={
            200: {"description": "The audio", "content": {"audio/*": {"schema": {"type": "string"}}}},
            206: {"description": "The part of it that the Range header asks for"},
            416: {"description": "A range that the file does not have"},
            **documented(404),
        },
    )
    def audio(track_id: Id) -> FileResponse:
        """The track's file as it is on disk; answers range requests."""
        # The id is looked up; it never becomes part of a path.
        with Library.open(follower.folder) as library:
            rows = library.query("SELECT path FROM tracks WHERE track_id = ?", (track_id,))
            if not rows:
                raise Problem(404, f"{track_id}: no such track")
            path = _audio_file(library, rows[0][0])
        if path is None:
            raise Problem(
                404, f"{track_id}: its audio is not here; crossfade embed FOLDER says again which folders are served"
            )
        return FileResponse(path, media_type=_audio_type(path) or "application/octet-stream")

    return routes


def _audio_file(library: Library, stored: bytes | None) -> Path | None:
    """The track's file where it may be given away: audio in a folder that was embedded here, and no link out of it.

    The database can be somebody else's (`pull`), so what it says of paths is not to be trusted.
    """
    if stored is None:
        return None
    path = Path(os.fsdecode(stored))
    uploads = (library.folder / "uploads").absolute()
    for place in (uploads, *library.places()):
        try:
            inside = path.is_relative_to(place) and path.resolve().is_relative_to(place.resolve())
        except (OSError, ValueError, RuntimeError):
            continue
        # What was uploaded was heard before it was kept, whatever it is named.
        if inside and path.is_file() and (place == uploads or _is_audio(path.resolve())):
            return path.resolve()
    return None


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES or _audio_type(path) is not None


def _audio_type(path: Path) -> str | None:
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind if kind.startswith("audio/") else None


def _found(snapshot: Snapshot, row: int) -> FoundTrack:
    track_id, facts = snapshot.shelf.track_ids[row], snapshot.shelf.facts[row]
    return FoundTrack(track_id=track_id, title=facts.title, artists=list(facts.artists), has_audio=facts.has_file)
