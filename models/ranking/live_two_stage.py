"""The chain for one listener at a time: what they listened to since the training counts at once.

Shapes: T tracks, k answers, L last tracks.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Scores, top_k
from ..hybrid.inner_product_scan import EXACT_ROWS
from ..hybrid.online import Listened, LiveTaste
from .candidates import Candidates
from .features import features
from .live_candidates import LiveSources
from .two_stage import TwoStageRecommender, fill_up, sigmoid

NOBODY: Ids = np.zeros(0, np.int32)


class LiveChain:
    """Never changes, so that any number of threads may ask."""

    def __init__(self, recommender: TwoStageRecommender, taste: LiveTaste, *, exact_rows: int = EXACT_ROWS) -> None:
        """`taste` is made from the chain's hybrid."""
        self.taste = taste
        self.generator = LiveSources(recommender.generator, taste, exact_rows=exact_rows)
        self._ranker = recommender.ranker
        self._statistics = recommender.statistics.extended(recommender.generator.track_count)

    def append_tracks(self, recommender: TwoStageRecommender, taste: LiveTaste) -> LiveChain:
        """The same over the tracks of `chain` and `taste`, which are these and cold ones behind them; quickly."""
        longer = copy(self)
        longer.taste = taste
        longer.generator = self.generator.append_tracks(recommender.generator, taste)
        longer._statistics = self._statistics.extended(recommender.generator.track_count)
        return longer

    def recommend(
        self,
        listened: Listened,
        k: int,
        *,
        user_row: int = -1,
        newest: Ids = NOBODY,
        allow_seen: bool = False,
        there: NDArray[np.bool_] | None = None,
    ) -> tuple[Ids, Scores]:
        """Up to k tracks and their scores, best first; the popular ones for a cold listener.

        `user_row` of the training, -1 for somebody it never met; `newest` are the tracks they liked since then, the
        newest first; both are part of `listened`, too. `there` [T] says which tracks may be answers.
        Without news of a known user it is what `Chain.recommend` answers.
        """
        if listened.is_cold:
            return self.taste.candidates(listened, k, allow_seen=allow_seen, there=there)
        found = self.candidates(listened, user_row=user_row, newest=newest, allow_seen=allow_seen, there=there)
        scores = self._ranker.scores(features(self.generator.generator, self._statistics, found))
        order, scores = top_k(scores, k)
        ids, scores = found.ids[0][order], sigmoid(scores)
        if len(ids) < k:
            further, others = self.taste.candidates(listened, k, allow_seen=allow_seen, there=there)
            if not len(ids):
                return further, others
            ids, scores = np.pad(ids, (0, k - len(ids)), constant_values=-1), np.pad(scores, (0, k - len(scores)))
            fill_up(ids, scores, further)
            ids, scores = ids[ids >= 0], scores[ids >= 0]
        return ids, scores

    def candidates(
        self,
        listened: Listened,
        *,
        user_row: int = -1,
        newest: Ids = NOBODY,
        allow_seen: bool = False,
        there: NDArray[np.bool_] | None = None,
    ) -> Candidates:
        """What `recommend` ranks, for somebody who likes something."""
        profiles, wish = self.generator.profiles(listened, user_row, self._last(listened, user_row, newest))
        return self.generator.candidates_of(profiles, wish, allow_seen=allow_seen, candidates=there)

    def _last(self, listened: Listened, user_row: int, newest: Ids) -> Ids:
        """[L] the last different tracks that are liked still, the newest first."""
        before = self.generator.generator.last[user_row] if user_row >= 0 else NOBODY
        both = np.concatenate([newest, before[before >= 0]])
        both = both[np.isin(both, listened.track_rows[listened.weights > 0])]
        first = np.sort(np.unique(both, return_index=True)[1])
        return np.asarray(both[first], np.int32)
