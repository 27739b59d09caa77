"""Answers: the bodies that endpoints give, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .snapshot.live_recommendations import Advice
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


class Reason(BaseModel):
    """A track the listener listened to that speaks loudest for the recommended one."""

    track_id: str
    title: str | None
    artists: list[str]


class Scored(BaseModel):
    track_id: str
    title: str | None
    artists: list[str]
    score: float
    has_audio: bool = Field(description="whether /v1/audio has it")


class Recommended(Scored):
    because: Reason | None = Field(description="null where nothing that was listened to speaks for the track")


class ScoredTracks(BaseModel):
    tracks: list[Scored]
    version: str | None = Field(description="of the models; null where the library is not trained")
    notes: list[str] = []


class PersonalTracks(BaseModel):
    tracks: list[Recommended]
    personal: bool = Field(description="false: nothing is known of the listener, these are the popular tracks")
    version: str | None
    notes: list[str] = Field(default=[], description="what the answer had to do without")


def scored(snapshot: Snapshot, row: int, score: float) -> Scored:
    return Scored(**_shown(snapshot, row, score))


def personal(advice: Advice) -> PersonalTracks:
    snapshot = advice.snapshot
    reasons = [-1] * len(advice.rows) if advice.because is None else advice.because.tolist()
    tracks = [
        Recommended(**_shown(snapshot, row, score), because=_reason(snapshot, reason))
        for row, score, reason in zip(advice.rows.tolist(), advice.scores.tolist(), reasons, strict=True)
    ]
    return PersonalTracks(
        tracks=tracks, personal=advice.personal, version=snapshot.version, notes=[note.text for note in advice.notes]
    )


def _shown(snapshot: Snapshot, row: int, score: float) -> dict[str, Any]:
    track_id, facts = snapshot.shelf.track_ids[row], snapshot.shelf.facts[row]
    return {
        "track_id": track_id,
        "title": facts.title,
        "artists": list(facts.artists),
        "score": round(score, 6),
        "has_audio": facts.has_file,
    }


def _reason(snapshot: Snapshot, row: int) -> Reason | None:
    if row < 0:
        return None
    track_id, facts = snapshot.shelf.track_ids[row], snapshot.shelf.facts[row]
    return Reason(track_id=track_id, title=facts.title, artists=list(facts.artists))
