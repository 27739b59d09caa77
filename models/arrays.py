"""Array helpers: the k largest scores, rows of length 1, CSR matrices by their arrays, rows that grow.

`top_k` is the one rule for every list of recommendations, neighbours and candidates: larger scores come first and equal
ones in order of row number, also where the cut goes through them; -inf and NaN are no answers. So the first k of a
longer list are the list of k, and neither the batch nor the machine changes a list.

Shapes: B lists, C scores of each, k answers; N rows of width D.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.integer]
Scores = Floats
Answers = tuple[Ids, Scores]
_LIST_CELLS = 1 << 22
"""of lists of like length at once"""


def top_k(scores: NDArray[Any], k: int, *, rows: NDArray[Any] | None = None) -> Answers:
    """Row numbers of the k largest, and their scores; `rows` are the row numbers, None counts 0 … C - 1.

    Where there are fewer than k, the ids of many lists end in -1 and their scores in -inf; one list is shorter.

    Shape: [B, C] -> ([B, k], [B, k]), [C] -> ([at most k], [at most k])

    >>> top_k(np.array([[0.1, 0.9, -np.inf]], np.float32), 3)[0]
    array([[ 1,  0, -1]], dtype=int32)
    >>> top_k(np.array([0.5, 0.9, 0.5]), 2)[0]
    array([1, 0], dtype=int32)
    """
    if scores.ndim == 1:
        # Without the steps of many lists, which for a short one take longer than the work.
        if rows is not None:
            order = np.argsort(rows, kind="stable")
            places, values = top_k(scores[order], k)
            return rows[order][places].astype(np.int32), values
        found = _first(scores[None], k)[0] if k < len(scores) else np.arange(len(scores))
        found = found[scores[found] > -np.inf]
        found = found[np.argsort(-scores[found], kind="stable")]
        return found.astype(np.int32), scores[found].astype(np.float32)
    if rows is not None:
        order = np.argsort(rows, axis=1, kind="stable")
        places, values = top_k(np.take_along_axis(scores, order, axis=1), k)
        ids = np.take_along_axis(np.take_along_axis(rows, order, axis=1), np.maximum(places, 0), axis=1)
        return np.where(places >= 0, ids, -1).astype(np.int32), values
    lists, count = scores.shape
    top = min(k, count)
    found = _first(scores, top) if top < count else np.broadcast_to(np.arange(count), (lists, count))
    largest = np.take_along_axis(scores, found, axis=1)
    order = np.argsort(-largest, axis=1, kind="stable")
    ids, values = no_answers(lists, k)
    ids[:, :top] = np.take_along_axis(found, order, axis=1)
    values[:, :top] = np.take_along_axis(largest, order, axis=1)
    nothing = ~(values > -np.inf)
    ids[nothing], values[nothing] = -1, -np.inf
    return ids, values


def no_answers(lists: int, k: int) -> Answers:
    """([lists, k] ids of -1, [lists, k] scores of -inf), to be filled in.

    >>> no_answers(1, 2)[0]
    array([[-1, -1]], dtype=int32)
    """
    return np.full((lists, k), -1, np.int32), np.full((lists, k), -np.inf, np.float32)


def _first(scores: NDArray[Any], top: int) -> NDArray[np.intp]:
    """[B, top] columns of the largest, in order of column; `top` is less than C."""
    if not top:
        return np.zeros((len(scores), 0), np.intp)
    # The value at the cut, then what is not below it: numpy finds a value several times as fast as its places.
    costs = -scores
    cut = np.partition(costs, top - 1, axis=1)[:, top - 1, None]
    within = costs <= cut
    # Where more are equal to the last one than there is room for, or some are NaN, the lowest rows.
    uneven = np.flatnonzero(np.count_nonzero(within, axis=1) != top)
    if len(uneven):
        costs = np.where(np.isnan(costs[uneven]), np.inf, costs[uneven])
        cut = np.partition(costs, top - 1, axis=1)[:, top - 1, None]
        below, equal = costs < cut, costs == cut
        room = top - np.count_nonzero(below, axis=1)
        within[uneven] = below | (equal & (np.cumsum(equal, axis=1) <= room[:, None]))
    return np.nonzero(within)[1].reshape(len(scores), top)


def top_k_of_lists(scores: NDArray[Any], ends: Rows, k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`top_k` of B lists of any length that lie one after the other, from `ends` [B + 1]: 0 to N.

    Places in `scores` [N], list by list, the best of each first, equal ones in order of place; and their own ends.

    >>> top_k_of_lists(np.array([0.1, 0.9, 0.5, 0.7]), np.array([0, 3, 4]), 2)
    (array([1, 2, 3]), array([0, 2, 3]))
    """
    lengths = np.diff(ends)
    if len(lengths) == 1:
        places, _ = top_k(scores, k)
        return places.astype(np.intp), np.array([0, len(places)])
    # Lists of about the same length are rows of one matrix, filled up with no answers.
    by_length = np.argsort(lengths, kind="stable")
    found = np.full((len(lengths), min(k, int(lengths.max(initial=0)))), -1)
    start = int(np.searchsorted(lengths[by_length], 0, side="right"))
    while start < len(lengths):
        shortest = lengths[by_length[start]]
        stop = int(np.searchsorted(lengths[by_length], shortest + shortest // 4 + 8, side="right"))
        lists = by_length[start : min(stop, start + max(1, _LIST_CELLS // int(shortest)))]
        start += len(lists)
        width = int(lengths[lists[-1]])
        places = ends[lists][:, None] + np.arange(width)
        outside = np.arange(width) >= lengths[lists][:, None]
        places[outside] = ends[lists[-1]]
        cells = scores[places]
        cells[outside] = -np.inf
        columns, _ = top_k(cells, min(k, width))
        found[lists, : columns.shape[1]] = np.where(
            columns >= 0, np.take_along_axis(places, np.maximum(columns, 0), axis=1), -1
        )
    there = found >= 0
    return found[there], np.concatenate([[0], np.cumsum(np.count_nonzero(there, axis=1))])


def largest_of_rows(matrix: csr_matrix, count: int) -> csr_matrix:
    """The matrix with at most `count` positive entries in each row, the largest ones."""
    kept = matrix.data > 0
    long = np.flatnonzero(np.diff(matrix.indptr) > count)
    places, owners = row_entries(matrix, long)
    kept[places] = False
    ends = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(long)))])
    scores = np.where(matrix.data[places] > 0, matrix.data[places], -np.inf)
    kept[places[top_k_of_lists(scores, ends, count)[0]]] = True
    return kept_entries(matrix, kept)


def kept_entries(matrix: csr_matrix, kept: Mask) -> csr_matrix:
    """The matrix with some of its stored entries, by a mask over them; itself where all are kept."""
    from scipy.sparse import csr_matrix

    if kept.all():
        return matrix
    ends = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return csr_matrix((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)


def l2_normalize(vectors: NDArray[np.floating[Any]]) -> Scores:
    """Each row divided by its length; rows of zeros stay. Shape: [..., D] -> [..., D]"""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def column_scale(rows: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(means [D], standard deviations [D]) of rows [N, D], for (rows - means) / deviations.

    The deviation of a column that hardly varies is 1: what it does later must not become huge.
    """
    means, deviations = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    return means, np.where(deviations > 1e-6 * np.maximum(np.abs(means), 1), deviations, 1.0)


def row_entries(matrix: csr_matrix, rows: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(places in the matrix's `indices` and `data`, which of `rows` each is in), row after row.

    Quicker than `matrix[rows]`, which makes a matrix.

    >>> from scipy.sparse import csr_matrix
    >>> places, owners = row_entries(csr_matrix([[0, 5], [6, 7]]), np.array([1, 0]))
    >>> places.tolist(), owners.tolist()
    ([1, 2, 0], [0, 0, 1])
    """
    starts = matrix.indptr[rows]
    lengths = matrix.indptr[np.asarray(rows) + 1] - starts
    owners = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return (starts - first)[owners] + np.arange(len(owners)), owners


def as_binary(matrix: csr_matrix) -> csr_matrix:
    """The same entries, each 1 as float32."""
    binary = matrix.astype(np.float32)
    binary.data = np.ones_like(binary.data)
    return binary


def csr_arrays(matrix: csr_matrix, indptr: str, indices: str, data: str | None = None) -> dict[str, NDArray[Any]]:
    """A matrix as arrays of these names, to be saved; without a name for the data its entries are all 1."""
    arrays = {indptr: matrix.indptr.astype(np.int64), indices: matrix.indices.astype(np.int32)}
    return arrays if data is None else arrays | {data: matrix.data.astype(np.float32)}


def csr_of(arrays: Mapping[str, NDArray[Any]], width: int, indptr: str, indices: str, data: str | None = None) -> Any:
    """The matrix of so many columns that `csr_arrays` was given."""
    from scipy.sparse import csr_matrix

    values = np.ones(len(arrays[indices]), np.float32) if data is None else arrays[data]
    return csr_matrix((values, arrays[indices], arrays[indptr]), shape=(len(arrays[indptr]) - 1, width))


def one_blas_thread() -> AbstractContextManager[object]:
    """Around many small products, or threads of another library: more BLAS threads only fight for the same cores."""
    try:
        libraries = _blas_libraries(len(sys.modules))
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = libraries.limit(limits=1, user_api="blas")
    return limits


@lru_cache(maxsize=1)
def _blas_libraries(modules: int) -> Any:
    """The BLAS libraries of the process, looked for anew where modules were imported since; a look takes 5 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class GrowingRows:
    """Rows [N, D] with room for more; what was handed out before never changes.

    >>> first = GrowingRows(np.zeros((2, 3), np.float32))
    >>> second, rows = first.plus(2, np.ones((1, 3), np.float32))
    >>> rows.shape
    (3, 3)
    """

    def __init__(self, rows: Scores) -> None:
        self._room = rows
        self._used = len(rows)

    def plus(self, count: int, more: Scores) -> tuple[GrowingRows, Scores]:
        """(who grows on from here, the first `count` rows and `more` behind them).

        The room is shared with whoever appends next; who appends to fewer rows than there are gets a copy.
        """
        total = count + len(more)
        grown = self
        if count != self._used or total > len(self._room):
            room = np.empty((total + max(total // 8, 64), more.shape[1]), np.float32)
            room[:count] = self._room[:count]
            grown = GrowingRows(room)
        grown._room[count:total] = more
        grown._used = total
        return grown, grown._room[:total]
