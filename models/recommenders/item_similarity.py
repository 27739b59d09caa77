"""What recommenders by the similarity of tracks share: a sparse matrix that turns a user's listens into scores.

A row of the matrix is what one listen to a track adds to the scores of others. Each track keeps its nearest neighbours
only. Where the log has times or an order, what a user listened to last may count for more; only users of the training
have an order, the listens of others are given without one.

Shapes: U users, T tracks, P pairs of a user and a track they like, B users or tracks asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError, optional_module
from ..arrays import Answers, Ids, Scores, csr_arrays, csr_of, row_entries
from ..evaluation.splits import positions_in_groups
from ..interactions import Interactions, liked
from ..storage import Arrays
from .base import Recommender, rank
from .search_space import Choice

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SAVED_SIMILARITY = ("near_indptr", "near_tracks", "near_scores")
"""names of the arrays of a similarity matrix in a file"""


HALF_LIVES = Choice((None, 5.0, 20.0, 80.0))


@dataclass(frozen=True, kw_only=True)
class ItemSimilarityOptions:
    """Options of every recommender by the similarity of tracks."""

    neighbours: int = 300
    half_life: float | None = None
    """tracks after which one that a user listened to counts half, from their newest backwards; None for all alike"""
    threads: int = 0
    """0 uses every core; the answer does not depend on it."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise UsageError(f"neighbours: {self.neighbours}, but has to be at least 1")
        if self.half_life is not None and not self.half_life > 0:
            raise UsageError(f"half_life: {self.half_life:g}, but has to be above 0")


class ItemSimilarityRecommender(Recommender):
    """Recommends what is near to the tracks a user likes; a track near to none of them is not recommended."""

    options: ItemSimilarityOptions
    similarity: csr_matrix
    """[T, T] each row a track's neighbours"""
    recency: Scores
    """[P] what a user's tracks count for, 1 for the newest; empty where all count alike"""

    def user_scores(self, rows: Ids) -> Scores:
        likes = self.history.liked
        inputs = self._inputs(likes[rows])
        if len(self.recency):
            inputs.data *= self.recency[row_entries(likes, rows)[0]]
        return self._scores(inputs)

    def scores_from(self, user_items: csr_matrix) -> Scores:
        return self._scores(self._inputs(liked(user_items)))

    def _inputs(self, likes: csr_matrix) -> csr_matrix:
        """Positive confidences [B, T] as the matrix takes them, a new one with the same entries."""
        return likes.astype(np.float32)

    def _scores(self, inputs: csr_matrix) -> Scores:
        """[B, T]"""
        return _dense((inputs @ self.similarity).tocsr())

    def _keep_recency(self, interactions: Interactions) -> None:
        half_life = self.options.half_life
        self.recency = np.zeros(0, np.float32)
        if half_life is not None and interactions.times is not None:
            self.recency = np.asarray(0.5 ** (_places_back(interactions) / half_life), np.float32)

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By common listeners; at most as many as there are neighbours."""
        rows = np.asarray(track_rows)

        def score(start: int, stop: int) -> Scores:
            return _dense(self.similarity[rows[start:stop]])

        return rank(score, len(rows), k, self.similarity.shape[0])

    def arrays(self) -> Arrays:
        return super().arrays() | csr_arrays(self.similarity, *SAVED_SIMILARITY) | {"recency": self.recency}

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        super().restore(arrays, facts)
        # A model that was saved before there was a half-life has no recency.
        self.recency = arrays.get("recency", np.zeros(0, np.float32))
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


def _places_back(interactions: Interactions) -> NDArray[np.intp]:
    """[P] how many tracks a user came to like after each, by the newest listen of each pair."""
    matrix, track_count = interactions.matrix, interactions.track_count
    likes = matrix.data > 0
    users = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    listens = interactions.user_rows.astype(np.int64) * track_count + interactions.track_rows
    newest = np.full(matrix.nnz, np.iinfo(np.int64).min)
    np.maximum.at(newest, np.searchsorted(users * track_count + matrix.indices, listens), interactions.times)
    users, newest = users[likes], newest[likes]
    order = np.lexsort((-newest, users))
    back = np.empty(len(users), np.intp)
    back[order] = positions_in_groups(users, interactions.user_count)
    return back


def _dense(scores: csr_matrix) -> Scores:
    """-inf where there is no score."""
    cells = np.asarray(scores.toarray(), np.float32)
    cells[cells == 0] = -np.inf
    return cells
