"""Users' and tracks' lists by blocks: each worker has the whole version, mapped from its files, and some of the rows.

A worker makes them by the function that the local engine calls (`VersionLists`), so that they are the same lists. The
library's folder has to be under the same path on all machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ...models.arrays import Ids
from ..library.store import Library
from ..training.batch_tables import ArtefactOptions, VersionLists
from ..training.list_parts import Frames
from ..versions.model_version import ModelVersion
from .listens import collected, sent

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

_COLUMNS = "rank int, score float, batch long, name string, owner string, item string"


def spread(
    session: SparkSession, library: Path, version: Path, lists_of: Callable[[Ids], Frames], batches: Sequence[Ids]
) -> list[Frames]:
    """The tables of all batches together; `lists_of` is a method of `VersionLists`."""
    lists: VersionLists = lists_of.__self__  # type: ignore[attr-defined]
    # A row for each batch, and a task for each row.
    rows = {"batch": np.arange(len(batches)), "rows": [batch.tobytes() for batch in batches]}
    work = partial(_lists, library=library, version=version, options=lists.options, method=lists_of.__name__)
    tasks = sent(session, pl.DataFrame(rows)).repartition(len(batches))
    found = collected(tasks.mapInArrow(work, _COLUMNS)).sort("batch", maintain_order=True)
    # Of no rows, the tables with their columns.
    tables = {}
    for name, empty in lists_of(np.zeros(0, np.int32)).items():
        owner, item = empty.columns[:2]
        table = found.filter(pl.col("name") == name).rename({"owner": owner, "item": item})
        tables[name] = table.select(empty.columns)
    return [tables]


def _lists(
    batches: Iterator[pa.RecordBatch], library: Path, version: Path, options: ArtefactOptions, method: str
) -> Iterator[pa.RecordBatch]:
    """In a worker."""
    import pyarrow as pa

    for batch in batches:
        for number, rows in pl.DataFrame(pa.Table.from_batches([batch])).iter_rows():
            lists_of: Callable[[Ids], Frames] = getattr(_version_lists(library, version, options), method)
            for name, table in lists_of(np.frombuffer(rows, np.int32)).items():
                owner, item = table.columns[:2]
                found = table.select(
                    "rank", "score", batch=pl.lit(number, pl.Int64), name=pl.lit(name), owner=owner, item=item
                )
                yield from found.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


@lru_cache(maxsize=1)
def _version_lists(library: Path, version: Path, options: ArtefactOptions) -> VersionLists:
    with Library.open(library) as opened:
        return VersionLists(ModelVersion.load(opened, version), options)
