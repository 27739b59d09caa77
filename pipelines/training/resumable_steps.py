"""Steps of a training that are not run again while what goes into them is the same.

A step has a key: the hash of its inputs, its parameters and its own version. Beside the files that it wrote into a
version's folder, `stages.json` holds its key; a later training takes the files over from the current version when its
own key is the same. What was run, and what was not, is appended to `execution_log.txt` in the library.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import LibraryError
from ...models.catalogue import Catalogue
from ...models.storage import content_hash, hash_of_values, write_json
from ..library.folder_layout import files_in

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
        self.unchanged.append(name)
        self.log(name, "unchanged", 0.0, before.get("rows", 0))

    @contextmanager
    def running(self, name: str, key: str, version: Path) -> Iterator[Callable[[int], None]]:
        """The block runs the step: what it writes into `version` is the step's. Yields a counter of rows."""
        already = set(files_in(version))
        started, rows = time.monotonic(), [0]

        def count(number: int) -> None:
            rows[0] = number

        try:
            yield count
        except BaseException as error:
            self.log(name, f"failed: {type(error).__name__}", time.monotonic() - started, rows[0])
            raise
        # What was measured is written anew for every version.
        files = sorted(set(files_in(version)) - already - {"training.json"})
        self.keys[name] = {"key": key, "files": files, "rows": rows[0]}
        self.log(name, "run", time.monotonic() - started, rows[0])

    def save(self, version: Path) -> None:
        write_json(version / KEYS, self.keys)

    def log(self, name: str, state: str, seconds: float, rows: int) -> None:
        """One line: when, which step, how it went, seconds, rows, and the most memory so far."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        line = f"{stamp}  {name:<12}  {state:<10}  {seconds:9.2f} s  {rows:12,} rows  {_peak_megabytes():8.0f} MB\n"
        with (self.library / LOG).open("a", encoding="utf-8") as file:
            file.write(line)

    @property
    def _before(self) -> dict[str, dict[str, Any]]:
        if self.current is None:
            return {}
        try:
            found: dict[str, dict[str, Any]] = json.loads((self.current / KEYS).read_text())
        except (OSError, ValueError):
            # A version of before there were steps, or a damaged file: run everything.
            return {}
        return found


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
