"""Groups of users: they divide the users, and what they are named after orders them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from crossfade.models.confidence_weights import States
from crossfade.models.evaluation.popularity import TrackPopularity
from crossfade.models.evaluation.user_groups import activity_groups, mainstream_groups, mainstreaminess, thirds
from crossfade.models.interactions import Interactions


@pytest.mark.parametrize("users", [3, 9, 100, 101])
def test_thirds_of_different_values_are_equal_and_ordered(users: int, rng: np.random.Generator) -> None:
    values = rng.permutation(users)
    groups = thirds(values)
    sizes = np.bincount(groups, minlength=3)
    assert sizes.sum() == users and sizes.max() - sizes.min() <= 1
    light, medium, heavy = (values[groups == group] for group in range(3))
    assert light.max() < medium.min() <= medium.max() < heavy.min()


def test_users_with_equal_values_stay_together() -> None:
    assert thirds(np.full(10, 4)).tolist() == [1] * 10
    groups = thirds(np.array([1] * 8 + [2, 3]))
    assert len(set(groups[:8].tolist())) == 1


def test_listeners_are_light_or_heavy_by_their_listens() -> None:
    rows = np.repeat(np.arange(3, dtype=np.int32), [2, 5, 9])
    log = Interactions(rows, np.zeros(16, np.int32), np.ones(16, np.float32), 4, 1)
    assert activity_groups(log, np.array([2, 0, 1], np.int32)).tolist() == [2, 0, 1]
    # Rows that count plays stand for as many listens, and for one where they are skips or ratings.
    states = States(plays=np.array([100.0] + [0.0] * 15, np.float32))
    counted = Interactions(rows, np.zeros(16, np.int32), np.ones(16, np.float32), 4, 1, states=states)
    assert activity_groups(counted, np.array([0, 1, 2], np.int32)).tolist() == [2, 0, 1]


def test_mainstream_listeners_like_what_many_like() -> None:
    popularity = TrackPopularity(np.array([64, 16, 4, 1, 0]))
    likes = csr_matrix(np.array([[0, 0, 1, 1, 0], [1, 1, 0, 0, -1], [1, 0, 0, 1, 0], [0, 0, 0, 0, -1]], np.float32))
    found = mainstreaminess(likes, popularity)
    np.testing.assert_allclose(found, [(2 + 0) / 2, (6 + 4) / 2, (6 + 0) / 2, np.nan])
    assert mainstream_groups(likes[:3], popularity).tolist() == [0, 2, 1]


def test_mainstream_does_not_depend_on_how_much_a_user_likes(rng: np.random.Generator) -> None:
    """Each user's profile twice over, with tracks as popular as the first ones."""
    listeners = rng.integers(1, 100, 30)
    likes = (rng.random((12, 30)) < 0.3).astype(np.float32)
    likes[:, 0] = 1
    once = mainstreaminess(csr_matrix(likes), TrackPopularity(listeners))
    twice = mainstreaminess(csr_matrix(np.hstack([likes, likes])), TrackPopularity(np.tile(listeners, 2)))
    np.testing.assert_allclose(once, twice)
