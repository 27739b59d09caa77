"""A small library for the tests of the service: two camps of listeners, whose tracks sound alike, and real audio."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import soundfile
from fastapi.testclient import TestClient

from crossfade.models.genres.vocabulary import GENRES
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer, Description, TrackAnalysis
from crossfade.pipelines.interactions.schema import SourceLog, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.training.train import train
from crossfade.service.app import Service
from crossfade.service.settings import Role, ServeOptions

TRACKS, USERS, EACH = 60, 40, 10
RATE = 16_000


def track(row: int) -> str:
    """The first half of the tracks is one camp's, the second the other's."""
    return f"album/track {row:02}.wav"


def audio(path: Path, *, seconds: float = 6.0, hertz: float = 220.0) -> Path:
    time = np.arange(round(seconds * RATE)) / RATE
    beat = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 2 * time))
    soundfile.write(path, (0.3 * beat * np.sin(2 * np.pi * hertz * time)).astype(np.float32), RATE)
    return path


def fill(folder: Path) -> None:
    """Tracks with embeddings; the first one has its file."""
    rng = np.random.default_rng(0)
    with Library.open(folder, create=True) as library:
        ids = [track(row) for row in range(TRACKS)]
        library.add_tracks(
            pl.DataFrame(
                {
                    "track_id": ids,
                    "title": [f"Title {row}" for row in range(TRACKS)],
                    "artists": [[f"Artist {row // 5}"] for row in range(TRACKS)],
                }
            )
        )
        encoder = AudioAnalyzer().encoder
        centres = rng.normal(size=(2, 200))
        (folder / "music").mkdir()
        first = audio(folder / "music" / "first.wav")
        library.add_places([first.parent])
        library.claim_encoder(encoder.name)
        with library.transaction() as db:
            for row, name in enumerate(ids):
                sound = (centres[row * 2 // TRACKS] + rng.normal(size=200)).astype(np.float32)
                genres = np.full(len(GENRES), 1 / len(GENRES), np.float32)
                description = Description(True, ["calm"], tempo_bpm=120.0, key="C major")
                library.add_analysis(f"hash{row}", TrackAnalysis(6.0, sound, genres, description))
                db.execute("UPDATE tracks SET content_hash = ? WHERE track_id = ?", (f"hash{row}", name))
            db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (str(first).encode(), ids[0]))


def listen(folder: Path, *, seed: int = 0) -> None:
    """Listens of two camps: user u0, u2, … to the first half of the tracks, u1, u3, … to the second."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        half = user % 2 * TRACKS // 2
        chosen = rng.choice(TRACKS // 2, EACH, replace=False, p=_popularity())
        rows += [(f"u{user}", track(half + int(row))) for row in chosen]
    with Library.open(folder) as library, writing(library, "test") as (part, _):
        table = pl.DataFrame(rows, schema=["user_id", "track_id"], orient="row")
        sink(SourceLog(folder, table.lazy()), part)


def trained(folder: Path) -> str:
    """Trains a version; gives its name."""
    with Library.open(folder) as library:
        return train(library, force=True).version


def library(folder: Path) -> Path:
    """All of it, trained."""
    fill(folder)
    listen(folder)
    trained(folder)
    return folder


def copied(library: Path, folder: Path) -> Path:
    """A copy with music of its own: what a test does to files, it does to those of no other test."""
    shutil.copytree(library, folder)
    (folder / "places.json").unlink()
    with Library.open(folder) as opened, opened.transaction() as db:
        opened.add_places([folder / "music"])
        for track_id in opened.track_ids():
            if path := opened.path_of(track_id):
                own = os.fsencode(folder / "music" / path.name)
                db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (own, track_id))
    return folder


def camp(track_id: str) -> int:
    """0 or 1."""
    return int(track_id.removeprefix("album/track ").removesuffix(".wav")) * 2 // TRACKS


@contextmanager
def serving(folder: Path, role: Role = Role.ALL, **options: Any) -> Iterator[TestClient]:
    """A client of the service in this process; `client.service` is the service."""
    given = {"requests_per_second": 0.0, **options}
    service = Service(ServeOptions(library=folder, role=role, **given))
    if role is not Role.EVENTS:
        # The collection after a load is quick in a process of its own; here it would look at all of pytest.
        with patch("gc.unfreeze"):
            service.follower.check()
    with TestClient(service.app, base_url="http://localhost", raise_server_exceptions=True) as client:
        client.service = service  # type: ignore[attr-defined]
        yield client


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["track_id"] for one in answer.json()["tracks"]]


def service_of(client: TestClient) -> Service:
    found: Service = client.service  # type: ignore[attr-defined]
    return found


def _popularity() -> Any:
    weights = 1 / np.arange(1, TRACKS // 2 + 1) ** 0.5
    return weights / weights.sum()
