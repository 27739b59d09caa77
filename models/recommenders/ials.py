"""iALS: alternating least squares with a regularisation that grows with how much is known of a user or track.

Rendle, Krichene, Zhang & Koren (2021), "Revisiting the Performance of iALS on Item Recommendation Benchmarks": pairs
that were not observed have a weight of their own, and the regularisation of a user of n tracks is l2 (n + unobserved
weight x tracks)^nu; of a track likewise. Solved by `implicit`'s conjugate gradients, rows of one regularisation at a
time. `ALS` discounts confidences instead, and is the one that the hybrid is made of.

Shapes: U users, T tracks, F factors, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError, optional_module
from ..arrays import Answers, Ids, Rows, Scores, one_blas_thread
from ..interactions import Interactions, without_skips
from .base import History, Recommender, check_width, nearest_neighbours
from .search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_STEP = np.log(1.1)
"""Regularisations are rounded to steps of ten per cent, so that many rows have the same."""
_CG_STEPS = 3


@dataclass(frozen=True)
class IALSOptions:
    factors: int = 256
    regularization: float = 0.003
    """l2"""
    unobserved_weight: float = 0.1
    """of a pair without an interaction; the mean weight of those with one is 1"""
    frequency_power: float = 1.0
    """nu: 0 regularises all users and tracks alike"""
    confidence_power: float = 0.5
    """Weights are confidences to this power: 0 is whether a user likes a track."""
    iterations: int = 12
    seed: int = 0
    threads: int = 0
    """0 uses every core; the answer does not depend on it."""

    def __post_init__(self) -> None:
        for name in ("regularization", "unobserved_weight"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}: {getattr(self, name):g}, but has to be above 0")


class IALS(Recommender):
    """Recommends by the dot product of factors; a track without listeners has none and is never recommended."""

    name = "ials"

    options: IALSOptions
    options_type = IALSOptions
    stored_arrays = ("track_factors",)
    stored_facts = ("mean_weight",)
    search_space: ClassVar[SearchSpace] = {
        "factors": Choice((64, 128, 256)),
        "regularization": Range(3e-4, 0.1, logarithmic=True),
        "unobserved_weight": Range(3e-3, 1, logarithmic=True),
        "confidence_power": Range(0, 1),
        "iterations": Range(6, 20, integer=True),
    }

    def fit(self, interactions: Interactions) -> Self:
        self.history, options = History.of(interactions), self.options
        self.mean_weight = float(np.mean(self.history.liked.data**options.confidence_power))
        """of the likes"""
        users = self._confidences(interactions.matrix)
        tracks = users.T.tocsr()
        rng = np.random.default_rng(options.seed)
        user_factors, self.track_factors = (
            rng.normal(0, 0.1 / options.factors**0.5, (count, options.factors)).astype(np.float32)
            for count in users.shape
        )
        """[T, F]; zeros for cold tracks"""
        solve = _solver("least_squares_cg")
        with one_blas_thread():
            for _ in range(options.iterations):
                self._solve(solve, users, user_factors, self.track_factors, cg_steps=_CG_STEPS)
                self._solve(solve, tracks, self.track_factors, user_factors, cg_steps=_CG_STEPS)
        return self

    def scores_from(self, user_items: csr_matrix) -> Scores:
        cells = np.asarray(self.fold_in(user_items) @ self.track_factors.T)
        cells[:, self.history.cold_rows] = -np.inf
        return cells

    def fold_in(self, user_items: csr_matrix) -> Scores:
        """[B, F] factors of users given by their confidences [B, T], solved for exactly."""
        check_width(user_items, len(self.track_factors))
        vectors = np.zeros((user_items.shape[0], self.track_factors.shape[1]), np.float32)
        with one_blas_thread():
            self._solve(_solver("least_squares"), self._confidences(user_items), vectors, self.track_factors)
        return vectors

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of factors."""
        return nearest_neighbours(self.track_factors, track_rows, k)

    def _confidences(self, user_items: csr_matrix) -> csr_matrix:
        """[B, T] weights over that of an unobserved pair; those of dislikes negative, as implicit takes them."""
        confidences = without_skips(user_items).astype(np.float32)
        sizes = np.abs(confidences.data) ** self.options.confidence_power / self.mean_weight
        confidences.data = (np.sign(confidences.data) * sizes / self.options.unobserved_weight).astype(np.float32)
        return confidences

    def _solve(self, solve: Any, confidences: csr_matrix, vectors: Scores, others: Scores, **arguments: int) -> None:
        """Replaces `vectors` [B, F] by those that fit confidences [B, N] in the others [N, F] best."""
        for regularization, rows in self._levels(np.diff(confidences.indptr), np.count_nonzero(others.any(axis=1))):
            solved = vectors[rows]
            part = confidences[rows]
            solve(part, solved, others, regularization, num_threads=self.options.threads, **arguments)
            vectors[rows] = solved

    def _levels(self, counts: Rows, others: int) -> list[tuple[float, NDArray[np.intp]]]:
        """Rows of each regularisation, of users of `counts` [B] of so many tracks, or of tracks likewise."""
        options = self.options
        known = np.log(counts + options.unobserved_weight * others) * options.frequency_power
        levels = np.round(known / _STEP)
        scale = options.regularization / options.unobserved_weight
        return [(float(scale * np.exp(level * _STEP)), np.flatnonzero(levels == level)) for level in np.unique(levels)]


def _solver(name: str) -> Any:
    return getattr(optional_module("implicit.cpu._als", "iALS"), name)
