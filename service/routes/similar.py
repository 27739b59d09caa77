"""The similar role: what sounds or is listened to like a track or a file, and what genre a file is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from pydantic import BaseModel, Field

from ...errors import LibraryError
from ...models.arrays import Ids, Scores
from ...models.catalogue import Catalogue
from ...pipelines.audio_analysis.analyzer import TrackAnalysis
from ..errors import documented
from ..parameters import MAX_K, Blend, K, QueryOrBodyRoute, TrackId
from ..response_schemas import Scored, ScoredTracks, SimilarTracks, scored
from ..snapshot.follower import LibraryFollower
from ..snapshot.snapshot import Snapshot
from ..upload_analyzer import UploadAnalyzer
from ..uploaded_files import AudioFile, on_disk


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


class SimilarToFile(ScoredTracks):
    heard: Classified


def similar_routes(follower: LibraryFollower, analyzer: UploadAnalyzer) -> APIRouter:
    routes = APIRouter(route_class=QueryOrBodyRoute, tags=["similar"])

    def nearest(track_id: str, k: int, blend: float) -> ScoredTracks:
        snapshot = follower.snapshot
        snapshot.check_track(track_id)
        rows, scores = snapshot.tracks.similar(track_id, k, blend=blend)
        notes = [] if len(rows) else [f"{track_id}: has neither an embedding nor listens, so nothing is like it"]
        return _scored_tracks(snapshot, rows, scores, notes)

    @routes.post("/similar_tracks", responses=documented(404))
    def similar_tracks(track_id: TrackId, k: K = 10) -> SimilarTracks:
        """The nearest tracks by taste and sound. Parameters may also come as a JSON body."""
        found = nearest(track_id, k, 0.5)
        return SimilarTracks(
            similar_tracks=[one.track_id for one in found.tracks],
            scores=[one.score for one in found.tracks],
            notes=found.notes,
        )

    @routes.get("/v1/similar_tracks", responses=documented(404))
    def similar_to_track(track_id: TrackId, k: K = 10, blend: Blend = 0.5) -> ScoredTracks:
        """The nearest tracks: `blend` 0 by sound alone, 1 by who listens to them."""
        return nearest(track_id, k, blend)

    @routes.post("/v1/similar_tracks", responses=documented(400, 413, 415))
    def similar_to_file(
        file: AudioFile, k: Annotated[int, Form(ge=1, le=MAX_K)] = 10, blend: Annotated[float, Form(ge=0, le=1)] = 0.5
    ) -> SimilarToFile:
        """The tracks nearest to an uploaded file, which is not kept."""
        snapshot = follower.snapshot
        with on_disk(file) as path:
            analysis = analyzer.analyze(path)
        if snapshot.tracks.sound != "encoder":
            raise LibraryError("library: does not hold embeddings of audio, so a file cannot be compared with it")
        track = Catalogue.of_one("", analysis.embedding, analysis.genres, analysis.vocabulary.genres)
        rows, scores = snapshot.tracks.similar_to(track, k, blend=blend)
        found = _scored_tracks(snapshot, rows, scores, [])
        return SimilarToFile(**vars(found), heard=classified(analysis))

    @routes.post("/v1/classify", responses=documented(400, 413, 415))
    def classify(file: AudioFile) -> Classified:
        """Genres, moods, tempo, key and loudness of an uploaded file, which is not kept."""
        with on_disk(file) as path:
            return classified(analyzer.analyze(path))

    return routes


def classified(analysis: TrackAnalysis) -> Classified:
    return Classified.model_validate(analysis.record())


def _scored_tracks(snapshot: Snapshot, rows: Ids, scores: Scores, notes: list[str]) -> ScoredTracks:
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    tracks = [Scored(**scored(snapshot, row, score)) for row, score in pairs]
    return ScoredTracks(tracks=tracks, version=snapshot.version, notes=notes)
