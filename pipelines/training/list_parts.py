"""Ranked lists of many users or tracks, written in parts: a training that is killed loses one part at most.

A part is written when it is whole. The next run finds the parts in the same folder and makes the others; when all are
there they become one table. Within a part the lists are made in batches, at the same time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from ...models.arrays import Ids, one_blas_thread
from ...models.machine import available_cores
from ...models.storage import replacing
from ..library.progress import Progress, silent
from ..search.recommend import write_parquet

ROWS_PER_PART = 4096
Frames = Mapping[str, pl.DataFrame]
"""table -> rows"""


def write_lists(
    folder: Path,
    rows: Ids,
    make: Callable[[Sequence[Ids]], Sequence[Frames]],
    *,
    rows_per_batch: int,
    rows_per_part: int = ROWS_PER_PART,
    key: str = "",
    progress: Progress = silent,
    what: str = "lists",
) -> int:
    """Writes FOLDER/TABLE.parquet for each table that `make` gives for batches of the rows; returns how many rows.

    Parts that are there are used if they have the same `key`, which says what the lists are made from.
    """
    parts = folder / f".{what}.{key}-{rows_per_part}.parts"
    parts.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for start in range(0, max(len(rows), 1), rows_per_part):
        progress(start, len(rows), what)
        found = sorted(parts.glob(f"{start:09}.*.parquet"))
        if not (parts / f"{start:09}.done").exists():
            part = rows[start : start + rows_per_part]
            made = make([part[at : at + rows_per_batch] for at in range(0, max(len(part), 1), rows_per_batch)])
            for name in made[0]:
                with replacing(parts / f"{start:09}.{name}.parquet") as file:
                    pl.concat([frames[name] for frames in made]).write_parquet(file)
            with replacing(parts / f"{start:09}.done") as file:
                file.touch()
            found = sorted(parts.glob(f"{start:09}.*.parquet"))
        names = [file.name.split(".")[1] for file in found]
    progress(len(rows), len(rows), what)
    count = 0
    for name in names:
        tables = sorted(parts.glob(f"*.{name}.parquet"))
        count += write_parquet(
            (pl.read_parquet(table, memory_map=False, glob=False) for table in tables), folder / f"{name}.parquet"
        )
    for old in folder.glob(f".{what}.*.parts"):
        shutil.rmtree(old)
    return count


def in_threads(lists_of: Callable[[Ids], Frames], batches: Sequence[Ids]) -> list[Frames]:
    """The tables of each batch, by a thread for every core."""
    with one_blas_thread(), ThreadPoolExecutor(available_cores(), initializer=_one_faiss_thread) as pool:
        return list(pool.map(lists_of, batches))


def _one_faiss_thread() -> None:
    """A search by one of several threads starts no further ones."""
    import faiss

    faiss.omp_set_num_threads(1)
