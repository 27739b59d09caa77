"""Tracks: their descriptions, their audio, and new ones."""

from __future__ import annotations

import mimetypes
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from ...audio.metadata import picture_type, read_cover
from ...pipelines.audio_analysis.analyzer import Description
from ...pipelines.genres.labels import AUDIO_SUFFIXES
from ...pipelines.library.store import Library
from ..cover_art import cover_art
from ..errors import Problem, documented
from ..parameters import Id, K
from ..response_schemas import FoundTrack, FoundTracks, found
from ..snapshot.follower import LibraryFollower
from ..upload_analyzer import UploadAnalyzer
from ..uploaded_files import AudioFile, add_track, on_disk
from .similar import Classified, Genre, classified


class Track(BaseModel):
    """What the library holds about a track; null where it holds nothing."""

    track_id: str
    title: str | None
    artists: list[str]
    album: str | None
    labels: list[str] = Field(description="the catalogue's own genres")
    released_at: int | None
    duration_seconds: float | None
    genres: list[Genre] = Field(description="of the analysis, best first; empty where the track was never analyzed")
    confident: bool | None = Field(description="false: the first genre is not to be believed; null: never analyzed")
    moods: list[str]
    tempo_bpm: float | None
    tempo_alternative_bpm: float | None
    tempo_confidence: float | None
    key: str | None
    key_alternative: str | None
    key_confidence: float | None
    loudness_lufs: float | None
    has_audio: bool


class AddedTrack(BaseModel):
    track_id: str
    new: bool = Field(description="false: the library has this audio already, under this track_id")
    heard: Classified


def track_routes(follower: LibraryFollower, analyzer: UploadAnalyzer) -> APIRouter:
    routes = APIRouter(tags=["tracks"])

    @routes.get("/v1/tracks", responses=documented())
    def find_tracks(
        query: Annotated[str, Query(max_length=200, description="words of title, artist or track_id")] = "", k: K = 20
    ) -> FoundTracks:
        """The tracks that have all of the words, in the library's order."""
        snapshot = follower.snapshot
        tracks = snapshot.tracks
        rows = (row for row in snapshot.table.find(query) if row < len(tracks) and tracks.in_library[row])
        return FoundTracks(tracks=[FoundTrack(**found(snapshot, row)) for row in islice(rows, k)])

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
            analysis = analyzer.analyze(path)
            name, new = add_track(
                follower.folder, path, analysis, track_id=track_id, title=title, artists=[artist] if artist else []
            )
        if new:
            follower.check()
        else:
            response.status_code = 200
        return AddedTrack(track_id=name, new=new, heard=classified(analysis))

    @routes.get("/v1/tracks/{track_id:path}", responses=documented(404))
    def track(track_id: Id) -> Track:
        """All that is known of a track."""
        with Library.open(follower.folder) as library:
            known = library.track(track_id)
            if known is None:
                raise Problem(404, f"{track_id}: no such track")
            genres, description = library.genres_of(track_id), library.description_of(track_id)
            file = _audio_file(library, library.path_of(track_id))
        probable = sorted(genres.items(), key=lambda pair: -pair[1])
        nothing: dict[str, Any] = asdict(Description(False, [])) | {"confident": None}
        heard = nothing | description
        heard["genres"] = [Genre(genre=genre, probability=round(share, 4)) for genre, share in probable]
        return Track(**known | {"labels": known["genres"], "has_audio": file is not None} | heard)

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
            if not library.has_track(track_id):
                raise Problem(404, f"{track_id}: no such track")
            path = _audio_file(library, library.path_of(track_id))
        if path is None:
            raise Problem(
                404, f"{track_id}: its audio is not here; crossfade embed FOLDER adds a folder to those that are served"
            )
        return FileResponse(path, media_type=_audio_type(path) or "application/octet-stream")

    @routes.get(
        "/v1/covers/{track_id:path}",
        response_class=Response,
        responses={
            200: {"description": "A picture", "content": {"image/*": {"schema": {"type": "string"}}}},
            **documented(404),
        },
    )
    def cover(track_id: Id) -> Response:
        """The cover in the track's file; where it has none, a picture drawn from its embedding."""
        snapshot = follower.snapshot
        snapshot.check_track(track_id)
        with Library.open(follower.folder) as library:
            path = _audio_file(library, library.path_of(track_id))
        vectors = snapshot.tracks.index.vectors
        picture = read_cover(path) if path else None
        kind = picture_type(picture) if picture else "image/svg+xml"
        content = picture or cover_art(vectors[snapshot.tracks.row(track_id)], vectors)
        return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=600"})

    return routes


def _audio_file(library: Library, path: Path | None) -> Path | None:
    """The track's file where it may be given away: audio in a folder that was embedded here, and no link out of it.

    The database can be somebody else's (`pull`), so its paths are not to be trusted.
    """
    if path is None:
        return None
    uploads = (library.folder / "uploads").absolute()
    for place in (uploads, *library.places()):
        try:
            inside = path.is_relative_to(place) and path.resolve().is_relative_to(place.resolve())
        except (OSError, ValueError, RuntimeError):
            continue
        # What was uploaded was analyzed before it was kept, whatever it is named.
        if inside and path.is_file() and (place == uploads or _is_audio(path.resolve())):
            return path.resolve()
    return None


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES or _audio_type(path) is not None


def _audio_type(path: Path) -> str | None:
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind if kind.startswith("audio/") else None
