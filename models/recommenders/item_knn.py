"""Item-KNN: tracks are near when the same users listen to them; a user's score adds up what their tracks are near to.

Likeness is the cosine of the tracks' columns of the user x track matrix, in which users who hear everything weigh less,
and with lengths damped: a full cosine makes a track with two listeners the nearest of all. Each track keeps its nearest
neighbours only.

Shapes: U users, T tracks, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ...errors import MissingExtra
from ..arrays import Answers, Ids, Scores
from ..interactions import Interactions, liked
from ..storage import Arrays
from .base import History, ScoringRecommender, rank

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


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


class ItemKNN(ScoringRecommender):
    """Recommends what is near to the tracks a user likes; a track near to none of them is not recommended."""

    name = "item-knn"

    options: ItemKNNOptions
    options_type = ItemKNNOptions

    def fit(self, interactions: Interactions) -> Self:
        try:
            from implicit.nearest_neighbours import all_pairs_knn
        except ModuleNotFoundError:
            raise MissingExtra("item-KNN", "train") from None
        self.history = History.of(interactions)
        options = self.options
        profiles = self.history.liked.astype(np.float64)
        counts = np.diff(profiles.indptr)
        profiles.data /= np.repeat(np.maximum(counts, 1), counts) ** options.user_discount
        squares = np.bincount(profiles.indices, profiles.data**2, minlength=interactions.track_count)
        profiles.data /= squares[profiles.indices] ** (options.length_power / 2)
        near = all_pairs_knn(profiles, options.neighbours + 1, num_threads=options.threads, show_progress=False)
        self.likeness: csr_matrix = _without_itself(near)
        """[T, T] each row a track's neighbours"""
        return self

    def scores_from(self, heard: csr_matrix) -> Scores:
        return _dense((liked(heard) @ self.likeness).tocsr())

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By common listeners; at most as many as there are neighbours."""
        rows = np.asarray(track_rows)

        def score(start: int, stop: int) -> Scores:
            return _dense(self.likeness[rows[start:stop]])

        return rank(score, len(rows), k, self.likeness.shape[0])

    def arrays(self) -> Arrays:
        return super().arrays() | {
            "near_indptr": self.likeness.indptr.astype(np.int64),
            "near_tracks": self.likeness.indices.astype(np.int32),
            "near_scores": self.likeness.data,
        }

    def restore(self, arrays: Arrays) -> None:
        from scipy.sparse import csr_matrix

        super().restore(arrays)
        count = len(arrays["near_indptr"]) - 1
        parts = (arrays["near_scores"], arrays["near_tracks"], arrays["near_indptr"])
        self.likeness = csr_matrix(parts, shape=(count, count))


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
