"""What recommenders share: their interface, the training interactions they keep, how scores become lists.

Shapes: U users, T tracks, B users or tracks asked for, k answers each. Answers are `(ids, scores)`: [B, k] int32 track
rows, best first, and [B, k] float32 scores. Where there are fewer than k answers the ids end in -1 and the scores in
-inf.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Answers, Ids, Mask, Scores, csr_arrays, csr_of, l2_normalize, no_answers, top_k
from ..catalogue import Catalogue
from ..confidence_weights import States
from ..interactions import Clock, Interactions, liked
from ..storage import Arrays, StoredModel
from .search_space import SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CELLS_PER_BATCH = 1 << 25
"""Scores held at once: 128 MiB of float32."""
USERS_PER_BATCH = 1024
RECENT_SECONDS = 30 * 24 * 3600.0
_SAVED_MATRIX = ("heard_indptr", "heard_tracks", "heard_weights")


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

    matrix: csr_matrix
    """[U, T] confidences; negative ones are dislikes and zeros skips: seen but not liked"""
    popularity: Scores
    """[T] scores of the non-personal answer"""
    states: States | None = None
    """[matrix.nnz] what the confidences are computed from; None for confidences that came as numbers"""
    moment: int | None = None
    """seconds since 1970 that the states are of, those of the newest listen; None without times"""

    @classmethod
    def of(cls, interactions: Interactions) -> History:
        if not np.any(interactions.matrix.data > 0):
            raise DataError("listens: none says that a user likes a track; there is nothing to learn from")
        states = None if interactions.states is None else interactions.pair_states
        return cls(interactions.matrix, popularity(interactions, RECENT_SECONDS), states, interactions.newest)

    @cached_property
    def liked(self) -> csr_matrix:
        """[U, T] the positive confidences only."""
        return liked(self.matrix)

    @cached_property
    def warm_users(self) -> Mask:
        """[U]"""
        return np.asarray(np.diff(self.liked.indptr) > 0)

    @cached_property
    def warm_tracks(self) -> Mask:
        """[T]"""
        return np.bincount(self.liked.indices, minlength=self.liked.shape[1]) > 0

    @cached_property
    def warm_rows(self) -> NDArray[np.intp]:
        """Rows of the warm tracks."""
        return np.flatnonzero(self.warm_tracks)

    @cached_property
    def cold_rows(self) -> NDArray[np.intp]:
        """Rows of the cold tracks."""
        return np.flatnonzero(~self.warm_tracks)

    def arrays(self) -> Arrays:
        """For `save_model`."""
        arrays: Arrays = {"popularity": self.popularity, **csr_arrays(self.matrix, *_SAVED_MATRIX)}
        if self.states is not None:
            arrays |= {f"heard_{name}": column for name, column in self.states.columns.items()}
        if self.moment is not None:
            arrays["moment"] = np.array([self.moment], np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> History:
        matrix = csr_of(arrays, len(arrays["popularity"]), *_SAVED_MATRIX)
        columns = {name: arrays[key] for name in States.names() if (key := f"heard_{name}") in arrays}
        moment = int(arrays["moment"][0]) if "moment" in arrays else None
        return cls(matrix, arrays["popularity"], States(**columns) if columns else None, moment)

    @staticmethod
    def without_users(arrays: Arrays, user_rows: NDArray[np.intp]) -> Arrays:
        """Arrays that were saved, without the listens of these users; their rows stay, and are empty."""
        counts = np.diff(arrays["heard_indptr"])
        kept = ~np.isin(np.repeat(np.arange(len(counts)), counts), user_rows)
        counts[user_rows] = 0
        cells = {name: array for name, array in arrays.items() if name.startswith("heard_") and name != "heard_indptr"}
        ends = np.concatenate([[0], np.cumsum(counts)])
        return arrays | {name: array[kept] for name, array in cells.items()} | {"heard_indptr": ends}

    def matrix_of(self, user_rows: Ids) -> csr_matrix:
        """[B, T] the confidences of some users; nothing for a row of -1."""
        from scipy.sparse import csr_matrix

        known = user_rows >= 0
        found = self.matrix[user_rows[known]]
        counts = np.zeros(len(known), np.int64)
        counts[known] = np.diff(found.indptr)
        ends = np.concatenate([[0], np.cumsum(counts)])
        return csr_matrix((found.data, found.indices, ends), shape=(len(known), found.shape[1]))


def rank(
    score: Callable[[int, int], Scores],
    count: int,
    k: int,
    track_count: int,
    *,
    seen: csr_matrix | None = None,
    candidates: Mask | None = None,
) -> Answers:
    """The best k of each of `count` rows; `score(start, stop)` gives [stop - start, T], never more than a batch.

    `seen` [count, T] names what is left out of each row, `candidates` [T] what may be in any.
    """
    ids, scores = no_answers(count, k)
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
    mask = np.any(unit != 0, axis=1)

    def score(start: int, stop: int) -> Scores:
        queries = rows[start:stop]
        cells = (unit[queries] @ unit.T).astype(np.float32)
        cells[~mask[queries]] = -np.inf
        cells[np.arange(stop - start), queries] = -np.inf
        return cells

    return rank(score, len(rows), k, len(unit), candidates=mask)


def to_power(likes: csr_matrix, power: float) -> csr_matrix:
    """[B, T] positive confidences to a power, as float32: 0 is whether a user likes a track."""
    powers = likes.astype(np.float64)
    # Rounded at last, as the last digit of a power depends on where numpy finds the number in memory.
    powers.data **= power
    return powers.astype(np.float32)


def check_width(user_items: csr_matrix, track_count: int) -> None:
    """DataError where confidences [B, T] are not of as many tracks as the model."""
    if user_items.shape[1] != track_count:
        raise DataError(f"interactions: {user_items.shape[1]} tracks, but the model has {track_count}; train it again")


def check_catalogue(name: str, catalogue: Catalogue | None, interactions: Interactions) -> Catalogue:
    """The catalogue that a model needs; DataError where it is missing or of other tracks than the interactions."""
    if catalogue is None or len(catalogue) != interactions.track_count:
        given = "needs the catalogue to be fitted" if catalogue is None else f"a catalogue of {len(catalogue)} tracks"
        raise DataError(f"{name}: {given}, but the listens are of {interactions.track_count}")
    return catalogue


class Recommender(StoredModel, ABC):
    """Learns from interactions, recommends tracks to users by a score for every track, and finds similar tracks.

    A model is made with its options (and the `Catalogue`, where it uses one), then fitted. All randomness comes from a
    `seed` option. `name` is short, as in `crossfade evaluate --models als,popular`.
    """

    history: History
    search_space: ClassVar[SearchSpace] = {}
    """What `crossfade evaluate --tune` draws the fields of the options from; empty for a model with nothing to tune."""

    def __init__(self, options: Any = None) -> None:
        self.options = options or self.options_type()

    @property
    def first_seed(self) -> int | None:
        """What its random numbers are drawn by; None for a model without any."""
        chosen = getattr(self, "seed", getattr(self.options, "seed", None))
        return 0 if chosen is None and hasattr(self.options, "seed") else chosen

    def arguments_with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What another model of this kind is made with so that these options have other values."""
        return {"options": replace(self.options, **values)}

    def arrays(self) -> Arrays:
        return super().arrays() | self.history.arrays()

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        super().restore(arrays, facts)
        self.history = History.from_arrays(arrays)

    def fit_note(self, interactions: Interactions) -> str | None:
        """What has to be known before a fit: what it leaves out because it would need too much memory."""
        return None

    @abstractmethod
    def fit(self, interactions: Interactions) -> Self: ...

    @abstractmethod
    def similar(self, track_rows: Ids, k: int) -> Answers:
        """The k tracks nearest to each of B tracks, the track itself left out."""

    def user_scores(self, rows: Ids) -> Scores:
        """[B] warm users of the training -> [B, T], a new array; -inf for what is never recommended."""
        return self.scores_from(self.history.matrix[rows])

    @abstractmethod
    def scores_from(self, user_items: csr_matrix) -> Scores:
        """[B, T] confidences of any users who are warm -> [B, T], a new array."""

    def are_warm(self, likes: csr_matrix) -> Mask:
        """[B, T] positive confidences -> [B] whether users can be scored by them; the others get the popular tracks."""
        return np.asarray(np.diff(likes.indptr) > 0)

    def recommend(self, user_rows: Ids, k: int, *, allow_seen: bool = False, candidates: Mask | None = None) -> Answers:
        """The k best tracks for each of B users; `candidates` [T] limits the tracks that may be recommended.

        A cold user, without likes in the training or with a row of -1, gets the popular tracks.
        """
        rows = np.asarray(user_rows)
        warm = rows >= 0
        warm[warm] = self.are_warm(self.history.liked[rows[warm]])
        seen = None if allow_seen else self.history.matrix_of(rows)
        return self._ranked(warm, lambda places: self.user_scores(rows[places]), k, seen, candidates)

    def recommend_from(
        self,
        user_items: csr_matrix,
        k: int,
        *,
        newest: Ids | None = None,
        allow_seen: bool = False,
        candidates: Mask | None = None,
    ) -> Answers:
        """The same for B users who were not in the training, each given by a row of confidences [B, T].

        `newest` [B, L] are their last different tracks, the newest first, -1 where there are fewer; for models that
        look at the order, None where it is not known.
        """
        check_width(user_items, self._track_count)
        warm, seen = self.are_warm(liked(user_items)), None if allow_seen else user_items
        return self._ranked(warm, lambda places: self.scores_from(user_items[places]), k, seen, candidates)

    @property
    def _track_count(self) -> int:
        return len(self.history.popularity)

    def _ranked(
        self,
        warm: Mask,
        score: Callable[[NDArray[np.intp]], Scores],
        k: int,
        seen: csr_matrix | None = None,
        candidates: Mask | None = None,
    ) -> Answers:
        """The best k of B users by `score(places)` of the warm ones [B], by popularity of the others; see `rank`."""

        def cells(start: int, stop: int) -> Scores:
            places = start + np.flatnonzero(warm[start:stop])
            if len(places) == stop - start:
                return score(places)
            found = np.tile(self.history.popularity, (stop - start, 1))
            if len(places):
                found[places - start] = score(places)
            return found

        return rank(cells, len(warm), k, self._track_count, seen=seen, candidates=candidates)
