"""Embedding a collection: every file analysed once, resumable, on all cores.

What is unchanged (size and time, then content) is skipped. Results are committed in batches, a track's row together
with its vector, so that a killed run is carried on by running it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...audio.decoding import BrokenOff
from ...audio.metadata import Tags, read_tags
from ...errors import MACHINE_FAULTS, AudioError, CrossfadeError, LibraryError, ResourceError
from ...models.machine import available_cores
from ...models.storage import content_hash
from ..audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis
from ..library.progress import Progress, silent
from ..library.remote_files import local_copy, url_of
from ..library.scan import ScannedFile, absolute, check_place, is_gone, read_manifest, readable, scan
from ..library.store import Library
from ..library.tracks import StoredFile
from .encoder_vectors import embed_tracks, open_encoder
from .missing_files import missing_files
from .process_pool import WorkerDied, in_workers

if TYPE_CHECKING:
    from .options import EmbedOptions

BATCH_TRACKS = 32
BATCH_SECONDS = 5.0


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
    moved: int
    """files that lie elsewhere than before, known by their content"""
    missing: int
    """tracks of these places whose files are not there any more"""
    encoder_embedded: int | None = None
    """tracks that got a vector of `EmbedOptions.encoder`; None where there is none"""
    encoder_failed: dict[str, str] | None = None
    """track_id -> why it got none"""


@dataclass(frozen=True)
class Job:
    """A file to be analysed."""

    file: ScannedFile
    stored: StoredFile


@dataclass(frozen=True, eq=False)
class Outcome:
    """Of one job: a content hash, with the analysis where that was not in the library yet; or a reason."""

    content_hash: str = ""
    analysis: TrackAnalysis | None = None
    reason: str | None = None
    tags: Tags | None = None
    """of a remote file; those of a file of this machine can be read later"""


def check(places: Sequence[Path], options: EmbedOptions) -> None:
    """Raises what `embed` would for places, encoder, genre model and manifest: before a library is made for them."""
    for place in places:
        check_place(place)
    if options.manifest:
        read_manifest(options.manifest, places)
    if options.genre_model:
        AudioAnalyzer.with_genre_model(options.genre_model)
    if options.encoder:
        open_encoder(options.encoder)


Outcomes = Iterable["tuple[Job, Outcome | WorkerDied]"]
Engine = Callable[[Library, "list[Job]", "EmbedOptions"], Outcomes]
"""who analyses the files, in any order; WorkerDied stands for a file that killed its worker"""


def in_processes(library: Library, jobs: list[Job], options: EmbedOptions) -> Outcomes:
    """On the cores of this machine."""
    count = min(options.workers or available_cores(), len(jobs))
    return in_workers(_work, jobs, count=count, prepare=partial(_prepare, library.folder, options.windows == "all"))


def embed(
    library: Library,
    places: Sequence[Path],
    options: EmbedOptions,
    progress: Progress = silent,
    engine: Engine = in_processes,
) -> EmbedSummary:
    """Embeds files and folders into a library; KeyboardInterrupt stops it cleanly, with all that is done committed."""
    started = time.monotonic()
    # Now: a name that is wrong shall not be found out after hours.
    encoder = open_encoder(options.encoder) if options.encoder else None
    model = options.genre_model
    analyzer = library.analyzer() if model is None else AudioAnalyzer.with_genre_model(model)
    library.claim_encoder(analyzer.encoder.name)
    paths: dict[str, Path | None] = dict.fromkeys(library.track_ids())
    paths |= {track_id: Path(os.fsdecode(path)) for track_id, path in library.paths().items()}
    fixed: frozenset[str] = frozenset()
    if paths and (options.manifest or options.id_field):
        from ..interactions.live_events import DATABASE_VARIABLE, listened_tracks

        fixed = listened_tracks(library, os.environ.get(DATABASE_VARIABLE))
    found = list(scan(places, paths, manifest=options.manifest, id_field=options.id_field, fixed=fixed))
    library.add_places(_places(places, found))
    library.use_vocabulary(analyzer)
    writer = _BatchWriter(library)
    writer.rename({path: track_id for track_id, path in paths.items() if path is not None}, found)
    _forget_gone(library, places, found)
    jobs = list(_changed(found, writer, retry=options.retry))
    progress(len(found) - len(jobs), len(found))
    try:
        work = engine(library, jobs, options) if jobs else ()
        for done, (job, outcome) in enumerate(work, start=len(found) - len(jobs) + 1):
            writer.add(job, outcome if isinstance(outcome, Outcome) else Outcome(reason="crashed the decoder"))
            progress(done, len(found))
    finally:
        writer.commit()
    also = embed_tracks(library, encoder, progress) if encoder else (None, None)
    missing = len(missing_files(library, places).tracks)
    seconds = round(time.monotonic() - started, 2)
    counts = writer.embedded, writer.unchanged, writer.failed
    return EmbedSummary(*counts, seconds, writer.renamed, writer.moved, missing, *also)


def _places(places: Sequence[Path], found: Sequence[ScannedFile]) -> list[Path]:
    """The places given, and the folders of what a manifest names elsewhere."""
    given = [absolute(place) for place in places]
    elsewhere = (one.path for one in found if not any(one.path.is_relative_to(place) for place in given))
    return [*given, *dict.fromkeys(path.parent for path in elsewhere)]


def _forget_gone(library: Library, places: Sequence[Path], found: Sequence[ScannedFile]) -> None:
    """Removes the failures of files under these places that are not there any more, nor in the manifest."""
    roots, present = [absolute(place) for place in places], {one.path for one in found}
    with library.transaction():
        for stored in library.failures():
            path = Path(os.fsdecode(stored.path))
            if path not in present and any(path.is_relative_to(root) for root in roots) and is_gone(path):
                library.remove_failure(stored.path)


def _changed(found: Sequence[ScannedFile], writer: _BatchWriter, *, retry: bool) -> Iterator[Job]:
    """The files that have to be looked into; failures that are known to remain are added at once."""
    library = writer.library
    analyzed, failures = library.analyzed_files(), library.failures()
    failed_paths = {stored.path for stored in failures}
    for file in found:
        try:
            stored = StoredFile.of(file.path)
        except OSError as error:
            _stop_for(error, file.path)
            missing = Job(file, StoredFile(os.fsencode(file.path), 0, 0))
            writer.add(missing, Outcome(reason=file.refusal or f"not readable: {error.strerror}"))
            continue
        if file.refusal:
            writer.add(Job(file, stored), Outcome(reason=file.refusal))
        elif stored in analyzed:
            writer.unchanged += 1
            if stored.path in failed_paths:
                # It was refused for what an earlier manifest asked for; it is embedded all the same.
                library.remove_failure(stored.path)
            if file.tags is not None:
                library.describe_track(file.track_id, file.tags)
        elif stored in failures and not retry:
            writer.failed += 1
        else:
            yield Job(file, stored)


class _BatchWriter:
    """Collects outcomes and commits them in batches."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.embedded = self.unchanged = self.failed = self.renamed = self.moved = 0
        self._waiting: list[tuple[Job, Outcome]] = []
        self._last = time.monotonic()

    def add(self, job: Job, outcome: Outcome) -> None:
        self._waiting.append((job, outcome))
        if len(self._waiting) >= BATCH_TRACKS or time.monotonic() - self._last > BATCH_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Writes what is waiting, all of it or nothing."""
        waiting, self._waiting = self._waiting, []
        self._last = time.monotonic()
        if waiting:
            with self.library.transaction():
                for job, outcome in waiting:
                    if outcome.reason is None:
                        self._add_track(job, outcome)
                    else:
                        self.failed += 1
                        self.library.add_failure(job.stored, outcome.reason)

    def rename(self, known: dict[Path, str], found: Sequence[ScannedFile]) -> None:
        """Gives tracks the id that the manifest or their tag now has."""
        renames = {
            known[one.path]: one.track_id
            for one in found
            if one.named and known.get(one.path, one.track_id) != one.track_id
        }
        self.library.rename_tracks(renames)
        self.renamed = len(renames)

    def _add_track(self, job: Job, outcome: Outcome) -> None:
        library, digest = self.library, outcome.content_hash
        if outcome.analysis is not None:
            library.add_analysis(digest, outcome.analysis)
        known = library.track_at(job.stored.path)
        moved = None if known else self._moved(digest)
        track_id, before = known or (moved or job.file.track_id, None)
        if job.file.named and track_id != job.file.track_id:
            library.rename_tracks({track_id: job.file.track_id})
            self.renamed += 1
            track_id = job.file.track_id
        if outcome.analysis is None and moved:
            self.moved += 1
        elif outcome.analysis is None and before == digest:
            self.unchanged += 1
        else:
            self.embedded += 1
        library.set_file(track_id, job.stored, digest)
        library.describe_track(track_id, job.file.tags or outcome.tags or read_tags(job.file.path))

    def _moved(self, digest: str) -> str | None:
        """The track whose file is gone and had this content: it was moved or renamed."""
        for track_id in self.library.tracks_with(digest):
            path = self.library.path_of(track_id)
            if path is None or not (url_of(path) or path.exists()):
                return track_id
        return None


def _stop_for(error: Exception, path: Path) -> None:
    """Raises what ends the run, where the error is none of the file's own."""
    kept = "what was embedded is kept, the same command carries on"
    if isinstance(error, MemoryError):
        raise ResourceError(f"{readable(path)}: no memory left to analyse it; {kept} (fewer --workers need less)")
    if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
        raise ResourceError(f"{readable(path)}: {error.strerror}; {kept}")
    if isinstance(error, CrossfadeError | ImportError):
        # Of the library, the genre model or what they need. As text: not every exception survives the way back.
        raise LibraryError(f"{readable(path)}: not analysed: {' '.join(str(error).split())}")


def analyze(path: Path, analyzer: AudioAnalyzer, is_known: Callable[[str], bool]) -> Outcome:
    """Analyses a file, unless `is_known` says of its content hash that there is an analysis; never raises for it."""
    try:
        with local_copy(path) as file:
            if not file.is_file():
                raise AudioError("not a regular file")
            digest, tags = content_hash(file), None if file == path else read_tags(file)
            return Outcome(digest, None if is_known(digest) else analyzer.analyze(file), tags=tags)
    except AudioError as error:
        if not isinstance(error, BrokenOff) and isinstance(error.__cause__, MemoryError):
            _stop_for(error.__cause__, path)
        return Outcome(reason=error.reason)
    except Exception as error:
        _stop_for(error, path)
        if isinstance(error, OSError):
            return Outcome(reason=f"not readable: {error.strerror or error}")
        # One strange file must not end a long run; its reason says what to report.
        return Outcome(reason=f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")


_worker: tuple[Library, AudioAnalyzer] | None = None
"""what a worker process keeps from job to job"""


def _prepare(folder: Path, all_windows: bool) -> None:
    global _worker
    library = Library.open(folder)
    _worker = library, library.analyzer(threads=1, all_windows=all_windows).load()


def _work(job: Job) -> Outcome:
    """Runs in a worker."""
    if _worker is None:
        raise RuntimeError("the worker was not prepared")
    library, analyzer = _worker
    return analyze(job.file.path, analyzer, library.has_analysis)
