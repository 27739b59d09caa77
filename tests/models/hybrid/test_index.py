"""Laws of the hybrid index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossfade.errors import DataError, LibraryError, UsageError
from crossfade.models.hybrid.index import HybridIndex

FACTORS, WIDTH, TRACKS = 6, 10, 300
Halves = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def halves(rng: np.random.Generator) -> Halves:
    """Some tracks have no sound, some no taste, the last has neither."""
    taste = rng.normal(size=(TRACKS, FACTORS)).astype(np.float32)
    sound = rng.normal(size=(TRACKS, WIDTH)).astype(np.float32)
    sound[50:80] = taste[80:110] = taste[-1] = sound[-1] = 0
    return taste, sound


def built(halves: Halves, **options: int) -> HybridIndex:
    index = HybridIndex(FACTORS, WIDTH, **options)
    index.add(*halves)
    return index


def by_hand(halves: Halves, row: int, blend: float) -> np.ndarray:
    """[T] the score of the module's docstring, for a query that has both halves."""
    total, weights = np.zeros(TRACKS), np.zeros(TRACKS)
    for half, weight in zip(halves, (blend, 1 - blend), strict=True):
        lengths = np.linalg.norm(half, axis=1)
        there = lengths > 0
        cosine = half @ half[row] / np.where(there, lengths, 1) / lengths[row]
        total += np.where(there, weight * cosine, 0)
        weights += np.where(there, weight, 0)
    return np.where(weights > 0, total / np.where(weights > 0, weights, 1), -np.inf)


@pytest.mark.parametrize("blend", [0.0, 0.3, 0.5, 1.0])
def test_it_is_the_score_by_hand(halves: Halves, blend: float) -> None:
    ids, scores = built(halves).search(halves[0][:1], halves[1][:1], 40, blend=blend)
    expected = by_hand(halves, 0, blend)
    order = np.argsort(-expected)[:40]
    np.testing.assert_array_equal(ids[0], order)
    np.testing.assert_allclose(scores[0], expected[order], atol=1e-5)


def test_a_query_with_one_half_is_asked_by_that_half(halves: Halves) -> None:
    index = built(halves)
    nothing = np.zeros((1, WIDTH), np.float32)
    by_taste = index.search(halves[0][:1], halves[1][:1], 9, blend=1.0)
    for blend in (0.0, 0.5):
        found = index.search(halves[0][:1], nothing, 9, blend=blend)
        np.testing.assert_array_equal(found[0], by_taste[0])
    ids, scores = index.search(np.zeros((1, FACTORS), np.float32), nothing, 3)
    assert (ids == -1).all()
    assert (scores == -np.inf).all()


def test_a_track_is_not_similar_to_itself_and_one_with_nothing_is_never_found(halves: Halves) -> None:
    index = built(halves)
    ids, _ = index.similar(np.arange(TRACKS), 20)
    assert not (ids == np.arange(TRACKS)[:, None]).any()
    assert not (ids == TRACKS - 1).any()
    assert (ids[-1] == -1).all()


def test_more_than_there_are(halves: Halves) -> None:
    ids, scores = built(halves).similar(np.array([0]), 2 * TRACKS)
    assert len(np.unique(ids[0][ids[0] >= 0])) == (ids[0] >= 0).sum() == TRACKS - 2
    assert (scores[0][ids[0] < 0] == -np.inf).all()


def test_an_added_track_is_found_at_once(halves: Halves) -> None:
    index = built(halves)
    row = index.add(halves[0][:1] * 3, halves[1][:1] * 5)
    ids, scores = index.similar(np.array([0]), 1)
    assert ids[0, 0] == row[0] == TRACKS
    assert scores[0, 0] == pytest.approx(1, abs=1e-5)


def test_only_candidates_are_answers(halves: Halves) -> None:
    allowed = np.zeros(TRACKS, bool)
    allowed[[3, 60, 90]] = True
    ids, _ = built(halves).similar(np.array([0]), 5, candidates=allowed)
    assert set(ids[0].tolist()) == {3, 60, 90, -1}


@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_cells_find_nearly_what_comparing_all_finds(rng: np.random.Generator, blend: float) -> None:
    """recall@10 of the large index at both ends of the blend and in its middle."""
    centres = rng.normal(size=(40, FACTORS + WIDTH))
    vectors = (centres[rng.integers(40, size=4000)] + 0.5 * rng.normal(size=(4000, FACTORS + WIDTH))).astype(np.float32)
    parts = vectors[:, :FACTORS], vectors[:, FACTORS:]
    exact, celled = HybridIndex(FACTORS, WIDTH), HybridIndex(FACTORS, WIDTH, exact_tracks=1000)
    exact.add(*parts)
    celled.add(*parts)
    asked = np.arange(0, 4000, 20)
    truth, _ = exact.similar(asked, 10, blend=blend)
    found, _ = celled.similar(asked, 10, blend=blend)
    recall = np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(truth, found, strict=True)])
    assert recall >= 0.9
    assert "IVF" in repr(celled)


@pytest.mark.parametrize("exact_tracks", [1000, 100])
def test_saved_and_loaded_it_answers_the_same_and_still_grows(
    halves: Halves, tmp_path: Path, exact_tracks: int
) -> None:
    index = built(halves, exact_tracks=exact_tracks)
    index.save(tmp_path)
    again = HybridIndex.load(tmp_path)
    asked = np.arange(TRACKS)
    for one, other in zip(index.similar(asked, 7), again.similar(asked, 7), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.add(halves[0][:2], halves[1][:2]).tolist() == [TRACKS, TRACKS + 1]


def test_an_empty_index_answers_nothing(tmp_path: Path) -> None:
    HybridIndex(FACTORS, WIDTH).save(tmp_path)
    ids, _ = HybridIndex.load(tmp_path).search(np.ones((2, FACTORS), np.float32), np.ones((2, WIDTH), np.float32), 3)
    assert (ids == -1).all()


def test_what_makes_no_sense_is_refused(halves: Halves, tmp_path: Path) -> None:
    index = built(halves)
    for blend in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="blend"):
            index.similar(np.array([0]), 3, blend=blend)
    with pytest.raises(DataError, match="halves of 6 and 9"):
        index.add(halves[0], halves[1][:, :9])
    index.save(tmp_path)
    (tmp_path / "index.faiss").write_bytes(b"cut short")
    with pytest.raises(LibraryError, match=r"index\.faiss"):
        HybridIndex.load(tmp_path)
