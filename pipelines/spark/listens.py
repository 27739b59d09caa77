"""A listening log on a cluster: cleaned, counted and made into arrays as `pipelines.interactions` does it.

What takes comparing rows with one another, and strings, is done by joins: the sample of users, exact repetitions, ids
as row numbers, what is left. What is a rule (which row is a positive signal, which users and tracks leave, how events
become confidences) is the function of `pipelines.interactions` that the local engine calls, too: on the rows of a
partition in a worker, or on row numbers here, where 9 bytes a listen are held for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ...models.confidence_weights import ConfidenceOptions
from ...models.interactions import Interactions
from ..interactions.cleaning import CleaningOptions, CleaningStep, add_step, kept_rows, positive, sampled_users
from ..interactions.schema import SCHEMA, FilledColumns, listens_of, parts_of, read_listens
from ..interactions.statistics import LogFigures, figures_of
from ..library.store import Library
from ..training.engine import CleanedLog

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

_IDS = ("user_id", "track_id")


def read_log(session: SparkSession, library: Library) -> DataFrame:
    """The log of all sources; the same DataErrors as `read_listens` raises."""
    read_listens(library)
    # Hadoop takes these characters for patterns, and no others for escapes.
    parts = (re.sub(r"([][{}*?])", r"\\\1", str(part.absolute())) for part in parts_of(library))
    return session.read.parquet(*(f"file://{part}" for part in parts)).select(*SCHEMA)


def cleaned_log(log: DataFrame, track_ids: pl.Series, options: CleaningOptions) -> CleanedLog:
    """What a training learns from; `track_ids` are the catalogue's."""
    with cleaned(log, options) as (frame, steps):
        user_ids, played_ids = listed_ids(frame)
        listens = to_listens(frame, user_ids, track_ids, options.confidence)
        return CleanedLog(listens, user_ids, played_ids, steps, log_figures(frame))


@contextmanager
def cleaned(log: DataFrame, options: CleaningOptions | None = None) -> Iterator[tuple[DataFrame, list[CleaningStep]]]:
    """The rows to learn from, which the workers keep meanwhile, and the steps that led to them; see
    `interactions.cleaning`."""
    from pyspark.sql import functions as f

    options = options or CleaningOptions()
    whole = log.dropna(subset=list(_IDS))
    user_ids, track_ids = listed_ids(whole)
    steps = [CleaningStep("as imported", log.count(), len(user_ids), len(track_ids), 0, 0, 0)]

    if options.users_sample < 1:
        user_ids = sampled_users(user_ids, options)
        log, whole = (_only(frame, "user_id", user_ids) for frame in (log, whole))
        track_ids = _distinct(whole, "track_id")
        add_step(steps, "users sample", log.count(), len(user_ids), len(track_ids))

    add_step(steps, "missing values", whole.count(), steps[-1].users, steps[-1].tracks)
    frame = whole.dropDuplicates().persist()
    try:
        different, highest = _row_of(frame.agg(f.count("*"), f.max("rating"))).values()
        add_step(steps, "duplicates", different, steps[-1].users, steps[-1].tracks)
        marks = partial(_marked, highest=highest, options=options.confidence)
        marked = frame.mapInArrow(marks, "user_id string, track_id string, positive boolean")
        coded = collected(with_rows(marked, user_ids, track_ids))
        kept = kept_rows(coded, len(user_ids), len(track_ids), options, steps)
        left = frame
        for name, ids, mask in zip(_IDS, (user_ids, track_ids), kept, strict=True):
            if not mask.all():
                left = _only(left, name, ids.filter(pl.Series(mask)))
        yield left, steps
    finally:
        frame.unpersist()


def _marked(
    batches: Iterator[pa.RecordBatch], highest: float | None, options: ConfidenceOptions
) -> Iterator[pa.RecordBatch]:
    """In a worker: the ids of each row, and whether it is a positive signal."""
    import pyarrow as pa

    for batch in batches:
        rows = pl.DataFrame(pa.Table.from_batches([batch])).select(*_IDS, positive=positive(highest, options))
        yield from rows.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def listed_ids(frame: DataFrame) -> tuple[pl.Series, pl.Series]:
    """(user ids, track ids) in the log, sorted."""
    return _distinct(frame, "user_id"), _distinct(frame, "track_id")


def with_rows(frame: DataFrame, user_ids: pl.Series, track_ids: pl.Series) -> DataFrame:
    """`user_row` and `track_row` instead of the ids; other users and tracks are left out."""
    for name, ids in (("user", user_ids), ("track", track_ids)):
        rows = pl.DataFrame({f"{name}_id": ids, f"{name}_row": np.arange(len(ids), dtype=np.int32)})
        frame = frame.join(sent(frame.sparkSession, rows), f"{name}_id").drop(f"{name}_id")
    return frame


def to_listens(
    frame: DataFrame, user_ids: pl.Series, track_ids: pl.Series, options: ConfidenceOptions | None = None
) -> Interactions:
    """The log as arrays, as `schema.to_listens` makes them."""
    columns = FilledColumns.of(_counts(frame))
    coded = with_rows(frame.select(*_IDS, *columns.names), user_ids, track_ids)
    return listens_of(collected(coded), columns, len(user_ids), len(track_ids), options)


def log_figures(frame: DataFrame) -> LogFigures:
    """Sizes and sparsity, as `statistics.log_figures` counts them."""
    from pyspark.sql import functions as f

    def is_empty(name: str) -> Column:
        column = f.col(name)
        if SCHEMA[name] == pl.String():
            return column.isNull()
        return f.coalesce(column.cast("double"), f.lit(0.0)) == 0

    shares = [f.avg(is_empty(name).cast("double")).alias(name) for name in SCHEMA]
    sizes = f.count("*").alias("listens"), f.countDistinct("user_id").alias("users")
    row = _row_of(frame.agg(*sizes, *shares))
    listens, users = row.pop("listens"), row.pop("users")
    per_track = frame.groupBy("track_id").agg(f.countDistinct("user_id").alias("listeners"))
    listeners = collected(per_track).get_column("listeners").to_numpy()
    return figures_of({name: 1.0 if share is None else share for name, share in row.items()}, listens, users, listeners)


def _counts(frame: DataFrame) -> dict[str, int]:
    """`len`, and for each column of the schema how many rows have a value in it."""
    from pyspark.sql import functions as f

    counts = [f.count(name).alias(name) for name in SCHEMA]
    return _row_of(frame.agg(f.count("*").alias("len"), *counts))


def _row_of(aggregated: DataFrame) -> dict[str, Any]:
    """The only row of a table."""
    return aggregated.collect()[0].asDict()


def _distinct(frame: DataFrame, name: str) -> pl.Series:
    return collected(frame.select(name).distinct()).get_column(name).sort()


def _only(frame: DataFrame, name: str, ids: pl.Series) -> DataFrame:
    """The rows of these users or tracks."""
    return frame.join(sent(frame.sparkSession, pl.DataFrame({name: ids})), name, "left_semi")


def sent(session: SparkSession, table: pl.DataFrame) -> DataFrame:
    """A table from here on the cluster."""
    return session.createDataFrame(table.to_arrow(compat_level=pl.CompatLevel.oldest()))


def collected(frame: DataFrame) -> pl.DataFrame:
    """A table on the cluster here."""
    return pl.DataFrame(frame.toArrow())
