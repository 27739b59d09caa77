"""The k best of many scores: one rule for every list of recommendations, neighbours and candidates.

Larger scores come first and equal ones in order of row number, also where the cut goes through them; -inf and NaN are
no answers. So the first k of a longer list are the list of k, and neither the batch nor the machine changes a list.

Shapes: B lists, C scores of each, k answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Scores = NDArray[np.float32]
Answers = tuple[Ids, Scores]


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
        ids, values = top_k(scores[None], min(k, len(scores)), rows=None if rows is None else rows[None])
        there = ids[0] >= 0
        return ids[0][there], values[0][there]
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
    ids, values = np.full((lists, k), -1, np.int32), np.full((lists, k), -np.inf, np.float32)
    ids[:, :top] = np.take_along_axis(found, order, axis=1)
    values[:, :top] = np.take_along_axis(largest, order, axis=1)
    nothing = ~(values > -np.inf)
    ids[nothing], values[nothing] = -1, -np.inf
    return ids, values


def _first(scores: NDArray[Any], top: int) -> NDArray[np.intp]:
    """[B, top] columns of the largest, in order of column; `top` is less than C."""
    found = np.argpartition(-scores, top, axis=1)[:, : top + 1]
    largest = np.take_along_axis(scores, found, axis=1)
    found, cut = found[:, :top], largest[:, :top].min(axis=1, initial=np.inf)
    # The next one is as good as the last one: argpartition takes any of these, the rule the lowest rows.
    for one in np.flatnonzero((largest[:, top] == cut) & (cut > -np.inf)):
        above, equal = np.flatnonzero(scores[one] > cut[one]), np.flatnonzero(scores[one] == cut[one])
        found[one] = np.concatenate([above, equal])[:top]
    return np.sort(found, axis=1)


def unit_rows(vectors: Scores) -> Scores:
    """Each row divided by its length; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
