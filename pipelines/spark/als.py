"""ALS by MLlib: the factors of `models.recommenders.als`, learned on a cluster.

MLlib writes the same model (Hu, Koren & Volinsky 2008) in other numbers. Its confidence of a rating r is 1 + alpha |r|,
and `implicit`'s is alpha |w| itself, so that r = |w| - 1 / alpha with w's sign. It multiplies the regularization by the
number of a row's positive ratings (Zhou et al. 2008, "Large-scale parallel collaborative filtering for the Netflix
prize"), where `implicit` has it constant; it is divided here by the counts' geometric mean.

Shapes: U users, T tracks, F factors.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ...models.arrays import Scores
from ...models.recommenders.als import ALSOptions
from .listens import sent

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from scipy.sparse import csr_matrix

LEAST_RATING = 1e-3
"""of a confidence near 1 or below: a rating of 0 says nothing to MLlib, and one below 0 says dislike"""
PAIRS_PER_BLOCK = 1_000_000
CHECKPOINT_ITERATIONS = 3
"""Where nothing is kept for ten, the plan of what was computed from what is too deep for Java's stack."""


def solve(
    session: SparkSession, confidences: csr_matrix, options: ALSOptions, folder: Path | None = None
) -> tuple[Scores, Scores]:
    """([U, F] user factors, [T, F] track factors), zeros where there is nothing to learn from.

    What a lost worker would have to compute again is kept in `folder` meanwhile, which all machines have to see; None
    is one of this machine's.
    """
    from pyspark.ml.recommendation import ALS

    table = ratings(confidences, options.alpha)
    likes = table.filter(pl.col("rating") > 0)
    mean_count = len(likes) / np.sqrt(likes["user_row"].n_unique() * likes["track_row"].n_unique())
    blocks = max(2, -(-confidences.nnz // PAIRS_PER_BLOCK), session.sparkContext.defaultParallelism)
    als = ALS(
        rank=options.factors,
        maxIter=options.iterations,
        regParam=float(options.regularization / mean_count),
        alpha=options.alpha,
        implicitPrefs=True,
        userCol="user_row",
        itemCol="track_row",
        ratingCol="rating",
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        checkpointInterval=CHECKPOINT_ITERATIONS,
        seed=options.seed or 0,
    )
    with TemporaryDirectory(prefix=".als-", dir=folder) as kept:
        session.sparkContext.setCheckpointDir(f"file://{kept}")
        model = als.fit(sent(session, table))
        counts = zip((model.userFactors, model.itemFactors), confidences.shape, strict=True)
        users, tracks = (_factors(factors, count, options.factors) for factors, count in counts)
    return users, tracks


def ratings(confidences: csr_matrix, alpha: float) -> pl.DataFrame:
    """user_row, track_row and what MLlib takes as the rating."""
    size = np.maximum(np.abs(confidences.data) - 1 / alpha, LEAST_RATING)
    return pl.DataFrame(
        {
            "user_row": np.repeat(np.arange(confidences.shape[0], dtype=np.int32), np.diff(confidences.indptr)),
            "track_row": confidences.indices.astype(np.int32),
            "rating": np.copysign(size, confidences.data).astype(np.float32),
        }
    )


def _factors(table: DataFrame, count: int, width: int) -> Scores:
    """[count, width] from MLlib's table of id and features."""
    found = table.toArrow()
    factors = np.zeros((count, width), np.float32)
    vectors = found.column("features").combine_chunks().flatten().to_numpy()
    factors[found.column("id").to_numpy()] = vectors.reshape(-1, width)
    return factors
