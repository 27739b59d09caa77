"""The popular tracks, those of late, and a user's own."""

from __future__ import annotations

import numpy as np

from crossfade.models.interactions import Clock, Interactions
from crossfade.models.recommenders.popular import PersonalPopular, PopularOptions, RecentPopular

HOUR = 3600
ROWS, TRACKS = np.array([0, 1, 2, 0, 1, 0], np.int32), np.array([0, 0, 0, 1, 1, 2], np.int32)
HOURS_AGO = np.array([48, 48, 48, 24, 24, 0])
LISTENS = Interactions(
    ROWS, TRACKS, np.array([1, 1, 1, 2, 2, 3], np.float32), 3, 3, (100 - HOURS_AGO) * HOUR, Clock.TIME
)


def test_a_listen_counts_half_after_a_half_life() -> None:
    def scores(hours: float) -> np.ndarray:
        return RecentPopular(PopularOptions(half_life_hours=hours)).fit(LISTENS).track_scores

    np.testing.assert_allclose(scores(24), [3 / 4, 2 / 2, 1], atol=1e-6)
    np.testing.assert_allclose(scores(1e9), [3, 2, 1], atol=1e-6)
    np.testing.assert_allclose(scores(12), [3 / 16, 2 / 4, 1], atol=1e-6)
    # Of the same score the more popular one comes first.
    ids, _ = RecentPopular(PopularOptions(half_life_hours=24)).fit(LISTENS).recommend(np.array([-1]), 3)
    assert ids.tolist() == [[1, 2, 0]]


def test_own_tracks_come_first_where_they_may_come_again() -> None:
    model = PersonalPopular().fit(LISTENS)
    users = np.arange(3, dtype=np.int32)
    ids, _ = model.recommend(users, 3, allow_seen=True)
    assert ids.tolist() == [[2, 1, 0], [1, 0, 2], [0, 1, 2]]
    ids, _ = model.recommend(users, 3)
    assert ids.tolist() == [[-1, -1, -1], [2, -1, -1], [1, 2, -1]]
