"""Candidate sources: one source's ranking of the tracks for one user, by scores of few tracks, by an order of all that
is the same for everybody, or by a scan whose nominees are scored exactly.

Shapes: T tracks, n tracks of one user, F factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Ids, Mask, Rows, Scores, row_entries, top_k

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_CHUNK = 128


@dataclass(frozen=True, eq=False)
class Source:
    """One source's ranking of the tracks for one user."""

    best: Callable[[int, Mask], Rows]
    """(n, mask of the rows allowed [T]) -> the n best of these rows, best first, equal ones in order of row"""
    scores: Callable[[Rows], Scores]
    """rows in ascending order -> their scores; -inf where it has none"""


def scanned(nominees: Callable[[int], Rows], scores: Callable[[Rows], Scores]) -> Source:
    """`nominees(n)` are rows among which the n best of all that may be allowed are likely to be."""

    def best(count: int, allowed: Mask) -> Rows:
        rows = nominees(count)
        rows = np.sort(rows[allowed[rows]])
        return rows[top_k(scores(rows), count)[0]]

    return Source(best, scores)


def listed(tracks: Rows, everywhere: Scores) -> Source:
    """From the few `tracks` that have a score; `everywhere` [T] has the scores, 0 for the other tracks."""

    def best(count: int, allowed: Mask) -> Rows:
        kept = tracks[allowed[tracks]]
        return kept[top_k(everywhere[kept], count)[0]]

    def scores(rows: Rows) -> Scores:
        found = everywhere[rows]
        found[found == 0] = -np.inf
        return found

    return Source(best, scores)


def similar(tracks: Ids, weights: Scores, similarity: csr_matrix) -> Source:
    """By similarity [T, T] to tracks [n] of one user: the sum of `weights` [n] times their rows, in that order."""
    places, owners = row_entries(similarity, tracks)
    everywhere = np.zeros(similarity.shape[1], np.float32)
    np.add.at(everywhere, similarity.indices[places], weights[owners] * similarity.data[places])
    # numpy finds what is true much faster than what is not 0.
    return listed(np.flatnonzero(everywhere != 0), everywhere)


def ordered(order: Rows, scores: Scores) -> Source:
    """From all tracks, best first."""

    def best(count: int, allowed: Mask) -> Rows:
        rows = order[: count + _CHUNK]
        rows = rows[allowed[rows]]
        if len(rows) < count:
            rows = order[allowed[order]]
        return rows[:count]

    return Source(best, lambda rows: scores[rows])


def products(vectors: Scores, places: Rows, query: Scores) -> Scores:
    """Products of some vectors with the query; -inf where the place is negative. Shape: -> [len(places)]"""
    mask = places >= 0
    found = np.full(len(places), -np.inf, np.float32)
    found[mask] = vectors[places[mask]] @ query
    return found
