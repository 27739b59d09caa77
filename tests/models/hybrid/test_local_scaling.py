"""Laws of local scaling: the cosine where there is nothing to scale by, fewer hubs, the same as it grows."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.models.arrays import l2_normalize
from crossfade.models.evaluation.hubness import k_occurrence, skewness
from crossfade.models.hybrid import local_scaling
from crossfade.models.hybrid.index import HybridIndex
from crossfade.models.hybrid.local_scaling import LocalScaling

WIDTH = 40


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    """500 around an offset, which makes hubs of those near it; some are 0, since nothing is known of them."""
    sound = l2_normalize(rng.normal(size=(500, WIDTH)) + 0.3)
    sound[[0, 77, 499]] = 0
    return sound


def index_of(sound: np.ndarray) -> HybridIndex:
    return HybridIndex.of(np.zeros((len(sound), 0), np.float32), sound)


def test_of_ten_neighbours_each_it_halves_the_skew_of_how_often_a_track_is_one(vectors: np.ndarray) -> None:
    index, known = index_of(vectors), np.any(vectors != 0, axis=1)
    plain = np.where(np.eye(500, dtype=bool), -np.inf, vectors @ vectors.T)[known][:, known]
    before = k_occurrence(np.argsort(-plain, axis=1)[:, :10], len(plain))
    after = k_occurrence(index.similar(np.flatnonzero(known), 10)[0], 500)[known]
    assert before.sum() == after.sum() and skewness(before) > 1
    assert skewness(after) < skewness(before) / 2 and (after == 0).sum() < (before == 0).sum()


def test_so_few_tracks_that_nothing_is_usual_are_compared_by_the_cosine(vectors: np.ndarray) -> None:
    """None, one, and two, which are both each other's only neighbour."""
    query, nothing = vectors[10], np.zeros(0, np.float32)
    assert len(index_of(vectors[:0]).search(nothing, query, 5)[0]) == 0
    assert index_of(vectors[1:2]).search(nothing, query, 5)[1] == pytest.approx(vectors[1:2] @ query, abs=1e-6)
    pair = vectors[1:3]
    assert index_of(pair).similar(0, 5)[1] == pytest.approx(pair[1:] @ pair[0], abs=1e-6)
    assert index_of(pair).search(nothing, query, 5)[0].tolist() == np.argsort(-(pair @ query)).tolist()


def test_where_all_are_equally_far_it_is_the_cosine() -> None:
    _, scores = index_of(np.eye(8, dtype=np.float32)).similar(np.arange(8), 7)
    np.testing.assert_allclose(scores, 0, atol=1e-6)


@pytest.mark.parametrize("most", [10_000, 200, 60])
def test_it_grows_into_what_it_is_of_all_tracks_at_once(
    vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Track by track and in blocks, with as many references as tracks and with fewer."""
    monkeypatch.setattr(local_scaling, "MOST_REFERENCES", most)
    grown = LocalScaling(vectors[:0])
    for stop in (1, 2, 3, 100, 101, 199, 420, 421, 500):
        before = grown.weights.copy()
        longer = grown.append(vectors[len(before) : stop], vectors[:stop])
        np.testing.assert_array_equal(grown.weights, before)
        grown = longer
        np.testing.assert_allclose(grown.weights, LocalScaling(vectors[:stop]).weights, rtol=1e-5)
    np.testing.assert_allclose(grown.of(vectors), grown.weights, rtol=1e-5)


def test_a_file_outside_the_library_is_weighed_as_the_same_in_it(vectors: np.ndarray) -> None:
    """What is the same track is no neighbour, whether it is asked by its row or by its vector, twice in it or once."""
    index = index_of(np.vstack([vectors, vectors[5:6]]))
    outside = index.search(np.zeros(0, np.float32), vectors[5] * 3, 40)
    inside = index.similar(5, 39)
    np.testing.assert_array_equal(outside[0][1:], inside[0])
    np.testing.assert_allclose(outside[1][1:], inside[1], atol=1e-6)
    assert outside[0][:2].tolist() == [5, 500] and outside[1][:2].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_many_copies_of_a_track_leave_all_scores_finite(vectors: np.ndarray, rng: np.random.Generator) -> None:
    copies = l2_normalize(vectors[1] + 1e-2 * rng.normal(size=(100, WIDTH)) / np.sqrt(WIDTH))
    _, scores = index_of(np.vstack([vectors, copies])).similar(np.arange(1, 20), 597)
    assert np.isfinite(scores[scores > -np.inf]).all()
    assert scores[scores > -np.inf].min() >= -1 and scores.max() <= 1 + 1e-6
