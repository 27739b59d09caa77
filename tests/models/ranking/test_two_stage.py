"""Two-stage recommending: candidates, features of the past only, the ranker, re-ranking."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import catboost
import numpy as np
import pytest
from scipy.special import expit

from crossfade.errors import DataError, LibraryError, UsageError
from crossfade.models.confidence_weights import States
from crossfade.models.evaluation.bootstrap import intervals
from crossfade.models.evaluation.splits import by_time, by_user
from crossfade.models.hybrid import model as hybrid_module
from crossfade.models.hybrid.crossfade import HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.online import NO_HISTORY
from crossfade.models.hybrid.prior import PriorOptions
from crossfade.models.interactions import Clock, Interactions, to_find
from crossfade.models.ranking import dataset as dataset_module
from crossfade.models.ranking.candidates import CandidateGenerator, CandidateOptions, Candidates, last_tracks
from crossfade.models.ranking.dataset import (
    HELD_OUT_EVERY,
    LABEL_FOLDS,
    TwoStageOptions,
    labelled_candidates,
    ranking_dataset,
)
from crossfade.models.ranking.diversity import RerankingOptions, relist, rerank
from crossfade.models.ranking.features import NO_GENRE, FeatureTable, HistoryStatistics, features, joined
from crossfade.models.ranking.ranker import (
    GENRE,
    Linear,
    ObliviousTrees,
    Ranker,
    RankerOptions,
    base_rates,
    check_no_leaking_feature,
)
from crossfade.models.ranking.sequence import sequence_similarities
from crossfade.models.ranking.two_stage import TwoStageRecommender
from crossfade.models.recommenders.als import ALSOptions
from crossfade.models.recommenders.ease import EASE, EASEOptions
from crossfade.models.recommenders.item_knn import ItemKNN
from crossfade.pipelines.interactions.statistics import DAY_SECONDS
from crossfade.pipelines.simulation.world import World, WorldOptions

WORLD = World(WorldOptions(users=120, tracks=150, artists=30, listens_per_user=40, seed=5))
LISTENS, CATALOGUE = WORLD.listens(), WORLD.catalogue()
SPLIT = by_time(LISTENS)
OPTIONS = TwoStageOptions(
    candidates=CandidateOptions(most=60),
    ranker=RankerOptions(iterations=15, threads=1, least_positives=20),
)
GENERATOR_FIT = CandidateGenerator.fit
NOBODY_ASIDE = np.zeros(LISTENS.user_count, bool)


def fitted(listens: Interactions) -> Hybrid:
    return Hybrid(CATALOGUE, als=ALSOptions(factors=16, threads=1), options=HybridOptions()).fit(listens)


@pytest.fixture(scope="module")
def hybrid() -> Hybrid:
    return fitted(SPLIT.train)


@pytest.fixture(scope="module")
def recommender(hybrid: Hybrid) -> TwoStageRecommender:
    return TwoStageRecommender(CATALOGUE, hybrid=hybrid, options=OPTIONS).fit(SPLIT.train)


@pytest.fixture(scope="module")
def generator(hybrid: Hybrid) -> CandidateGenerator:
    return CandidateGenerator(hybrid, OPTIONS.candidates).fit(SPLIT.train)


def warm(hybrid: Hybrid, count: int = 20) -> np.ndarray:
    return np.flatnonzero(hybrid.history.warm_users)[:count].astype(np.int32)


def each(generator: CandidateGenerator, users: np.ndarray, **options: object) -> list[Candidates]:
    """The candidates of some users, one by one."""
    return [generator.candidates_of(generator.trained_profile(user), **options) for user in users.tolist()]


# -- candidates ------------------------------------------------------------------------------------------------------


def test_candidates_are_new_different_and_few(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    rows = warm(hybrid)
    for user, found in zip(rows, each(generator, rows), strict=True):
        mine = found.ids
        assert len(np.unique(mine)) == len(mine) <= 60
        assert not np.isin(mine, hybrid.history.matrix[user].indices).any()
        votes = sum(flags.astype(int) for flags in found.nominated.values())
        assert (votes > 0).all()


def test_candidates_keep_to_the_tracks_allowed(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    allowed = np.zeros(len(CATALOGUE), bool)
    allowed[::3] = True
    for found in each(generator, warm(hybrid), candidates=allowed):
        assert allowed[found.ids].all()
    assert not any(len(found) for found in each(generator, warm(hybrid), candidates=np.zeros_like(allowed)))


def test_seen_tracks_come_back_when_allowed(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    rows = warm(hybrid)
    candidates = each(generator, rows, allow_seen=True)
    pairs = zip(rows, candidates, strict=True)
    assert any(np.isin(found.ids, hybrid.history.matrix[user].indices).any() for user, found in pairs)


def test_the_sound_source_finds_cold_tracks(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    everything = np.ones(len(CATALOGUE), bool)
    for user in warm(hybrid).tolist():
        nominated = generator.sources(generator.trained_profile(user))["sound"].best(len(CATALOGUE), everything)
        assert len(nominated) and (hybrid.listeners[nominated] == 0).all()


def test_last_tracks_are_the_newest_different_ones() -> None:
    rows = np.zeros(5, np.int32)
    tracks = np.array([3, 1, 3, 2, 0], np.int32)
    weights = np.array([1, 1, 1, 1, 0], np.float32)
    listens = Interactions(rows, tracks, weights, 2, 4, np.array([1, 2, 3, 4, 5]), Clock.ORDER)
    assert last_tracks(listens, 4).tolist() == [[2, 3, 1, -1], [-1] * 4]
    untimed = Interactions(rows, tracks, weights, 2, 4)
    assert (last_tracks(untimed, 3) == -1).all()


def test_sequence_neighbours_are_near_in_the_order_of_listening() -> None:
    """Two steps apart weighs 0.9 of one step; every pair is counted in both directions, over users."""
    rows = np.array([0, 0, 0, 1, 1], np.int32)
    tracks = np.array([2, 0, 1, 1, 0], np.int32)
    times = np.array([3, 1, 2, 1, 2])
    listens = Interactions(rows, tracks, np.ones(5, np.float32), 2, 4, times, Clock.ORDER)
    by_track = np.array([2, 2, 1, 1]) ** -0.3
    together = np.array([[0, 2, 0.9, 0], [2, 0, 1, 0], [0.9, 1, 0, 0], [0, 0, 0, 0]])
    after = np.array([[0, 1, 0.9, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    for found, expected in zip(sequence_similarities(listens, 3), (together, after), strict=True):
        np.testing.assert_allclose(found.toarray(), expected * by_track * by_track[:, None], rtol=1e-6)
    assert (np.count_nonzero(sequence_similarities(listens, 1)[0].toarray(), axis=1) == [1, 1, 1, 0]).all()
    with pytest.raises(DataError, match="neither time nor order"):
        sequence_similarities(replace(listens, times=None, clock=Clock.NONE), 3)


def test_the_taste_of_the_last_tracks_is_a_source_of_its_own(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    """As if the user had listened to these only, the newest weighing most; news come first of all."""
    user = generator.trained_profile(int(warm(hybrid, 1)[0]))
    rows = np.flatnonzero(hybrid.listeners > 0)
    alone = hybrid.folding.one(user.last, np.float32(0.85) ** np.arange(len(user.last), dtype=np.float32))
    found = generator.sources(user)["als-last"].scores(rows)
    np.testing.assert_allclose(found, hybrid.als.track_factors[rows] @ alone, rtol=1e-4, atol=1e-5)
    news = np.setdiff1d(rows, user.history.track_rows)[:2].astype(np.int32)
    since = generator.profile(user.history.with_events(news, *plays(2)), user_row=user.user_row, newest=news)
    assert not np.allclose(generator.sources(since)["als-last"].scores(rows), found)
    without_order = generator.profile(user.history)
    assert not len(without_order.last) and "als-last" not in generator.sources(without_order)


def test_ease_is_a_source_where_there_is_no_order() -> None:
    untimed = replace(SPLIT.train, times=None, clock=Clock.NONE)
    generator = CandidateGenerator(fitted(untimed), OPTIONS.candidates).fit(untimed)
    assert set(generator.similarities.failed) == {"sequence"}
    user = generator.trained_profile(int(warm(generator.hybrid, 1)[0]))
    nominated = generator.sources(user)["ease"].best(9, np.ones(len(CATALOGUE), bool))
    ease = EASE(EASEOptions(neighbours=len(CATALOGUE))).fit(untimed)
    expected = ease.user_scores(np.array([user.user_row]))[0]
    np.testing.assert_allclose(generator.sources(user)["ease"].scores(nominated), expected[nominated], rtol=1e-4)
    assert "ease" not in CandidateGenerator(fitted(SPLIT.train)).fit(SPLIT.train).similarities.matrices


def test_a_source_that_fails_is_left_out(hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DataError("item-KNN: no memory for it")

    monkeypatch.setattr(ItemKNN, "fit", fail)
    recommender = TwoStageRecommender(CATALOGUE, hybrid=hybrid, options=OPTIONS).fit(SPLIT.train)
    assert recommender.generator.similarities.failed == {"items": "item-KNN: no memory for it"}
    assert (recommender.recommend(warm(hybrid), 5)[0] >= 0).all()


# -- features --------------------------------------------------------------------------------------------------------


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


def last_days(days: int) -> np.ndarray:
    return SPLIT.train.take(SPLIT.train.times > SPLIT.train.times.max() - days * DAY_SECONDS).listeners


@pytest.mark.parametrize("within_user", [False, True])
def test_a_planted_leak_is_caught(hybrid: Hybrid, within_user: bool) -> None:
    split = by_user(LISTENS) if within_user else SPLIT
    everything = HistoryStatistics.of(LISTENS, CATALOGUE)
    generator = CandidateGenerator(fitted(LISTENS), OPTIONS.candidates).fit(LISTENS)
    with pytest.raises(DataError, match="a leak"):
        labelled_candidates(generator, everything, split, OPTIONS.ranker, np.random.default_rng(0), NOBODY_ASIDE)
    honest = HistoryStatistics.of(split.train, CATALOGUE)
    honest.check_no_leak(split.test, within_user=within_user)


def test_a_leak_without_times_is_caught() -> None:
    untimed = replace(LISTENS, times=None, clock=Clock.NONE)
    with pytest.raises(DataError, match="a leak"):
        HistoryStatistics.of(untimed, CATALOGUE).check_no_leak(untimed.take(np.arange(50)), within_user=True)


def test_a_feature_that_leaks_the_labels_is_caught(rng: np.random.Generator) -> None:
    labels = rng.random(400) < 0.2
    numbers = np.stack([rng.random(400), labels + 0.1 * rng.random(400)], axis=1).astype(np.float32)
    table = FeatureTable(numbers, ("noise", "days_until_played"), np.zeros(400, np.int32), (NO_GENRE,))
    with pytest.raises(DataError, match="days_until_played: a leak"):
        check_no_leaking_feature(table, labels)


def table_of_users(recommender: TwoStageRecommender, users: np.ndarray) -> FeatureTable:
    generator, statistics = recommender.generator, recommender.statistics
    return joined([features(generator, statistics, found) for found in each(generator, users)])


# -- ranker ----------------------------------------------------------------------------------------------------------


def test_the_ranker_learns_saves_and_loads(recommender: TwoStageRecommender, hybrid: Hybrid, tmp_path: Path) -> None:
    table = table_of_users(recommender, warm(hybrid))
    scores = recommender.ranker.scores(table)
    recommender.ranker.save(tmp_path)
    np.testing.assert_array_equal(Ranker.load(tmp_path).scores(table), scores)
    assert sum(recommender.ranker.importance.values()) == pytest.approx(100)
    assert GENRE in recommender.ranker.importance
    (tmp_path / "ranker.safetensors").write_bytes(b"not a model")
    with pytest.raises(LibraryError, match=r"ranker\.safetensors: damaged"):
        Ranker.load(tmp_path)
    (tmp_path / "ranker.json").write_text("{}")
    with pytest.raises(LibraryError, match=r"ranker\.json: not the header"):
        Ranker.load(tmp_path)


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_trees_are_applied_as_catboost_does(depth: int, rng: np.random.Generator) -> None:
    numbers = rng.normal(size=(5000, 6)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    labels = (np.nan_to_num(numbers[:, 0]) + rng.normal(size=len(numbers)) > 0).astype(int)
    options = {"loss_function": "Logloss", "iterations": 20, "depth": depth, "logging_level": "Silent"}
    model = catboost.CatBoost({**options, "allow_writing_files": False})
    model.fit(catboost.Pool(numbers, label=labels))
    expected = model.predict(catboost.Pool(numbers), prediction_type="RawFormulaVal")
    trees = ObliviousTrees.of(model)
    np.testing.assert_allclose(trees(numbers.T), expected, atol=1e-12)
    assert len(trees(numbers[:0].T)) == 0


def test_trees_without_a_split_are_applied_as_catboost_does(rng: np.random.Generator) -> None:
    """A tree may draw none but constant features."""
    numbers = np.zeros((200, 30), np.float32)
    numbers[:, 0] = rng.normal(size=200)
    labels = (numbers[:, 0] > 0).astype(int)
    options = {"loss_function": "Logloss", "iterations": 20, "rsm": 0.1, "logging_level": "Silent"}
    model = catboost.CatBoost({**options, "allow_writing_files": False})
    model.fit(catboost.Pool(numbers, label=labels))
    expected = model.predict(catboost.Pool(numbers), prediction_type="RawFormulaVal")
    np.testing.assert_allclose(ObliviousTrees.of(model)(numbers.T), expected, atol=1e-12)


def test_base_rates_expect_what_there_was(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(20), 30)
    logits, labels = rng.normal(size=600), rng.random(600) < np.repeat(rng.uniform(0.1, 0.9, 20), 30)
    expected = 1 / (1 + np.exp(-(logits + base_rates(logits, labels, groups))))
    np.testing.assert_allclose(np.bincount(groups, expected), np.bincount(groups, labels), rtol=1e-3)


def test_a_constant_feature_has_no_weight_when_it_changes(rng: np.random.Generator) -> None:
    """Every track was first heard within a minute of the others; a week later all of them are older."""
    numbers = np.stack([rng.normal(size=400), 90 + rng.uniform(0, 1e-3, 400)], axis=1).astype(np.float32)
    linear = Linear.fit(numbers, numbers[:, 0] + rng.normal(size=400) > 0)
    np.testing.assert_array_equal(linear.scores(numbers + np.float32([0, 7])), linear.scores(numbers))
    assert np.abs(linear.scores(numbers * np.float32([1e9, 1]))).max() < 50


def test_a_genre_that_was_unseen_in_training(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    table = table_of_users(recommender, warm(hybrid))
    strange = FeatureTable(table.numbers, table.names, np.zeros_like(table.genres), ("polka revival",))
    assert np.isfinite(recommender.ranker.scores(strange)).all()
    with pytest.raises(DataError, match="trained on other features"):
        recommender.ranker.scores(FeatureTable(table.numbers[:, 1:], table.names[1:], table.genres, table.genre_names))


def test_yetirank_orders_too(hybrid: Hybrid) -> None:
    dataset = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    ranker = Ranker(replace(OPTIONS.ranker, objective="yetirank")).fit(
        dataset.table, dataset.labels, dataset.groups, dataset.held_out
    )
    scores = ranker.scores(dataset.table)
    assert scores[dataset.labels].mean() > scores[~dataset.labels].mean()
    with pytest.raises(DataError, match="objective: lambdarank"):
        RankerOptions(objective="lambdarank")


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

    def fit(generator: CandidateGenerator, listens: Interactions) -> CandidateGenerator:
        histories.append(listens)
        return GENERATOR_FIT(generator, listens)

    monkeypatch.setattr(CandidateGenerator, "fit", fit)
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


def test_too_little_to_learn_from(hybrid: Hybrid) -> None:
    demanding = replace(OPTIONS, ranker=replace(OPTIONS.ranker, least_positives=10**6))
    with pytest.raises(DataError, match="1000000 are needed"):
        TwoStageRecommender(CATALOGUE, hybrid=hybrid, options=demanding).fit(SPLIT.train)
    silent = replace(LISTENS, weights=np.where(LISTENS.times >= SPLIT.test.times.min(), 0, LISTENS.weights))
    with pytest.raises(DataError, match="label period"):
        ranking_dataset(silent, CATALOGUE, hybrid, options=OPTIONS)


def planted(rng: np.random.Generator, users: int) -> tuple[FeatureTable, np.ndarray, np.ndarray]:
    """60 candidates of each user, the probability of turning to each, and their users; the activity is hidden."""
    groups = np.repeat(np.arange(users), 60)
    numbers = rng.normal(size=(len(groups), 3)).astype(np.float32)
    truth = 1 / (1 + np.exp(4.6 - 1.2 * numbers[:, 0] - (numbers[:, 1] > 1) - rng.normal(size=users)[groups]))
    return FeatureTable(numbers, ("a", "b", "noise"), np.zeros(len(groups), np.int32), (NO_GENRE,)), truth, groups


@pytest.mark.parametrize("objective", ["classifier", "yetirank"])
def test_the_rankers_probabilities_are_calibrated(objective: str, rng: np.random.Generator) -> None:
    """Learned from ten negatives of users with positives, it claims the rate of all candidates of all users."""
    table, truth, groups = planted(rng, 4200)
    labels, held_out = rng.random(len(truth)) < truth, groups % 7 == 0
    kept = np.isin(groups, groups[labels]) & (labels | (rng.random(len(labels)) < 1 / 6)) | held_out
    options = RankerOptions(objective=objective, iterations=30, threads=1)
    ranker = Ranker(options).fit(table.take(kept), labels[kept], groups[kept], held_out[kept])
    asked, its_truth, _ = planted(rng, 4200)
    claimed = expit(ranker.scores(asked))
    assert labels[kept & ~held_out].mean() > 2.5 * truth.mean()
    # Known to as much as the 600 users kept aside say.
    by_user = (labels - truth)[held_out].reshape(-1, 60).mean(axis=1), truth.reshape(-1, 60).mean(axis=1)
    error = 1.96 * np.sqrt((by_user[0].var() + by_user[1].var()) / 600)
    assert claimed.mean() == pytest.approx(its_truth.mean(), abs=error)
    assert error < 0.1 * its_truth.mean()
    for part in np.array_split(np.argsort(claimed), 4):
        assert claimed[part].mean() == pytest.approx(its_truth[part].mean(), rel=0.2)


def test_users_kept_aside_are_not_trained_on(hybrid: Hybrid, rng: np.random.Generator) -> None:
    """Whatever they turned to, the weighted sum and the first tree are the same: only the scale may differ."""
    dataset = ranking_dataset(SPLIT.train, CATALOGUE, hybrid, options=OPTIONS)
    other = np.where(
        dataset.held_out, dataset.table.numbers[:, 0] > np.median(dataset.table.numbers[:, 0]), dataset.labels
    )
    one = replace(OPTIONS.ranker, iterations=1)
    first, second = (
        Ranker(one).fit(dataset.table, labels, dataset.groups, dataset.held_out).scores(dataset.table)
        for labels in (dataset.labels, other)
    )
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(np.corrcoef(first, second)[0, 1], 1, atol=1e-9)


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


def test_a_history_without_sound_has_the_same_features(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    """Which sources there are depends on the history; which features there are does not."""
    without_sound = Hybrid(CATALOGUE, als=hybrid.als.options, options=HybridOptions(prior=PriorOptions(sound="none")))
    other = CandidateGenerator(without_sound.fit(SPLIT.train), OPTIONS.candidates).fit(SPLIT.train)
    statistics, rows = HistoryStatistics.of(SPLIT.train, CATALOGUE), warm(hybrid)
    tables = [features(one, statistics, each(one, rows)[0]) for one in (generator, other)]
    assert tables[0].names == tables[1].names
    unknown = tables[1].numbers[:, tables[1].names.index("sound_score")]
    assert np.isnan(unknown).all()


# -- both stages -----------------------------------------------------------------------------------------------------


def test_the_two_stages_recommend_what_is_new(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows = warm(hybrid)
    ids, scores = recommender.recommend(rows, 10)
    heard = hybrid.history.matrix[rows].toarray() != 0
    assert (ids >= 0).all()
    assert not np.take_along_axis(heard, ids, axis=1).any()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_behind_the_candidates_come_the_others(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows = warm(hybrid, 3)
    ids, scores = recommender.recommend(rows, len(CATALOGUE), allow_seen=True)
    for mine, values in zip(ids, scores, strict=True):
        mine = mine[mine >= 0]
        assert sorted(mine) == np.flatnonzero(hybrid.known).tolist()
        assert (np.diff(values[: len(mine)]) <= 0).all()


def test_unknown_users_get_the_hybrids_answer(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    np.testing.assert_array_equal(recommender.recommend(np.array([-1]), 5)[0], hybrid.recommend(np.array([-1]), 5)[0])


def test_a_user_without_candidates_gets_nothing(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    nothing = np.zeros(len(CATALOGUE), bool)
    ids, scores = recommender.recommend(warm(hybrid), 5, candidates=nothing)
    assert (ids == -1).all()
    assert (scores == -np.inf).all()


def test_the_two_stages_save_and_load(recommender: TwoStageRecommender, hybrid: Hybrid, tmp_path: Path) -> None:
    recommender.save(tmp_path)
    loaded = TwoStageRecommender.load(tmp_path, hybrid)
    rows = warm(hybrid)
    for one, two in zip(recommender.recommend(rows, 20), loaded.recommend(rows, 20), strict=True):
        np.testing.assert_array_equal(one, two)
    assert loaded.recall == recommender.recall
    assert not any(file.suffix in (".pkl", ".pickle", ".npy") for file in tmp_path.iterdir())


def test_one_of_many_is_as_alone(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows, allowed = np.array([*warm(hybrid, 8), -1]), np.arange(len(CATALOGUE)) % 7 != 0
    for allow_seen in (False, True):
        ids, scores = recommender.recommend(rows, 10, allow_seen=allow_seen, candidates=allowed)
        for row, mine, values in zip(rows.tolist(), ids, scores, strict=True):
            listened = hybrid.user_history(row)
            found, its = recommender.recommend_one(
                listened, 10, user_row=row, allow_seen=allow_seen, candidates=allowed
            )
            assert allowed[found].all()
            np.testing.assert_array_equal(found, mine[mine >= 0])
            np.testing.assert_array_equal(its, values[mine >= 0])


def test_the_mean_probability_is_the_rate_of_the_next_period() -> None:
    """All candidates of all users, in a period as long as the label period was."""
    world = World(WorldOptions(users=600, tracks=300, artists=40, listens_per_user=60, seed=1))
    split, catalogue = by_time(world.listens()), world.catalogue()
    hybrid = Hybrid(catalogue, als=ALSOptions(factors=16, threads=1), options=HybridOptions()).fit(split.train)
    options = replace(OPTIONS, ranker=replace(OPTIONS.ranker, iterations=60))
    recommender = TwoStageRecommender(catalogue, hybrid=hybrid, options=options).fit(split.train)
    rows = np.flatnonzero(hybrid.history.warm_users).astype(np.int32)
    came = (by_time(split.test).train.matrix > 0).toarray()
    candidates = each(recommender.generator, rows)
    claimed = [expit(recommender.rank(found)).mean() for found in candidates]
    true = [came[row, found.ids].mean() for row, found in zip(rows, candidates, strict=True)]
    by_user = np.stack([claimed, true], axis=1)
    claimed, true = intervals(by_user, np.random.default_rng(0))
    # The rate that it was trained on, that of the label period, is as uncertain.
    assert abs(claimed.value - true.value) < np.sqrt(2) * min(true.high - true.value, true.value - true.low)


def test_candidates_hold_most_of_what_comes(recommender: TwoStageRecommender) -> None:
    assert recommender.recall["all"] > 0.5
    assert recommender.recall["all"] >= max(recommender.recall.values())


# -- one user -----------------------------------------------------------------------------------------------------


def test_compressed_vectors_give_the_same_candidates(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    exact = recommender.generator
    compressed = copy(hybrid)
    compressed.exact_rows = 10
    compressed._forget("_scan")
    generator = CandidateGenerator.from_arrays(exact.save_arrays(), exact.metadata(), compressed)
    coded = TwoStageRecommender().assemble(generator, recommender.statistics, recommender.ranker)
    shares = []
    for row in warm(hybrid):
        listened = hybrid.user_history(int(row))
        expected, _ = recommender.recommend_one(listened, 10, user_row=int(row))
        found, _ = coded.recommend_one(listened, 10, user_row=int(row))
        shares.append(len(set(expected) & set(found)) / len(expected))
    assert np.mean(shares) > 0.95


def plays(count: int) -> tuple[States, np.ndarray]:
    return States(plays=np.ones(count, np.float32)), np.zeros(count, np.int64)


def test_new_events_and_unknown_users_are_ranked_too(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    row = int(warm(hybrid)[0])
    history = hybrid.user_history(row)
    before, _ = recommender.recommend_one(history, 10, user_row=row)
    news = before[:3]
    listened = history.with_events(news, *plays(3))
    after, scores = recommender.recommend_one(listened, 10, user_row=row, newest=news)
    assert not np.isin(after, news).any() and len(after) == 10
    assert (np.diff(scores) <= 0).all() and ((scores > 0) & (scores < 1)).all()
    stranger = NO_HISTORY.with_events(news, *plays(3))
    ids, _ = recommender.recommend_one(stranger, 10, newest=news)
    assert len(ids) == 10 and not np.isin(ids, news).any()
    everything, falling = recommender.recommend_one(stranger, len(CATALOGUE), newest=news)
    assert sorted([*everything, *news]) == np.flatnonzero(hybrid.known).tolist()
    assert (np.diff(falling) <= 0).all()
    popular, _ = recommender.recommend_one(NO_HISTORY, 5)
    np.testing.assert_array_equal(popular, hybrid.recommend(np.array([-1]), 5)[0][0])
    nowhere = np.zeros(len(CATALOGUE), bool)
    assert not len(recommender.recommend_one(history, 5, user_row=row, candidates=nowhere)[0])


def test_what_is_disliked_since_is_none_of_the_last_tracks(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    row = int(warm(hybrid)[0])
    history = hybrid.user_history(row)
    before = recommender.generator.profile(history, user_row=row).last
    dislike = States(plays=np.zeros(1, np.float32), liked=np.full(1, -1, np.float32))
    since = history.with_events(before[:1], dislike, np.zeros(1, np.int64))
    after = recommender.generator.profile(since, user_row=row, newest=before[:1]).last
    assert before[0] >= 0 and before[0] not in after and before[1] == after[0]


def test_a_track_that_came_later_is_a_live_candidate(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    later = hybrid.append_tracks(CATALOGUE.take(np.arange(4)))
    longer = recommender.append_tracks(later)
    matrices = (one.generator.similarities.matrices["items"] for one in (longer, recommender))
    assert np.shares_memory(*(matrix.data for matrix in matrices))
    row = int(warm(hybrid)[0])
    new = np.zeros(len(later.taste), bool)
    new[-4:] = True
    ids, _ = longer.recommend_one(hybrid.user_history(row), 10, user_row=row, candidates=new)
    assert sorted(ids) == np.flatnonzero(new).tolist()
    heard = NO_HISTORY.with_events(np.flatnonzero(new).astype(np.int32), *plays(4))
    assert len(longer.recommend_one(heard, 10)[0]) == 10
    grown = longer.generator
    made = CandidateGenerator.from_arrays(grown.save_arrays(), grown.metadata(), later)
    for one, two in zip(each(grown, warm(hybrid)), each(made, warm(hybrid)), strict=True):
        np.testing.assert_array_equal(one.ids, two.ids)


# -- re-ranking ------------------------------------------------------------------------------------------------------


def table_of(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[list[int]], np.ndarray]:
    sound = rng.normal(size=(30, 8)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    return rng.random(30).astype(np.float32), sound, [[n % 6] for n in range(30)], np.arange(30) % 10 == 0


def test_without_reranking_the_order_is_by_score(rng: np.random.Generator) -> None:
    scores, *rest = table_of(rng)
    assert rerank(scores, *rest, 10, RerankingOptions()).tolist() == np.argsort(-scores)[:10].tolist()


def test_artists_are_capped(rng: np.random.Generator) -> None:
    places = rerank(*table_of(rng), 10, RerankingOptions(per_artist=1))
    assert sorted(place % 6 for place in places) == list(range(6))


def test_diversity_lowers_similarity(rng: np.random.Generator) -> None:
    scores, sound, artists, fresh = table_of(rng)

    def similarity(diversity: float) -> float:
        chosen = sound[rerank(scores, sound, artists, fresh, 8, RerankingOptions(diversity=diversity))]
        return float((chosen @ chosen.T).sum())

    assert similarity(1.0) < similarity(0.5) < similarity(0.0)


def test_discoveries_get_their_share(rng: np.random.Generator) -> None:
    scores, sound, artists, fresh = table_of(rng)
    scores[fresh] = -1
    places = rerank(scores, sound, artists, fresh, 10, RerankingOptions(discovery=0.2))
    assert fresh[places].sum() == 2
    assert fresh[places[:5]].sum() == 1


def test_reranked_lists_are_made_of_the_two_stages_answers(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows = warm(hybrid, 4)
    answers = recommender.recommend(rows, 50)
    ids, scores = relist(hybrid, answers, 10, RerankingOptions(per_artist=1, diversity=0.3))
    for mine in ids:
        artists = np.concatenate([hybrid.artists[row].indices for row in mine[mine >= 0]])
        assert len(np.unique(artists)) == len(artists)
    assert np.isfinite(scores[ids >= 0]).all()
    for wrong in ({"diversity": 2.0}, {"discovery": -0.1}, {"per_artist": 0}):
        with pytest.raises(UsageError):
            RerankingOptions(**wrong)
