"""Steps of a training that are not run again while what goes into them is the same.

A step has a key: the hash of its inputs, its parameters and its own version. Beside the files that it wrote into a
version's folder, `stages.json` holds its key; a later training takes the files over from the current version when its
own key is the same. A training that was killed leaves the folder of its version; the next one goes on in it, from the
steps that were finished. What was run, and what was not, is appended to `execution_log.txt` in the library.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import LibraryError
from ...models.catalogue import Catalogue
from ...models.storage import content_hash, hash_of_values, write_json
from ..library.folder_layout import TRAINING_LOCK, files_in
from ..library.store import Library

KEYS = "stages.json"
LOG = "execution_log.txt"


def key_of_catalogue(catalogue: Catalogue) -> str:
    arrays = [catalogue.sound, catalogue.genre_probabilities, catalogue.released_at]
    digests = [None if array is None else content_hash(array.tobytes()) for array in arrays]
    return hash_of_values(catalogue.track_ids, catalogue.artists, catalogue.genres, digests)


@dataclass
class ResumableSteps:
    """The steps of one training of a library, in the order in which they are run."""

    library: Path
    current: Path | None
    """the version in use, whose files may be taken over"""
    force: bool = False
    """runs everything again"""
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    """step -> key and files, of this training"""
    unchanged: list[str] = field(default_factory=list)
    """steps that were taken over"""

    _left_keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def in_folder(self, library: Library, first_step: str, key: str) -> Iterator[Path]:
        """The folder to train in: one that a killed training left, where its first step has this key, or a new one."""
        import fcntl

        with (self.library / TRAINING_LOCK).open("a") as file:
            left = None
            with suppress(BlockingIOError):
                # Nobody else is training, so unfinished folders are left from trainings that were killed.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A pull puts its version there in parts.
                with library.rewriting():
                    left = self._left(library, first_step, key)
            fcntl.flock(file, fcntl.LOCK_SH)
            yield left or library.new_version()

    def is_finished(self, name: str, key: str) -> bool:
        """Whether the killed training whose folder is used had finished the step; its files are there."""
        if self._left_keys.get(name, {}).get("key") != key:
            return False
        self.keys[name] = self._left_keys[name]
        self.log(name, "resumed", 0.0, self.keys[name].get("rows", 0))
        return True

    def _left(self, library: Library, first_step: str, key: str) -> Path | None:
        """The newest unfinished folder with the step in it; others go."""
        whole = {library.current_name, *(path.name for path in library.versions())}
        found: Path | None = None
        for version in sorted(library.models.glob("*-*"), reverse=True):
            if version.name in whole or not version.is_dir():
                continue
            keys = _keys_of(version)
            if found is None and not self.force and keys.get(first_step, {}).get("key") == key:
                found, self._left_keys = version, keys
                finished = {KEYS, "training.json", *(file for step in keys.values() for file in step["files"])}
                for file in files_in(version):
                    # Of a step that was not finished only the lists' parts are of use.
                    if file not in finished and ".parts/" not in file:
                        (version / file).unlink()
            else:
                shutil.rmtree(version, ignore_errors=True)
        return found

    def is_unchanged(self, name: str, key: str) -> bool:
        """Whether the current version has what the step would write."""
        if self.force or self.current is None:
            return False
        before = self._before.get(name, {})
        whole = all((self.current / file).exists() for file in before.get("files", ()))
        return before.get("key") == key and whole

    def take_over(self, name: str, version: Path) -> None:
        """The step's files of the current version become the new one's, without a copy where the disk allows it."""
        if self.current is None:
            raise LibraryError(f"{self.library}: no version in use, so there is nothing to take over")
        before = self._before[name]
        for file in before["files"]:
            target = version / file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self.current / file, target)
            except OSError:
                shutil.copyfile(self.current / file, target)
        self.keys[name] = before
        self.save(version)
        self.unchanged.append(name)
        self.log(name, "unchanged", 0.0, before.get("rows", 0))

    @contextmanager
    def running(self, name: str, key: str, version: Path) -> Iterator[Callable[[int], None]]:
        """The block runs the step: what it writes into `version` is the step's. Yields a counter of rows."""
        already = set(files_in(version))
        started, cpu_started, rows = time.monotonic(), time.process_time(), [0]

        def count(number: int) -> None:
            rows[0] = number

        try:
            yield count
        except BaseException as error:
            taken = time.monotonic() - started
            self.log(name, f"failed: {type(error).__name__}", taken, rows[0], time.process_time() - cpu_started)
            raise
        # What was measured is written anew for every version.
        files = sorted(set(files_in(version)) - already - {"training.json", KEYS})
        self.keys[name] = {"key": key, "files": files, "rows": rows[0]}
        self.save(version)
        self.log(name, "run", time.monotonic() - started, rows[0], time.process_time() - cpu_started)

    def save(self, version: Path) -> None:
        write_json(version / KEYS, self.keys)

    def log(self, name: str, state: str, seconds: float, rows: int, cpu_seconds: float = 0.0) -> None:
        """One line: when, which step, how it went, seconds, rows, the most memory so far, CPU seconds."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        line = (
            f"{stamp}  {name:<12}  {state:<10}  {seconds:9.2f} s  {rows:12,} rows  {_peak_megabytes():8.0f} MB"
            f"  {cpu_seconds:9.2f} CPU s\n"
        )
        with (self.library / LOG).open("a", encoding="utf-8") as file:
            file.write(line)

    @property
    def _before(self) -> dict[str, dict[str, Any]]:
        return {} if self.current is None else _keys_of(self.current)


def _keys_of(version: Path) -> dict[str, dict[str, Any]]:
    """step -> key and files. Nothing for a version of before there were steps, or with a damaged file: all is run."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((version / KEYS).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
