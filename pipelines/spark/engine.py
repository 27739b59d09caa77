"""The engine of a training that is a Spark cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ...models.arrays import Ids, Scores
from ...models.recommenders.als import ALSOptions
from ..embedding.embed import Job, Outcomes
from ..embedding.options import EmbedOptions
from ..interactions.cleaning import CleaningOptions
from ..library.store import Library
from ..training.batch_tables import ROWS_PER_BATCH, Spread
from ..training.engine import CleanedLog, LocalEngine
from ..training.list_parts import Frames
from .als import solve
from .embedding import outcomes
from .listens import cleaned_log, read_log
from .lists import spread
from .session import check_spark, spark_errors, spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from scipy.sparse import csr_matrix

LOG = "spark.log"
"""in the library: what the Java virtual machine writes"""


class SparkEngine(LocalEngine):
    """Cleans, makes lists and embeds on a cluster, and learns ALS by MLlib."""

    name = "spark"

    def __init__(self, master: str | None = None, folder: Path | None = None) -> None:
        """`folder` is the library's. MissingExtra without PySpark, ResourceError without Java."""
        check_spark()
        self._master, self._folder = master, None if folder is None else folder.absolute()

    @cached_property
    def session(self) -> SparkSession:
        """Started when it is first needed, unless there is one."""
        return spark_session(self._master, None if self._folder is None else self._folder / LOG)

    def cleaned_log(self, library: Library, track_ids: pl.Series, options: CleaningOptions) -> CleanedLog:
        with spark_errors("Spark: cleaning"):
            return cleaned_log(read_log(self.session, library), track_ids, options)

    @property
    def rows_per_part(self) -> int:  # type: ignore[override]
        """Some batches for each core of the cluster."""
        return 4 * ROWS_PER_BATCH * self.session.sparkContext.defaultParallelism

    def spread(self, library: Library, version: Path) -> Spread:
        def lists(lists_of: Callable[[Ids], Frames], batches: Sequence[Ids]) -> Sequence[Frames]:
            with spark_errors("Spark: lists"):
                return spread(self.session, library.folder.absolute(), version.absolute(), lists_of, batches)

        return lists

    def outcomes(self, library: Library, jobs: list[Job], options: EmbedOptions) -> Outcomes:
        """Of audio files; see `embedding.embed`."""
        with spark_errors("Spark: embedding"):
            yield from outcomes(self.session, library, jobs, options)

    def solver(self, confidences: csr_matrix, options: ALSOptions) -> tuple[Scores, Scores]:
        with spark_errors("Spark: ALS"):
            return solve(self.session, confidences, options, self._folder)
