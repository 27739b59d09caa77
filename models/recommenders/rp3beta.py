"""RP3beta: random walks of three steps, from a track over its listeners to their tracks, popular tracks held back.

Paudel, Christoffel, Newell & Bernstein (2017), "Updatable, Accurate, Diverse, and Scalable Recommendations for
Interactive Applications". The similarity of track i to j is the sum over users u of p(i to u)^alpha p(u to j)^alpha,
divided by listeners(j)^beta; with beta = 0 it is P3alpha (Cooper et al. 2014). Each track keeps its nearest neighbours
only.

Shapes: U users, T tracks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..interactions import Interactions
from .base import History
from .item_similarity import HALF_LIVES, ItemSimilarityOptions, ItemSimilarityRecommender, nearest_columns
from .search_space import Range, SearchSpace


@dataclass(frozen=True, kw_only=True)
class RP3betaOptions(ItemSimilarityOptions):
    # Chosen on validation parts of ml-latest-small and hetrec-lastfm-2k.
    alpha: float = 0.5
    """power of the probability of a step"""
    beta: float = 0.4
    """A track's score is divided by its number of listeners to this power."""


class RP3beta(ItemSimilarityRecommender):
    """Recommends where random walks from the tracks a user likes end."""

    name = "rp3beta"

    options: RP3betaOptions
    options_type = RP3betaOptions
    search_space: ClassVar[SearchSpace] = {
        "alpha": Range(0.2, 1.6),
        "beta": Range(0, 1.2),
        "half_life": HALF_LIVES,
        "neighbours": Range(30, 1000, logarithmic=True, integer=True),
    }

    def fit(self, interactions: Interactions) -> Self:
        from scipy.sparse import diags

        self.history, options = History.of(interactions), self.options
        steps = self.history.liked.astype(np.float64)
        by_user, by_track = (np.asarray(steps.sum(axis=axis)).ravel() for axis in (1, 0))
        damping = np.maximum(interactions.listeners, 1.0) ** -options.beta
        steps.data **= options.alpha
        by_user[by_user > 0] **= -options.alpha / 2
        # A row's own factor does not change which of its neighbours are nearest, so the product can be a symmetric one.
        profiles = diags(by_user) @ steps @ diags(damping)
        near = nearest_columns(profiles.tocsr(), options.neighbours, threads=options.threads)
        by_track[by_track > 0] **= -options.alpha
        near.data *= np.repeat(by_track / damping, np.diff(near.indptr)).astype(np.float32)
        self.similarity = near
        self._keep_recency(interactions)
        return self
