"""Item-KNN: tracks are near when the same users listen to them; a user's score adds up what their tracks are near to.

The similarity is the cosine of the tracks' columns of the user x track matrix, in which users of many tracks weigh
less, and with lengths damped: a full cosine makes a track with two listeners the nearest of all. The columns may be
weighted by BM25 or tf-idf, a track being a document and its listeners the words in it (Robertson & Zaragoza 2009, "The
Probabilistic Relevance Framework: BM25 and Beyond"). Each track keeps its nearest neighbours only.

The cost is that of all pairs of a user's tracks. Of a user with very many, a sample of 500 is as good (Schelter, Boden
& Markl 2012, "Scalable Similarity-Based Neighborhood Methods with MapReduce").

Shapes: U users, T tracks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ...errors import UsageError
from ..arrays import kept_entries, row_entries
from ..evaluation.splits import positions_in_groups
from ..interactions import Interactions
from .base import History
from .item_similarity import HALF_LIVES, ItemSimilarityOptions, ItemSimilarityRecommender, nearest_columns
from .search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


WEIGHTINGS = (None, "bm25", "tf-idf")
_MOST_TRACKS = 500
"""of one user"""


@dataclass(frozen=True, kw_only=True)
class ItemKNNOptions(ItemSimilarityOptions):
    # Chosen on a validation part of mpd-5core (scripts/experiments/choose_defaults).
    neighbours: int = 300
    user_discount: float = 0.25
    """A weight is divided by the user's number of tracks to this power."""
    length_power: float = 0.8
    """Columns are divided by their length to this power: 1 is the cosine, 0 counts common listeners."""
    weighting: str | None = None
    """`bm25` or `tf-idf`, before the discounts; None for the confidences as they are"""
    bm25_k1: float = 1.2
    """how much more a larger confidence counts: 0 not at all"""
    bm25_b: float = 0.5
    """how much less a listener of a track of many listeners counts: 0 not at all"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighting not in WEIGHTINGS:
            raise UsageError(f"weighting {self.weighting}: no such one; there are bm25, tf-idf")


class ItemKNN(ItemSimilarityRecommender):
    """Recommends what has common listeners with the tracks a user likes."""

    name = "item-knn"

    options: ItemKNNOptions
    options_type = ItemKNNOptions
    search_space: ClassVar[SearchSpace] = {
        "weighting": Choice(WEIGHTINGS),
        "bm25_k1": Range(0.5, 200, logarithmic=True),
        "bm25_b": Range(0, 1),
        "half_life": HALF_LIVES,
        "neighbours": Range(30, 1000, logarithmic=True, integer=True),
        "user_discount": Range(0, 0.8),
        "length_power": Range(0.4, 1),
    }

    def fit(self, interactions: Interactions) -> Self:
        self.history, options = History.of(interactions), self.options
        profiles = self._weighted(self.history.liked.astype(np.float64))
        counts = np.diff(profiles.indptr)
        profiles.data /= np.repeat(np.maximum(counts, 1), counts) ** options.user_discount
        squares = np.bincount(profiles.indices, profiles.data**2, minlength=interactions.track_count)
        profiles.data /= squares[profiles.indices] ** (options.length_power / 2)
        self.similarity = nearest_columns(_sampled(profiles), options.neighbours, threads=options.threads)
        self._keep_recency(interactions)
        return self

    def _weighted(self, profiles: csr_matrix) -> csr_matrix:
        """Confidences [U, T] by BM25 or tf-idf."""
        options = self.options
        if options.weighting is None:
            return profiles
        plays = np.bincount(profiles.indices, profiles.data, minlength=profiles.shape[1])
        counts = np.diff(profiles.indptr)
        rarity = np.log(np.count_nonzero(plays)) - np.log1p(counts)
        if options.weighting == "bm25":
            lengths = 1 - options.bm25_b + options.bm25_b * plays / plays[plays > 0].mean()
            damped = options.bm25_k1 * lengths[profiles.indices] + profiles.data
            profiles.data *= (options.bm25_k1 + 1) / damped
        profiles.data *= np.repeat(np.maximum(rarity, 0), counts)
        profiles.eliminate_zeros()
        return profiles


def _sampled(profiles: csr_matrix) -> csr_matrix:
    """[U, T] without some entries of the users who have more than `_MOST_TRACKS`, left out by chance."""
    counts = np.diff(profiles.indptr)
    entries, owners = row_entries(profiles, np.flatnonzero(counts > _MOST_TRACKS))
    order = np.lexsort((np.random.default_rng(0).random(len(entries)), owners))
    kept = np.ones(profiles.nnz, bool)
    kept[entries[order][positions_in_groups(owners, len(counts)) >= _MOST_TRACKS]] = False
    return kept_entries(profiles, kept)
