"""What recommenders share: their interface, what they remember of the training interactions, how scores become lists.

Shapes: U users, T tracks, B users or tracks asked for, k answers each. Answers are `(ids, scores)`: [B, k] int32 track
rows, best first, and [B, k] float32 scores. Where there are fewer than k answers the ids end in -1 and the scores in
-inf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Answers, Ids, Scores, l2_normalize, top_k
from ..confidence import States
from ..interactions import Clock, Interactions, liked
from ..storage import Arrays, StoredModel

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CELLS_PER_BATCH = 1 << 25
"""Scores held at once: 128 MiB of float32."""
USERS_PER_BATCH = 1024
RECENT_SECONDS = 30 * 24 * 3600.0


@runtime_checkable
class Recommender(Protocol):
    """Learns from interactions, recommends tracks to users and finds similar tracks.

    A model is made with its options (and the `Catalogue`, where it uses one), then fitted. All randomness comes from
    a `seed` option. `save` writes arrays and JSON into a folder, `load` needs nothing but that folder.
    """

    name: str
    """short, as in `crossfade evaluate --models als,popular`"""

    def fit(self, interactions: Interactions) -> Self: ...

    def recommend(
        self,
        user_rows: NDArray[np.int32],
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """The k best tracks for each of B users; `candidates` [T] limits the tracks that may be recommended.

        A user without training interactions is a cold user: the answer is the best non-personal one the model has.
        """
        ...

    def recommend_from(
        self,
        heard: csr_matrix,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """The same for B users the model never met, each known by a row of confidences `heard` [B, T]."""
        ...

    def similar(self, track_rows: NDArray[np.int32], k: int) -> Answers:
        """The k tracks nearest to each of B tracks, the track itself left out."""
        ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...


def popularity(interactions: Interactions, window_seconds: float | None = None) -> Scores:
    """[T] different listeners of each track, -inf for none; with a window, those of the log's last seconds come first.

    Tracks with the same number of recent listeners follow by all their listeners. A log without comparable times has
    no window.
    """
    scores = interactions.listeners.astype(np.float32)
    if (
        window_seconds is not None
        and interactions.clock is Clock.TIME
        and interactions.times is not None
        and len(interactions)
    ):
        recent = interactions.take(interactions.times > interactions.times.max() - window_seconds)
        scores = recent.listeners + scores / np.float32(max(scores.max(), 1) + 1)
    return np.where(scores > 0, scores, -np.inf).astype(np.float32)


@dataclass(frozen=True, eq=False)
class History:
    """Who listened to what in the training period, and the answer for those who did not listen at all."""

    heard: csr_matrix
    """[U, T] confidences; negative ones are dislikes and zeros skips: seen but not liked"""
    popularity: Scores
    """[T] scores of the non-personal answer"""
    states: States | None = None
    """[heard.nnz] what the confidences are worked out from; None for confidences that came as numbers"""
    moment: int | None = None
    """seconds, when the states were so; None without times"""

    @classmethod
    def of(cls, interactions: Interactions) -> History:
        if not np.any(interactions.matrix.data > 0):
            raise DataError("listens: none says that a user likes a track; there is nothing to learn from")
        states = None if interactions.states is None else interactions.pair_states
        return cls(interactions.matrix, popularity(interactions, RECENT_SECONDS), states, interactions.newest)

    @cached_property
    def liked(self) -> csr_matrix:
        """[U, T] the positive confidences only."""
        return liked(self.heard)

    @cached_property
    def warm_users(self) -> NDArray[np.bool_]:
        """[U]"""
        return np.asarray(np.diff(self.liked.indptr) > 0)

    @cached_property
    def warm_tracks(self) -> NDArray[np.bool_]:
        """[T]"""
        return np.bincount(self.liked.indices, minlength=self.liked.shape[1]) > 0

    def arrays(self) -> Arrays:
        """For `save_model`."""
        arrays: Arrays = {
            "heard_indptr": self.heard.indptr.astype(np.int64),
            "heard_tracks": self.heard.indices.astype(np.int32),
            "heard_weights": self.heard.data,
            "popularity": self.popularity,
        }
        if self.states is not None:
            arrays |= {f"heard_{name}": column for name, column in self.states.columns.items()}
        if self.moment is not None:
            arrays["moment"] = np.array([self.moment], np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> History:
        from scipy.sparse import csr_matrix

        shape = (len(arrays["heard_indptr"]) - 1, len(arrays["popularity"]))
        parts = (arrays["heard_weights"], arrays["heard_tracks"], arrays["heard_indptr"])
        columns = {name: arrays[key] for name in States.names() if (key := f"heard_{name}") in arrays}
        moment = int(arrays["moment"][0]) if "moment" in arrays else None
        return cls(csr_matrix(parts, shape=shape), arrays["popularity"], States(**columns) if columns else None, moment)

    @staticmethod
    def without_users(arrays: Arrays, user_rows: NDArray[np.intp]) -> Arrays:
        """Arrays that were saved, without the listens of these users; their rows stay, and are empty."""
        counts = np.diff(arrays["heard_indptr"])
        kept = ~np.isin(np.repeat(np.arange(len(counts)), counts), user_rows)
        counts[user_rows] = 0
        cells = {name: array for name, array in arrays.items() if name.startswith("heard_") and name != "heard_indptr"}
        ends = np.concatenate([[0], np.cumsum(counts)])
        return arrays | {name: array[kept] for name, array in cells.items()} | {"heard_indptr": ends}

    def heard_by(self, user_rows: Ids) -> csr_matrix:
        """[B, T] the confidences of some users; nothing for a row of -1."""
        from scipy.sparse import csr_matrix

        known = user_rows >= 0
        heard = self.heard[user_rows[known]]
        counts = np.zeros(len(known), np.int64)
        counts[known] = np.diff(heard.indptr)
        ends = np.concatenate([[0], np.cumsum(counts)])
        return csr_matrix((heard.data, heard.indices, ends), shape=(len(known), heard.shape[1]))


def rank(
    score: Callable[[int, int], Scores],
    count: int,
    k: int,
    track_count: int,
    *,
    seen: csr_matrix | None = None,
    candidates: NDArray[np.bool_] | None = None,
) -> Answers:
    """The best k of each of `count` rows; `score(start, stop)` gives [stop - start, T], never more than a batch.

    `seen` [count, T] names what is left out of each row, `candidates` [T] what may be in any.
    """
    ids, scores = np.full((count, k), -1, np.int32), np.full((count, k), -np.inf, np.float32)
    columns = None if candidates is None or candidates.all() else np.flatnonzero(candidates).astype(np.int32)
    batch = max(1, min(USERS_PER_BATCH, CELLS_PER_BATCH // max(track_count, 1)))
    for start in range(0, count, batch):
        stop = min(start + batch, count)
        cells = score(start, stop)
        if seen is not None:
            begin, end = seen.indptr[start], seen.indptr[stop]
            users = np.repeat(np.arange(stop - start), np.diff(seen.indptr[start : stop + 1]))
            cells[users, seen.indices[begin:end]] = -np.inf
        if columns is None:
            ids[start:stop], scores[start:stop] = top_k(cells, k)
        elif len(columns):
            found, scores[start:stop] = top_k(cells[:, columns], k)
            ids[start:stop] = np.where(found >= 0, columns[found], -1)
    return ids, scores


def nearest_neighbours(vectors: Scores, track_rows: Ids, k: int) -> Answers:
    """The k nearest by cosine of each of B rows of `vectors` [T, D], itself and rows of zeros left out."""
    unit = l2_normalize(vectors)
    rows = np.asarray(track_rows)
    there = np.any(unit != 0, axis=1)

    def score(start: int, stop: int) -> Scores:
        mine = rows[start:stop]
        cells = (unit[mine] @ unit.T).astype(np.float32)
        cells[~there[mine]] = -np.inf
        cells[np.arange(stop - start), mine] = -np.inf
        return cells

    return rank(score, len(rows), k, len(unit), candidates=there)


class ScoringRecommender(StoredModel, ABC):
    """Recommends by a score for every track; users of whom the model knows nothing get the popular tracks.

    A subclass is a `Recommender` once it can fit and find similar tracks.
    """

    history: History

    def __init__(self, options: Any = None) -> None:
        self.options = options or self.options_type()

    def arrays(self) -> Arrays:
        return super().arrays() | self.history.arrays()

    def restore(self, arrays: Arrays) -> None:
        super().restore(arrays)
        self.history = History.from_arrays(arrays)

    def user_scores(self, rows: Ids) -> Scores:
        """[B] users of the training of whom it `knows` something -> [B, T], a new array; -inf: never."""
        return self.scores_from(self.history.heard[rows])

    @abstractmethod
    def scores_from(self, heard: csr_matrix) -> Scores:
        """[B, T] confidences of anybody of whom it `knows` something -> [B, T], a new array."""

    def knows(self, likes: csr_matrix) -> NDArray[np.bool_]:
        """[B, T] positive confidences -> [B] whether they say anything; the other users get the popular tracks."""
        return np.asarray(np.diff(likes.indptr) > 0)

    def recommend(
        self,
        user_rows: Ids,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """See `Recommender.recommend`; a row of -1 is a user nobody knows."""
        rows = np.asarray(user_rows)
        known = rows >= 0
        known[known] = self.knows(self.history.liked[rows[known]])

        def score(start: int, stop: int) -> Scores:
            return self._filled(known[start:stop], lambda here: self.user_scores(rows[start:stop][here]))

        seen = None if allow_seen else self.history.heard_by(rows)
        return rank(score, len(rows), k, self._track_count, seen=seen, candidates=candidates)

    def recommend_from(
        self,
        heard: csr_matrix,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """The k best for B users the model never met, each known by a row of confidences `heard` [B, T]."""
        if heard.shape[1] != self._track_count:
            raise DataError(f"heard: {heard.shape[1]} tracks, but the model knows {self._track_count}; train it again")
        known = self.knows(liked(heard))

        def score(start: int, stop: int) -> Scores:
            return self._filled(known[start:stop], lambda here: self.scores_from(heard[start:stop][here]))

        seen = None if allow_seen else heard
        return rank(score, heard.shape[0], k, self._track_count, seen=seen, candidates=candidates)

    @property
    def _track_count(self) -> int:
        return len(self.history.popularity)

    def _filled(self, known: NDArray[np.bool_], score: Callable[[NDArray[np.bool_]], Scores]) -> Scores:
        """[B, T] `score` of the known ones, popularity for the others."""
        cells = np.empty((len(known), self._track_count), np.float32)
        if known.any():
            cells[known] = score(known)
        cells[~known] = self.history.popularity
        return cells
