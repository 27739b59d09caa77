"""What the benchmarks beside this file share: rows of one table, a library, and work in an environment of the peers.

Peers are libraries that Crossfade does not depend on. They live in an environment of their own, whose Python the option
`--peers` names; scripts/benchmarks/suite makes one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = "| what | size | ours | peer | ratio | limit |\n| --- | ---: | ---: | ---: | ---: | ---: |"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing measured on both sides in one run."""

    what: str
    size: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    limit: float | None = None
    """of ours / theirs; of ours where there is no peer"""

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else self.ours / self.theirs

    @property
    def missed(self) -> bool:
        measured = self.ours if self.ratio is None else self.ratio
        return self.limit is not None and measured > self.limit

    def __str__(self) -> str:
        peer = "" if self.theirs is None else f"{self.peer}: {_short(self.theirs)} {self.unit}"
        ratio = "" if self.ratio is None else _short(self.ratio)
        limit = "" if self.limit is None else f"{_short(self.limit)}{'' if self.theirs else ' ' + self.unit}"
        limit += " (missed)" if self.missed else ""
        return f"| {self.what} | {self.size} | {_short(self.ours)} {self.unit} | {peer} | {ratio} | {limit} |"


def finish(rows: Sequence[Row]) -> None:
    """Prints the table and ends the process, with 1 where a limit was missed."""
    print(HEADER)
    for row in rows:
        print(row, flush=True)
    sys.exit(any(row.missed for row in rows))


def cpu_seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """The least of some runs; unlike time on the clock it hardly depends on what else the machine does."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def made_up_library(folder: Path, tracks: int) -> None:
    """Tracks with artists, genres and vectors of the encoder's size; as it is where it is there already."""
    from crossfade.pipelines.library.store import Library
    from crossfade.pipelines.simulation.world import World, WorldOptions

    if Library.exists(folder):
        return
    world = World(WorldOptions(tracks=tracks, artists=max(tracks // 10, 1), users=10, sound_dimensions=200))
    print(f"{folder}: making {world}", file=sys.stderr)
    with Library.open(folder, create=True) as library:
        library.add_tracks(world.track_table())
        library.add_vectors("sound", world.tracks.track_ids, world.tracks.sound)


def in_peers(python: str, code: str, *arguments: object) -> dict[str, Any]:
    """What a script prints as JSON that runs in the peers' environment, with one thread for each library."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | threads
    command = [python, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
