"""Popular: the same tracks for everyone, the ones with the most listeners; the floor under every other model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ..arrays import Answers, Ids, Scores
from ..interactions import Interactions
from .base import RECENT_SECONDS, History, Recommender, popularity, rank
from .search_space import Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class PopularOptions:
    window_seconds: float | None = None
    """Count the listeners of the log's last seconds first; None counts them all."""


class Popular(Recommender):
    """Ranks tracks by how many different users listened to them."""

    name = "popular"

    options: PopularOptions
    options_type = PopularOptions

    def fit(self, interactions: Interactions) -> Self:
        scores = popularity(interactions, self.options.window_seconds)
        self.history = replace(History.of(interactions), popularity=scores)
        return self

    def scores_from(self, user_items: csr_matrix) -> Scores:
        """Numbers of listeners, the same for all."""
        return np.tile(self.track_scores, (user_items.shape[0], 1))

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """The most popular other tracks: it does not depend on the track."""
        rows = np.asarray(track_rows)

        def score(start: int, stop: int) -> Scores:
            cells = np.tile(self.track_scores, (stop - start, 1))
            cells[np.arange(stop - start), rows[start:stop]] = -np.inf
            return cells

        return rank(score, len(rows), k, len(self.track_scores))

    @property
    def track_scores(self) -> Scores:
        """[T]"""
        return self.history.popularity


class RecentPopular(Popular):
    """Popular in the log's last thirty days; in a log without comparable times, popular."""

    name = "recent-popular"
    search_space: ClassVar[SearchSpace] = {
        "window_seconds": Range(_HOUR_SECONDS, 8760 * _HOUR_SECONDS, logarithmic=True)
    }

    def __init__(self, options: PopularOptions | None = None) -> None:
        super().__init__(options or PopularOptions(window_seconds=RECENT_SECONDS))
