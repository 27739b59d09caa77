"""The map of tracks: what is laid out stays, and what comes lies beside what it is like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossfade.errors import UsageError
from crossfade.models.analysis.track_map import TrackMap, TrackMapOptions
from crossfade.models.arrays import Floats

ONE_STEP = 1 / 65_535
"""of a coordinate as the service sends it"""


def groups(count: int, *, seed: int = 0) -> tuple[Floats, np.ndarray]:
    """(vectors of five groups, the group of each)"""
    centres = np.random.default_rng(0).normal(size=(5, 16))
    rng = np.random.default_rng(seed)
    group = rng.integers(5, size=count)
    return (centres[group] + 0.3 * rng.normal(size=(count, 16))).astype(np.float32), group


@pytest.fixture(scope="module")
def made() -> TrackMap:
    return TrackMap(TrackMapOptions(anchors=80)).fit(groups(200)[0], "test")


def test_anchors_lie_where_they_were_laid_out(made: TrackMap) -> None:
    assert made.positions.min() >= 0 and made.positions.max() <= 1 and len(made.anchors) == 80
    np.testing.assert_allclose(made.place(3 * made.anchors), made.positions, atol=ONE_STEP)


def test_tracks_that_come_move_nobody(made: TrackMap) -> None:
    vectors = groups(200)[0]
    more = np.concatenate([vectors, groups(300, seed=1)[0]])
    np.testing.assert_allclose(made.place(more)[:200], made.place(vectors), atol=ONE_STEP)
    np.testing.assert_allclose(made.place(more[7:8])[0], made.place(more)[7], atol=ONE_STEP)


def test_new_tracks_lie_among_their_own(made: TrackMap) -> None:
    vectors, group = groups(300, seed=2)
    places = made.place(vectors)
    distances = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(300, np.inf))
    assert (group[distances.argmin(axis=1)] == group).mean() > 0.97


def test_it_is_kept(made: TrackMap, tmp_path: Path) -> None:
    made.save(tmp_path)
    again = TrackMap.load(tmp_path)
    assert again.same_as(made) and (again.of, again.tracks) == ("test", 200)
    assert not TrackMap(TrackMapOptions(anchors=80, seed=1)).fit(groups(200)[0]).same_as(made)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_tracks_and_none(count: int) -> None:
    vectors = np.concatenate([groups(count)[0], np.zeros((1, 16), np.float32)])
    made = TrackMap().fit(vectors)
    places = made.place(vectors)
    assert np.isnan(places[-1]).all() and np.isfinite(places[:-1]).all()
    assert made.place(np.zeros((0, 16), np.float32)).shape == (0, 2)
    if count == 1:
        np.testing.assert_allclose(places[0], 0.5)


def test_equal_vectors_share_a_place() -> None:
    vectors = np.repeat(groups(1)[0], 60, axis=0)
    np.testing.assert_allclose(TrackMap().fit(vectors).place(vectors) % 1, 0.5, atol=0.5)


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="0 anchors"):
        TrackMapOptions(anchors=0)
