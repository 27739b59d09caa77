"""Popularity of tracks and lists: laws, sums by hand, and dense references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from crossfade.models.evaluation.popularity import (
    HEAD,
    TAIL,
    TrackPopularity,
    cumulative_shares,
    gini,
    kl_divergence,
    popularity_divergences,
    popularity_groups,
    popularity_shifts,
    tail_shares,
)

USERS, TRACKS, K = 40, 120, 12
TOLERANCE = 1e-9


@pytest.fixture
def popularity(rng: np.random.Generator) -> TrackPopularity:
    """A long tail, and some tracks without listeners."""
    listeners = (200 / np.arange(1, TRACKS + 1)).astype(np.int64)
    listeners[::17] = 0
    return TrackPopularity(rng.permutation(listeners))


@pytest.fixture
def profiles(rng: np.random.Generator) -> csr_matrix:
    """Likes, skips (0) and dislikes (-1); the first user likes nothing."""
    dense = np.where(rng.random((USERS, TRACKS)) < 0.15, rng.choice([1.0, 2.0, 3.0, 0.5], (USERS, TRACKS)), 0)
    dense[0] = 0
    matrix = csr_matrix(dense.astype(np.float32))
    others = csr_matrix((np.array([-1, 0.0]), ([0, 5], [3, 7])), shape=dense.shape)
    return (matrix + others).tocsr()


@pytest.fixture
def ids(rng: np.random.Generator) -> np.ndarray:
    answers = np.argsort(rng.random((USERS, TRACKS)), axis=1)[:, :K].astype(np.int32)
    answers[::5, 7:] = -1
    answers[1] = -1
    return answers


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_gini_of_equal_exposure_is_0_and_of_one_track_1_less_1_over_n(count: int) -> None:
    assert gini(np.full(count, 3), count) == pytest.approx(0)
    assert gini(np.array([5]), count) == pytest.approx(1 - 1 / count)


def test_gini_is_half_the_mean_difference_over_the_mean(rng: np.random.Generator) -> None:
    counts = rng.poisson(2, 60)
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    assert gini(counts, 60) == pytest.approx(differences / (2 * counts.mean()))
    assert gini(counts[counts > 0], 60) == pytest.approx(gini(counts, 60))
    # Of four tracks recommended 0, 0, 1 and 3 times: (2 * 3 - 5) * 1 + (2 * 4 - 5) * 3 over 4 * 4.
    assert gini(np.array([3, 1]), 4) == pytest.approx(((2 * 3 - 5) * 1 + (2 * 4 - 5) * 3) / (4 * 4))
    assert np.isnan(gini(np.zeros(0, int), 4))


def test_popularity_groups_divide_the_listeners(popularity: TrackPopularity) -> None:
    listeners, groups = popularity.listeners, popularity.groups
    assert set(groups.tolist()) == {0, 1, 2}
    assert (groups[listeners == 0] == TAIL).all()
    assert listeners[groups == HEAD].min() > listeners[groups == 1].max()
    assert listeners[groups == 1].min() > listeners[groups == TAIL].max()
    # Half of the last track's listeners may lie beyond the bound.
    most, total = listeners.max(), listeners.sum()
    assert listeners[groups == HEAD].sum() / total == pytest.approx(0.2, abs=most / total)
    assert (np.diff(popularity.deciles[np.argsort(-listeners, kind="stable")]) >= 0).all()
    assert popularity_groups(np.array([4, 4, 4])).tolist() == [1, 1, 1]
    assert popularity_groups(np.zeros(2)).tolist() == [TAIL, TAIL]


def test_cumulative_shares_keep_equal_values_together() -> None:
    shares = cumulative_shares(np.array([3, 1, 3, 2]), np.array([1, 4, 3, 2]))
    np.testing.assert_allclose(shares, [(4 + 2 + 4 / 2) / 10, 4 / 2 / 10, (4 + 2 + 4 / 2) / 10, (4 + 2 / 2) / 10])


def test_an_artist_is_as_popular_as_all_of_its_tracks() -> None:
    tracks = TrackPopularity(np.array([50, 10, 10, 10, 10, 10, 1, 1]))
    # The first two artists share a track; the last track has no artist.
    artists = csr_matrix([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]])
    assert popularity_groups(np.array([70, 30, 11])).tolist() == [1, 1, TAIL]
    assert tracks.artist_groups(artists).tolist() == [1, 1, 1, 1, 1, TAIL, TAIL, -1]


def test_shifts_and_shares_have_dense_references(
    popularity: TrackPopularity, profiles: csr_matrix, ids: np.ndarray
) -> None:
    logs = np.log2(np.maximum(popularity.listeners, 1))
    ks = (3, K)
    shifts, shares = popularity_shifts(ids, popularity, profiles, ks), tail_shares(ids, popularity, ks)
    for place, k in enumerate(ks):
        for user, row in enumerate(ids[:, :k]):
            answers, own = row[row >= 0], np.flatnonzero(profiles[user].toarray()[0] > 0)
            if len(answers) and len(own):
                assert shifts[place, user] == pytest.approx(np.median(logs[answers]) - np.median(logs[own]))
            else:
                assert np.isnan(shifts[place, user])
            if len(answers):
                assert shares[place, user] == pytest.approx((popularity.groups[answers] == TAIL).mean())


def test_a_list_like_the_profile_has_neither_shift_nor_divergence(
    popularity: TrackPopularity, rng: np.random.Generator
) -> None:
    ids = np.argsort(rng.random((USERS, TRACKS)), axis=1)[:, :K].astype(np.int32)
    own = csr_matrix((np.ones(ids.size), (np.repeat(np.arange(USERS), K), ids.ravel())), shape=(USERS, TRACKS))
    np.testing.assert_allclose(popularity_shifts(ids, popularity, own, (K,)), 0, atol=TOLERANCE)
    for values in popularity_divergences(ids, popularity, own, (K,)):
        np.testing.assert_allclose(values, 0, atol=TOLERANCE)


def test_divergences_as_the_sums_that_yield_them() -> None:
    """A profile of a hit and a rare track; lists of two hits, of two rare tracks and of one each."""
    popularity = TrackPopularity(np.array([64, 64, 1, 1, 1]))
    assert popularity.deciles.tolist() == [4, 4, 9, 9, 9]
    own = csr_matrix(np.array([[1, 0, 1, 0, 0]] * 3, np.float32))
    kl, js = popularity_divergences(np.array([[0, 1], [2, 3], [1, 4]], np.int32), popularity, own, (2,))
    one_sided = 0.5 * np.log2(0.5 / (0.99 * 1 + 0.01 * 0.5)) + 0.5 * np.log2(0.5 / (0.01 * 0.5))
    np.testing.assert_allclose(kl[0], [one_sided, one_sided, 0], atol=TOLERANCE)
    symmetric = (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25) + 1 * np.log2(1 / 0.75)) / 2
    np.testing.assert_allclose(js[0], [symmetric, symmetric, 0], atol=TOLERANCE)
    np.testing.assert_allclose(popularity_shifts(np.array([[0, 1]] * 3), popularity, own, (2,))[0], 6 - (6 + 0) / 2)


def test_divergences_agree_with_scipy_and_stay_in_bounds(
    popularity: TrackPopularity, profiles: csr_matrix, ids: np.ndarray, rng: np.random.Generator
) -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import entropy

    kl, js = popularity_divergences(ids, popularity, profiles, (K,))
    nothing = np.isin(np.arange(USERS), (0, 1))
    assert (np.isnan(kl[0]) == nothing).all() and (np.isnan(js[0]) == nothing).all()
    assert (kl[0][~nothing] >= 0).all() and (kl[0][~nothing] <= np.log2(100) + TOLERANCE).all()
    for user in np.flatnonzero(~nothing):
        answers, own = ids[user][ids[user] >= 0], np.flatnonzero(profiles[user].toarray()[0] > 0)
        p, q = (np.bincount(popularity.deciles[rows], minlength=10) / len(rows) for rows in (own, answers))
        assert js[0, user] == pytest.approx(jensenshannon(p, q, 2) ** 2, abs=TOLERANCE)
        assert kl[0, user] == pytest.approx(entropy(p, 0.99 * q + 0.01 * p, 2), abs=TOLERANCE)
    same = rng.dirichlet(np.ones(4), 3)
    np.testing.assert_allclose(kl_divergence(same, same), 0)
