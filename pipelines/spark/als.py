"""ALS by MLlib: the factors of `models.recommenders.als`, learned on a cluster.

MLlib writes the same model (Hu, Koren & Volinsky 2008) in other numbers. Its confidence of a rating r is 1 + alpha |r|,
and `implicit`'s is alpha |w| itself, so that r = |w| - 1 / alpha with w's sign. It multiplies the regularization by the
number of a row's positive ratings (Zhou et al. 2008, "Large-scale parallel collaborative filtering for the Netflix
prize"), where `implicit` has it constant; it is divided here by the counts' geometric mean, and a last sweep over users
and tracks has the constant one.

Shapes: U users, T tracks, F factors; R rows that are solved for, C of the other side, n of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ...models.arrays import Scores, one_blas_thread
from ...models.recommenders.als import ALSOptions, least_squares_step
from ..interactions.schema import user_blocks
from .listens import collected, sent

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from scipy.sparse import csr_matrix

LEAST_RATING = 1e-3
"""of a confidence near 1 or below: a rating of 0 says nothing to MLlib, and one below 0 says dislike"""
PAIRS_PER_BLOCK = 1_000_000
"""of MLlib"""
PAIRS_PER_TASK = 200_000
"""of a half-step"""
FACTORS, NORMAL = "factors.npy", "normal.npy"
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
        tracks = _factors(model.itemFactors, confidences.shape[1], options.factors)
        users = half_step(session, confidences, tracks, options, Path(kept))
        return users, half_step(session, confidences.T.tocsr(), users, options, Path(kept))


def half_step(
    session: SparkSession, confidences: csr_matrix, factors: Scores, options: ALSOptions, folder: Path
) -> Scores:
    """[R, F] what fits confidences [R, C] best, given the factors [C, F] of the other side; a block of rows a task.

    The factors are a file in `folder`, which the workers map.
    """
    with one_blas_thread():
        normal = factors.T @ factors + options.regularization * np.eye(options.factors, dtype=np.float32)
    np.save(folder / FACTORS, factors)
    np.save(folder / NORMAL, normal.astype(np.float32))
    blocks = list(user_blocks(np.diff(confidences.indptr), PAIRS_PER_TASK))
    at_once = 4 * session.sparkContext.defaultParallelism
    found = np.zeros((confidences.shape[0], options.factors), np.float32)
    for start in range(0, len(blocks), at_once):
        table = pl.DataFrame([block_of(confidences, *block) for block in blocks[start : start + at_once]])
        work = partial(solve_blocks, folder=folder, alpha=options.alpha)
        solved = sent(session, table).repartition(len(table)).mapInArrow(work, "first long, vectors binary")
        for first, vectors in collected(solved).iter_rows():
            block = np.frombuffer(vectors, np.float32).reshape(-1, options.factors)
            found[first : first + len(block)] = block
    return found


def block_of(confidences: csr_matrix, first: int, end: int) -> dict[str, int | bytes]:
    """The rows from `first` to before `end` as one row of a table."""
    ends = confidences.indptr[first : end + 1].astype(np.int64)
    part = slice(ends[0], ends[-1])
    return {
        "first": first,
        "ends": (ends - ends[0]).tobytes(),
        "columns": confidences.indices[part].astype(np.int32).tobytes(),
        "weights": confidences.data[part].astype(np.float32).tobytes(),
    }


def solve_blocks(batches: Iterator[pa.RecordBatch], folder: Path, alpha: float) -> Iterator[pa.RecordBatch]:
    """In a worker: the vectors [n, F] of each block."""
    import pyarrow as pa

    factors, normal = np.load(folder / FACTORS, mmap_mode="r"), np.load(folder / NORMAL)
    for batch in batches:
        for block in batch.to_pylist():
            ends = np.frombuffer(block["ends"], np.int64)
            columns, weights = np.frombuffer(block["columns"], np.int32), np.frombuffer(block["weights"], np.float32)
            vectors = np.zeros((len(ends) - 1, len(normal)), np.float32)
            for row, (start, end) in enumerate(pairwise(ends)):
                if end > start:
                    chosen = factors[columns[start:end]]
                    vectors[row] = least_squares_step(normal, chosen, alpha * weights[start:end])
            yield pa.RecordBatch.from_pylist([{"first": block["first"], "vectors": vectors.tobytes()}])


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
