"""Interactions: what the recommenders learn from, as arrays of rows.

A user and a track have one confidence in a matrix [U, T]: above 0 liked, below 0 disliked. A skip is a 0 that is
stored: the track is seen, as any other that was listened to, so that it is neither recommended again nor a relevant
track of an evaluation; but fits, fold-ins and counts of likes leave it out.

Shapes: N listens, U users, T tracks, P different pairs. Rows are internal numbers (0 … U-1, 0 … T-1); external ids live
in the pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .arrays import Mask, as_binary, kept_entries
from .confidence_weights import ConfidenceOptions, States, fading, merged

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Clock(StrEnum):
    """What `Interactions.times` counts."""

    TIME = "time"
    """seconds since 1970, comparable between users"""
    ORDER = "order"
    """positions in each user's own sequence, not comparable between users"""
    NONE = "none"
    """nothing: the log has neither time nor order"""


_COLUMNS = ("user_rows", "track_rows", "weights", "times", "ratings", "organic")


@dataclass(frozen=True, eq=False)
class Interactions:
    """N listens of U users on T tracks, one row per (user, track) event.

    `weights` is the confidence by each event alone: the user likes the track (> 0) or does not (< 0). With `states` a
    pair's confidence is computed from all its events together; without, weights are confidences that add up. `ratings`
    are present only where the log has explicit ratings.
    """

    user_rows: NDArray[np.int32]
    """[N]"""
    track_rows: NDArray[np.int32]
    """[N]"""
    weights: NDArray[np.float32]
    """[N]"""
    user_count: int
    track_count: int
    times: NDArray[np.int64] | None = None
    """[N], in the unit that `clock` names; None with Clock.NONE"""
    clock: Clock = Clock.NONE
    ratings: NDArray[np.float32] | None = None
    """[N]"""
    states: States | None = None
    """[N] the events that `weights` are computed from; None for weights that came as numbers"""
    confidence: ConfidenceOptions = field(default_factory=ConfidenceOptions)
    organic: NDArray[np.int8] | None = None
    """[N] 1 for a listen that the user came to, 0 for one that was recommended, -1 where the log does not tell; None
    where it tells of none"""

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            column = getattr(self, name)
            if column is not None and column.shape != self.user_rows.shape:
                raise DataError(f"{name}: {column.shape}, but there are {self.user_rows.shape} user rows")
        if (self.times is None) != (self.clock is Clock.NONE):
            raise DataError(f"times: {'missing' if self.times is None else 'given'}, but the clock is {self.clock}")
        if self.confidence.half_life_days is not None and self.clock is not Clock.TIME:
            raise DataError("half-life: the log has no times to count it from")
        if len(self):
            for name, count in (("user_rows", self.user_count), ("track_rows", self.track_count)):
                rows = getattr(self, name)
                if rows.min() < 0 or rows.max() >= count:
                    raise DataError(f"{name}: {rows.min()}…{rows.max()}, outside 0…{count - 1}")

    def __len__(self) -> int:
        return len(self.user_rows)

    def __repr__(self) -> str:
        size = f"{len(self):,} of {self.user_count:,} users on {self.track_count:,} tracks"
        return f"Interactions({size}, clock={self.clock})"

    def take(self, which: Mask | NDArray[np.intp]) -> Interactions:
        """The listens chosen by a mask or by positions, over the same users and tracks."""
        columns: dict[str, Any] = {
            name: column[which] for name in _COLUMNS if (column := getattr(self, name)) is not None
        }
        return replace(self, **columns, states=None if self.states is None else self.states.take(which))

    def joined(self, others: Interactions) -> Interactions:
        """These listens and others of the same log behind them."""
        pairs = {name: (getattr(self, name), getattr(others, name)) for name in _COLUMNS}
        columns: dict[str, Any] = {
            name: None if any(part is None for part in pair) else np.concatenate(pair) for name, pair in pairs.items()
        }
        states = None
        if self.states is not None and others.states is not None:
            states = self.states.joined(others.states, len(self), len(others))
        return replace(self, **columns, states=states)

    @property
    def matrix(self) -> csr_matrix:
        """[U, T] float32: the confidence in each of P pairs as it was known when the newest of these listens came."""
        return self._matrix_and_states[0]

    @property
    def pair_states(self) -> States:
        """[P] the states that the entries of `matrix` are computed from."""
        return self._matrix_and_states[1]

    @cached_property
    def _matrix_and_states(self) -> tuple[csr_matrix, States]:
        from scipy.sparse import csr_matrix

        order, starts = self._pairs()
        states = States(given=self.weights) if self.states is None else self.states
        left = fading(self.times, self.newest, self.confidence)
        first = starts
        if order is not None:
            states, left, first = states.take(order), None if left is None else left[order], order[starts]
        states = merged(states, starts, left)
        ends = np.concatenate([[0], np.cumsum(np.bincount(self.user_rows[first], minlength=self.user_count))])
        parts = (states.confidences(self.confidence), self.track_rows[first], ends)
        return csr_matrix(parts, shape=(self.user_count, self.track_count)), states

    @property
    def likes(self) -> Mask:
        """[N] whether the listen is positive, and so is the confidence in its pair by the newest of these listens."""
        order, starts = self._pairs()
        still = np.repeat(self.matrix.data > 0, np.diff(np.append(starts, len(self))))
        if order is not None:
            still[order] = still.copy()
        return np.asarray((self.weights > 0) & still)

    @property
    def newest(self) -> int | None:
        """The time of the newest listen, in seconds; None where there are no such times."""
        return int(self.times.max()) if self.clock is Clock.TIME and self.times is not None and len(self) else None

    def _pairs(self) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
        """(the order of listens by user, track and time, None where they are in it; [P] where in it pairs begin)."""
        users, tracks, times = self.user_rows, self.track_rows, None if self.states is None else self.times
        again = users[1:] == users[:-1]
        rising = (users[1:] > users[:-1]) | (again & (tracks[1:] > tracks[:-1]))
        again &= tracks[1:] == tracks[:-1]
        order = None
        if not (rising | (again if times is None else again & (times[1:] >= times[:-1]))).all():
            order = np.lexsort((tracks, users) if times is None else (times, tracks, users))
            users, tracks = users[order], tracks[order]
            again = (users[1:] == users[:-1]) & (tracks[1:] == tracks[:-1])
        starts = np.flatnonzero(np.concatenate([np.ones(min(len(users), 1), bool), ~again]))
        return order, starts

    @cached_property
    def listeners(self) -> NDArray[np.int64]:
        """[T] the number n of different users who listened to each track with positive confidence."""
        return np.bincount(self.matrix.indices[self.matrix.data > 0], minlength=self.track_count).astype(np.int64)


def sample_of_users(listens: Interactions, most: int, rng: np.random.Generator) -> Interactions:
    """About `most` listens: all of users who are chosen evenly. The listens themselves where there are no more."""
    if len(listens) <= most:
        return listens
    lots = rng.random(listens.user_count)
    return listens.take(lots[listens.user_rows] < most / len(listens))


def liked(interactions: csr_matrix) -> csr_matrix:
    """The entries above 0."""
    return kept_entries(interactions, interactions.data > 0)


def without_skips(interactions: csr_matrix) -> csr_matrix:
    """The entries other than 0: likes and dislikes, no skips."""
    return kept_entries(interactions, interactions.data != 0)


def to_find(later: csr_matrix, seen: csr_matrix | None = None, candidates: Mask | None = None) -> csr_matrix:
    """[U, T] 1 for what users like in `later` and have not in `seen`, be it liked, disliked or skipped there.

    `candidates` [T] limits the tracks.
    """
    relevant = as_binary(liked(later))
    if seen is not None:
        relevant = (relevant - relevant.multiply(as_binary(seen))).tocsr()
    if candidates is not None:
        relevant.data *= candidates[relevant.indices]
    relevant.eliminate_zeros()
    return relevant
