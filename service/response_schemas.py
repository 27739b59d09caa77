"""Answers: the bodies that endpoints give, as the OpenAPI document shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..models.arrays import Rows, Scores
from .snapshot.recommendations import RecommendedTracks
from .snapshot.snapshot import Snapshot


class Recommendations(BaseModel):
    """As the original had it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"recs": ["folk/nocturne.mp3"], "notes": []}]})

    recs: list[str] = Field(description="track ids, best first")
    notes: list[str] = Field(default=[], description="what the answer had to do without")


class SimilarTracks(BaseModel):
    """As the original had it."""

    similar_tracks: list[str] = Field(description="track ids, nearest first")
    scores: list[float]
    notes: list[str] = []


class Result(BaseModel):
    result: str = Field(examples=["ok"])


class TrackIds(BaseModel):
    """As the original had it."""

    events: list[str] = Field(description="track ids, newest first")


class NamedTrack(BaseModel):
    track_id: str
    title: str | None
    artists: list[str]


class FoundTrack(NamedTrack):
    """A track of the library."""

    has_audio: bool = Field(description="whether /v1/audio has it")


class FoundTracks(BaseModel):
    tracks: list[FoundTrack]


class Scored(FoundTrack):
    score: float


class Compared(Scored):
    """A track beside another: the two similarities that every blend of them is made of."""

    taste: float | None = Field(description="by who listens to them, -1 … 1; null where either has no taste")
    sound: float | None = Field(description="by their sound, -1 … 1; null where either has no sound")
    genres: list[str] = Field(description="of its analysis, the likeliest three, best first")
    strongest_seconds: float | None = Field(
        description="the middle of its loudest excerpt, to be played first; null: unknown"
    )


class Recommended(Scored):
    because: NamedTrack | None = Field(
        description="what they listened to that adds most to the score; null where nothing does"
    )


class ScoredTracks(BaseModel):
    tracks: Sequence[Scored]
    version: str | None = Field(description="of the models; null where the library is not trained")
    notes: list[str] = Field(default=[], description="what the answer had to do without")


class PersonalTracks(ScoredTracks):
    tracks: Sequence[Recommended]
    personal: bool = Field(description="false: nothing is known of the listener, these are the popular tracks")


def found(snapshot: Snapshot, row: int) -> dict[str, Any]:
    """The fields of `FoundTrack`."""
    return snapshot.table.summaries[row]._asdict()


def scored(snapshot: Snapshot, row: int, score: float) -> dict[str, Any]:
    """The fields of `Scored`."""
    return found(snapshot, row) | {"score": round(score, 6)}


def scored_tracks(snapshot: Snapshot, rows: Rows, scores: Scores, notes: Sequence[str] = ()) -> ScoredTracks:
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    tracks = [Scored(**scored(snapshot, row, score)) for row, score in pairs]
    return ScoredTracks(tracks=tracks, version=snapshot.version, notes=list(notes))


def likeliest(genres: dict[str, float]) -> list[str]:
    """The three most probable, best first."""
    return sorted(genres, key=lambda genre: -genres[genre])[:3]


def personal(answer: RecommendedTracks) -> PersonalTracks:
    snapshot = answer.snapshot
    reasons = [-1] * len(answer.rows) if answer.because is None else answer.because.tolist()
    tracks = [
        Recommended(
            **scored(snapshot, row, score), because=NamedTrack(**found(snapshot, reason)) if reason >= 0 else None
        )
        for row, score, reason in zip(answer.rows.tolist(), answer.scores.tolist(), reasons, strict=True)
    ]
    notes = [note.text for note in answer.notes]
    return PersonalTracks(tracks=tracks, personal=answer.personal, version=snapshot.version, notes=notes)
