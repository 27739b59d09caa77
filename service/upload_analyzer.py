"""Uploads are analyzed in a process of their own, so that a broken file can neither stop nor slow the service."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ..errors import AudioError, CrossfadeError, ResourceError
from ..pipelines.audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis
from ..pipelines.embedding.process_pool import WorkerPool
from ..pipelines.library.store import Library
from .metrics import Metrics

MAX_SECONDS = 60.0


class UploadAnalyzer:
    """Analyzes one file after the other, as the library's tracks are; called from any thread."""

    def __init__(self, metrics: Metrics, library: Path) -> None:
        self._metrics, self._library = metrics, library
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = None

    def start(self) -> WorkerPool:
        """Starts the process where there is none, and loads the models, without waiting for it."""
        if self._pool is None:
            self._pool = WorkerPool(1, _prepare)
            self._pool.submit(os.getpid)
        return self._pool

    def analyze(self, path: Path) -> TrackAnalysis:
        """AudioError for what is no audio. `UploadLimiter` bounds how many can wait."""
        # One at a time: a crash is then the fault of the one file in flight.
        with self._metrics.waiting_uploads.track_inprogress(), self._lock:
            pool = self.start()
            try:
                pool.wait_until_ready()
                return pool.submit(_analyze, path, self._library).result(timeout=MAX_SECONDS)
            except (BrokenProcessPool, CancelledError):
                reason = "crashed the decoder"
            except TimeoutError:
                reason = f"not analyzed within {MAX_SECONDS:g} s"
            except ResourceError:
                # The process did not start; the next file gets a new one.
                self.close()
                raise
            self.close()
            self.start()
            raise AudioError(reason)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


_analyzer: AudioAnalyzer | None = None
"""what the process keeps from file to file"""


def _prepare() -> None:
    global _analyzer
    # An upload may take a tenth of a second more; recommendations must not wait for it.
    os.nice(5)
    _analyzer = AudioAnalyzer(threads=1).load()


def _analyze(path: Path, folder: Path) -> TrackAnalysis:
    global _analyzer
    if _analyzer is None:
        raise RuntimeError("the process was not prepared")
    try:
        if Library.exists(folder):
            with Library.open(folder) as library:
                if library.vocabulary() != _analyzer.vocabulary:
                    _analyzer = library.analyzer(threads=1)
        return _analyzer.analyze(path)
    except CrossfadeError:
        raise
    except Exception as error:
        raise AudioError(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}") from None
