"""Laws of the splits: nothing is lost, nothing is on both sides, and the future stays out of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossfade.errors import DataError
from crossfade.models.catalogue import Catalogue
from crossfade.models.evaluation import splits
from crossfade.models.evaluation.splits import Split
from crossfade.models.interactions import Clock, Interactions

USERS, TRACKS, COUNT = 120, 40, 2_000


@pytest.fixture
def listens(rng: np.random.Generator) -> Interactions:
    """Repeats included, and a user with a single listen."""
    users = np.append(rng.integers(0, USERS - 1, COUNT - 1), USERS - 1).astype(np.int32)
    tracks = rng.integers(0, TRACKS, COUNT).astype(np.int32)
    return Interactions(
        users, tracks, np.ones(COUNT, np.float32), USERS, TRACKS, rng.permutation(COUNT) * 60, Clock.TIME
    )


def pairs(listens: Interactions) -> set[tuple[int, int]]:
    return set(zip(listens.user_rows.tolist(), listens.track_rows.tolist(), strict=True))


def whole(split: Split) -> list[int]:
    """The times, which name the listens."""
    return sorted([*split.train.times, *split.test.times])


def test_by_chance_keeps_pairs_together(listens: Interactions, rng: np.random.Generator) -> None:
    split = splits.by_chance(listens, rng)
    assert whole(split) == sorted(listens.times) and split.within_user
    assert not pairs(split.train) & pairs(split.test)
    assert len(pairs(split.test)) / len(pairs(listens)) == pytest.approx(0.2, abs=0.04)


def test_by_user_holds_out_each_users_last(listens: Interactions) -> None:
    split = splits.by_user(listens)
    assert whole(split) == sorted(listens.times) and split.within_user
    for user in range(USERS - 1):
        earlier = split.train.times[split.train.user_rows == user]
        later = split.test.times[split.test.user_rows == user]
        assert len(later) == max(1, (len(earlier) + len(later)) // 5)
        assert earlier.max() < later.min()
    assert USERS - 1 in split.train.user_rows and USERS - 1 not in split.test.user_rows


def test_by_time_has_one_moment_and_a_gap(listens: Interactions) -> None:
    split = splits.by_time(listens, share=0.25, gap_seconds=600)
    assert not split.within_user
    assert split.test.times.min() - split.train.times.max() > 600
    assert len(split.test) == pytest.approx(COUNT / 4, abs=1)
    assert whole(splits.by_time(listens)) == sorted(listens.times)


def test_new_releases_are_tracks_first_heard_in_the_last_days() -> None:
    """Days 0, 1, 29 and 30: the last 28 days begin with day 2, and tracks 2 and 3 are first heard in them."""
    days, tracks = np.array([0, 1, 1, 29, 29, 30]), np.array([0, 1, 0, 1, 2, 3], np.int32)
    log = Interactions(
        np.array([0, 1, 0, 0, 1, 1], np.int32), tracks, np.ones(6, np.float32), 2, 4, days * 86_400, Clock.TIME
    )
    split = splits.new_releases(log)
    assert split.train.track_rows.tolist() == [0, 1, 0] and split.test.track_rows.tolist() == [2, 3]
    gapped = splits.new_releases(log, gap_seconds=1.5 * 86_400)
    assert gapped.train.track_rows.tolist() == [0]
    # A track that was heard in the gap is not new.
    assert gapped.test.track_rows.tolist() == [2, 3]


def test_times_are_needed_where_they_are_used(listens: Interactions) -> None:
    for by_times in (splits.by_time, splits.new_releases):
        with pytest.raises(DataError, match="the clock is order"):
            by_times(replace(listens, clock=Clock.ORDER))
    with pytest.raises(DataError, match="neither"):
        splits.by_user(replace(listens, clock=Clock.NONE, times=None))


def test_the_fitting_split_is_what_the_log_allows(listens: Interactions, rng: np.random.Generator) -> None:
    assert splits.fitting(listens, rng).name == "temporal"
    assert "by order" in splits.fitting(replace(listens, clock=Clock.ORDER), rng).name
    assert "by chance" in splits.fitting(replace(listens, clock=Clock.NONE, times=None), rng).name
    # One user after the other: hardly anybody is on both sides of a moment.
    in_turn = replace(listens, times=listens.user_rows.astype(np.int64) * 10_000)
    assert "within-user" in splits.fitting(in_turn, rng).name


def test_whole_tracks_and_users_are_on_one_side(listens: Interactions, rng: np.random.Generator) -> None:
    tracks, users = splits.some_tracks(listens, rng), splits.some_users(listens, rng)
    assert tracks.sum() == TRACKS // 5 and users.sum() == USERS // 10
    by_track, by_user = splits.without_tracks(listens, tracks), splits.without_users(listens, users)
    assert not set(by_track.train.track_rows) & set(by_track.test.track_rows)
    assert not set(by_user.train.user_rows) & set(by_user.test.user_rows)
    assert whole(by_track) == whole(by_user) == sorted(listens.times)


def test_thinned_tracks_keep_so_many_listeners(listens: Interactions, rng: np.random.Generator) -> None:
    wanted = np.full(TRACKS, -1)
    wanted[:10] = [0, 1, 2, 5, 10, 0, 1, 2, 5, 10]
    split = splits.thinned(listens, wanted, rng)
    expected = np.where(wanted < 0, listens.listeners, np.minimum(wanted, listens.listeners))
    np.testing.assert_array_equal(split.train.listeners, expected)
    assert not pairs(split.train) & pairs(split.test)


def test_known_artists_have_a_warm_track(rng: np.random.Generator) -> None:
    artists = (("a",), ("a", "b"), ("b",), ("c",), ("Various Artists",), ("Various Artists",), ())
    catalogue = Catalogue(tuple("0123456"), artists, np.zeros((7, 0), np.float32))
    warm = np.array([True, False, False, False, True, False, False])
    np.testing.assert_array_equal(splits.known_artists(catalogue, warm), [1, 1, 0, 0, 0, 0, 0])
    chosen = splits.some_artists(catalogue, rng, share=1.0)
    np.testing.assert_array_equal(chosen, [1, 1, 1, 1, 0, 0, 0])
