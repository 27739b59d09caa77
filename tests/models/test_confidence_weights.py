"""What events say about taste."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossfade.errors import DataError, UsageError
from crossfade.models.confidence_weights import ConfidenceOptions, States
from crossfade.models.hybrid.online import NO_HISTORY, UserHistory
from crossfade.models.interactions import Clock, Interactions

NAN = float("nan")
Columns = dict[str, NDArray[np.float32]]


def log(
    tracks: list[int],
    signals: Columns,
    days: list[float] | None = None,
    options: ConfidenceOptions | None = None,
) -> Interactions:
    """One user's events, one after the other."""
    options = options or ConfidenceOptions()
    states = States.of(len(tracks), options, **signals)
    rows = np.array(tracks, np.int32)
    times = None if days is None else (np.array(days) * 86_400).astype(np.int64)
    clock = Clock.NONE if days is None else Clock.TIME
    weights = states.confidences(options)
    return Interactions(np.zeros_like(rows), rows, weights, 1, 9, times, clock, None, states, options)


def pair(signals: Columns, count: int, options: ConfidenceOptions | None = None) -> float:
    """The confidence in a pair with these events."""
    return float(log([0] * count, signals, options=options).matrix[0, 0])


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_one_play_is_worth_one_in_every_form() -> None:
    assert pair({}, 1) == 1
    assert pair({"plays": column(1)}, 1) == 1
    assert pair({"played_ratio": column(0.5)}, 1) == 1


def test_counted_plays_are_worth_the_same_as_single_events() -> None:
    assert pair({}, 13) == pytest.approx(pair({"plays": column(13)}, 1), abs=1e-6)


def test_a_skip_counts_nothing() -> None:
    assert pair({"played_ratio": column(0.49)}, 1) == 0
    assert pair({"played_ratio": column(0.49)}, 1, ConfidenceOptions(ratio_threshold=0.4)) == 1


def test_likes_add_and_dislikes_overrule() -> None:
    assert pair({"liked": column(1)}, 1) == 2
    assert pair({"liked": column(NAN, 1)}, 2) == 3
    assert pair({"liked": column(NAN, NAN, NAN, 1, -1)}, 5) == -1


def test_what_is_taken_back_leaves_the_plays() -> None:
    assert pair({"liked": column(NAN, 1, 0)}, 3) == 1
    assert pair({"liked": column(NAN, -1, 0)}, 3) == 1


def test_ratings_count_by_their_share_of_the_highest() -> None:
    listens = log([0, 1, 2, 3], {"rating": column(5, 2.5, 1, NAN)})
    assert listens.matrix.data.tolist() == pytest.approx([1, 0.5, -0.8, 1])


def test_only_the_newest_rating_counts() -> None:
    assert pair({"rating": column(5, 1, 4)}, 3) == pytest.approx(4 / 5)


HALVED = ConfidenceOptions(half_life_days=30)


def test_a_play_counts_half_after_the_half_life() -> None:
    listens = log([0, 1, 2, 2], {}, [0, 30, 60, 60], HALVED)
    assert listens.matrix.data.tolist() == pytest.approx(np.log2([1.25, 1.5, 3]).tolist())


def test_what_is_taken_back_or_disliked_later_leaves_nothing_of_what_it_was() -> None:
    """A weight is worked out from a state that fades: what is taken back is gone, however old it was."""
    days: list[float] = [0, 365]
    assert log([0, 0], {"liked": column(1, 0)}, days, HALVED).matrix[0, 0] == 0
    assert log([0, 0], {"liked": column(NAN, -1)}, days, HALVED).matrix[0, 0] == -1
    assert log([0, 0], {"liked": column(-1, 0)}, days, HALVED).matrix[0, 0] == 0
    assert log([0, 0, 1], {"liked": column(1, NAN, NAN)}, [0, 0, 30], HALVED).matrix[0, 0] == pytest.approx(
        np.log2(1.5) + 1
    )


def test_a_half_life_needs_times_and_sense() -> None:
    with pytest.raises(DataError, match="no times"):
        pair({}, 1, ConfidenceOptions(half_life_days=1))
    with pytest.raises(UsageError, match="half-life: 0 days"):
        ConfidenceOptions(half_life_days=0)


def test_ratings_that_are_all_zero_are_refused() -> None:
    with pytest.raises(DataError, match="the highest is 0"):
        pair({"rating": column(0, 0)}, 2)


def test_no_events_no_weights() -> None:
    listens = log([], {})
    assert listens.matrix.nnz == 0 and len(listens.listeners) == 9 and listens.newest is None


EVENT = st.tuples(
    st.integers(0, 2),
    st.sampled_from([NAN, 0, 1, 7]),
    st.sampled_from([NAN, 0.2, 1]),
    st.sampled_from([NAN, -1, 0, 1]),
    st.integers(0, 90),
)
EVENTS = st.lists(EVENT, min_size=1, max_size=30).map(lambda events: sorted(events, key=lambda event: event[-1]))


def read(events: list[tuple[int, float, float, float, int]], options: ConfidenceOptions) -> Interactions:
    if not events:
        return log([], {}, [], options)
    tracks, plays, ratios, liked, days = (list(values) for values in zip(*events, strict=True))
    signals = {"plays": column(*plays), "played_ratio": column(*ratios), "liked": column(*liked)}
    return log([int(track) for track in tracks], signals, [float(day) for day in days], options)


@given(EVENTS, st.integers(0, 30), st.sampled_from([None, 30.0]))
def test_a_log_cut_at_any_moment_holds_what_was_known_then(
    events: list[tuple[int, float, float, float, int]], cut: int, half_life: float | None
) -> None:
    options = ConfidenceOptions(half_life_days=half_life)
    part = read(events, options).take(np.arange(len(events)) < cut)
    np.testing.assert_allclose(part.matrix.toarray(), read(events[:cut], options).matrix.toarray(), atol=1e-6)


@given(EVENTS, st.integers(0, 30), st.sampled_from([None, 30.0]))
def test_news_is_worth_what_the_next_training_makes_of_it(
    events: list[tuple[int, float, float, float, int]], cut: int, half_life: float | None
) -> None:
    """Batch = live: a history with news added has the confidences of a training on both, likes, skips and all."""
    options = ConfidenceOptions(half_life_days=half_life)
    whole, history, news = read(events, options), read(events[:cut], options), read(events[cut:], options)
    before = NO_HISTORY
    if len(history):
        known = history.matrix
        before = UserHistory(known.indices, known.data, history.pair_states, history.newest)
    after = before if not len(news) else before.with_events(news.track_rows, news.states, news.times, options)
    np.testing.assert_array_equal(after.track_rows, whole.matrix.indices)
    np.testing.assert_allclose(after.weights, whole.matrix.data, atol=1e-5)


def test_plays_in_two_parts_are_worth_as_much_as_in_one() -> None:
    """Three plays and a later dislike are a dislike; seven plays and seven more are fourteen plays."""
    seven, dislike = log([0], {"plays": column(7)}), log([0], {"liked": column(-1)})
    history = UserHistory(seven.matrix.indices, seven.matrix.data, seven.pair_states)
    now = np.zeros(1, np.int64)
    assert history.with_events(seven.track_rows, seven.states, now).weights[0] == pytest.approx(np.log2(15))
    assert history.with_events(dislike.track_rows, dislike.states, now).weights[0] == -1
    assert history.weights[0] == 3
