"""Laws of the hybrid index: exact where all tracks are compared, nearly so beyond; the same for one query and many."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from crossfade.errors import DataError, LibraryError, UsageError
from crossfade.models.hybrid.compressed_scan import CompressedScan
from crossfade.models.hybrid.index import HybridIndex
from crossfade.models.hybrid.local_scaling import NEIGHBOURS
from crossfade.models.storage import save_model

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
    index = HybridIndex.of(*halves)
    return index.compressed(**options) if options else index


def cosines(half: np.ndarray) -> np.ndarray:
    """[T, T], NaN where either has none."""
    lengths = np.linalg.norm(half, axis=1)
    unit = half / np.where(lengths > 0, lengths, np.nan)[:, None]
    return unit @ unit.T


def by_hand(halves: Halves, row: int, blend: float) -> np.ndarray:
    """[T] the score of the module's docstring, for a query that has both halves."""
    taste, sound = map(cosines, halves)
    others = np.sort(np.where(np.eye(TRACKS, dtype=bool), np.nan, 1 - sound), axis=1)[:, :NEIGHBOURS]
    usual = others.mean(axis=1)
    sound = 1 - (1 - sound) * np.nanmean(usual) / np.sqrt(np.outer(usual, usual))
    parts = np.stack([taste[row], np.maximum(sound[row], -1)])
    weights = np.where(np.isnan(parts), 0, np.array([blend, 1 - blend])[:, None])
    total = weights.sum(axis=0)
    return np.where(total > 0, np.nansum(weights * parts, axis=0) / np.where(total > 0, total, 1), -np.inf)


@pytest.mark.parametrize("blend", [0.0, 0.3, 0.5, 1.0])
def test_it_is_the_score_by_hand(halves: Halves, blend: float) -> None:
    ids, scores = built(halves).search(halves[0][:1], halves[1][:1], 40, blend=blend)
    expected = by_hand(halves, 0, blend)
    order = np.argsort(-expected)[:40]
    np.testing.assert_array_equal(ids[0], order)
    np.testing.assert_allclose(scores[0], expected[order], atol=1e-5)


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_the_scores_are_blends_of_the_similarities(halves: Halves, blend: float) -> None:
    index = built(halves)
    taste, sound = index.similarities(halves[0][0], halves[1][0], np.arange(TRACKS))
    assert (np.isnan(taste) == ~halves[0].any(axis=1)).all() and (np.isnan(sound) == ~halves[1].any(axis=1)).all()
    ids, scores = index.search(halves[0][0], halves[1][0], TRACKS, blend=blend)
    blended = np.where(np.isnan(sound), taste, np.where(np.isnan(taste), sound, blend * taste + (1 - blend) * sound))
    np.testing.assert_allclose(scores, blended[ids], atol=1e-5)
    nothing = index.similarities(halves[0][-1], halves[1][-1], np.arange(TRACKS))
    assert np.isnan(nothing).all()


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


@pytest.mark.parametrize("exact_rows", [10**6, TRACKS, 100])
def test_an_appended_track_is_found_as_if_it_had_been_there(halves: Halves, exact_rows: int) -> None:
    """All compared, compressed from the first new track on, and compressed before."""
    short, whole = built(tuple(half[:-5] for half in halves), exact_rows=exact_rows - 5), built(halves)
    grown = short.append_tracks(*(half[-5:] for half in halves))
    asked = np.array([0, 60, 90, TRACKS - 2])
    for one, other in zip(grown.similar(asked, 10), whole.similar(asked, 10), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    twice = grown.append_tracks(halves[0][:1] * 3, halves[1][:1] * 5)
    assert twice.similar(0, 1)[0].tolist() == [TRACKS] and len(grown) == TRACKS and len(short) == TRACKS - 5


def test_a_replaced_track_is_found_where_it_is_now(halves: Halves) -> None:
    index, rows = built(halves), np.array([4, 5])
    other = index.replace_tracks(rows, halves[0][[7, 8]], halves[1][[7, 8]])
    assert other.similar(7, 1)[0].tolist() == [4] and index.similar(7, 1)[0].tolist() != [4]
    assert index.sound_differs(rows, halves[1][[4, 8]] * 2).tolist() == [False, True]
    assert index.sound_differs(np.array([60, 4]), np.zeros((2, 0))).tolist() == [False, True]
    assert index.sound_differs(rows, np.ones((2, 3))).all()


def test_only_candidates_are_answers(halves: Halves) -> None:
    allowed = np.zeros(TRACKS, bool)
    allowed[[3, 60, 90]] = True
    ids, _ = built(halves).similar(np.array([0]), 5, candidates=allowed)
    assert set(ids[0].tolist()) == {3, 60, 90, -1}


@pytest.mark.parametrize("blend", [0.0, 0.3, 0.5, 1.0])
def test_the_shortlist_finds_nearly_what_comparing_all_finds(rng: np.random.Generator, blend: float) -> None:
    """Of many queries and of one, with tracks that lack a half and some that are no candidates."""
    centres = rng.normal(size=(40, FACTORS + WIDTH))
    vectors = (centres[rng.integers(40, size=4000)] + 0.5 * rng.normal(size=(4000, FACTORS + WIDTH))).astype(np.float32)
    taste, sound = vectors[:, :FACTORS].copy(), vectors[:, FACTORS:].copy()
    taste[:1500], sound[1200:2500] = 0, 0
    allowed = rng.random(4000) < 0.9
    exact, compressed = HybridIndex.of(taste, sound), HybridIndex.of(taste, sound).compressed(exact_rows=500)
    asked = np.arange(0, 4000, 40)
    truth, scores = exact.similar(asked, 10, blend=blend, candidates=allowed)
    found, near = compressed.similar(asked, 10, blend=blend, candidates=allowed)
    recall = np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(truth, found, strict=True) if pair[0][0] >= 0])
    assert recall >= 0.95 and ((truth < 0) == (found < 0)).all()
    np.testing.assert_allclose(near[:, 0], scores[:, 0], atol=1e-5)
    for place, row in enumerate(asked.tolist()):
        alone, _ = compressed.similar(row, 10, blend=blend, candidates=allowed)
        np.testing.assert_array_equal(alone, found[place][found[place] >= 0])


@pytest.mark.parametrize("exact_rows", [10**6, 100])
def test_several_blends_at_once_are_as_each_alone(halves: Halves, exact_rows: int) -> None:
    """Also for a query that lacks a half, one that lacks both, and among few candidates."""
    index, blends = built(halves, exact_rows=exact_rows), [0.0, 0.3, 0.5, 1.0]
    few = np.arange(TRACKS) % 5 == 0
    for row in (0, 60, 90, TRACKS - 1):
        for candidates in (None, few):
            query = halves[0][row], halves[1][row]
            found = index.compare(*query, 8, blends, candidates=candidates)
            for blend, (ids, scores) in zip(blends, found.answers, strict=True):
                alone = index.search(*query, 8, blend=blend, candidates=candidates)
                np.testing.assert_array_equal(ids, alone[0])
                np.testing.assert_allclose(scores, alone[1], atol=1e-6)
            for half, other in zip(
                (found.by_taste, found.by_sound), index.similarities(*query, found.rows), strict=True
            ):
                np.testing.assert_allclose(half, other, atol=1e-6)


def test_an_empty_scan_and_an_odd_width() -> None:
    assert len(CompressedScan(np.zeros((0, 3), np.float32)).shortlist(np.ones(3, np.float32), 5)) == 0
    rows = np.eye(7, dtype=np.float32).repeat(100, axis=0)
    found = CompressedScan(rows, exact_rows=10).shortlist(rows[350], 120)
    assert set(range(300, 400)) <= set(found.tolist())


@pytest.mark.parametrize("exact_rows", [10**6, 100])
def test_saved_and_loaded_it_answers_the_same_and_still_grows(halves: Halves, tmp_path: Path, exact_rows: int) -> None:
    index = built(halves, exact_rows=exact_rows)
    index.save(tmp_path)
    again = HybridIndex.load(tmp_path)
    asked = np.arange(TRACKS)
    for one, other in zip(index.similar(asked, 7), again.similar(asked, 7), strict=True):
        np.testing.assert_array_equal(one, other)
    more = halves[0][:2] * 3, halves[1][5:7] * 5
    for one, other in zip(
        *(which.append_tracks(*more).similar(np.arange(TRACKS + 2), 7) for which in (index, again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cells", [0, 4])
def test_an_index_that_faiss_kept_is_loaded(halves: Halves, tmp_path: Path, cells: int) -> None:
    """As versions before the one of safetensors saved it, flat or in cells."""
    index, flat = built(halves), faiss.IndexFlatIP(FACTORS + WIDTH)
    kept = faiss.IndexIVFFlat(flat, FACTORS + WIDTH, cells, faiss.METRIC_INNER_PRODUCT) if cells else flat
    if cells:
        kept.train(index.vectors)
    kept.add(index.vectors)
    facts = {"factors": FACTORS, "sound_width": WIDTH, "exact_tracks": 200_000}
    masks = {"has_taste": index.vectors[:, :FACTORS].any(axis=1), "has_sound": index.vectors[:, FACTORS:].any(axis=1)}
    save_model(tmp_path, "index", masks, facts=facts)
    with pytest.raises(LibraryError, match=r"index\.faiss"):
        HybridIndex.load(tmp_path)
    faiss.write_index(kept, str(tmp_path / "index.faiss"))
    np.testing.assert_array_equal(HybridIndex.load(tmp_path).vectors, index.vectors)


def test_an_empty_index_answers_nothing(tmp_path: Path) -> None:
    HybridIndex.of(np.zeros((0, FACTORS), np.float32), np.zeros((0, WIDTH), np.float32)).save(tmp_path)
    ids, _ = HybridIndex.load(tmp_path).search(np.ones((2, FACTORS), np.float32), np.ones((2, WIDTH), np.float32), 3)
    assert (ids == -1).all()


def test_what_makes_no_sense_is_refused(halves: Halves) -> None:
    index = built(halves)
    for blend in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="blend"):
            index.similar(np.array([0]), 3, blend=blend)
    with pytest.raises(DataError, match="halves of 6 and 9"):
        index.append_tracks(halves[0], halves[1][:, :9])
