"""Item-KNN: tracks are near when the same users listen to them; a user's score adds up what their tracks are near to.

The similarity is the cosine of the tracks' columns of the user x track matrix, in which users of many tracks weigh
less, and with lengths damped: a full cosine makes a track with two listeners the nearest of all. Each track keeps its
nearest neighbours only.

Shapes: U users, T tracks, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..interactions import Interactions
from .base import History
from .item_similarity import ItemSimilarityRecommender, nearest_columns
from .search_space import Range, SearchSpace


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


class ItemKNN(ItemSimilarityRecommender):
    """Recommends what has common listeners with the tracks a user likes."""

    name = "item-knn"

    options: ItemKNNOptions
    options_type = ItemKNNOptions
    search_space: ClassVar[SearchSpace] = {
        "neighbours": Range(30, 1000, logarithmic=True, integer=True),
        "user_discount": Range(0, 0.8),
        "length_power": Range(0.4, 1),
    }

    def fit(self, interactions: Interactions) -> Self:
        self.history, options = History.of(interactions), self.options
        profiles = self.history.liked.astype(np.float64)
        counts = np.diff(profiles.indptr)
        profiles.data /= np.repeat(np.maximum(counts, 1), counts) ** options.user_discount
        squares = np.bincount(profiles.indices, profiles.data**2, minlength=interactions.track_count)
        profiles.data /= squares[profiles.indices] ** (options.length_power / 2)
        self.similarity = nearest_columns(profiles, options.neighbours, threads=options.threads)
        return self
