"""Features are of the past only, and mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_ranking import CATALOGUE, LISTENS, OPTIONS, SPLIT, each, fitted, warm

from crossfade.errors import DataError
from crossfade.models.hybrid.crossfade import HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.prior import PriorOptions
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.ranking.candidates import CandidateGenerator
from crossfade.models.ranking.features import HistoryStatistics, features, joined
from crossfade.pipelines.interactions.statistics import DAY_SECONDS


def test_features_know_nothing_of_the_label_period(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    """Whatever comes later, the same history has the same features."""
    statistics = HistoryStatistics.of(SPLIT.train, CATALOGUE)
    table = joined([features(generator, statistics, found) for found in each(generator, warm(hybrid))])
    later = replace(SPLIT.test, track_rows=np.roll(SPLIT.test.track_rows, 7))
    both = Interactions(
        np.concatenate([SPLIT.train.user_rows, later.user_rows]),
        np.concatenate([SPLIT.train.track_rows, later.track_rows]),
        np.concatenate([SPLIT.train.weights, later.weights]),
        LISTENS.user_count,
        LISTENS.track_count,
        np.concatenate([SPLIT.train.times, later.times]),
        Clock.TIME,
    )
    again = both.take(both.times < SPLIT.test.times.min())
    other = CandidateGenerator(fitted(again), OPTIONS.candidates).fit(again)
    statistics = HistoryStatistics.of(again, CATALOGUE)
    same = joined([features(other, statistics, found) for found in each(other, warm(hybrid))])
    np.testing.assert_array_equal(table.numbers, same.numbers)
    assert {"genre_share", "tracks_per_month", "released_days", "artist_count", "trend"} <= set(table.names)


def test_features_of_some_candidates_are_theirs_among_all(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    statistics, (found,) = HistoryStatistics.of(SPLIT.train, CATALOGUE), each(generator, warm(hybrid, 1))
    kept = np.arange(len(found)) % 3 == 0
    some, every = features(generator, statistics, found, kept), features(generator, statistics, found).take(kept)
    np.testing.assert_array_equal(some.genres, every.genres)
    np.testing.assert_allclose(some.numbers, every.numbers, rtol=1e-5, atol=1e-6)


def test_age_and_fame_gaps_are_measured_from_liked_tracks(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    statistics, row = HistoryStatistics.of(SPLIT.train, CATALOGUE), warm(hybrid, 1)
    (found,) = each(generator, row)
    table = features(generator, statistics, found)
    liked = hybrid.history.liked[row].indices
    years = np.maximum(SPLIT.train.times.max() - CATALOGUE.released_at, 0) / DAY_SECONDS / 365
    logs = np.log1p(SPLIT.train.listeners)
    tracks = found.ids
    expected = {
        "age_gap": np.abs(years[tracks] - years[liked].mean()),
        "age_spread": np.full(len(tracks), years[liked].std()),
        "fame_gap": logs[tracks] - logs[liked].mean(),
        "week_listeners": last_days(7)[tracks],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table.numbers[:, table.names.index(name)], values, rtol=1e-3, atol=1e-4)


def last_days(days: int) -> np.ndarray:
    return SPLIT.train.take(SPLIT.train.times > SPLIT.train.times.max() - days * DAY_SECONDS).listeners


def test_a_leak_without_times_is_caught() -> None:
    untimed = replace(LISTENS, times=None, clock=Clock.NONE)
    with pytest.raises(DataError, match="a leak"):
        HistoryStatistics.of(untimed, CATALOGUE).check_no_leak(untimed.take(np.arange(50)), within_user=True)


def test_a_history_without_sound_has_the_same_features(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    """Which sources there are depends on the history; which features there are does not."""
    without_sound = Hybrid(CATALOGUE, als=hybrid.als.options, options=HybridOptions(prior=PriorOptions(sound="none")))
    other = CandidateGenerator(without_sound.fit(SPLIT.train), OPTIONS.candidates).fit(SPLIT.train)
    statistics, rows = HistoryStatistics.of(SPLIT.train, CATALOGUE), warm(hybrid)
    tables = [features(one, statistics, each(one, rows)[0]) for one in (generator, other)]
    assert tables[0].names == tables[1].names
    unknown = tables[1].numbers[:, tables[1].names.index("sound_score")]
    assert np.isnan(unknown).all()
