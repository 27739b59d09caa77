"""Listens: what the recommenders learn from, as arrays of rows.

Shapes: N listens, U users, T tracks. Rows are internal numbers (0 … U-1, 0 … T-1); external ids live in the pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Clock(StrEnum):
    """What `Listens.times` counts."""

    TIME = "time"
    """seconds since 1970, comparable between users"""
    ORDER = "order"
    """positions in each user's own sequence, not comparable between users"""
    NONE = "none"
    """nothing: the log knows neither time nor order"""


@dataclass(frozen=True, eq=False)
class Listens:
    """N listens of U users on T tracks, one row per (user, track) event.

    `weights` is the confidence that the user likes the track (> 0) or does not (< 0); plays, play ratios, likes and
    recency are already folded into it. `ratings` are present only where the log has explicit ratings.
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

    def __post_init__(self) -> None:
        for name in ("track_rows", "weights", "times", "ratings"):
            column = getattr(self, name)
            if column is not None and column.shape != self.user_rows.shape:
                raise DataError(f"{name}: {column.shape}, but there are {self.user_rows.shape} user rows")
        if (self.times is None) != (self.clock is Clock.NONE):
            raise DataError(f"times: {'missing' if self.times is None else 'given'}, but the clock is {self.clock}")
        if len(self):
            for name, rows, count in (
                ("user_rows", self.user_rows, self.user_count),
                ("track_rows", self.track_rows, self.track_count),
            ):
                if rows.min() < 0 or rows.max() >= count:
                    raise DataError(f"{name}: {rows.min()}…{rows.max()}, outside 0…{count - 1}")

    def __len__(self) -> int:
        return len(self.user_rows)

    def __repr__(self) -> str:
        return f"Listens({len(self):,} of {self.user_count:,} users on {self.track_count:,} tracks, clock={self.clock})"

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Listens:
        """The listens chosen by a mask or by positions, over the same users and tracks."""
        return Listens(
            self.user_rows[which],
            self.track_rows[which],
            self.weights[which],
            self.user_count,
            self.track_count,
            None if self.times is None else self.times[which],
            self.clock,
            None if self.ratings is None else self.ratings[which],
        )

    @cached_property
    def matrix(self) -> csr_matrix:
        """[U, T] float32: confidences, repeated (user, track) pairs summed."""
        from scipy.sparse import csr_matrix

        matrix = csr_matrix(
            (self.weights, (self.user_rows, self.track_rows)),
            shape=(self.user_count, self.track_count),
            dtype=np.float32,
        )
        matrix.sum_duplicates()
        return matrix

    @cached_property
    def listeners(self) -> NDArray[np.int64]:
        """[T] the number n of different users who listened to each track with positive confidence."""
        positive = self.matrix > 0
        return np.asarray(positive.sum(axis=0), dtype=np.int64).ravel()
