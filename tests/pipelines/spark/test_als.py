"""What the workers solve is what a user is folded in by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from planted import planted

from crossfade.models.arrays import one_blas_thread
from crossfade.models.recommenders.als import ALS, ALSOptions
from crossfade.pipelines.spark.als import FACTORS, NORMAL, block_of, ratings, solve_blocks

TOLERANCE = 1e-4


def test_a_half_step_in_blocks_is_the_fold_in_of_every_user(tmp_path: Path) -> None:
    listens = planted(users=60, artists=20, each=4).train
    als = ALS(ALSOptions(factors=8, threads=1)).fit(listens)
    factors = als.track_factors
    with one_blas_thread():
        normal = factors.T @ factors + als.options.regularization * np.eye(8, dtype=np.float32)
    np.save(tmp_path / FACTORS, factors)
    np.save(tmp_path / NORMAL, normal)
    confidences = als.confidences(listens.matrix)
    blocks = [block_of(confidences, first, end) for first, end in ((0, 25), (25, 26), (26, 60))]
    batches = [pa.RecordBatch.from_pylist(blocks[:2]), pa.RecordBatch.from_pylist(blocks[2:])]
    found = np.zeros((60, 8), np.float32)
    for batch in solve_blocks(iter(batches), tmp_path, als.options.alpha):
        for row in batch.to_pylist():
            vectors = np.frombuffer(row["vectors"], np.float32).reshape(-1, 8)
            found[row["first"] : row["first"] + len(vectors)] = vectors
    np.testing.assert_allclose(found, als.fold_in(listens.matrix), atol=TOLERANCE)


def test_ratings_have_the_confidences_of_the_model() -> None:
    from scipy.sparse import csr_matrix

    weights = csr_matrix(np.array([[3.0, 0, -2.0], [0, 0.01, 0]], np.float32))
    table = ratings(weights, alpha=10.0)
    assert table["user_row"].to_list() == [0, 0, 1]
    assert table["track_row"].to_list() == [0, 2, 1]
    # MLlib's confidence is 1 + alpha |r|, the local one alpha |w|; what is below 1 stays just above it.
    confidences = 1 + 10 * table["rating"].abs().to_numpy()
    np.testing.assert_allclose(confidences[:2], [30, 20], rtol=1e-6)
    assert 1 < confidences[2] < 1.1
    assert (np.sign(table["rating"].to_numpy()) == [1, -1, 1]).all()
