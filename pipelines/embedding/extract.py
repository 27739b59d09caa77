"""Embedding a collection: every file heard once, resumable, on all cores.

What is unchanged (size and time, then content) is skipped. Results are committed in batches, a track's row together
with its vector, so that a killed run is carried on by running it again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...audio.decoding import BrokenOff
from ...errors import MACHINE_FAULTS, AudioError, CrossfadeError, DataError, LibraryError, ResourceError
from ...models.genres.model import GenreModel
from ..audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis
from ..library.files import content_hash
from ..library.scan import ScannedFile, readable, scan, tags_of
from ..library.store import Library
from .process_pool import in_workers

BATCH_TRACKS = 32
BATCH_SECONDS = 5.0


@dataclass(frozen=True)
class EmbedOptions:
    """How to embed."""

    manifest: Path | None = None
    """CSV with path, track_id and what else is known"""
    id_field: str | None = None
    """name of the tag that holds the track_id; None means the path relative to the embedded folder"""
    all_windows: bool = False
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
    renamed: int
    """tracks of the library that took the track_id of the manifest or of the tag"""


@dataclass(frozen=True)
class _Job:
    file: ScannedFile
    size: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Of one job: a content hash, with what was heard where that was not known yet; or a reason."""

    content_hash: str | None = None
    heard: TrackAnalysis | None = None
    reason: str | None = None


Progress = Callable[[int, int], None]
"""called with (files done, files in all)"""


def embed(library: Library, places: Sequence[Path], options: EmbedOptions, progress: Progress) -> EmbedSummary:
    """Embeds files and folders into a library. KeyboardInterrupt stops it cleanly, with all that is done committed."""
    started = time.monotonic()
    analyzer = AudioAnalyzer(model=GenreModel.load(options.genre_model)) if options.genre_model else library.analyzer()
    library.claim_encoder(analyzer.encoder.name)
    paths = {
        track_id: None if path is None else Path(os.fsdecode(path))
        for track_id, path in library.query("SELECT track_id, path FROM tracks")
    }
    fixed = _listened(library) if paths and (options.manifest or options.id_field) else frozenset()
    found = list(scan(places, paths, manifest=options.manifest, id_field=options.id_field, fixed=fixed))
    library.add_places(_places(places, found))
    library.use_vocabulary(analyzer)
    ledger = _Ledger(library)
    ledger.rename({path: track_id for track_id, path in paths.items() if path is not None}, found)
    jobs = list(_changed(found, ledger, retry=options.retry))
    progress(len(found) - len(jobs), len(found))
    try:
        work = in_workers(
            _work,
            jobs,
            count=max(1, min(options.workers or os.cpu_count() or 1, len(jobs))),
            prepare=_prepare,
            options=(library.folder, options.all_windows),
        )
        for done, (job, outcome) in enumerate(work if jobs else (), start=len(found) - len(jobs) + 1):
            ledger.enter(job, outcome if isinstance(outcome, _Outcome) else _Outcome(reason="crashed the decoder"))
            progress(done, len(found))
    finally:
        ledger.commit()
    seconds = round(time.monotonic() - started, 2)
    return EmbedSummary(ledger.embedded, ledger.unchanged, ledger.failed, seconds, ledger.renamed)


def _places(places: Sequence[Path], found: Sequence[ScannedFile]) -> list[Path]:
    """What was asked for, and the folders of what a manifest names elsewhere."""
    asked = [Path(os.path.abspath(place)) for place in places]  # noqa: PTH100
    elsewhere = (one.path for one in found if not any(one.path.is_relative_to(place) for place in asked))
    return [*asked, *dict.fromkeys(path.parent for path in elsewhere)]


def _listened(library: Library) -> frozenset[str]:
    """The track_ids that listens go by."""
    from ..interactions.schema import read_listens

    try:
        listens = read_listens(library)
    except DataError:
        return frozenset()
    return frozenset(listens.select("track_id").unique().collect(engine="streaming")["track_id"])


def _changed(found: Sequence[ScannedFile], ledger: _Ledger, *, retry: bool) -> Iterator[_Job]:
    """The files that have to be looked into; failures that are known to remain are entered at once."""
    tracks = ledger.library.analyzed_files()
    failures = {row[0]: row[1:] for row in ledger.library.query("SELECT path, size, mtime_ns FROM failures")}
    for file in found:
        key = os.fsencode(file.path)
        try:
            status = file.path.stat()
        except OSError as error:
            _stop_for(error, file.path)
            reason = file.refusal or f"not readable: {error.strerror}"
            ledger.enter(_Job(file, 0, 0), _Outcome(reason=reason))
            continue
        stamp = (status.st_size, status.st_mtime_ns)
        job = _Job(file, *stamp)
        if file.refusal:
            ledger.enter(job, _Outcome(reason=file.refusal))
        elif tracks.get(key) == stamp:
            ledger.unchanged += 1
            if key in failures:
                # What an earlier manifest said of it could not be done; it is there all the same.
                ledger.forgive(key)
            if file.tags is not None:
                ledger.describe(file)
        elif failures.get(key) == stamp and not retry:
            ledger.failed += 1
        else:
            yield job


class _Ledger:
    """Collects outcomes and commits them in batches."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.embedded = self.unchanged = self.failed = self.renamed = 0
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

    def rename(self, known: dict[Path, str], found: Sequence[ScannedFile]) -> None:
        """Tracks whose manifest or tag now says another id than the library has take it."""
        renames = {
            known[one.path]: one.track_id
            for one in found
            if one.named and known.get(one.path, one.track_id) != one.track_id
        }
        if renames:
            with self.library.transaction():
                self.library.rename_tracks(renames)
            self.renamed = len(renames)

    def forgive(self, path: bytes) -> None:
        """The file is no failure any more."""
        with self.library.transaction() as db:
            db.execute("DELETE FROM failures WHERE path = ?", (path,))

    def describe(self, file: ScannedFile) -> None:
        """What a manifest says now of a track that is unchanged."""
        with self.library.transaction() as db:
            _describe(db, file.track_id, file)

    def _enter_failure(self, db: sqlite3.Connection, job: _Job, reason: str) -> None:
        self.failed += 1
        path = os.fsencode(job.file.path)
        db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (path, job.size, job.mtime_ns, reason))
        # What is there under this path is no longer what the library heard.
        db.execute(
            "UPDATE tracks SET path = NULL WHERE path = ? AND (size, mtime_ns) != (?, ?)",
            (path, job.size, job.mtime_ns),
        )

    def _enter_track(self, db: sqlite3.Connection, job: _Job, outcome: _Outcome) -> None:
        path = os.fsencode(job.file.path)
        db.execute("DELETE FROM failures WHERE path = ?", (path,))
        if outcome.content_hash is not None and outcome.heard is not None:
            self.library.add_analysis(outcome.content_hash, outcome.heard)
        before = db.execute("SELECT track_id, content_hash FROM tracks WHERE path = ?", (path,)).fetchone()
        wanted = job.file.track_id
        track_id = before[0] if before else self._moved(db, outcome.content_hash) or wanted
        if job.file.named and track_id != wanted:
            self.library.rename_tracks({track_id: wanted})
            self.renamed += 1
            track_id = wanted
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
        _describe(db, track_id, job.file)

    @staticmethod
    def _moved(db: sqlite3.Connection, content_hash: str | None) -> str | None:
        """The track whose file is gone and had this content: it was moved or renamed."""
        for track_id, path in db.execute("SELECT track_id, path FROM tracks WHERE content_hash = ?", (content_hash,)):
            if path is None or not Path(os.fsdecode(path)).exists():
                return str(track_id)
        return None


def _describe(db: sqlite3.Connection, track_id: str, file: ScannedFile) -> None:
    """Title, artists and so on; what the file does not say stays as it was."""
    tags = tags_of(file)
    lists = [json.dumps(names, ensure_ascii=False) if names else None for names in (tags.artists, tags.genres)]
    db.execute(
        "UPDATE tracks SET title = coalesce(?, title), artists = coalesce(?, artists), album = coalesce(?, album), "
        "genres = coalesce(?, genres), released_at = coalesce(?, released_at) WHERE track_id = ?",
        (tags.title, lists[0], tags.album, lists[1], tags.released_at, track_id),
    )


def _stop_for(error: Exception, path: Path) -> None:
    """Raises what ends the run, where the error is none of the file's own."""
    kept = "what was heard is kept, the same command carries on"
    if isinstance(error, MemoryError):
        raise ResourceError(f"{readable(path)}: no memory left to hear it; {kept} (fewer --workers need less)")
    if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
        raise ResourceError(f"{readable(path)}: {error.strerror}; {kept}")
    if isinstance(error, CrossfadeError | ImportError):
        # Of the library, the genre model or what they need. As text: not every exception survives the way back.
        raise LibraryError(f"{readable(path)}: not heard: {' '.join(str(error).split())}")


_worker: tuple[Library, AudioAnalyzer] | None = None
"""what a worker process keeps from job to job"""


def _prepare(folder: Path, all_windows: bool) -> None:
    global _worker
    library = Library.open(folder)
    _worker = library, library.analyzer(threads=1, all_windows=all_windows).load()


def _work(job: _Job) -> _Outcome:
    """Runs in a worker: hears a file, unless the library has heard the same content before."""
    if _worker is None:
        raise RuntimeError("the worker was not prepared")
    library, analyzer = _worker
    path = job.file.path
    try:
        if not path.is_file():
            raise AudioError("not a regular file")
        digest = content_hash(path)
        if library.has_analysis(digest):
            return _Outcome(digest)
        return _Outcome(digest, analyzer.analyze(path))
    except AudioError as error:
        if not isinstance(error, BrokenOff) and isinstance(error.__cause__, MemoryError):
            _stop_for(error.__cause__, path)
        return _Outcome(reason=error.reason)
    except Exception as error:
        _stop_for(error, path)
        if isinstance(error, OSError):
            return _Outcome(reason=f"not readable: {error.strerror or error}")
        # One strange file must not end a night's run; its reason tells what to report.
        return _Outcome(reason=f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
