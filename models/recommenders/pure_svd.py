"""PureSVD: a user's listens projected on the leading singular vectors of the user x track matrix.

Cremonesi, Koren & Turrin (2010), "Performance of Recommender Algorithms on Top-N Recommendation Tasks".

Shapes: U users, T tracks, F factors, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ..arrays import Answers, Ids, Scores
from ..interactions import Interactions, liked
from .base import History, Recommender, nearest_neighbours, to_power
from .search_space import Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class PureSVDOptions:
    # Chosen on validation parts of ml-latest-small and hetrec-lastfm-2k.
    factors: int = 32
    """An eighth of the users or tracks where that is less: with as many as those, listens are only kept as they are."""
    confidence_power: float = 0.5
    """What is factorised is the confidence to this power: 0 is whether a user likes a track."""


class PureSVD(Recommender):
    """Recommends by a user's listens times V V', the projection on the leading directions; never a cold track."""

    name = "pure-svd"

    options: PureSVDOptions
    options_type = PureSVDOptions
    stored_arrays = ("track_factors",)
    search_space: ClassVar[SearchSpace] = {
        "factors": Range(8, 512, logarithmic=True, integer=True),
        "confidence_power": Range(0, 1),
    }

    def fit(self, interactions: Interactions) -> Self:
        from scipy.sparse.linalg import svds

        self.history, options = History.of(interactions), self.options
        matrix = self._inputs(self.history.liked)
        smaller = min(matrix.shape)
        factors = max(1, min(options.factors, smaller // 8))
        # Where the search for singular vectors begins changes nothing but the last digits, so it is no option.
        start = np.random.default_rng(0).normal(size=smaller).astype(np.float32)
        _, singular, right = svds(matrix, factors, v0=start)
        order = np.argsort(-singular)
        self.track_factors: Scores = np.ascontiguousarray(right[order].T, np.float32)
        """[T, F] right singular vectors, the leading one first"""
        return self

    def scores_from(self, user_items: csr_matrix) -> Scores:
        cells = np.asarray((self._inputs(liked(user_items)) @ self.track_factors) @ self.track_factors.T, np.float32)
        cells[:, self.history.cold_rows] = -np.inf
        return cells

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of the singular vectors' entries."""
        return nearest_neighbours(self.track_factors, track_rows, k)

    def _inputs(self, likes: csr_matrix) -> csr_matrix:
        """Positive confidences [B, T] as they are factorised."""
        return to_power(likes, self.options.confidence_power)
