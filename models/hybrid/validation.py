"""The validation part from which the hybrid's options are chosen: an inner training part, and what is kept from it.

A fifth of the tracks is held out whole, part of it as whole artists, so that tracks of new artists are placed by their
sound alone; a tenth of those with three listeners or more is thinned to 1, 2, 5 or 10; of the remaining entries a fifth
is held out. A slice is some of these tracks, and users who have some of them to find.

Shapes: B users of a slice, C candidate tracks of it, T tracks, U users, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats, Ids, Mask, Rows, top_k
from ..catalogue import Catalogue
from ..evaluation.metrics import hits, ndcg, recall, relevant_counts
from ..evaluation.splits import known_artists, thinned
from ..interactions import Interactions, to_find
from ..recommenders.als import ALS, ALSOptions
from .crossfade import artist_counts, artist_rarity, sound_profiles

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Values = NDArray[np.float64]

_THINNED_TO = (1, 2, 5, 10)
_LEAST_WARM, _LEAST_LISTENS = 30, 500
_LEAST_TRACKS, _LEAST_USERS = 5, 20
"""of a slice that is measured"""
_MOST_USERS = 1500
_CELLS = 1 << 25


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

    def slice(self, candidates: Rows) -> Slice:
        """Users with something to find among the candidates, a sample where there are many."""
        relevant = np.diff(self.truth[:, candidates].tocsr().indptr) > 0
        users = np.flatnonzero(relevant & self.als.history.warm_users)
        most = min(_MOST_USERS, max(100, _CELLS // max(len(candidates), 1)))
        if len(users) > most:
            users = np.sort(self.rng.choice(users, most, replace=False))
        return Slice(self, users, candidates)


@dataclass(frozen=True, eq=False)
class Slice:
    """B users and C tracks, some of which they are to be recommended."""

    held: Validation
    users: Rows
    """[B]"""
    candidates: Rows
    """[C]"""

    @property
    def is_small(self) -> bool:
        """Whether there is too little to measure."""
        return len(self.candidates) < _LEAST_TRACKS or len(self.users) < _LEAST_USERS

    @cached_property
    def factors(self) -> Floats:
        """[B, F] of the users"""
        return self.held.als.fold_in(self.held.train.matrix[self.users])

    @property
    def by_als(self) -> Floats:
        """[B, C]"""
        return np.asarray(self.factors @ self.held.als.track_factors[self.candidates].T)

    @property
    def seen(self) -> Mask:
        """[B, C]"""
        return np.asarray(self.held.train.matrix[self.users][:, self.candidates].toarray() != 0)

    @cached_property
    def truth(self) -> csr_matrix:
        """[B, C]"""
        return self.held.truth[self.users][:, self.candidates].tocsr()

    @cached_property
    def artist_counts(self) -> Floats:
        """[B, C]"""
        artists = self.held.catalogue.artist_matrix
        counts = artist_counts(self._liked, artists, artists[self.candidates].T)
        return np.asarray(counts.toarray())

    def by_artist(self, affinity: float, rarity: float) -> Floats:
        """[B, C] what the user's counts of the artists add."""
        rare = artist_rarity(self.held.catalogue.artist_matrix, self.held.train.listeners, rarity)
        return (affinity * rare[self.candidates]) * self.artist_counts

    def similarity(self, sound: Floats) -> Floats:
        """[B, C] to the sound [T, E] of the user's tracks."""
        return np.asarray(sound_profiles(self._liked, sound) @ sound[self.candidates].T)

    def recall(self, scores: Floats) -> Values:
        """[B] recall among the first 20 (a fifth, where C < 100); NaN where there is nothing to find."""
        return recall(*self._hits(scores))

    def ndcg(self, scores: Floats) -> Values:
        """[B] NDCG of the same list: finer than recall where there are few candidates."""
        return ndcg(*self._hits(scores))

    def ndcg_of(self, ids: Ids) -> Values:
        """[B] of lists [B, k] of columns."""
        return ndcg(hits(ids, self.truth), relevant_counts(self.truth), ids.shape[1])

    @property
    def list_length(self) -> int:
        return max(1, min(20, len(self.candidates) // 5))

    def _hits(self, scores: Floats) -> tuple[Mask, NDArray[np.int64], int]:
        ids, _ = top_k(scores, self.list_length)
        return hits(ids, self.truth), relevant_counts(self.truth), ids.shape[1]

    @property
    def _liked(self) -> csr_matrix:
        return self.held.als.history.liked[self.users]


def hold_out(
    listens: Interactions, catalogue: Catalogue, options: ALSOptions, rng: np.random.Generator
) -> Validation | None:
    """An inner training part, fitted, and what is kept from it; None where there is too little of either."""
    listeners = listens.listeners
    warm = np.flatnonzero(listeners > 0)
    if len(warm) < _LEAST_WARM or len(listens) < _LEAST_LISTENS:
        return None
    cold = _cold_tracks(catalogue, warm, rng)
    room = np.flatnonzero((listeners >= 3) & ~cold)
    quota = np.full(listens.track_count, -1, np.int64)
    steps = np.array(_THINNED_TO)
    for track in rng.permutation(room)[: max(1, len(room) // 10)]:
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
    thin: dict[int, Rows] = {
        n: tracks for n in _THINNED_TO if len(tracks := np.flatnonzero(quota == n)) >= _LEAST_TRACKS
    }
    cold_new, cold_known = np.flatnonzero(cold & ~known), np.flatnonzero(cold & known)
    others = np.flatnonzero(inner & (quota < 0))
    return Validation(als, train, catalogue, inner, cold_new, cold_known, thin, others, truth, rng)


def _cold_tracks(catalogue: Catalogue, warm: Rows, rng: np.random.Generator) -> Mask:
    """[T] a twentieth of the warm tracks as whole artists, and three of the others one by one."""
    goal = max(2, len(warm) // 20)
    cold = np.zeros(len(catalogue), bool)
    is_warm = np.zeros(len(catalogue), bool)
    is_warm[warm] = True
    tracks_of = catalogue.artist_matrix.T.tocsr()
    for artist in rng.permutation(tracks_of.shape[0]):
        if cold.sum() >= goal:
            break
        tracks = tracks_of.indices[tracks_of.indptr[artist] : tracks_of.indptr[artist + 1]]
        tracks = tracks[is_warm[tracks]]
        # One artist with half of the catalogue would leave nothing to learn from.
        if len(tracks) <= goal:
            cold[tracks] = True
    left = warm[~cold[warm]]
    cold[rng.permutation(left)[: 3 * goal]] = True
    return cold
