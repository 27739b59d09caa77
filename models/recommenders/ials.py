"""iALS: alternating least squares with a regularisation that grows with how much is known of a user or track.

Rendle, Krichene, Zhang & Koren (2021), "Revisiting the Performance of iALS on Item Recommendation Benchmarks": pairs
that were not observed have a weight of their own, and the regularisation of a user of n tracks is l2 (n + unobserved
weight x tracks)^nu; of a track likewise. Solved by `implicit`'s conjugate gradients, rows of one regularisation at a
time. `ALS` discounts confidences instead, and is the one that the hybrid is made of.

Shapes: U users, T tracks, F factors, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError, optional_module
from ..arrays import Answers, Ids, Rows, Scores, one_blas_thread
from ..interactions import Interactions, without_skips
from .als import least_squares_step
from .base import History, Recommender, check_width, nearest_neighbours, to_power
from .search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_STEP = np.log(1.1)
"""Regularisations are rounded to steps of ten per cent, so that many rows have the same."""
_CG_STEPS = 3


@dataclass(frozen=True)
class IALSOptions:
    factors: int = 128
    regularization: float = 0.01
    """l2"""
    unobserved_weight: float = 25.0
    """of all pairs without an interaction together, over that of those with one: it means the same for catalogues of
    all sizes"""
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
    stored_facts = ("mean_weight", "unobserved_weight")
    search_space: ClassVar[SearchSpace] = {
        "factors": Choice((64, 128, 256)),
        "regularization": Range(3e-4, 0.1, logarithmic=True),
        "unobserved_weight": Range(0.5, 100, logarithmic=True),
        "confidence_power": Range(0, 1),
        "iterations": Range(6, 20, integer=True),
    }

    def fit(self, interactions: Interactions) -> Self:
        self.history, options = History.of(interactions), self.options
        self.mean_weight = float(to_power(self.history.liked, options.confidence_power).data.mean())
        """of the likes; those of the fit have a mean of 1"""
        pairs = np.count_nonzero(self.history.warm_users) * len(self.history.warm_rows)
        self.unobserved_weight = options.unobserved_weight * self.history.liked.nnz / pairs
        """of one pair"""
        users = self._confidences(interactions.matrix)
        tracks = users.T.tocsr()
        rng = np.random.default_rng(options.seed)
        user_factors, self.track_factors = (
            rng.normal(0, 0.1 / options.factors**0.5, (count, options.factors)).astype(np.float32)
            for count in users.shape
        )
        """[T, F]; zeros for cold tracks"""
        with one_blas_thread():
            for _ in range(options.iterations):
                self._improve(users, user_factors, self.track_factors, len(self.history.warm_rows))
                self._improve(tracks, self.track_factors, user_factors, np.count_nonzero(self.history.warm_users))
        return self

    def scores_from(self, user_items: csr_matrix) -> Scores:
        cells = np.asarray(self.fold_in(user_items) @ self.track_factors.T)
        cells[:, self.history.cold_rows] = -np.inf
        return cells

    def fold_in(self, user_items: csr_matrix) -> Scores:
        """[B, F] factors of users given by their confidences [B, T], solved for exactly."""
        check_width(user_items, len(self.track_factors))
        confidences, factors = self._confidences(user_items), self.track_factors
        vectors = np.zeros((user_items.shape[0], factors.shape[1]), np.float32)
        with one_blas_thread():
            gram = factors.T @ factors
            for regularization, rows in self._levels(np.diff(confidences.indptr), len(self.history.warm_rows)):
                normal = gram + np.float32(regularization) * np.eye(len(gram), dtype=np.float32)
                for row in rows:
                    places = slice(confidences.indptr[row], confidences.indptr[row + 1])
                    tracks = confidences.indices[places]
                    vectors[row] = least_squares_step(normal, factors[tracks], confidences.data[places])
        return vectors

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of factors."""
        return nearest_neighbours(self.track_factors, track_rows, k)

    def _confidences(self, user_items: csr_matrix) -> csr_matrix:
        """[B, T] weights over that of an unobserved pair; those of dislikes negative, as implicit takes them."""
        confidences = without_skips(user_items)
        weights = to_power(abs(confidences), self.options.confidence_power)
        weights.data *= np.sign(confidences.data) / np.float32(self.mean_weight * self.unobserved_weight)
        return weights

    def _improve(self, confidences: csr_matrix, vectors: Scores, others: Scores, other_count: int) -> None:
        """Moves `vectors` [B, F] towards those that fit confidences [B, N] in the others [N, F] best."""
        solve = optional_module("implicit.cpu.als", "iALS")._als.least_squares_cg
        for regularization, rows in self._levels(np.diff(confidences.indptr), other_count):
            moved = vectors[rows]
            arguments = {"num_threads": self.options.threads, "cg_steps": _CG_STEPS}
            solve(confidences[rows], moved, others, regularization, **arguments)
            vectors[rows] = moved

    def _levels(self, counts: Rows, others: int) -> list[tuple[float, NDArray[np.intp]]]:
        """Rows of each regularisation, of users of `counts` [B] of so many tracks, or of tracks likewise."""
        options = self.options
        known = np.log(counts + self.unobserved_weight * others) * options.frequency_power
        levels = np.round(known / _STEP)
        scale = options.regularization / self.unobserved_weight
        return [(float(scale * np.exp(level * _STEP)), np.flatnonzero(levels == level)) for level in np.unique(levels)]
