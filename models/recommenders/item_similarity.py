"""What recommenders by the similarity of tracks share: a sparse matrix that turns a user's listens into scores.

A row of the matrix is what one listen to a track adds to the scores of others. Each track keeps its nearest neighbours
only.

Shapes: U users, T tracks, B users or tracks asked for, k answers each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import optional_module
from ..arrays import Answers, Ids, Scores, csr_arrays, csr_of
from ..interactions import liked
from ..storage import Arrays
from .base import Recommender, rank

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SAVED_SIMILARITY = ("near_indptr", "near_tracks", "near_scores")
"""names of the arrays of a similarity matrix in a file"""


class ItemSimilarityRecommender(Recommender):
    """Recommends what is near to the tracks a user likes; a track near to none of them is not recommended."""

    similarity: csr_matrix
    """[T, T] each row a track's neighbours"""

    def scores_from(self, user_items: csr_matrix) -> Scores:
        return _dense((liked(user_items) @ self.similarity).tocsr())

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By common listeners; at most as many as there are neighbours."""
        rows = np.asarray(track_rows)

        def score(start: int, stop: int) -> Scores:
            return _dense(self.similarity[rows[start:stop]])

        return rank(score, len(rows), k, self.similarity.shape[0])

    def arrays(self) -> Arrays:
        return super().arrays() | csr_arrays(self.similarity, *SAVED_SIMILARITY)

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        super().restore(arrays, facts)
        self.similarity = csr_of(arrays, self._track_count, *SAVED_SIMILARITY)


def nearest_columns(profiles: csr_matrix, neighbours: int, *, threads: int = 0) -> csr_matrix:
    """[U, T] -> [T, T] dot products of columns: each row the largest ones with other columns, those above 0."""
    from scipy.sparse import csr_matrix

    all_pairs_knn = optional_module("implicit.nearest_neighbours", "item-KNN").all_pairs_knn
    near = all_pairs_knn(profiles.astype(np.float64), neighbours + 1, num_threads=threads, show_progress=False)
    pairs = near.tocoo()
    others = (pairs.row != pairs.col) & (pairs.data > 0)
    parts = (pairs.data[others].astype(np.float32), (pairs.row[others], pairs.col[others]))
    return csr_matrix(parts, shape=near.shape)


def _dense(scores: csr_matrix) -> Scores:
    """-inf where there is no score."""
    cells = np.asarray(scores.toarray(), np.float32)
    cells[cells == 0] = -np.inf
    return cells
