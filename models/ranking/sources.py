"""Candidate sources: one source's ranking of the tracks for each of B users, by scores of few tracks, by an order of
all that many users share, or by a scan whose nominees are scored exactly.

A user's list is the same alone and among others, to the last digit: whatever is rounded is computed for each user on
their own, or element by element.

Shapes: B users, T tracks, N pairs of a user and a track, user after user, M tracks of an index, F factors, O orders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Mask, Rows, Scores, top_k, top_k_of_lists
from ..hybrid.compressed_scan import CompressedScan

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_CHUNK = 128
_NOMINEES_PER_CANDIDATE = 4


@dataclass(frozen=True, eq=False)
class Pairs:
    """Lists of tracks, one for each of B users."""

    rows: Rows
    """[N] track rows"""
    ends: Rows
    """[B + 1] where the users' lists begin and end"""

    @classmethod
    def of_lists(cls, lists: list[Rows]) -> Pairs:
        ends = np.cumsum([0, *map(len, lists)])
        return cls(np.concatenate([*lists, np.zeros(0, np.int32)]), ends)

    @classmethod
    def of_cells(cls, cells: NDArray[np.int64], users: int, track_count: int) -> Pairs:
        """From the numbers that `cells` gives, in order of user."""
        owners = cells // track_count
        ends = np.searchsorted(owners, np.arange(users + 1))
        return cls((cells - owners * track_count).astype(np.int32), ends)

    @cached_property
    def owners(self) -> NDArray[np.intp]:
        """[N] which of the users"""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """[N] 0, 1, 2 … within each user's list"""
        return np.arange(len(self.rows)) - self.ends[self.owners]

    def cells(self, track_count: int) -> NDArray[np.int64]:
        """[N] the numbers of the pairs in a matrix [B, T] that is laid out row by row."""
        return np.asarray(self.owners * track_count + self.rows)

    def take(self, kept: Mask | Rows) -> Pairs:
        """Some of the pairs, by a mask [N] or by places in order of user."""
        owners = self.owners[kept]
        return Pairs(self.rows[kept], np.searchsorted(owners, np.arange(len(self.ends))))

    def list_of(self, user: int) -> Rows:
        return self.rows[self.ends[user] : self.ends[user + 1]]


class Source(ABC):
    """One source's ranking of the tracks for each of B users."""

    @abstractmethod
    def best(self, count: int, allowed: Mask) -> Pairs:
        """Up to `count` of the tracks that `allowed` [B, T] leaves a user, best first, equal ones in order of row."""

    @abstractmethod
    def scores(self, pairs: Pairs, place_of: Ids) -> Scores:
        """[N] scores of pairs, each user's in order of row; -inf where it has none.

        `place_of` [B * T] has their places by `Pairs.cells`, -1 for all others.
        """


@dataclass(frozen=True, eq=False)
class Listed(Source):
    """From the few tracks that have a score, those of a sparse matrix; a score of 0 is none."""

    matrix: csr_matrix
    """[B, T]"""

    def best(self, count: int, allowed: Mask) -> Pairs:
        kept = allowed.ravel()[self._cells] & (self.matrix.data != 0)
        return best_of(self._pairs.take(kept), self.matrix.data[kept], count)

    def scores(self, pairs: Pairs, place_of: Ids) -> Scores:
        scores = np.full(len(pairs.rows), -np.inf, np.float32)
        places = place_of[self._cells]
        asked = np.flatnonzero((places >= 0) & (self.matrix.data != 0))
        scores[places[asked]] = self.matrix.data[asked]
        return scores

    @cached_property
    def _pairs(self) -> Pairs:
        return Pairs(self.matrix.indices, self.matrix.indptr)

    @cached_property
    def _cells(self) -> NDArray[np.int64]:
        return self._pairs.cells(self.matrix.shape[1])


@dataclass(frozen=True, eq=False)
class Ordered(Source):
    """From all tracks, in one of O orders."""

    orders: list[Ids]
    """[O] rows of tracks, best first"""
    order_scores: Scores
    """[O, T]"""
    which: Rows
    """[B] the user's order"""

    def best(self, count: int, allowed: Mask) -> Pairs:
        found = []
        for user, which in enumerate(self.which.tolist()):
            rows = self.orders[which][: count + _CHUNK]
            rows = rows[allowed[user, rows]]
            if len(rows) < count:
                rows = self.orders[which][allowed[user, self.orders[which]]]
            found.append(rows[:count])
        return Pairs.of_lists(found)

    def scores(self, pairs: Pairs, place_of: Ids) -> Scores:
        return self.order_scores[self.which[pairs.owners], pairs.rows]


@dataclass(frozen=True, eq=False)
class Scanned(Source):
    """From the tracks of an index, by inner products with a vector of the user."""

    scan: CompressedScan
    vectors: Scores
    """[at least M, F], looked at where the scan has no codes"""
    places: Rows | slice
    """[M] which of `vectors` are in the index"""
    rows: Rows
    """[M] of which tracks, in order of row"""
    queries: Scores
    """[B, F]"""
    seen: Rows
    """[B] how many tracks the user knows: they rank high and may not be allowed"""
    exact: Callable[[int, Rows], Scores]
    """(user, rows of tracks in order of row) -> their scores; -inf where it has none"""
    further: Pairs | None = None
    """tracks that are nominated whatever their product"""

    def best(self, count: int, allowed: Mask) -> Pairs:
        nominees = self._nominees(count, allowed)
        cells = [nominees.cells(allowed.shape[1])]
        if self.further is not None:
            cells.append(self.further.cells(allowed.shape[1]))
        every = np.sort(np.concatenate(cells))
        every = every[np.diff(every, prepend=-1) > 0]
        pairs = Pairs.of_cells(every[allowed.ravel()[every]], len(allowed), allowed.shape[1])
        return best_of(pairs, self._scores(pairs), count)

    def scores(self, pairs: Pairs, place_of: Ids) -> Scores:
        return self._scores(pairs)

    def _scores(self, pairs: Pairs) -> Scores:
        scores = np.empty(len(pairs.rows), np.float32)
        for user, (start, stop) in enumerate(zip(pairs.ends, pairs.ends[1:], strict=False)):
            scores[start:stop] = self.exact(user, pairs.rows[start:stop])
        return scores

    def _nominees(self, count: int, allowed: Mask) -> Pairs:
        """Tracks of the index among which each user's best are nearly certainly."""
        if self.scan.is_exact:
            # Products of many users differ from those of one in the last digits, which decide nothing here.
            cells = (self.queries @ self.vectors.T)[:, self.places]
            cells[~allowed[:, self.rows]] = -np.inf
            places, _ = top_k(cells, _NOMINEES_PER_CANDIDATE * count)
            return Pairs.of_lists([self.rows[mine[mine >= 0]] for mine in places])
        found = self.scan.shortlists(self.queries, _NOMINEES_PER_CANDIDATE * (count + self.seen))
        return Pairs.of_lists([self.rows[mine] for mine in found])


def best_of(pairs: Pairs, scores: Scores, count: int) -> Pairs:
    """Each user's pairs with the highest scores, best first, equal ones in order of row; none with -inf."""
    places, ends = top_k_of_lists(scores, pairs.ends, count)
    return Pairs(pairs.rows[places], ends)


def products(vectors: Scores, places: Rows, query: Scores) -> Scores:
    """Products of some vectors with the query; -inf where the place is negative. Shape: -> [len(places)]"""
    if len(places) and places.min() >= 0:
        return np.asarray(vectors[places] @ query)
    mask = places >= 0
    found = np.full(len(places), -np.inf, np.float32)
    found[mask] = vectors[places[mask]] @ query
    return found
