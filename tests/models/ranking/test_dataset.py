"""Ranking datasets: labels of a later period, users held out, leaks caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_ranking import CATALOGUE, LISTENS, NOBODY_ASIDE, OPTIONS, SPLIT, fitted

from crossfade.errors import DataError
from crossfade.models.evaluation.splits import by_time, by_user
from crossfade.models.hybrid import model as hybrid_module
from crossfade.models.hybrid.crossfade import HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.interactions import Clock, Interactions, to_find
from crossfade.models.ranking import dataset as dataset_module
from crossfade.models.ranking.candidates import CandidateGenerator
from crossfade.models.ranking.dataset import HELD_OUT_EVERY, LABEL_FOLDS, labelled_candidates, ranking_dataset
from crossfade.models.ranking.features import HistoryStatistics
from crossfade.models.ranking.two_stage import TwoStageRecommender


def test_what_was_skipped_is_no_label(hybrid: Hybrid) -> None:
    """A track that was skipped in the history is seen: no candidate of the ranker, and nothing that it has to find."""
    wanted = to_find(SPLIT.test.matrix, SPLIT.train.matrix)
    users = np.flatnonzero((np.diff(wanted.indptr) > 0) & hybrid.history.warm_users)[:1]
    tracks = wanted[users].indices.astype(np.int32)
    times = np.full(len(tracks), SPLIT.train.times.min())
    rows = np.repeat(users, len(tracks)).astype(np.int32)
    nothing = np.zeros(len(tracks), np.float32)
    skips = replace(SPLIT.train, user_rows=rows, track_rows=tracks, weights=nothing, times=times)
    train = SPLIT.train.joined(skips)
    datasets = []
    for history in (SPLIT.train, train):
        generator = CandidateGenerator(fitted(history), OPTIONS.candidates).fit(history)
        split, rng = replace(SPLIT, train=history), np.random.default_rng(0)
        datasets.append(
            labelled_candidates(
                generator, HistoryStatistics.of(history, CATALOGUE), split, OPTIONS.ranker, rng, NOBODY_ASIDE
            )
        )
    assert users[0] in datasets[0].groups and users[0] not in datasets[1].groups


@pytest.mark.parametrize("within_user", [False, True])
def test_a_planted_leak_is_caught(hybrid: Hybrid, within_user: bool) -> None:
    split = by_user(LISTENS) if within_user else SPLIT
    everything = HistoryStatistics.of(LISTENS, CATALOGUE)
    generator = CandidateGenerator(fitted(LISTENS), OPTIONS.candidates).fit(LISTENS)
    with pytest.raises(DataError, match="a leak"):
        labelled_candidates(generator, everything, split, OPTIONS.ranker, np.random.default_rng(0), NOBODY_ASIDE)
    honest = HistoryStatistics.of(split.train, CATALOGUE)
    honest.check_no_leak(split.test, within_user=within_user)


def test_earlier_label_periods_are_trained_on_too(hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    monkeypatch.setattr(dataset_module, "LABEL_PERIODS", 1)
    newest = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    count = len(newest.labels)
    np.testing.assert_array_equal(both.table.numbers[:count], newest.table.numbers)
    assert both.recall == newest.recall and both.labels[count:].any()
    assert (np.diff(both.groups) >= 0).all() and both.groups[count] > newest.groups.max()


def test_label_periods_within_users_are_hidden_from_one_fold_at_a_time(
    hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sources know the whole listens of the other users; every user is asked for in one fold."""
    listens = replace(SPLIT.train, clock=Clock.ORDER)
    histories: list[Interactions] = []
    fit = CandidateGenerator.fit

    def recorded(generator: CandidateGenerator, listens: Interactions) -> CandidateGenerator:
        histories.append(listens)
        return fit(generator, listens)

    monkeypatch.setattr(CandidateGenerator, "fit", recorded)
    dataset = ranking_dataset(listens, CATALOGUE, hybrid, options=OPTIONS)
    counts = np.array([np.bincount(history.user_rows, minlength=listens.user_count) for history in histories])
    every = np.bincount(listens.user_rows, minlength=listens.user_count)
    before = np.bincount(by_user(listens).train.user_rows, minlength=listens.user_count)
    hidden = counts < every
    assert len(histories) == LABEL_FOLDS and (hidden.sum(axis=0) == (every > 1)).all()
    assert (counts == np.where(hidden, before, every)).all()
    assert np.ptp(hidden.sum(axis=1)) <= 1
    assert len(np.unique(dataset.groups)) <= (every > 1).sum() and dataset.held_out.any()
    assert 0 < dataset.recall["hybrid"] <= dataset.recall["all"] <= 1

    few = replace(OPTIONS, ranker=replace(OPTIONS.ranker, users=10))
    histories.clear()
    ranking_dataset(listens, CATALOGUE, hybrid, options=few)
    assert len(histories) == 1


def test_users_enough_need_no_second_label_period(hybrid: Hybrid) -> None:
    """Twenty are as many as two label periods of ten, also where some find nothing among their candidates."""
    few = replace(OPTIONS, ranker=replace(OPTIONS.ranker, users=10))
    dataset = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=few)
    assert dataset.users == 20 >= len(np.unique(dataset.groups[~dataset.held_out]))
    both = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    assert both.users > by_time(SPLIT.train).warm_user_count


def test_too_little_to_learn_from(hybrid: Hybrid) -> None:
    demanding = replace(OPTIONS, ranker=replace(OPTIONS.ranker, least_positives=10**6))
    with pytest.raises(DataError, match="1000000 are needed"):
        TwoStageRecommender(CATALOGUE, hybrid=hybrid, options=demanding).fit(SPLIT.train)
    silent = replace(LISTENS, weights=np.where(LISTENS.times >= SPLIT.test.times.min(), 0, LISTENS.weights))
    with pytest.raises(DataError, match="label period"):
        ranking_dataset(silent, CATALOGUE, hybrid, options=OPTIONS)


def test_users_kept_aside_are_as_all_users_are(hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in seven, of the newest label period, with all candidates, also those who turned to none."""
    both = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    monkeypatch.setattr(dataset_module, "LABEL_PERIODS", 1)
    newest = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    users, sizes = np.unique(newest.groups[newest.held_out], return_counts=True)
    assert len(users) >= SPLIT.train.user_count // HELD_OUT_EVERY - 2 and (sizes == OPTIONS.candidates.most).all()
    turned = np.bincount(newest.groups, newest.labels)
    assert (turned[users] == 0).any() and (turned[np.unique(newest.groups[~newest.held_out])] > 0).all()
    older = both.groups[len(newest.groups) :] - newest.groups.max() - 1
    assert len(older) and not np.isin(older, users).any() and not both.held_out[len(newest.groups) :].any()


def test_the_rate_of_all_users_is_that_of_all_candidates(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    """Users who turned to nothing are in it, though they teach nothing: with nearly all aside, it is seen."""
    held_out = np.arange(LISTENS.user_count) % 10 != 1
    statistics, rng = HistoryStatistics.of(SPLIT.train, CATALOGUE), np.random.default_rng(0)
    found = labelled_candidates(generator, statistics, SPLIT, OPTIONS.ranker, rng, held_out)
    assert found.rate == pytest.approx(found.labels[found.held_out].mean(), rel=0.1)
    assert labelled_candidates(generator, statistics, SPLIT, OPTIONS.ranker, rng, NOBODY_ASIDE).rate == pytest.approx(
        found.rate
    )


GENERATOR_FIT = CandidateGenerator.fit


def test_candidates_are_chosen_by_what_precedes_their_label_period(
    hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hybrid's choices, too, know nothing of the labels: each history makes its own."""
    asked: list[Interactions] = []
    made: list[HybridOptions] = []

    def recorded(listens: Interactions, *others: object) -> tuple[HybridOptions, dict[str, float]]:
        asked.append(listens)
        return HybridOptions(affinity=0.01 * len(asked)), {}

    def fit(generator: CandidateGenerator, listens: Interactions) -> CandidateGenerator:
        made.append(generator.hybrid.options)
        return GENERATOR_FIT(generator, listens)

    monkeypatch.setattr(hybrid_module, "tuned_options", recorded)
    monkeypatch.setattr(CandidateGenerator, "fit", fit)
    ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    newest = by_time(SPLIT.train)
    assert [len(listens) for listens in asked] == [len(newest.train), len(by_time(newest.train).train)]
    assert all(listens.times.max() < newest.test.times.min() for listens in asked)
    assert [options.affinity for options in made] == [0.01, 0.02]


def test_a_label_period_with_users_enough_is_the_only_one(hybrid: Hybrid) -> None:
    """Twice as many of it are trained on, instead of as many of an earlier one."""
    few = replace(OPTIONS, ranker=replace(OPTIONS.ranker, users=20))
    found = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=few)
    assert found.users == 2 * 20 and found.groups.max() < LISTENS.user_count
    more = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    assert more.groups.max() >= LISTENS.user_count
