"""Confidence: how strongly the events of a user and a track indicate that the user likes the track.

    C = log2(1 + plays) + like_bonus * liked + rating share        or        C = -dislike while the track is disliked

after Hu, Koren & Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008), with the log scaling
of their equation 6 so that one play is worth 1 and the hundredth next to nothing. A play of less than
`ratio_threshold` of the track is a skip and counts nothing.

C is not a sum over events: a pair has a state (plays, rating, like), to which events are added and which decays with a
half-life; C is computed from the state. An event on its own is the state of a pair that has only this event, so that
one function, `merged`, serves a whole log and the events that come after it.

Shapes: N events or pairs, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .arrays import Floats, Mask, Rows

_DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class ConfidenceOptions:
    """Weights of plays, likes, dislikes and age."""

    ratio_threshold: float = 0.5
    """share of a track that has to be played for a play to count (Listen+ of Yambda)"""
    like_bonus: float = 2.0
    """a like in plays' confidence: 2 is as much as three plays"""
    dislike: float = 1.0
    """the negative confidence of a disliked track, and of the lowest rating"""
    half_life_days: float | None = None
    """after how long a play, a rating and a like count half, seen from the newest event; None counts all alike"""

    def __post_init__(self) -> None:
        if self.half_life_days is not None and self.half_life_days <= 0:
            raise UsageError(f"half-life: {self.half_life_days} days; it has to be above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class States:
    """States of N pairs, or of N events each on its own; a column is None where no pair has a value."""

    plays: Floats | None = None
    """[N] plays that count, 0 for a skip"""
    rating: Floats | None = None
    """[N] share of the highest rating, below half of it a dislike in proportion (< 0); NaN where there is none"""
    liked: Floats | None = None
    """[N] 1 liked, -1 disliked, 0 either was taken back; NaN where there is none. Fades towards 0"""
    given: Floats | None = None
    """[N] confidence that came as a number and not as events; adds to that of the events"""

    @classmethod
    def of(
        cls,
        count: int,
        options: ConfidenceOptions,
        *,
        plays: Floats | None = None,
        played_ratio: Floats | None = None,
        rating: Floats | None = None,
        liked: Floats | None = None,
    ) -> Self:
        """Of N events, each on its own; a column is None where the log has none, a value NaN where the event has none.

        An event is as many plays as it says, else one, unless it is only a rating or a like. `liked` is 1 for a like,
        -1 for a dislike, 0 where it was taken back.
        """
        counted = np.ones(count, np.float32)
        for other in (rating, liked):
            if other is not None:
                counted[~np.isnan(other)] = 0
        if played_ratio is not None:
            counted[~np.isnan(played_ratio)] = 1
        if plays is not None:
            counted = np.where(np.isnan(plays), counted, plays)
        if played_ratio is not None:
            counted[played_ratio < options.ratio_threshold] = 0
        return cls(plays=counted, rating=None if rating is None else _rating_share(rating, options), liked=liked)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    @property
    def columns(self) -> dict[str, Floats]:
        """Those that are not None."""
        return {name: column for name in self.names() if (column := getattr(self, name)) is not None}

    def take(self, which: slice | Mask | Rows) -> Self:
        return type(self)(**{name: column[which] for name, column in self.columns.items()})

    def joined(self, others: Self, count: int, more: int) -> Self:
        """These `count` states and `more` others behind them."""
        names = [name for name in self.names() if name in self.columns or name in others.columns]
        parts = {
            name: [
                np.full(length, _NOTHING[name], np.float32) if column is None else column
                for column, length in ((getattr(self, name), count), (getattr(others, name), more))
            ]
            for name in names
        }
        return type(self)(**{name: np.concatenate(both) for name, both in parts.items()})

    def confidences(self, options: ConfidenceOptions | None = None) -> Floats:
        """[N] C. Zero for a skip.

        >>> States(plays=np.array([1, 3, 0], np.float32), liked=np.array([1, -1, np.nan], np.float32)).confidences()
        array([ 3., -1.,  0.], dtype=float32)
        """
        options = options or ConfidenceOptions()
        total: Floats = np.zeros(len(next(iter(self.columns.values()))), np.float32)
        if self.plays is not None:
            total += np.log2(1 + self.plays)
        if self.rating is not None:
            total += np.nan_to_num(self.rating)
        if self.given is not None:
            total += self.given
        if self.liked is not None:
            total += options.like_bonus * np.fmax(self.liked, 0)
            disliked = self.liked < 0
            total[disliked] = options.dislike * self.liked[disliked]
        return total


_NOTHING = {"plays": 0.0, "rating": np.nan, "liked": np.nan, "given": 0.0}


def fading(times: NDArray[np.int64] | None, now: int | None, options: ConfidenceOptions) -> Floats | None:
    """[N] what is left at the moment `now` of what happened at `times` [N], seconds; None where nothing fades."""
    if options.half_life_days is None or times is None or now is None:
        return None
    return np.exp2((times - now) / (_DAY_SECONDS * options.half_life_days)).astype(np.float32)


def merged(states: States, starts: Rows, left: Floats | None = None) -> States:
    """One state for each of P pairs. `states` [N] lie pair by pair in order of time; `starts` [P] is where pairs begin.

    Plays and what was given add up, of ratings and likes the newest counts; `left` [N] is what `fading` left of each.

    >>> events = States(plays=np.array([1, 1, 0, 1], np.float32), liked=np.array([np.nan, np.nan, -1, 1], np.float32))
    >>> merged(events, np.array([0, 3])).confidences()
    array([-1.,  3.], dtype=float32)
    """
    if not len(starts):
        return states
    merged_columns = {}
    for name, column in states.columns.items():
        values = column if left is None else column * left
        if name in ("plays", "given"):
            merged_columns[name] = np.add.reduceat(values, starts)
        else:
            given = np.flatnonzero(~np.isnan(column))
            merged_columns[name] = np.full(len(starts), np.nan, np.float32)
            # Of equal places the last one stays: the newest.
            merged_columns[name][np.searchsorted(starts, given, side="right") - 1] = values[given]
    return States(**merged_columns)


def _rating_share(ratings: Floats, options: ConfidenceOptions) -> Floats:
    """[N] a rating as a share of the highest one; below half of it a dislike in proportion; NaN where there is none."""
    if not np.isfinite(ratings).any():
        return ratings
    highest = float(np.nanmax(ratings))
    if not highest > 0:
        raise DataError(f"rating: the highest is {highest:g}; ratings have to be above 0")
    share = ratings / np.float32(highest)
    return np.where(share < 0.5, -options.dislike * (1 - np.clip(share, 0, 1)), share).astype(np.float32)
