"""The similar role: what sounds or is listened to like a track or a file, and what genre a file is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Form
from pydantic import BaseModel, Field

from ...audio.metadata import read_tags
from ...errors import LibraryError
from ...models.arrays import Rows
from ...models.catalogue import Catalogue
from ...models.hybrid.index import blended
from ...models.storage import content_hash
from ...pipelines.audio_analysis.analyzer import TrackAnalysis
from ...pipelines.library.store import Library
from ..errors import documented
from ..parameters import MAX_K, Blend, K, QueryOrBodyRoute, TrackId
from ..response_schemas import Compared, ScoredTracks, SimilarTracks, likeliest, scored, scored_tracks
from ..snapshot.follower import LibraryFollower
from ..snapshot.snapshot import Snapshot
from ..upload_analyzer import UploadAnalyzer
from ..uploaded_files import AudioFile, on_disk

BLENDS = np.linspace(0, 1, 21).tolist()
FormK = Annotated[int, Form(ge=1, le=MAX_K)]
FormBlend = Annotated[float, Form(ge=0, le=1)]


class Genre(BaseModel):
    genre: str
    probability: float


class Texture(BaseModel):
    """What tells music from speech, calls, tones and noise."""

    gaps: float = Field(description="share of frames with less than half the amplitude around them")
    occupancy: float = Field(description="share of the time-frequency plane within 50 dB of its peak")
    change_db: float = Field(description="how much a band's level moves")


class Classified(BaseModel):
    """The analysis of a file, as `crossfade classify` prints it."""

    duration_seconds: float
    genres: list[Genre] = Field(description="best first")
    confident: bool = Field(description="false: probably unlike the music that the model was trained on")
    moods: list[str]
    mood_lifts: list[float] = Field(description="how many times the odds of the average track each mood has")
    tempo_bpm: float | None
    tempo_alternative_bpm: float | None
    tempo_confidence: float | None = Field(description="0 … 1, how likely the tempo is right, within 4 %")
    key: str | None
    key_alternative: str | None
    key_confidence: float | None = Field(description="0 … 1, how likely the key is exactly right")
    loudness_lufs: float | None
    loudness_spread_lu: float | None = Field(description="between the loudest and the quietest part that was heard")
    heard_seconds: float = Field(description="how much of the file all this is of")
    texture: Texture


class ComparedTracks(ScoredTracks):
    tracks: Sequence[Compared]
    others: Sequence[Compared] = Field(description="the k nearest at any blend of 0, 0.05 … 1 that `tracks` lacks")


class SimilarToFile(ScoredTracks):
    heard: Classified


class ComparedToFile(ComparedTracks, SimilarToFile):
    embedding: list[float] = Field(description="of the encoder; POST /v1/map/place says where it would lie")
    title: str | None = Field(description="of the file's tags")
    artists: list[str] = Field(description="of the file's tags")
    track_id: str | None = Field(description="the track of the library that is this file, and is left out; else null")


def similar_routes(follower: LibraryFollower, analyzer: UploadAnalyzer) -> APIRouter:
    routes = APIRouter(route_class=QueryOrBodyRoute, tags=["similar"])

    @routes.post("/similar_tracks", responses=documented(404))
    def similar_tracks(track_id: TrackId, k: K = 10) -> SimilarTracks:
        """The nearest tracks by taste and sound. Parameters may also come as a JSON body."""
        found = _scored_tracks(follower.snapshot, track_id, k, 0.5)
        return SimilarTracks(
            similar_tracks=[one.track_id for one in found.tracks],
            scores=[one.score for one in found.tracks],
            notes=found.notes,
        )

    @routes.get("/v1/similar_tracks", responses=documented(404))
    def similar_to_track(track_id: TrackId, k: K = 10, blend: Blend = 0.5) -> ScoredTracks:
        """The nearest tracks: `blend` 0 by sound alone, 1 by who listens to them."""
        return _scored_tracks(follower.snapshot, track_id, k, blend)

    @routes.get("/v1/compared_tracks", responses=documented(404))
    def compared_to_track(track_id: TrackId, k: K = 10, blend: Blend = 0.5) -> ComparedTracks:
        """The nearest tracks with what any other blend would make of them, so that a slider need not ask again."""
        return _compared_tracks(follower, follower.snapshot, track_id, k, blend)

    @routes.post("/v1/similar_tracks", responses=documented(400, 413, 415))
    def similar_to_file(file: AudioFile, k: FormK = 10, blend: FormBlend = 0.5) -> SimilarToFile:
        """The tracks nearest to an uploaded file, which is not kept."""
        snapshot = follower.snapshot
        with on_disk(file) as path:
            analysis = analyzer.analyze(path)
        found = _scored_tracks(snapshot, _as_track(snapshot, analysis), k, blend)
        return SimilarToFile(**vars(found), heard=classified(analysis))

    @routes.post("/v1/compared_tracks", responses=documented(400, 413, 415))
    def compared_to_file(file: AudioFile, k: FormK = 10, blend: FormBlend = 0.5) -> ComparedToFile:
        """The same for an uploaded file, which is not kept. A track of the library is compared as that."""
        snapshot = follower.snapshot
        with on_disk(file) as path:
            analysis, digest, tags = analyzer.analyze(path), content_hash(path), read_tags(path)
        with Library.open(follower.folder) as library:
            known = next((copy for copy in library.tracks_with(digest) if copy in snapshot.tracks), None)
        found = _compared_tracks(follower, snapshot, known or _as_track(snapshot, analysis), k, blend)
        return ComparedToFile(
            **vars(found),
            heard=classified(analysis),
            embedding=[round(value, 6) for value in analysis.embedding.tolist()],
            track_id=known,
            title=tags.title,
            artists=list(tags.artists),
        )

    @routes.post("/v1/classify", responses=documented(400, 413, 415))
    def classify(file: AudioFile) -> Classified:
        """Genres, moods, tempo, key and loudness of an uploaded file, which is not kept."""
        with on_disk(file) as path:
            return classified(analyzer.analyze(path))

    return routes


def classified(analysis: TrackAnalysis) -> Classified:
    return Classified.model_validate(analysis.record())


def _as_track(snapshot: Snapshot, analysis: TrackAnalysis) -> Catalogue:
    if snapshot.tracks.sound != "encoder":
        raise LibraryError("library: does not hold embeddings of audio, so a file cannot be compared with it")
    return Catalogue.of_one("", analysis.embedding, analysis.genres, analysis.vocabulary.genres)


def _scored_tracks(snapshot: Snapshot, track: str | Catalogue, k: int, blend: float) -> ScoredTracks:
    if isinstance(track, str):
        snapshot.check_track(track)
        rows, scores = snapshot.tracks.similar(track, k, blend=blend)
    else:
        rows, scores = snapshot.tracks.similar_to(track, k, blend=blend)
    return scored_tracks(snapshot, rows, scores, _notes(track, rows))


def _compared_tracks(
    follower: LibraryFollower, snapshot: Snapshot, track: str | Catalogue, k: int, blend: float
) -> ComparedTracks:
    if isinstance(track, str):
        snapshot.check_track(track)
    found = snapshot.tracks.compare(track, k, [blend, *(BLENDS if snapshot.tracks.index.factors else ())])
    near, _ = found.answers[0]
    rows = np.fromiter(dict.fromkeys(np.concatenate([ids for ids, _ in found.answers]).tolist()), np.intp)
    with Library.open(follower.folder) as library:
        track_ids = [snapshot.tracks.track_ids[row] for row in rows.tolist()]
        genres = [library.genres_of(track_id) for track_id in track_ids]
        strongest = [library.description_of(track_id).get("strongest_seconds") for track_id in track_ids]
    places = np.searchsorted(found.rows, rows)
    taste, sound = found.by_taste[places], found.by_sound[places]
    tracks = [
        Compared(
            **scored(snapshot, row, score),
            taste=_rounded(by_taste),
            sound=_rounded(by_sound),
            genres=likeliest(probable),
            strongest_seconds=seconds,
        )
        for row, score, by_taste, by_sound, probable, seconds in zip(
            rows.tolist(),
            blended(taste, sound, blend).tolist(),
            taste.tolist(),
            sound.tolist(),
            genres,
            strongest,
            strict=True,
        )
    ]
    return ComparedTracks(
        tracks=tracks[: len(near)], others=tracks[len(near) :], version=snapshot.version, notes=_notes(track, near)
    )


def _notes(track: str | Catalogue, rows: Rows) -> list[str]:
    if len(rows) or not isinstance(track, str):
        return []
    return [f"{track}: has neither an embedding nor listens, so nothing is like it"]


def _rounded(similarity: float) -> float | None:
    return None if math.isnan(similarity) else round(similarity, 6)
