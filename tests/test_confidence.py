"""What events say about taste."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossfade.audio.errors import DataError, UsageError
from crossfade.models.confidence import ConfidenceOptions, Signals, confidences

NAN = float("nan")


def pair(signals: Signals, count: int, options: ConfidenceOptions | None = None) -> NDArray[np.float32]:
    rows = np.zeros(count, np.int32)
    return confidences(rows, rows, signals, options=options)


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_one_play_is_worth_one_however_it_is_told() -> None:
    assert pair(Signals(), 1).tolist() == [1]
    assert pair(Signals(plays=column(1)), 1).tolist() == [1]
    assert pair(Signals(played_ratio=column(0.5)), 1).tolist() == [1]


def test_counted_plays_are_worth_the_same_as_told_one_by_one() -> None:
    assert pair(Signals(), 13).sum() == pytest.approx(pair(Signals(plays=column(13)), 1)[0], abs=1e-6)


def test_a_skip_counts_nothing() -> None:
    assert pair(Signals(played_ratio=column(0.49)), 1).tolist() == [0]
    assert pair(Signals(played_ratio=column(0.49)), 1, ConfidenceOptions(ratio_threshold=0.4)).tolist() == [1]


def test_likes_add_and_dislikes_overrule() -> None:
    assert pair(Signals(liked=column(1)), 1).tolist() == [2]
    assert pair(Signals(liked=column(NAN, 1)), 2).sum() == 3
    assert pair(Signals(liked=column(NAN, NAN, NAN, 1, -1)), 5).sum() == -1


def test_what_is_taken_back_leaves_the_plays() -> None:
    assert pair(Signals(liked=column(NAN, 1, 0)), 3).sum() == 1
    assert pair(Signals(liked=column(NAN, -1, 0)), 3).sum() == 1


def test_ratings_count_by_their_share_of_the_highest() -> None:
    rows = np.arange(4, dtype=np.int32)
    weights = confidences(rows, rows, Signals(rating=column(5, 2.5, 1, NAN)))
    assert weights.tolist() == pytest.approx([1, 0.5, -0.8, 1])


def test_only_the_newest_rating_counts() -> None:
    assert pair(Signals(rating=column(5, 1, 4)), 3).sum() == pytest.approx(4 / 5)


def test_an_event_counts_half_after_the_half_life() -> None:
    rows = np.arange(3, dtype=np.int32)
    days = np.array([0, 30, 60]) * 86_400
    weights = confidences(rows, rows, Signals(), times=days, options=ConfidenceOptions(half_life_days=30))
    assert weights.tolist() == pytest.approx([0.25, 0.5, 1])


def test_a_half_life_needs_times_and_sense() -> None:
    with pytest.raises(DataError, match="no times"):
        pair(Signals(), 1, ConfidenceOptions(half_life_days=1))
    with pytest.raises(UsageError, match="half-life: 0 days"):
        ConfidenceOptions(half_life_days=0)


def test_ratings_that_are_all_zero_are_refused() -> None:
    with pytest.raises(DataError, match="the highest is 0"):
        pair(Signals(rating=column(0, 0)), 2)


def test_no_events_no_weights() -> None:
    assert pair(Signals(), 0).shape == (0,)


EVENT = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.sampled_from([NAN, 0, 1, 7]), st.sampled_from([NAN, -1, 0, 1])
)


@given(st.lists(EVENT, min_size=1, max_size=30), st.integers(0, 30))
def test_the_weights_before_any_cut_add_up_to_the_confidence_at_the_cut(
    events: list[tuple[int, int, float, float]], cut: int
) -> None:
    events = sorted(events, key=lambda event: event[:2])
    users, tracks, plays, liked = (np.array(values) for values in zip(*events, strict=True))
    seen = np.ones(len(events), np.bool_)
    for key in set(zip(users, tracks, strict=True)):
        own = np.flatnonzero((users == key[0]) & (tracks == key[1]))
        seen[own[cut:]] = False

    def weights(which: NDArray[np.bool_]) -> NDArray[np.float32]:
        return confidences(
            users[which].astype(np.int32),
            tracks[which].astype(np.int32),
            Signals(plays=plays[which].astype(np.float32), liked=liked[which].astype(np.float32)),
        )

    np.testing.assert_allclose(weights(np.ones(len(events), np.bool_))[seen], weights(seen), atol=1e-5)
