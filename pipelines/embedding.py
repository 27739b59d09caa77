"""Embedding a collection: every file heard once, resumable, on all cores.

What is unchanged (size and time, then content) is skipped. Results are committed in batches, a track's row together
with its vector, so that a killed run is carried on by running it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..audio.errors import AudioError, LibraryError
from ..models.genre_model import CARD, GenreModel
from ..models.genres import GENRES
from .collection import Candidate, candidates, tags_of
from .hearing import Ear, Heard
from .library import Library
from .workers import in_workers

BATCH_TRACKS = 32
BATCH_SECONDS = 5.0


@dataclass(frozen=True)
class EmbedOptions:
    """How to embed."""

    manifest: Path | None = None
    """CSV with path, track_id and what else is known"""
    id_field: str | None = None
    """name of the tag that holds the track_id; None means the path relative to the embedded folder"""
    every: bool = False
    """hear all windows"""
    retry: bool = False
    """try again what failed before and has not changed"""
    workers: int | None = None
    """None means one per core"""
    genre_model: Path | None = None
    """folder of a trained genre model; None means what the library has, at first the built-in vocabulary"""


@dataclass(frozen=True)
class EmbedSummary:
    """What a run did."""

    embedded: int
    unchanged: int
    failed: int
    """all files of this run that are not in the library, those that failed in an earlier run included"""
    seconds: float


@dataclass(frozen=True)
class _Job:
    candidate: Candidate
    size: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Of one job: a content hash, with what was heard where that was not known yet; or a reason."""

    content_hash: str | None = None
    heard: Heard | None = None
    reason: str | None = None


Progress = Callable[[int, int], None]
"""called with (files done, files in all)"""


def embed(library: Library, places: Sequence[Path], options: EmbedOptions, progress: Progress) -> EmbedSummary:
    """Embeds files and folders into a library. KeyboardInterrupt stops it cleanly, with all that is done committed."""
    started = time.monotonic()
    _claim(library, Ear().encoder.name)
    model = _genre_model(library, options.genre_model)
    paths = {
        track_id: None if path is None else Path(os.fsdecode(path))
        for track_id, path in library.query("SELECT track_id, path FROM tracks")
    }
    found = list(candidates(places, paths, manifest=options.manifest, id_field=options.id_field))
    library.add_places(_places(places, found))
    ledger = _Ledger(library)
    jobs = list(_changed(found, ledger, retry=options.retry))
    progress(len(found) - len(jobs), len(found))
    try:
        work = in_workers(
            _work,
            jobs,
            count=max(1, min(options.workers or os.cpu_count() or 1, len(jobs))),
            prepare=_prepare,
            options=(library.folder, options.every, model),
        )
        for done, (job, outcome) in enumerate(work if jobs else (), start=len(found) - len(jobs) + 1):
            ledger.enter(job, outcome if isinstance(outcome, _Outcome) else _Outcome(reason="crashed the decoder"))
            progress(done, len(found))
    finally:
        ledger.commit()
    return EmbedSummary(ledger.embedded, ledger.unchanged, ledger.failed, round(time.monotonic() - started, 2))


def _places(places: Sequence[Path], found: Sequence[Candidate]) -> list[Path]:
    """What was asked for, and the folders of what a manifest names elsewhere."""
    asked = [Path(os.path.abspath(place)) for place in places]  # noqa: PTH100
    elsewhere = (one.path for one in found if not any(one.path.is_relative_to(place) for place in asked))
    return [*asked, *dict.fromkeys(path.parent for path in elsewhere)]


def _claim(library: Library, encoder: str) -> None:
    """A library holds one encoder's embeddings; others can't be compared with them."""
    with library.transaction() as db:
        db.execute("INSERT OR IGNORE INTO about VALUES ('encoder', ?)", (encoder,))
        db.execute("INSERT OR IGNORE INTO about VALUES ('genres', ?)", (json.dumps(GENRES),))
    there = library.about("encoder")
    if there != encoder:
        raise LibraryError(f"{library.folder}: embedded with {there}, not {encoder}; use another library")


def _genre_model(library: Library, wanted: Path | None) -> Path | None:
    """The model that names this library's genres; a new one makes every file to be heard again."""
    stored = json.loads(library.about("genre_model") or "{}")
    if wanted is None:
        if not stored:
            return None
        wanted = Path(stored["path"])
    model = GenreModel.load(wanted)
    identity = {"path": str(wanted.absolute()), "hash": content_hash(wanted / CARD)}
    if identity["hash"] != stored.get("hash"):
        unknown = np.zeros(len(model.card.classes), np.float32).tobytes()
        with library.transaction() as db:
            db.execute("INSERT OR REPLACE INTO about VALUES ('genre_model', ?)", (json.dumps(identity),))
            db.execute("INSERT OR REPLACE INTO about VALUES ('genres', ?)", (json.dumps(model.card.classes),))
            db.execute("UPDATE heard SET genres = ?", (unknown,))
    return wanted


_NAMED = "heard.genres != zeroblob(length(heard.genres))"
"""SQL: the genre probabilities are known; a new genre model makes them unknown until the file is heard again"""


def _changed(found: Sequence[Candidate], ledger: _Ledger, *, retry: bool) -> Iterator[_Job]:
    """The files that have to be looked into; failures that are known to remain are entered at once."""
    tracks = {
        row[0]: row[1:]
        for row in ledger.library.query(
            f"SELECT path, size, mtime_ns FROM tracks JOIN heard USING (content_hash) WHERE {_NAMED}"
        )
    }
    failures = {row[0]: row[1:] for row in ledger.library.query("SELECT path, size, mtime_ns FROM failures")}
    for candidate in found:
        key = os.fsencode(candidate.path)
        try:
            status = candidate.path.stat()
        except OSError as error:
            reason = candidate.refusal or f"not readable: {error.strerror}"
            ledger.enter(_Job(candidate, 0, 0), _Outcome(reason=reason))
            continue
        stamp = (status.st_size, status.st_mtime_ns)
        job = _Job(candidate, *stamp)
        if candidate.refusal:
            ledger.enter(job, _Outcome(reason=candidate.refusal))
        elif failures.get(key) == stamp and not retry:
            ledger.failed += 1
        elif tracks.get(key) == stamp:
            ledger.unchanged += 1
            if candidate.tags is not None:
                ledger.describe(candidate)
        else:
            yield job


class _Ledger:
    """Collects outcomes and commits them in batches."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.embedded = self.unchanged = self.failed = 0
        self._waiting: list[tuple[_Job, _Outcome]] = []
        self._last = time.monotonic()

    def enter(self, job: _Job, outcome: _Outcome) -> None:
        self._waiting.append((job, outcome))
        if len(self._waiting) >= BATCH_TRACKS or time.monotonic() - self._last > BATCH_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Writes what is waiting; an interruption that comes now waits until it is written."""
        waiting, self._waiting = self._waiting, []
        self._last = time.monotonic()
        if not waiting:
            return
        with self.library.transaction() as db:
            for job, outcome in waiting:
                if outcome.reason is None:
                    self._enter_track(db, job, outcome)
                else:
                    self._enter_failure(db, job, outcome.reason)

    def describe(self, candidate: Candidate) -> None:
        """What a manifest says now of a track that is unchanged."""
        with self.library.transaction() as db:
            _describe(db, candidate.track_id, candidate)

    def _enter_failure(self, db: sqlite3.Connection, job: _Job, reason: str) -> None:
        self.failed += 1
        path = os.fsencode(job.candidate.path)
        db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (path, job.size, job.mtime_ns, reason))
        # What is there under this path is no longer what the library heard.
        db.execute(
            "UPDATE tracks SET path = NULL WHERE path = ? AND (size, mtime_ns) != (?, ?)",
            (path, job.size, job.mtime_ns),
        )

    def _enter_track(self, db: sqlite3.Connection, job: _Job, outcome: _Outcome) -> None:
        path = os.fsencode(job.candidate.path)
        db.execute("DELETE FROM failures WHERE path = ?", (path,))
        if outcome.heard is not None:
            heard = outcome.heard
            description = json.dumps(asdict(heard.description), ensure_ascii=False)
            db.execute(
                "INSERT INTO heard VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "genres = excluded.genres, description = excluded.description",
                (
                    outcome.content_hash,
                    heard.duration_seconds,
                    heard.embedding.tobytes(),
                    heard.genres.tobytes(),
                    description,
                ),
            )
        before = db.execute("SELECT track_id, content_hash FROM tracks WHERE path = ?", (path,)).fetchone()
        track_id = before[0] if before else self._moved(db, outcome.content_hash) or job.candidate.track_id
        if before and before[1] == outcome.content_hash and outcome.heard is None:
            self.unchanged += 1
        else:
            self.embedded += 1
        db.execute(
            "INSERT INTO tracks (track_id, path, size, mtime_ns, content_hash) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (track_id) DO UPDATE SET path = excluded.path, size = excluded.size, "
            "mtime_ns = excluded.mtime_ns, content_hash = excluded.content_hash",
            (track_id, path, job.size, job.mtime_ns, outcome.content_hash),
        )
        _describe(db, track_id, job.candidate)

    @staticmethod
    def _moved(db: sqlite3.Connection, content_hash: str | None) -> str | None:
        """The track whose file is gone and had this content: it was moved or renamed."""
        for track_id, path in db.execute("SELECT track_id, path FROM tracks WHERE content_hash = ?", (content_hash,)):
            if path is None or not Path(os.fsdecode(path)).exists():
                return str(track_id)
        return None


def _describe(db: sqlite3.Connection, track_id: str, candidate: Candidate) -> None:
    """Title, artists and so on; what the file does not say stays as it was."""
    tags = tags_of(candidate)
    lists = [json.dumps(names, ensure_ascii=False) if names else None for names in (tags.artists, tags.genres)]
    db.execute(
        "UPDATE tracks SET title = coalesce(?, title), artists = coalesce(?, artists), album = coalesce(?, album), "
        "genres = coalesce(?, genres), released_at = coalesce(?, released_at) WHERE track_id = ?",
        (tags.title, lists[0], tags.album, lists[1], tags.released_at, track_id),
    )


def content_hash(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


_worker: tuple[sqlite3.Connection, Ear] | None = None
"""what a worker process keeps from job to job"""


def _prepare(folder: Path, every: bool, model: Path | None) -> None:
    global _worker
    connection = sqlite3.connect(f"{(folder / 'library.db').absolute().as_uri()}?mode=ro", uri=True, timeout=60)
    _worker = connection, Ear(1, every, GenreModel.load(model) if model else None)


def _work(job: _Job) -> _Outcome:
    """Runs in a worker: hears a file, unless the library has heard the same content before."""
    if _worker is None:
        raise RuntimeError("the worker was not prepared")
    connection, ear = _worker
    path = job.candidate.path
    try:
        if not path.is_file():
            raise AudioError("not a regular file")
        digest = content_hash(path)
        if connection.execute(f"SELECT 1 FROM heard WHERE content_hash = ? AND {_NAMED}", (digest,)).fetchone():
            return _Outcome(digest)
        return _Outcome(digest, ear.hear(path))
    except AudioError as error:
        return _Outcome(reason=error.reason)
    except OSError as error:
        return _Outcome(reason=f"not readable: {error.strerror or error}")
    except Exception as error:
        # One strange file must not end a night's run; its reason tells what to report.
        return _Outcome(reason=f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
