"""Ears: uploads are heard in a process of their own, so that a broken file can neither stop nor slow the service."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from pathlib import Path

from ..errors import AudioError, CrossfadeError, ResourceError
from ..pipelines.audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis
from ..pipelines.embedding.process_pool import stop_pool, wait_until_ready, worker_pool
from ..pipelines.library.store import Library
from .metrics import Metrics

MOST_SECONDS = 60.0


class Ears:
    """Hears one file after the other, as the library's tracks are heard; any number of threads may ask."""

    def __init__(self, metrics: Metrics, library: Path) -> None:
        self._metrics = metrics
        self._library = library
        self._turn = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def warm(self) -> None:
        """Starts the process and loads the models, without waiting for it."""
        with self._turn:
            self._started().submit(_ready)

    def hear(self, path: Path) -> TrackAnalysis:
        """AudioError for what cannot be heard. The gate bounds how many can wait."""
        self._metrics.hearing.inc()
        try:
            # One at a time: a crash is then the fault of the one file in flight.
            with self._turn:
                try:
                    wait_until_ready(self._started())
                    future = self._started().submit(_hear, path, self._library)
                    return future.result(timeout=MOST_SECONDS)
                except (BrokenProcessPool, CancelledError):
                    self._restart()
                    raise AudioError("crashed the decoder") from None
                except ResourceError:
                    # The process did not start; the next file gets a new one.
                    self.close()
                    raise
                except TimeoutError:
                    self._restart()
                    raise AudioError(f"not heard within {MOST_SECONDS:g} s") from None
        finally:
            self._metrics.hearing.dec()

    def close(self) -> None:
        if self._pool is not None:
            stop_pool(self._pool)
            self._pool = None

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = worker_pool(1, _prepare, ())
        return self._pool

    def _restart(self) -> None:
        self.close()
        self._started().submit(_ready)


_ear: AudioAnalyzer | None = None
"""what the process keeps from file to file"""


def _prepare() -> None:
    global _ear
    # A tenth of a second of listening waits for nobody, but recommendations must not wait for it.
    os.nice(5)
    _ear = AudioAnalyzer(threads=1).load()


def _ready() -> None:
    """Done when the process is prepared."""


def _hear(path: Path, folder: Path) -> TrackAnalysis:
    global _ear
    if _ear is None:
        raise RuntimeError("the process was not prepared")
    try:
        if (folder / "library.db").exists():
            with Library.open(folder) as library:
                if library.vocabulary() != _ear.vocabulary:
                    _ear = library.analyzer(threads=1)
        return _ear.analyze(path)
    except CrossfadeError:
        raise
    except Exception as error:
        raise AudioError(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}") from None
