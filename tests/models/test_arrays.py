"""Laws of `top_k`: every list of the tree puts the best first and equal ones in order of row."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from conftest import ROOT
from scipy.sparse import csr_matrix, random_array

from crossfade.models.arrays import largest_of_rows, top_k, top_k_of_lists
from crossfade.models.hybrid.index import HybridIndex

LISTS, COUNT = 40, 300


@pytest.fixture
def coarse(rng: np.random.Generator) -> np.ndarray:
    """[B, C] scores of which many are equal, and some are no answers."""
    scores = rng.integers(0, 6, (LISTS, COUNT)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[0, 5:] = np.nan
    scores[1] = -np.inf
    return scores


def by_sorting(scores: np.ndarray, rows: np.ndarray | None = None) -> list[int]:
    """All answers of one list, from the rule as it is stated."""
    named = zip(scores.tolist(), range(len(scores)) if rows is None else rows.tolist(), strict=True)
    return [row for score, row in sorted(named, key=lambda pair: (-pair[0], pair[1])) if score > -np.inf]


def answers(ids: np.ndarray) -> list[list[int]]:
    return [[row for row in one if row >= 0] for one in ids.tolist()]


@pytest.mark.parametrize("k", [0, 1, 7, 60, COUNT - 1, COUNT, COUNT + 9])
def test_equal_scores_are_in_order_of_row_also_at_the_cut(coarse: np.ndarray, k: int) -> None:
    """Top-k promises the order of rows for ties, and keeps it."""
    ids, scores = top_k(coarse, k)
    assert ids.shape == scores.shape == (LISTS, k) and (ids.dtype, scores.dtype) == (np.int32, np.float32)
    assert answers(ids) == [by_sorting(one)[:k] for one in np.where(np.isnan(coarse), -np.inf, coarse)]
    assert np.array_equal(scores, np.where(ids >= 0, np.take_along_axis(coarse, np.maximum(ids, 0), 1), -np.inf))
    for one, mine in zip(coarse, answers(ids), strict=True):
        assert top_k(one, k)[0].tolist() == mine


def test_rows_that_are_named_are_what_ties_go_by(coarse: np.ndarray, rng: np.random.Generator) -> None:
    coarse = np.where(np.isnan(coarse), -np.inf, coarse)
    rows = rng.permuted(np.broadcast_to(np.arange(1000, 1000 + COUNT), coarse.shape), axis=1)
    assert answers(top_k(coarse, 25, rows=rows)[0]) == [
        by_sorting(one, mine)[:25] for one, mine in zip(coarse, rows, strict=True)
    ]


def test_a_longer_list_begins_with_the_shorter_one(coarse: np.ndarray) -> None:
    longest = top_k(coarse, COUNT)[0]
    for k in range(0, COUNT, 17):
        assert np.array_equal(top_k(coarse, k)[0], longest[:, :k])


@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("queries", [1, 30])
@pytest.mark.parametrize("exact_rows", [1000, 10])
def test_the_index_keeps_the_order_too(blend: float, queries: int, exact_rows: int) -> None:
    """Duplicates of a track are answers in order of row, also from a shortlist that holds them all."""
    sound = np.zeros((500, 4), np.float32)
    sound[np.arange(500), np.arange(500) % 4] = 1
    taste = np.zeros((500, 2), np.float32)
    taste[np.arange(500), np.arange(500) % 2] = 1
    taste[400:] = 0
    index = HybridIndex.of(taste, sound).compressed(exact_rows=exact_rows)
    alike = np.arange(0, 500, 4).tolist()
    if blend:
        alike = [row for row in alike if row < 400 or blend < 1]
    if blend == 1:
        alike = np.arange(0, 400, 2).tolist()
    asked = np.zeros(queries, np.int32)
    for k in (3, 20, 110):
        found = index.search(taste[asked], sound[asked], k, blend=blend)[0]
        assert found.tolist() == [alike[:k]] * queries
        assert index.search(taste[0], sound[0], k, blend=blend)[0].tolist() == alike[:k]


def test_there_is_one_top_k() -> None:
    """No module cuts a sorted or partitioned list by itself."""
    own = []
    layers = ("audio", "models", "pipelines", "service")
    for file in sorted(file for layer in layers for file in (ROOT / layer).rglob("*.py")):
        if file == ROOT / "models" / "arrays.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            cut = isinstance(node, ast.Subscript) and any(isinstance(part, ast.Slice) for part in ast.walk(node.slice))
            called = node.value if cut else node
            if isinstance(called, ast.Call) and isinstance(called.func, ast.Attribute):
                name = called.func.attr
                if name == "argpartition" or (cut and name in ("argsort", "lexsort")):
                    own.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not own


@pytest.mark.parametrize("k", [0, 1, 5, 40, 400])
def test_lists_of_any_length_have_the_answers_of_each_alone(rng: np.random.Generator, k: int) -> None:
    lengths = rng.integers(0, 90, 70)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    scores = rng.integers(0, 9, ends[-1]).astype(np.float32)
    scores[rng.random(len(scores)) < 0.1] = -np.inf
    places, found = top_k_of_lists(scores, ends, k)
    for start, stop, first, last in zip(ends, ends[1:], found, found[1:], strict=False):
        assert (places[first:last] - start).tolist() == by_sorting(scores[start:stop])[:k]


def test_the_largest_of_each_row_stay(rng: np.random.Generator) -> None:
    matrix = random_array((30, 50), density=0.4, rng=rng, format="csr", dtype=np.float32)
    matrix.data -= 0.2
    kept = largest_of_rows(csr_matrix(matrix), 7).toarray()
    for row, mine in zip(matrix.toarray(), kept, strict=True):
        best = by_sorting(np.where(row > 0, row, -np.inf))[:7]
        assert np.flatnonzero(mine).tolist() == sorted(best) and np.array_equal(mine[best], row[best])
