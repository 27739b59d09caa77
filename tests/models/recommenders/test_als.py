"""ALS against implicit itself and against the equations of the paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from crossfade.errors import DataError
from crossfade.models.interactions import Interactions, to_find
from crossfade.models.recommenders.als import ALS, ALSOptions, FoldIn
from crossfade.models.recommenders.ials import IALS, IALSOptions

PLAIN = ALSOptions(factors=8, regularization=2.0, alpha=5.0, track_discount=0, user_discount=0)
USERS, TRACKS = 70, 30


@pytest.fixture
def listens(rng: np.random.Generator) -> Interactions:
    dense = (rng.random((USERS, TRACKS)) < 0.2) * rng.choice([1.0, 2.0, -0.5], (USERS, TRACKS))
    rows, columns = np.nonzero(dense)
    weights = dense[rows, columns].astype(np.float32)
    return Interactions(rows.astype(np.int32), columns.astype(np.int32), weights, USERS, TRACKS)


def test_undiscounted_it_is_implicit(listens: Interactions) -> None:
    from implicit.cpu.als import AlternatingLeastSquares

    theirs = AlternatingLeastSquares(factors=8, regularization=2.0, alpha=5.0, iterations=6, random_state=0)
    theirs.fit(listens.matrix, show_progress=False)
    ours = ALS(PLAIN).fit(listens)
    np.testing.assert_allclose(ours.track_factors, theirs.item_factors, atol=1e-5)
    np.testing.assert_allclose(ours.user_factors, theirs.user_factors, atol=1e-5)


def test_threads_do_not_change_the_answer(listens: Interactions) -> None:
    one, all_cores = (ALS(replace(PLAIN, threads=threads)).fit(listens) for threads in (1, 0))
    np.testing.assert_array_equal(one.track_factors, all_cores.track_factors)


def test_threads_of_blas_do_not_change_a_fold_in(listens: Interactions) -> None:
    """A model is fitted on one machine and loaded on another."""
    from threadpoolctl import threadpool_limits

    model, found = ALS(PLAIN).fit(listens), []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(FoldIn(model))
    np.testing.assert_array_equal(found[0].gram, found[1].gram)
    np.testing.assert_array_equal(found[0].many(listens.matrix), found[1].many(listens.matrix))


def test_fold_in_solves_the_normal_equations(listens: Interactions) -> None:
    model = ALS(PLAIN).fit(listens)
    factors = model.track_factors.astype(np.float64)
    heard = listens.matrix[:5]
    for row, vector in zip(heard.toarray(), model.fold_in(heard), strict=True):
        confidence = np.where(row != 0, PLAIN.alpha * np.abs(row), 1)
        normal = factors.T @ (confidence[:, None] * factors) + PLAIN.regularization * np.eye(8)
        expected = np.linalg.solve(normal, factors.T @ (confidence * (row > 0)))
        np.testing.assert_allclose(vector, expected, atol=1e-4)


def test_a_user_folded_in_is_near_to_the_one_trained(listens: Interactions) -> None:
    model = ALS(replace(PLAIN, iterations=40)).fit(listens)
    np.testing.assert_allclose(model.fold_in(listens.matrix), model.user_factors, atol=0.05)


def test_a_skip_is_seen_and_changes_no_factor(listens: Interactions, rng: np.random.Generator) -> None:
    """One rule for skips: in a fit and a fold-in as if it had not been, elsewhere as seen."""
    skipped = rng.random(len(listens)) < 0.3
    with_skips = replace(listens, weights=np.where(skipped, 0, listens.weights).astype(np.float32))
    options = replace(PLAIN, track_discount=0.5, user_discount=0.5)
    one, other = ALS(options).fit(with_skips), ALS(options).fit(listens.take(~skipped))
    np.testing.assert_array_equal(one.track_factors, other.track_factors)
    np.testing.assert_array_equal(one.fold_in(with_skips.matrix), other.fold_in(listens.take(~skipped).matrix))
    np.testing.assert_array_equal(with_skips.listeners, listens.take(~skipped).listeners)
    users = np.arange(USERS, dtype=np.int32)
    ids, _ = one.recommend(users, TRACKS)
    seen = with_skips.matrix.toarray() != listens.matrix.toarray()
    assert seen.any() and not any(seen[user, row[row >= 0]].any() for user, row in zip(users, ids, strict=True))
    wanted = to_find(listens.matrix, with_skips.take(skipped).matrix)
    assert wanted.nnz == (listens.weights[~skipped] > 0).sum()
    assert to_find(listens.matrix, listens.matrix).nnz == 0


def test_fold_in_needs_the_same_tracks(listens: Interactions) -> None:
    with pytest.raises(DataError, match="31 tracks, but the model has 30"):
        ALS(PLAIN).fit(listens).fold_in(csr_matrix((1, 31), dtype=np.float32))


def test_discounts_level_counts(listens: Interactions) -> None:
    model = ALS(replace(PLAIN, track_discount=1.0, user_discount=0)).fit(listens)
    discounted = model.confidences((listens.matrix != 0).astype(np.float32))
    liked = listens.matrix.toarray() > 0
    sums = np.where(liked, discounted.toarray(), 0).sum(axis=0)
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_ials_folds_in_by_its_loss(power: float, listens: Interactions) -> None:
    """Rendle et al. 2021, equation 3 divided by the unobserved weight, each regularisation within ten per cent."""
    options = IALSOptions(factors=8, regularization=0.1, unobserved_weight=4.0, frequency_power=power)
    model = IALS(options).fit(listens)
    factors, unobserved = model.track_factors.astype(np.float64), model.unobserved_weight
    assert unobserved == pytest.approx(4 * model.history.liked.nnz / (USERS * TRACKS))
    for row, vector in zip(listens.matrix.toarray(), model.fold_in(listens.matrix), strict=True):
        weights = np.abs(row) ** options.confidence_power / model.mean_weight
        confidence = np.where(row != 0, weights / unobserved, 1)
        wanted = factors.T @ (confidence * (row > 0))
        scale = 0.1 / unobserved * (np.count_nonzero(row) + unobserved * TRACKS) ** power
        normal = factors.T @ (confidence[:, None] * factors)
        implied = vector @ (wanted - normal @ vector) / (vector @ vector)
        assert implied == pytest.approx(scale, rel=0.06)


def test_ials_is_where_another_step_changes_little(listens: Interactions) -> None:
    one, more = (IALS(IALSOptions(factors=8, iterations=count)).fit(listens) for count in (60, 61))
    first, second = (model.scores_from(listens.matrix) for model in (one, more))
    np.testing.assert_allclose(first, second, atol=0.02)
