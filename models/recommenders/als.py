"""ALS: taste vectors of users and tracks by alternating least squares on implicit feedback.

Hu, Koren & Volinsky (2008), "Collaborative Filtering for Implicit Feedback Datasets"; solved by `implicit`'s conjugate
gradients. A (user, track) pair with weight w has confidence alpha * |w| in being liked (w > 0) or not (w < 0), every
other pair has confidence 1 in not being liked. Tracks of many listeners and users of many tracks tell less
about taste: their confidences are discounted by powers of their counts. Skips play no part (see `interactions`).

Shapes: U users, T tracks, F factors, B users asked for, k answers each, L listens of one user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import optional_module
from ..arrays import Answers, Ids, Rows, Scores, one_blas_thread
from ..interactions import Interactions, without_skips
from ..storage import Arrays, change_model
from .base import History, Recommender, check_width, nearest_neighbours
from .search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class ALSOptions:
    # Chosen on a validation part of mpd-5core (scripts/experiments/choose_defaults); more factors gain a little more.
    factors: int = 128
    regularization: float = 60.0
    alpha: float = 20.0
    iterations: int = 6
    track_discount: float = 0.4
    """A confidence is divided by (the track's listeners / their mean) to this power; 0 for the paper's model."""
    user_discount: float = 0.3
    """The same for the user's number of tracks."""
    seed: int | None = 0
    threads: int = 0
    """0 uses every core; the answer does not depend on it."""


Solver = Callable[["csr_matrix", ALSOptions], tuple[Scores, Scores]]
"""[U, T] confidences before alpha, none of them 0 -> ([U, F] user factors, [T, F] track factors)"""


def solve(confidences: csr_matrix, options: ALSOptions) -> tuple[Scores, Scores]:
    """The factors by `implicit`."""
    solver_type = optional_module("implicit.cpu.als", "ALS").AlternatingLeastSquares
    # implicit runs a thread per core itself.
    with one_blas_thread():
        solver = solver_type(
            factors=options.factors,
            regularization=options.regularization,
            # Multiplied here, where the columns are not copied.
            alpha=1.0,
            iterations=options.iterations,
            num_threads=options.threads,
            random_state=options.seed,
        )
        scaled = _with_data(confidences, confidences.data * np.float32(options.alpha))
        solver.fit(scaled, show_progress=False)
    return solver.user_factors, solver.item_factors


def _with_data(matrix: csr_matrix, data: Scores) -> csr_matrix:
    """The same entries with other values; rows and columns are shared."""
    from scipy.sparse import csr_matrix

    return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


class ALS(Recommender):
    """Recommends by the dot product of taste vectors; a track without listeners has none and is never recommended."""

    name = "als"

    options: ALSOptions
    options_type = ALSOptions
    stored_arrays = ("user_factors", "track_factors", "track_listeners", "mean_counts")
    search_space: ClassVar[SearchSpace] = {
        "factors": Choice((64, 128, 256)),
        "regularization": Range(1, 300, logarithmic=True),
        "alpha": Range(2, 100, logarithmic=True),
        "iterations": Range(4, 16, integer=True),
        "track_discount": Range(0, 0.7),
        "user_discount": Range(0, 0.7),
    }

    def __init__(self, options: ALSOptions | None = None, *, solver: Solver | None = None) -> None:
        """`solver` None: `implicit`, on this machine."""
        super().__init__(options)
        self._solver = solver or solve

    def fit(self, interactions: Interactions) -> Self:
        self.history = History.of(interactions)
        self.mean_counts = _mean_counts(self.history.liked)
        self.track_listeners = interactions.listeners.astype(np.float32)
        self.user_factors: Scores
        """[U, F] as they were learned, one step behind the tracks'; zeros for cold users. Lists come from `fold_in`"""
        self.track_factors: Scores
        """[T, F]; zeros for cold tracks"""
        self.user_factors, self.track_factors = self._solver(self.confidences(interactions.matrix), self.options)
        self.__dict__.pop("_folding", None)
        return self

    def scores_from(self, user_items: csr_matrix) -> Scores:
        return self.scores(self.fold_in(user_items))

    def scores(self, user_vectors: Scores) -> Scores:
        """[B, F] taste vectors -> [B, T] scores, -inf for cold tracks."""
        cells = np.asarray(user_vectors @ self.track_factors.T)
        cells[:, self.history.cold_rows] = -np.inf
        return cells

    def fold_in(self, user_items: csr_matrix) -> Scores:
        """[B, F] taste vectors of users given by their confidences [B, T]."""
        return self._folding.many(user_items)

    def confidences(self, user_items: csr_matrix) -> csr_matrix:
        """[B, T] weights as the solver takes them, before alpha: discounted by the track's and the user's counts."""
        user_items = without_skips(user_items)
        data = self._discounted(user_items.indices, user_items.data, np.diff(user_items.indptr))
        return _with_data(user_items, data)

    def confidences_of_one(self, track_rows: Ids, weights: Scores) -> Scores:
        """The same for one user, from the tracks [L] and their weights [L], none of them 0."""
        return self._discounted(track_rows, weights, np.array([len(track_rows)]))

    def _discounted(self, track_rows: Ids, weights: Scores, counts: Rows) -> Scores:
        """Weights of users one after the other, who have so many each."""
        # Of few tracks, or once for each track of all.
        if len(track_rows) < len(self.track_listeners):
            by_track = self._by_track(self.track_listeners[track_rows])
        else:
            by_track = self._by_track(self.track_listeners)[track_rows]
        by_track *= np.repeat(self._by_user(counts), counts)
        return np.asarray(weights * by_track.astype(np.float32))

    def _by_track(self, listeners: Scores) -> NDArray[np.float64]:
        # A track without listeners counts as one with a single one.
        return np.asarray((np.maximum(listeners, 1) / self.mean_counts[0]) ** -self.options.track_discount)

    def _by_user(self, counts: Rows) -> NDArray[np.float64]:
        return np.asarray((np.maximum(counts, 1) / self.mean_counts[1]) ** -self.options.user_discount)

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of taste vectors."""
        return nearest_neighbours(self.track_factors, track_rows, k)

    @classmethod
    def forget_users(cls, folder: Path, user_rows: NDArray[np.intp]) -> None:
        """Leaves nothing of these users in a saved model but their empty rows."""

        def without(arrays: Arrays) -> Arrays:
            arrays["user_factors"][user_rows] = 0
            return History.without_users(arrays, user_rows)

        change_model(folder, cls.name, without)

    @cached_property
    def _folding(self) -> FoldIn:
        return FoldIn(self)


def _mean_counts(liked: csr_matrix) -> NDArray[np.float32]:
    """[2] listeners of a warm track, tracks of a warm user, on average."""
    users, tracks = np.diff(liked.indptr), np.bincount(liked.indices, minlength=liked.shape[1])
    return np.array([tracks[tracks > 0].mean(), users[users > 0].mean()], np.float32)


class FoldIn:
    """The taste vector of a user given by interactions alone, by one least squares step of ALS.

    With the tracks' factors Y as they are, a user of confidences c has the vector x that solves

        (Y' Y + regularization + sum of (alpha |c_t| - 1) y_t y_t') x = sum of alpha c_t y_t over what they like

    (Hu, Koren & Volinsky 2008, equation 4); the sum on the left is over likes and dislikes. It is the
    only way from interactions to a vector: in evaluation, in batch lists and in the service.
    """

    def __init__(self, als: ALS, cold: Scores | None = None, gram: Scores | None = None) -> None:
        """`cold` [T, F] has the vectors of tracks without listeners, which ALS knows nothing of; `gram` is Y' Y."""
        self._als, self._cold = als, cold
        if gram is None:
            # The last digits depend on the number of threads, and a loaded model is to answer as the fitted one.
            with one_blas_thread():
                gram = als.track_factors.T @ als.track_factors
        self.gram: Scores = gram
        """[F, F] over what ALS learned: it does not change when tracks come"""
        self._normal = gram + als.options.regularization * np.eye(len(gram), dtype=np.float32)

    def vectors(self, track_rows: Ids) -> Scores:
        """[L, F]"""
        found: Scores = self._als.track_factors[track_rows]
        if self._cold is not None:
            is_cold = self._als.track_listeners[track_rows] == 0
            found[is_cold] = self._cold[track_rows[is_cold]]
        return found

    def append_tracks(self, als: ALS, cold: Scores) -> FoldIn:
        """The same for a model of these tracks and more behind them."""
        return FoldIn(als, cold, self.gram)

    def one(self, track_rows: Ids, weights: Scores) -> Scores:
        """[F] of a user with these confidences [L] in tracks [L]; zeros where all are skips."""
        fitted = weights != 0
        if not fitted.any():
            return np.zeros(len(self.gram), np.float32)
        track_rows, weights = track_rows[fitted], weights[fitted]
        confidences = self._als.options.alpha * self._als.confidences_of_one(track_rows, weights)
        return least_squares_step(self._normal, self.vectors(track_rows), confidences)

    def many(self, user_items: csr_matrix) -> Scores:
        """[B, T] confidences -> [B, F]"""
        check_width(user_items, len(self._als.track_factors))
        vectors = np.empty((user_items.shape[0], len(self.gram)), np.float32)
        with one_blas_thread():
            for row, (start, stop) in enumerate(zip(user_items.indptr, user_items.indptr[1:], strict=False)):
                vectors[row] = self.one(user_items.indices[start:stop], user_items.data[start:stop])
        return vectors


def least_squares_step(normal: Scores, factors: Scores, confidences: Scores) -> Scores:
    """[F] what fits confidences [L] in the rows of factors [L, F] best; `normal` [F, F] is Y' Y + regularization."""
    from scipy.linalg.lapack import sposv

    normal = np.asarray(normal + factors.T @ ((np.abs(confidences) - 1)[:, None] * factors), np.float32)
    target = factors.T @ np.maximum(confidences, 0)
    _, vector, failed = sposv(normal, target)
    # Not positive definite only where rounding says so.
    return np.asarray(np.linalg.solve(normal, target) if failed else vector, np.float32)
