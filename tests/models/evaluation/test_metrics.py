"""Laws of the metrics, ranx's values, and dense references of ten lines."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from crossfade.models.evaluation import metrics
from crossfade.models.evaluation.bootstrap import exposure_intervals, intervals, ratio_interval
from crossfade.models.evaluation.popularity import TrackPopularity, gini, novelties, popularity_biases

USERS, TRACKS, K = 80, 60, 25
TOLERANCE = 1e-9


@pytest.fixture
def truth(rng: np.random.Generator) -> csr_matrix:
    """Between one and thirty relevant tracks each."""
    dense = np.zeros((USERS, TRACKS), np.float32)
    for user, count in enumerate(rng.integers(1, 31, USERS)):
        dense[user, rng.choice(TRACKS, count, replace=False)] = 1
    return csr_matrix(dense)


@pytest.fixture
def ids(rng: np.random.Generator) -> np.ndarray:
    """25 answers each, the last ones of every third user missing."""
    answers = np.argsort(rng.random((USERS, TRACKS)), axis=1)[:, :K].astype(np.int32)
    answers[::3, 18:] = -1
    return answers


def test_hits_are_a_look_up(ids: np.ndarray, truth: csr_matrix) -> None:
    dense = truth.toarray() > 0
    expected = [[track >= 0 and dense[user, track] for track in row] for user, row in enumerate(ids)]
    np.testing.assert_array_equal(metrics.hits(ids, truth), expected)


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaWarning")
def test_ranx_agrees(ids: np.ndarray, truth: csr_matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    # What ranx would compile for 90 s, Python runs in one.
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    from ranx import Qrels, Run, evaluate

    qrels = Qrels({f"u{user}": {f"t{track}": 1 for track in truth[user].indices} for user in range(USERS)})
    run = Run(
        {
            f"u{user}": {f"t{track}": float(K - place) for place, track in enumerate(row) if track >= 0}
            for user, row in enumerate(ids)
        }
    )
    hits, relevant = metrics.hits(ids, truth), metrics.relevant_counts(truth)
    ours = {}
    for k in (1, 5, 10, 20, 25):
        ours |= {
            f"precision@{k}": metrics.precision(hits, k),
            f"recall@{k}": metrics.recall(hits, relevant, k),
            f"ndcg@{k}": metrics.ndcg(hits, relevant, k),
            # ranx divides by R.
            f"map@{k}": metrics.average_precision(hits, relevant, k) * np.minimum(relevant, k) / relevant,
            f"hit_rate@{k}": metrics.hit_rate(hits, k),
            f"mrr@{k}": metrics.reciprocal_rank(hits, k),
        }
    scores = evaluate(qrels, run, list(ours), return_mean=False, make_comparable=False)
    order = [int(name[1:]) for name in run.keys()]  # noqa: SIM118 (a Run is no dict)
    for name, values in ours.items():
        np.testing.assert_allclose(values[order], scores[name], atol=TOLERANCE, err_msg=name)


def test_a_perfect_list_scores_one(truth: csr_matrix) -> None:
    perfect = np.argsort(-truth.toarray(), axis=1, kind="stable")[:, :10].astype(np.int32)
    hits, relevant = metrics.hits(perfect, truth), metrics.relevant_counts(truth)
    np.testing.assert_allclose(metrics.ndcg(hits, relevant, 10), 1)
    np.testing.assert_allclose(metrics.average_precision(hits, relevant, 10), 1)
    np.testing.assert_allclose(metrics.hit_rate(hits, 10), 1)
    np.testing.assert_allclose(metrics.reciprocal_rank(hits, 10), 1)
    np.testing.assert_allclose(metrics.precision(hits, 10), np.minimum(relevant, 10) / 10)
    np.testing.assert_allclose(metrics.recall(hits, relevant, 10), np.minimum(relevant, 10) / relevant)


def test_values_as_the_sums_that_yield_them() -> None:
    ids = np.array([[3, 0, 4, 1]], np.int32)
    truth = csr_matrix(np.array([[1, 0, 1, 0, 1]]))
    hits, relevant = metrics.hits(ids, truth), metrics.relevant_counts(truth)
    assert metrics.precision(hits, 4)[0] == pytest.approx(2 / 4)
    assert metrics.recall(hits, relevant, 4)[0] == pytest.approx(2 / 3)
    gain = 1 / np.log2(3) + 1 / np.log2(4)
    assert metrics.ndcg(hits, relevant, 4)[0] == pytest.approx(gain / (1 + 1 / np.log2(3) + 1 / np.log2(4)))
    assert metrics.average_precision(hits, relevant, 4)[0] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert metrics.reciprocal_rank(hits, 4)[0] == 1 / 2
    assert metrics.reciprocal_rank(hits, 1)[0] == 0


def test_a_user_without_relevant_tracks_has_no_value() -> None:
    hits, nothing = np.zeros((1, 3), bool), np.zeros(1, np.int64)
    for values in (metrics.recall(hits, nothing, 3), metrics.ndcg(hits, nothing, 3)):
        assert np.isnan(values).all()


def test_coverage_novelty_and_the_rest_have_dense_references(ids: np.ndarray, rng: np.random.Generator) -> None:
    listeners = rng.integers(0, 40, TRACKS)
    heard = csr_matrix((rng.random((USERS, TRACKS)) < 0.2).astype(np.float32))
    unit = rng.normal(size=(TRACKS, 7)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit[::11] = 0
    k = 20
    novelty, unseen, diversity, bias = [], [], [], []
    for user, row in enumerate(ids):
        tracks = [track for track in row[:k] if track >= 0]
        novelty.append(np.mean([-np.log2(max(listeners[track], 1) / USERS) for track in tracks]))
        unseen.append(np.mean([heard[user, track] == 0 for track in tracks]))
        sounding = [track for track in tracks if unit[track].any()]
        pairs = [(a, b) for a in sounding for b in sounding if a != b]
        diversity.append(np.mean([1 - np.float64(unit[a]) @ unit[b] for a, b in pairs]))
        own = listeners[heard[user].indices]
        bias.append(np.mean(listeners[tracks]) / np.mean(own) - 1 if len(own) else np.nan)
    np.testing.assert_allclose(novelties(ids, TrackPopularity(listeners), USERS, (k,))[0], novelty, atol=TOLERANCE)
    np.testing.assert_allclose(metrics.unseen_shares(ids, heard, (k,))[0], unseen, atol=TOLERANCE)
    # Vectors are float32: so are their sums.
    np.testing.assert_allclose(metrics.diversities(ids, unit, (k,))[0], diversity, atol=1e-6)
    np.testing.assert_allclose(popularity_biases(ids, TrackPopularity(listeners), heard, (k,))[0], bias, atol=TOLERANCE)
    np.testing.assert_array_equal(metrics.user_coverage(ids, k), [float(user % 3 > 0) for user in range(USERS)])
    assert metrics.user_coverage(ids, 40).sum() == 0


def test_skips_and_dislikes_are_no_own_tracks_of_popularity_bias() -> None:
    """Popularity bias leaves a skip out of both sides of the mean: answers as popular as what is liked have none."""
    confidences = np.array([2.0, 1.0, 0.0, 0.0, 0.0, -1.0], np.float32)
    heard = csr_matrix((confidences, np.arange(6), [0, 3, 6]), shape=(2, 6))
    listeners = np.array([10, 30, 90, 90, 0, 90])
    bias = popularity_biases(np.array([[0, 1], [0, 1]], np.int32), TrackPopularity(listeners), heard, (2,))[0]
    np.testing.assert_array_equal(bias, [20 / ((10 + 30) / 2) - 1, np.nan])


def test_a_list_of_one_sound_has_no_diversity() -> None:
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (5, 1))
    ids = np.array([[0, 1, 2], [3, -1, -1]], np.int32)
    np.testing.assert_allclose(metrics.diversities(ids, same, (3,))[0], [0, np.nan], atol=1e-6)


def test_errors_of_ratings() -> None:
    predicted, ratings = np.array([3.0, 4.5]), np.array([4.0, 4.0])
    assert np.sqrt(metrics.squared_errors(predicted, ratings).mean()) == pytest.approx(np.sqrt((1 + 0.25) / 2))
    assert metrics.absolute_errors(predicted, ratings).mean() == pytest.approx((1 + 0.5) / 2)


def test_intervals_hold_the_mean_nineteen_times_of_twenty(rng: np.random.Generator) -> None:
    samples = rng.exponential(size=(300, 200))
    found = intervals(samples, rng, resamples=400)
    np.testing.assert_allclose([interval.value for interval in found], samples.mean(axis=0))
    assert 0.88 <= np.mean([interval.low <= 1 <= interval.high for interval in found]) <= 0.99


def test_intervals_leave_out_users_without_a_value(rng: np.random.Generator) -> None:
    values = np.stack([np.full(50, 2.0), np.where(np.arange(50) % 2, np.nan, 1.0), np.full(50, np.nan)], axis=1)
    constant, half, nothing = intervals(values, rng)
    assert (constant.low, constant.value, constant.high) == (2, 2, 2)
    assert (half.low, half.value, half.high) == (1, 1, 1)
    assert np.isnan([nothing.low, nothing.value, nothing.high]).all()


def test_a_paired_difference_is_narrower_than_its_sides(rng: np.random.Generator) -> None:
    difficulty = rng.random(400)
    better, worse = difficulty + 0.02 + 0.01 * rng.random(400), difficulty + 0.01 * rng.random(400)
    first, second, gain = intervals(np.stack([better, worse, better - worse], axis=1), rng)
    assert second.high > first.low and gain.low > 0


def test_the_interval_of_a_ratio_holds_it_nineteen_times_of_twenty(rng: np.random.Generator) -> None:
    found = []
    for _ in range(100):
        below = rng.exponential(size=200)
        above = np.where(np.arange(200) % 2, np.nan, 3 * below * rng.random(200))
        found.append(ratio_interval(above, below, rng, resamples=200))
    assert 0.87 <= np.mean([interval.low <= 1.5 <= interval.high for interval in found]) <= 1
    nothing = ratio_interval(np.full(3, np.nan), np.ones(3), rng)
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_the_intervals_of_exposure_hold_their_values(ids: np.ndarray, rng: np.random.Generator) -> None:
    (covered, wider), (unequal, _) = exposure_intervals(ids, (3, K), TRACKS * 3, rng)
    assert covered.value == len(set(ids[:, :3].ravel().tolist()) - {-1}) / (TRACKS * 3) <= wider.value
    assert 0 < covered.low < covered.value < covered.high < 1
    assert unequal.value == pytest.approx(gini(np.bincount(ids[:, :3].ravel() + 1)[1:], TRACKS * 3))
    assert 0 < unequal.low < unequal.value < unequal.high < 1


def test_without_answers_nothing_is_covered_and_nothing_is_unequal(rng: np.random.Generator) -> None:
    (covered,), (unequal,) = exposure_intervals(np.full((5, 3), -1, np.int32), (3,), 10, rng)
    assert covered.value == 0 and np.isnan([unequal.value, unequal.low, unequal.high]).all()
