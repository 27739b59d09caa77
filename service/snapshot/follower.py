"""The follower: loads what the library holds, and loads again when it changes, while requests go on.

A version that cannot be loaded leaves the one before in place; `trouble` is the reason.
"""

from __future__ import annotations

import gc
import logging
import sqlite3
import threading
import time
from pathlib import Path

from ...errors import CrossfadeError
from ...pipelines.library.store import ChangeCounter, Library
from ..errors import RETRY_SOON, Problem, without_folders
from ..metrics import Metrics
from .snapshot import Snapshot

_LOG = logging.getLogger("crossfade.service")

State = tuple[str | None, ChangeCounter]
"""name of the current version, and how far the tracks have changed: what a snapshot depends on"""


class LibraryFollower:
    """Holds the newest snapshot of a library's folder, which may not exist yet."""

    def __init__(self, folder: Path, metrics: Metrics, *, every_seconds: float) -> None:
        self.folder = folder
        self._metrics = metrics
        self.newest: Snapshot | None = None
        self.trouble: str | None = None
        """why the library cannot be loaded as it is now; None where it is loaded"""
        self._swaps = 0
        self._every_seconds = every_seconds
        self._state: State | None = None
        self._failed: tuple[State | None, str] | None = None
        self._checking = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def snapshot(self) -> Snapshot:
        """Raises a Problem (503) while there is none."""
        if self.newest is None:
            raise Problem(503, self.trouble or f"{self.folder.name}: being loaded", headers=RETRY_SOON)
        return self.newest

    def start(self) -> None:
        """Loads in the background, from now on."""
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Takes in what has changed; returns when the newest snapshot is in use."""
        with self._checking:
            state: State | None = None
            try:
                with Library.open(self.folder) as library:
                    state = _state(library)
                    if state != self._state:
                        self._take(library, state)
                self.trouble = None
            except (CrossfadeError, OSError, ValueError, KeyError, RuntimeError) as error:
                self._fail(state, error)

    def _take(self, library: Library, state: State) -> None:
        started = time.monotonic()
        if self.newest is not None and self.newest.version == state[0]:
            snapshot = self.newest.updated(library)
        else:
            snapshot = Snapshot.load(library)
            # Hundreds of thousands of objects that stay: the collector need not look at them in the middle of answers.
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        self.newest, self._state, self._failed = snapshot, state, None
        self._swaps += 1
        self._metrics.snapshot_taken(int(snapshot.tracks.in_library.sum()), snapshot.trained_at, self._swaps)
        seconds = round(time.monotonic() - started, 3)
        _LOG.info("loaded", extra={"version": snapshot.version, "tracks": len(snapshot), "seconds": seconds})

    def _fail(self, state: State | None, error: Exception) -> None:
        reason = f"{error}" if isinstance(error, CrossfadeError) else f"{self.folder}: {error!r}"
        if isinstance(error.__cause__, sqlite3.Error):
            self.trouble = f"library.db: {type(error.__cause__).__name__}; the log has the details"
        else:
            self.trouble = without_folders(reason)
        if self._failed != (state, reason):
            _LOG.warning("not loaded", extra={"why": reason, "answering_with": repr(self.newest)})
        self._failed = state, reason

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.check()
            self._stop.wait(self._every_seconds)


def _state(library: Library) -> State:
    return library.current_name, library.change_counter()
