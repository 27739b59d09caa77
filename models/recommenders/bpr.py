"""BPR: taste vectors that rank a user's tracks above others, by stochastic gradient steps on sampled pairs.

Rendle, Freudenthaler, Gantner & Schmidt-Thieme (2009), "BPR: Bayesian Personalized Ranking from Implicit Feedback".
Only whether a user likes a track counts, not how much.

Shapes: U users, T tracks, F factors and one bias, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ...errors import optional_module
from ..arrays import Answers, Ids, Scores
from ..interactions import Interactions, liked
from .base import History, Recommender, nearest_neighbours
from .search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class BPROptions:
    factors: int = 64
    learning_rate: float = 0.1
    regularization: float = 0.01
    iterations: int = 100
    seed: int | None = 0
    """Threads race for the same vectors, so a seeded run uses one; None uses every core and never repeats."""


class BPR(Recommender):
    """Recommends by the dot product of taste vectors and a bias per track; never a track without listeners."""

    name = "bpr"

    options: BPROptions
    options_type = BPROptions
    stored_arrays = ("user_factors", "track_factors")
    search_space: ClassVar[SearchSpace] = {
        "factors": Choice((32, 64, 128)),
        "learning_rate": Range(0.01, 0.3, logarithmic=True),
        "regularization": Range(1e-4, 0.1, logarithmic=True),
        "iterations": Range(30, 200, logarithmic=True, integer=True),
    }

    def fit(self, interactions: Interactions) -> Self:
        self.history, options = History.of(interactions), self.options
        solver = optional_module("implicit.cpu.bpr", "BPR").BayesianPersonalizedRanking(
            factors=options.factors,
            learning_rate=options.learning_rate,
            regularization=options.regularization,
            iterations=options.iterations,
            num_threads=0 if options.seed is None else 1,
            random_state=options.seed,
        )
        solver.fit(self.history.liked, show_progress=False)
        self.user_factors: Scores = solver.user_factors
        """[U, F + 1]; the last column is 1"""
        self.track_factors: Scores = solver.item_factors
        """[T, F + 1]; the last column is the track's bias"""
        return self

    def user_scores(self, rows: Ids) -> Scores:
        return self._scores(self.user_factors[rows])

    def scores_from(self, user_items: csr_matrix) -> Scores:
        return self._scores(self.fold_in(liked(user_items)))

    def fold_in(self, likes: csr_matrix) -> Scores:
        """[B, F + 1] taste vectors of new users of likes [B, T]: the training's steps with the tracks fixed."""
        from scipy.sparse import csr_matrix

        options, popular = self.options, self.history.liked.indices
        rng = np.random.default_rng(options.seed)
        users, tracks = np.repeat(np.arange(likes.shape[0]), np.diff(likes.indptr)), likes.indices
        vectors = np.zeros((likes.shape[0], self.track_factors.shape[1]), np.float32)
        vectors[:, -1] = 1
        squares = np.full_like(vectors, 1e-8)
        of_user = csr_matrix((np.ones(len(users), np.float32), (users, np.arange(len(users)))))
        for _ in range(options.iterations):
            # As in training, the other track of a pair is drawn from all listens.
            apart = self.track_factors[tracks] - self.track_factors[rng.choice(popular, len(tracks))]
            doubt = 1 / (1 + np.exp((vectors[users] * apart).sum(axis=1)))
            gradient = of_user @ (doubt[:, None] * apart - options.regularization * vectors[users])
            gradient[:, -1] = 0
            squares += gradient**2
            vectors += options.learning_rate * gradient / np.sqrt(squares)
        return vectors

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of taste vectors, without the bias."""
        return nearest_neighbours(
            np.where(self.history.warm_tracks[:, None], self.track_factors[:, :-1], 0), track_rows, k
        )

    def _scores(self, user_vectors: Scores) -> Scores:
        cells = np.asarray(user_vectors @ self.track_factors.T)
        cells[:, self.history.cold_rows] = -np.inf
        return cells
