"""The follower: loads what the library holds, and loads again when it changes, while requests go on.

A version that cannot be loaded leaves the one before in place; `trouble` says why.
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
from ..errors import Problem, without_folders
from .snapshot import Snapshot

_LOG = logging.getLogger("crossfade.service")

Marks = tuple[str | None, ChangeCounter]
"""the current version and the tracks: what a snapshot depends on"""
Stamp = tuple[tuple[int, int, int], ...]
"""of the files that any change of these goes through"""
_CLOCK_TICKS = 2_000_000_000
"""nanoseconds within which a file system may give two changes the same time (FAT: two seconds)"""


class Follower:
    """Holds the newest snapshot of a library's folder, which may not exist yet."""

    def __init__(self, folder: Path, *, every_seconds: float) -> None:
        self.folder = folder
        self.trouble: str | None = None
        """why the library cannot be loaded as it is now; None where it is loaded"""
        self.swaps = 0
        self._every_seconds = every_seconds
        self._snapshot: Snapshot | None = None
        self._marks: Marks | None = None
        self._stamp: Stamp | None = None
        self._failed: tuple[Marks | None, str] | None = None
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def snapshot(self) -> Snapshot:
        """Raises a Problem (503) while there is none."""
        if self._snapshot is None:
            raise Problem(503, self.trouble or f"{self.folder.name}: being loaded", headers={"Retry-After": "5"})
        return self._snapshot

    @property
    def newest(self) -> Snapshot | None:
        return self._snapshot

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
        with self._turn:
            stamp = _stamp(self.folder)
            if stamp is not None and stamp == self._stamp:
                return
            marks: Marks | None = None
            try:
                with Library.open(self.folder) as library:
                    marks = _marks(library)
                    if marks != self._marks:
                        if self._failed is not None and self._failed[0] == marks:
                            # The same half-written version: try again, but no more often than it is worth.
                            time.sleep(min(self._every_seconds, 1.0))
                        self._take(library, marks)
                self._stamp, self.trouble = stamp, None
            except (CrossfadeError, OSError, ValueError, KeyError, RuntimeError) as error:
                self._fail(marks, error)

    def _take(self, library: Library, marks: Marks) -> None:
        started = time.monotonic()
        known = self._snapshot
        if known is not None and known.version == marks[0]:
            snapshot = known.following(library, marks[1])
        else:
            snapshot = Snapshot.load(library, marks[1])
            # Hundreds of thousands of objects that stay: the collector need not look at them in the middle of answers.
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        self._snapshot, self._marks, self._failed = snapshot, marks, None
        self.swaps += 1
        _LOG.info(
            "loaded",
            extra={
                "version": snapshot.version,
                "tracks": len(snapshot),
                "seconds": round(time.monotonic() - started, 3),
            },
        )

    def _fail(self, marks: Marks | None, error: Exception) -> None:
        why = f"{error}" if isinstance(error, CrossfadeError) else f"{self.folder}: {error!r}"
        database = isinstance(error.__cause__, sqlite3.Error)
        told = f"library.db: {type(error.__cause__).__name__}; the log says more" if database else without_folders(why)
        self._stamp, self.trouble = None, told
        if self._failed != (marks, why):
            _LOG.warning("not loaded", extra={"why": why, "answering_with": repr(self._snapshot)})
        self._failed = marks, why

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.check()
            self._stop.wait(self._every_seconds)


def _marks(library: Library) -> Marks:
    pointer = library.models / "current"
    return pointer.read_text().strip() if pointer.exists() else None, library.change_counter()


def _stamp(folder: Path) -> Stamp | None:
    """Looking at three files costs nothing; None where it does not tell: where one cannot be looked at, or was changed
    so lately that its time may stand for another change after this look."""
    stamps = []
    for name in ("library.db", "library.db-wal", "models/current"):
        try:
            status = (folder / name).stat()
        except FileNotFoundError:
            stamps.append((0, 0, 0))
        except OSError:
            return None
        else:
            if abs(time.time_ns() - status.st_mtime_ns) < _CLOCK_TICKS:
                return None
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamps)
