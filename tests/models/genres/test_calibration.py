"""Calibration: probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.models.genres.calibration import (
    Calibration,
    abstention_threshold,
    fit_calibration,
    fit_temperature,
    isotonic_knots,
    probabilities,
)
from crossfade.models.genres.metrics import confusion, expected_calibration_error, figures, interval, per_class


def honest(rng, tracks=4000, classes=4):
    """Scores whose softmax is the truth: targets are drawn from it."""
    scores = rng.normal(size=(tracks, classes)) * 2
    drawn = (probabilities(scores, multi_label=False).cumsum(axis=1) > rng.random((tracks, 1))).argmax(axis=1)
    return scores, np.eye(classes, dtype=bool)[drawn]


@pytest.mark.parametrize("factor", [0.1, 1.0, 8.0])
def test_the_temperature_undoes_a_factor(factor, rng):
    scores, targets = honest(rng)
    assert fit_temperature(scores * factor, targets) == pytest.approx(factor, rel=0.08)


def test_a_few_right_answers_are_no_certainty(rng):
    targets = np.eye(3, dtype=bool)[np.arange(12) % 3]
    found = fit_calibration(targets * 5.0, targets)(targets * 5.0)
    assert 0.8 < found.max() < 0.99


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_generalises(method, rng):
    scores, targets = honest(rng)
    overconfident = scores * 5
    curve = fit_calibration(overconfident[:2000], targets[:2000], method=method)
    before = expected_calibration_error(probabilities(overconfident[2000:], multi_label=False), targets[2000:])
    after = expected_calibration_error(curve(overconfident[2000:]), targets[2000:])
    assert after < 0.04 < before


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_several_labels(method, rng):
    scores = rng.normal(size=(3000, 5)) * 2
    targets = rng.random(scores.shape) < probabilities(scores, multi_label=True)
    curve = fit_calibration(scores * 4, targets, multi_label=True, method=method)
    found = curve(scores * 4)
    assert expected_calibration_error(found, targets) < 0.03
    assert found.min() >= 0
    assert found.max() <= 1


def test_probabilities_sum_to_one(rng):
    scores = rng.normal(size=(5, 3)) * 100
    np.testing.assert_allclose(Calibration(0.5)(scores).sum(axis=1), 1)


def test_isotonic_regression_gives_equal_scores_their_share_in_any_order(rng):
    """Ties: of eight equal scores a quarter is right, so all eight say a quarter, however the rows are ordered."""
    right = np.array([1, 1, 0, 0, 0, 0, 0, 0], float)
    for order in (right, right[::-1], rng.permutation(right)):
        np.testing.assert_allclose(np.interp(0.3, *isotonic_knots(np.full(8, 0.3), order)), 0.25)
    x = rng.integers(0, 20, 300) / 20
    y = (rng.random(300) < x**2).astype(float)
    found = np.interp(x, *isotonic_knots(x, y))
    np.testing.assert_allclose(found, np.interp(x, *isotonic_knots(x[::-1], y[::-1])))
    assert found.mean() == pytest.approx(y.mean())


def test_abstention_keeps_its_promise(rng):
    scores, targets = honest(rng)
    curve = fit_calibration(scores[:2000], targets[:2000], error_rate=0.1)
    found = curve(scores[2000:])
    given = found.max(axis=1) >= curve.abstain_below
    wrong = ~targets[2000:][np.arange(2000), found.argmax(axis=1)]
    assert wrong[given].mean() < 0.13
    assert 0.1 < given.mean() < wrong.mean() + 0.9


def test_nothing_is_answered_where_all_is_wrong():
    found = np.array([[0.9, 0.1], [0.8, 0.2]])
    assert abstention_threshold(found, np.array([[False, True]] * 2), 0.1) > 1


def test_perfect_is_one(rng):
    targets = np.eye(3, dtype=bool)[rng.integers(0, 3, 30)]
    found = targets.astype(float)
    assert expected_calibration_error(found, targets) == 0
    assert (confusion(found, targets) == np.diag(targets.sum(axis=0))).all()
    got = figures(found, targets, np.arange(30), np.ones(30, bool))
    assert (got.accuracy, got.low, got.high, got.answered_accuracy, got.macro_f1) == (1, 1, 1, 1, 1)


def test_figures_by_hand():
    targets = np.eye(2, dtype=bool)[[0, 0, 0, 1]]
    found = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    first, second = per_class(found, targets)
    assert (first.precision, first.recall, first.tracks) == (1, 2 / 3, 3)
    assert (second.precision, second.recall) == (1 / 2, 1)
    got = figures(found, targets, np.arange(4), np.ones(4, bool))
    assert got.macro_f1 == pytest.approx((2 * 2 / (2 + 3) + 2 * 1 / (2 + 1)) / 2)
    assert expected_calibration_error(found, targets) == pytest.approx((0.1 + 0.2 + abs(0.7 - 0) + 0.4) / 4)


def test_the_interval_draws_whole_groups(rng):
    values = np.repeat(rng.random(20) < 0.5, 10).astype(float)
    wide = interval(values, np.repeat(np.arange(20), 10), rng=np.random.default_rng(0))
    narrow = interval(values, np.arange(200), rng=np.random.default_rng(0))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
