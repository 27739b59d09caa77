"""Item-KNN: tracks are near when the same users listen to them; a user's score adds up what their tracks are near to.

The similarity is the cosine of the tracks' columns of the user x track matrix, in which users of many tracks weigh
less, and with lengths damped: a full cosine makes a track with two listeners the nearest of all. Each track keeps its
nearest neighbours only.

Shapes: U users, T tracks, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ...errors import optional_module
from ..arrays import Answers, Ids, Scores, csr_arrays, csr_of
from ..interactions import Interactions, liked
from ..storage import Arrays
from .base import History, Recommender, rank
from .search_space import Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SAVED_SIMILARITY = ("near_indptr", "near_tracks", "near_scores")
"""names of the arrays of a similarity matrix in a file"""


@dataclass(frozen=True)
class ItemKNNOptions:
    # Chosen on a validation part of mpd-5core (scripts/experiments/choose_defaults).
    neighbours: int = 300
    user_discount: float = 0.25
    """A weight is divided by the user's number of tracks to this power."""
    length_power: float = 0.8
    """Columns are divided by their length to this power: 1 is the cosine, 0 counts common listeners."""
    threads: int = 0
    """0 uses every core; the answer does not depend on it."""


class ItemKNN(Recommender):
    """Recommends what is near to the tracks a user likes; a track near to none of them is not recommended."""

    name = "item-knn"

    options: ItemKNNOptions
    options_type = ItemKNNOptions
    search_space: ClassVar[SearchSpace] = {
        "neighbours": Range(30, 1000, logarithmic=True, integer=True),
        "user_discount": Range(0, 0.8),
        "length_power": Range(0.4, 1),
    }

    def fit(self, interactions: Interactions) -> Self:
        all_pairs_knn = optional_module("implicit.nearest_neighbours", "item-KNN").all_pairs_knn
        self.history, options = History.of(interactions), self.options
        profiles = self.history.liked.astype(np.float64)
        counts = np.diff(profiles.indptr)
        profiles.data /= np.repeat(np.maximum(counts, 1), counts) ** options.user_discount
        squares = np.bincount(profiles.indices, profiles.data**2, minlength=interactions.track_count)
        profiles.data /= squares[profiles.indices] ** (options.length_power / 2)
        near = all_pairs_knn(profiles, options.neighbours + 1, num_threads=options.threads, show_progress=False)
        self.similarity: csr_matrix = _without_itself(near)
        """[T, T] each row a track's neighbours"""
        return self

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


def _without_itself(near: csr_matrix) -> csr_matrix:
    from scipy.sparse import csr_matrix

    pairs = near.tocoo()
    others = (pairs.row != pairs.col) & (pairs.data > 0)
    parts = (pairs.data[others].astype(np.float32), (pairs.row[others], pairs.col[others]))
    return csr_matrix(parts, shape=near.shape)


def _dense(scores: csr_matrix) -> Scores:
    """-inf where there is no score."""
    cells = np.asarray(scores.toarray(), np.float32)
    cells[cells == 0] = -np.inf
    return cells
