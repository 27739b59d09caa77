"""Laws of the sign-flip test and of Holm's correction, and their values by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from crossfade.models.evaluation.significance import holm, sign_flip_p_values


def test_few_users_by_all_their_signs(rng: np.random.Generator) -> None:
    """Of eight users all 256 signs can be counted."""
    values = rng.random((8, 2)) + np.array([0.3, 0.0])
    apart = values[:, 0] - values[:, 1]
    signs = np.array(list(product((-1, 1), repeat=8)))
    exact = np.mean(np.abs(signs @ apart) >= abs(apart.sum()) - 1e-9)
    (found,) = sign_flip_p_values(values, [(0, 1)], rng, flips=40_000)
    assert found == pytest.approx(exact, abs=0.01)


def test_equal_models_are_never_told_apart(rng: np.random.Generator) -> None:
    values = rng.random((300, 1)) @ np.ones((1, 3))
    assert (sign_flip_p_values(values, [(0, 1), (1, 2)], rng, flips=500) == 1).all()


def test_the_order_of_a_pair_does_not_matter_and_a_clear_difference_is_found(rng: np.random.Generator) -> None:
    values = rng.random((400, 2)) + np.array([0.2, 0.0])
    there, back = sign_flip_p_values(values, [(0, 1), (1, 0)], rng, flips=2000)
    assert there == back == 1 / 2001


def test_p_values_are_even_where_there_is_no_difference(rng: np.random.Generator) -> None:
    found = [sign_flip_p_values(rng.random((60, 2)), [(0, 1)], rng, flips=300)[0] for _ in range(200)]
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.07)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_holm_by_hand() -> None:
    """.005 * 4; .01 * 3; .03 * 2, .04 * 1 but never less than the one before."""
    np.testing.assert_allclose(holm(np.array([0.04, 0.005, 0.03, 0.01])), [0.06, 0.02, 0.06, 0.03])
    np.testing.assert_allclose(holm(np.array([0.7, 0.9])), [1, 1])
    assert holm(np.array([0.2])) == [0.2] and not len(holm(np.zeros(0)))


def test_holm_lies_between_no_correction_and_bonferroni(rng: np.random.Generator) -> None:
    p_values = rng.random(20) / 30
    corrected = holm(p_values)
    assert (corrected >= p_values).all() and (corrected <= np.minimum(20 * p_values, 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()
