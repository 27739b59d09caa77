"""What the hybrid's choices are judged on: tracks and entries that are kept from an inner training part.

A fifth of the tracks is held out whole, part of it as whole artists, so that tracks of new artists are judged by
their sound alone; a tenth is thinned to 1, 2, 5 or 10 listeners; of the remaining entries a fifth is held out.

Shapes: B users judged, C candidate tracks, T tracks, U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import top_k
from ..catalogue import Catalogue
from ..evaluation.metrics import hits, ndcg, recall, relevant_counts
from ..evaluation.splits import known_artists, thinned
from ..interactions import Interactions, to_find
from ..recommenders.als import ALS, ALSOptions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

THINNED_TO = (1, 2, 5, 10)
LEAST_TRACKS = 5
"""Fewer tracks of a slice say nothing."""

_LEAST_WARM, _LEAST_LISTENS = 30, 500
_USERS_JUDGED = 1500
_CELLS = 1 << 25


@dataclass(frozen=True, eq=False)
class Judges:
    """B users and what each of them is to be recommended."""

    rows: Rows
    """[B] of users"""
    truth: csr_matrix
    """[B, T]"""

    def recalls(self, scores: Matrix, candidates: Rows) -> NDArray[np.float64]:
        """[B] recall among the first 20 (a fifth, where C < 100); NaN where there is nothing to find."""
        hits, relevant = self._hits(scores, candidates)
        return recall(hits, relevant, hits.shape[1])

    def gains(self, scores: Matrix, candidates: Rows) -> NDArray[np.float64]:
        """[B] NDCG of the same list: finer than recall where there are few candidates."""
        hits, relevant = self._hits(scores, candidates)
        return ndcg(hits, relevant, hits.shape[1])

    def _hits(self, scores: Matrix, candidates: Rows) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        ids, _ = top_k(scores, max(1, min(20, len(candidates) // 5)))
        wanted = self.truth[:, candidates].tocsr()
        return hits(ids, wanted), relevant_counts(wanted)


@dataclass(frozen=True, eq=False)
class Validation:
    """One ALS fit on the inner training part, and the tracks that were kept from it."""

    als: ALS
    train: Interactions
    catalogue: Catalogue
    warm: Mask
    """[T] with listeners in the inner training part"""
    new: Rows
    """cold tracks of new artists, or of none"""
    known: Rows
    """cold tracks of known artists"""
    thin: dict[int, Rows]
    """listeners -> tracks thinned to as many"""
    others: Rows
    """warm tracks that were not thinned"""
    truth: csr_matrix
    """[U, T] what was held out"""
    rng: np.random.Generator

    def judges(self, candidates: Rows) -> Judges:
        """Users with something to find among the candidates, a sample where there are many."""
        wanted = np.diff(self.truth[:, candidates].tocsr().indptr) > 0
        users = np.flatnonzero(wanted & self.als.history.warm_users)
        most = min(_USERS_JUDGED, max(100, _CELLS // max(len(candidates), 1)))
        if len(users) > most:
            users = np.sort(self.rng.choice(users, most, replace=False))
        return Judges(users, self.truth[users])


def hold_out(
    listens: Interactions, catalogue: Catalogue, options: ALSOptions, rng: np.random.Generator
) -> Validation | None:
    """An inner training part, fitted, and what is kept from it; None where there is too little of either."""
    listeners = listens.listeners
    warm = np.flatnonzero(listeners > 0)
    if len(warm) < _LEAST_WARM or len(listens) < _LEAST_LISTENS:
        return None
    cold = _some_tracks(catalogue, warm, rng)
    room = np.flatnonzero((listeners >= 3) & ~cold)
    chosen = rng.permutation(room)[: max(1, len(warm) // 10)]
    quota = np.full(listens.track_count, -1, np.int64)
    steps = np.array(THINNED_TO)
    for track in chosen:
        quota[track] = rng.choice(steps[steps < listeners[track]])
    quota[cold] = 0
    parts = thinned(listens, quota, rng)
    rest = quota[parts.train.track_rows] < 0
    kept = ~rest | (rng.random(len(parts.train)) >= 0.2)
    train = parts.train.take(kept)
    # A pair with repeated listens may be in both parts; what is seen is not to be found again.
    truth = to_find(parts.test.matrix + parts.train.take(~kept).matrix, train.matrix)
    if not truth.nnz or not np.any(train.matrix.data > 0):
        return None
    als = ALS(options).fit(train)
    inner = als.history.warm_tracks
    known = known_artists(catalogue, inner)
    thin = {n: np.flatnonzero(quota == n) for n in THINNED_TO}
    return Validation(
        als,
        train,
        catalogue,
        inner,
        np.flatnonzero(cold & ~known),
        np.flatnonzero(cold & known),
        {n: tracks for n, tracks in thin.items() if len(tracks) >= LEAST_TRACKS},
        np.flatnonzero(inner & (quota < 0)),
        truth,
        rng,
    )


def _some_tracks(catalogue: Catalogue, warm: Rows, rng: np.random.Generator) -> Mask:
    """[T] a twentieth of the warm tracks as whole artists, and three of the others one by one."""
    goal = max(2, len(warm) // 20)
    cold = np.zeros(len(catalogue), bool)
    is_warm = np.zeros(len(catalogue), bool)
    is_warm[warm] = True
    tracks_of = catalogue.artist_matrix.T.tocsr()
    for artist in rng.permutation(tracks_of.shape[0]):
        if cold.sum() >= goal:
            break
        mine = tracks_of.indices[tracks_of.indptr[artist] : tracks_of.indptr[artist + 1]]
        mine = mine[is_warm[mine]]
        # One artist with half of the catalogue would leave nothing to learn from.
        if len(mine) <= goal:
            cold[mine] = True
    left = warm[~cold[warm]]
    cold[rng.permutation(left)[: 3 * goal]] = True
    return cold
