"""Popular: the same tracks for everyone, the ones with the most listeners; the floor under every other model.

Recent-popular looks at the log's end only, by a window, or with a half-life by listens that fade (the DecayPop of
benchmarks such as Yambda). Personal-popular puts a user's own most played tracks first: the floor where tracks may come
again.

Shapes: U users, T tracks, N listens, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ..arrays import Answers, Ids, Scores
from ..interactions import Clock, Interactions, liked
from .base import RECENT_SECONDS, History, Recommender, popularity, rank
from .search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class PopularOptions:
    window_seconds: float | None = None
    """Count the listeners of the log's last seconds first; None counts them all."""
    half_life_hours: float | None = None
    """Let a listen count half after so many hours, before the log's end, and do without a window."""


class Popular(Recommender):
    """Ranks tracks by how many different users listened to them."""

    name = "popular"

    options: PopularOptions
    options_type = PopularOptions

    def fit(self, interactions: Interactions) -> Self:
        history, options = History.of(interactions), self.options
        scores = popularity(interactions, options.window_seconds)
        if options.half_life_hours is not None:
            scores = _fading_popularity(interactions, options.half_life_hours, scores)
        self.history = replace(history, popularity=scores)
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
        "half_life_hours": Choice((None, 24.0, 168.0, 720.0, 2160.0, 8760.0)),
        "window_seconds": Range(_HOUR_SECONDS, 8760 * _HOUR_SECONDS, logarithmic=True),
    }

    def __init__(self, options: PopularOptions | None = None) -> None:
        super().__init__(options or PopularOptions(window_seconds=RECENT_SECONDS))


class PersonalPopular(Popular):
    """A user's own tracks, the one with the highest confidence first, then the popular ones.

    It differs from popular only where seen tracks may be recommended again.
    """

    name = "personal-popular"

    def scores_from(self, user_items: csr_matrix) -> Scores:
        """1 and the confidence of an own track, the popularity of others as a number below 1."""
        likes = liked(user_items)
        popular = self.track_scores / (np.max(self.track_scores) + 1)
        cells = np.tile(popular, (likes.shape[0], 1))
        users = np.repeat(np.arange(likes.shape[0]), np.diff(likes.indptr))
        known = np.where(popular[likes.indices] > 0, popular[likes.indices], 0)
        cells[users, likes.indices] = 1 + likes.data + 1e-3 * known
        return cells


def _fading_popularity(interactions: Interactions, half_life_hours: float, popularity: Scores) -> Scores:
    """[T] listens that the users like, each halved for every half-life since; ties by `popularity`."""
    if interactions.clock is not Clock.TIME or interactions.times is None:
        return popularity
    likes = interactions.weights > 0
    ages = (interactions.times[likes].max() - interactions.times[likes]) / (half_life_hours * _HOUR_SECONDS)
    fading = np.bincount(interactions.track_rows[likes], 2.0**-ages, minlength=interactions.track_count)
    return np.where(popularity > 0, fading + 1e-9 * popularity, -np.inf).astype(np.float32)
