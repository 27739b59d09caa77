"""The ranker: trees as CatBoost applies them, calibrated probabilities, saved and loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import catboost
import numpy as np
import pytest
from scipy.special import expit
from small_ranking import CATALOGUE, OPTIONS, SPLIT, table_of_users, warm

from crossfade.errors import DataError, LibraryError
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.ranking.dataset import ranking_dataset
from crossfade.models.ranking.features import NO_GENRE, FeatureTable
from crossfade.models.ranking.ranker import (
    GENRE,
    Linear,
    ObliviousTrees,
    Ranker,
    RankerOptions,
    base_rates,
    check_no_leaking_feature,
)
from crossfade.models.ranking.two_stage import TwoStageRecommender


def test_a_feature_that_leaks_the_labels_is_caught(rng: np.random.Generator) -> None:
    labels = rng.random(400) < 0.2
    numbers = np.stack([rng.random(400), labels + 0.1 * rng.random(400)], axis=1).astype(np.float32)
    table = FeatureTable(numbers, ("noise", "days_until_played"), np.zeros(400, np.int32), (NO_GENRE,))
    with pytest.raises(DataError, match="days_until_played: a leak"):
        check_no_leaking_feature(table, labels)


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
