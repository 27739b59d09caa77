"""Areas under the curves of tags: laws, sums by hand, and scikit-learn's values."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.models.genres.metrics import figures, tag_ranking


@pytest.mark.parametrize("decimals", [16, 1])
def test_scikit_learn_agrees(decimals: int, rng: np.random.Generator) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    targets = rng.random((200, 6)) < (0.05, 0.2, 0.5, 0.8, 0.95, 0.3)
    # Rounded to one digit, most scores are tied.
    found = np.round(rng.random((200, 6)) + 0.3 * targets, decimals)
    ranking = tag_ranking(found, targets)
    np.testing.assert_allclose(ranking.roc_auc, roc_auc_score(targets, found, average=None))
    np.testing.assert_allclose(ranking.pr_auc, average_precision_score(targets, found, average=None))
    expected = roc_auc_score(targets, found), average_precision_score(targets, found)
    np.testing.assert_allclose(ranking.means(), expected)


def test_perfect_is_one_reversed_is_none_and_constant_is_chance(rng: np.random.Generator) -> None:
    targets = rng.random((50, 3)) < 0.4
    perfect, reverse = (tag_ranking(found, targets) for found in (targets * 0.5 + 0.2, 1.0 - targets))
    assert perfect.means() == (1, 1) and reverse.means()[0] == 0
    constant = tag_ranking(np.full((50, 3), 0.7), targets)
    np.testing.assert_allclose(constant.roc_auc, 0.5)
    np.testing.assert_allclose(constant.pr_auc, targets.mean(axis=0))


def test_areas_as_the_sums_that_yield_them() -> None:
    found = np.array([[0.9], [0.8], [0.7], [0.6], [0.5]])
    targets = np.array([[True], [False], [True], [False], [True]])
    ranking = tag_ranking(found, targets)
    # Of the six pairs of a track with the tag and one without, three are in order; places 1, 3 and 5 are right.
    np.testing.assert_allclose(ranking.roc_auc, [3 / 6])
    np.testing.assert_allclose(ranking.pr_auc, [(1 / 1 + 2 / 3 + 3 / 5) / 3])


def test_a_tag_of_one_class_is_left_out() -> None:
    targets = np.array([[True, True, False], [False, True, False], [True, True, False]])
    found = np.array([[0.9, 0.2, 0.1], [0.1, 0.3, 0.2], [0.8, 0.1, 0.3]])
    got = figures(found, targets, np.arange(3), np.ones(3, bool), multi_label=True).ranking
    assert got is not None
    assert got.one_class.tolist() == [False, True, True] and got.means() == (1, 1)
    assert tag_ranking(found[:, 1:], targets[:, 1:]).means() == (None, None)
    assert figures(found, targets, np.arange(3), np.ones(3, bool)).ranking is None
