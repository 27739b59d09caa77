"""Confidence: how much the events of a user and a track say that the user likes the track.

    C = log2(1 + plays) + like_bonus * liked + rating share        or        C = -dislike while the track is disliked

after Hu, Koren & Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM 2008), with the log scaling
of their equation 6 so that one play is worth 1 and the hundredth next to nothing. A play of less than
`ratio_threshold` of the track is a skip and counts nothing. The events of a pair are given increments of C in order of
time: whatever moment a log is cut at, the weights before it add up to what was known at that moment.

Shapes: N events, sorted by user, track and time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import DataError, UsageError

_DAY_SECONDS = 86_400
_BLOCK_EVENTS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class ConfidenceOptions:
    """What plays, likes, dislikes and age are worth."""

    ratio_threshold: float = 0.5
    """share of a track that has to be played for a play to count (Listen+ of Yambda)"""
    like_bonus: float = 2.0
    """a like in plays' confidence: 2 is as much as three plays"""
    dislike: float = 1.0
    """the negative confidence of a disliked track, and of the lowest rating"""
    half_life_days: float | None = None
    """after how long an event counts half, seen from the newest event; None counts all alike"""

    def __post_init__(self) -> None:
        if self.half_life_days is not None and self.half_life_days <= 0:
            raise UsageError(f"half-life: {self.half_life_days} days; it has to be above 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """What N events say; a column is None where the log does not have it, a value NaN where the event does not."""

    plays: NDArray[np.float32] | None = None
    played_ratio: NDArray[np.float32] | None = None
    rating: NDArray[np.float32] | None = None
    liked: NDArray[np.floating] | None = None
    """1 liked, -1 disliked, 0 took it back"""


def confidences(
    user_rows: NDArray[np.int32],
    track_rows: NDArray[np.int32],
    signals: Signals,
    *,
    times: NDArray[np.int64] | None = None,
    options: ConfidenceOptions | None = None,
) -> NDArray[np.float32]:
    """[N] increments of confidence; those of a pair add up to its confidence. Zero for a skip.

    >>> rows = np.zeros(3, np.int32)
    >>> confidences(rows, rows, Signals()).round(2)
    array([1.  , 0.58, 0.42], dtype=float32)
    """
    options = options or ConfidenceOptions()
    if options.half_life_days is not None and times is None:
        raise DataError("half-life: the log has no times to count it from")
    weights = np.empty(len(user_rows), np.float32)
    highest = _highest(signals.rating)
    for block in _blocks(user_rows, track_rows):
        part = Signals(**{name: None if values is None else values[block] for name, values in vars(signals).items()})
        weights[block] = _increments(user_rows[block], track_rows[block], part, highest, options)
    if options.half_life_days is not None and times is not None and len(times):
        age_days = (times.max() - times) / _DAY_SECONDS
        weights *= np.exp2(-age_days / options.half_life_days).astype(np.float32)
    return weights


def _blocks(user_rows: NDArray[np.int32], track_rows: NDArray[np.int32]) -> Iterator[slice]:
    """Slices of about _BLOCK_EVENTS that cut no pair in two: scratch space stays small beside the log itself."""
    start, count = 0, len(user_rows)
    while start < count:
        end = min(start + _BLOCK_EVENTS, count)
        while end < count and user_rows[end] == user_rows[end - 1] and track_rows[end] == track_rows[end - 1]:
            end += 1
        yield slice(start, end)
        start = end


def _increments(
    user_rows: NDArray[np.int32],
    track_rows: NDArray[np.int32],
    signals: Signals,
    highest: float,
    options: ConfidenceOptions,
) -> NDArray[np.float32]:
    count = len(user_rows)
    starts = np.ones(count, np.bool_)
    np.logical_or(user_rows[1:] != user_rows[:-1], track_rows[1:] != track_rows[:-1], out=starts[1:])
    first = np.maximum.accumulate(np.where(starts, np.arange(count), 0))
    total = np.log2(1 + _running(_plays(signals, count, options), first)).astype(np.float32)
    if signals.rating is not None:
        total += _rating_share(_latest(signals.rating, first), highest, options)
    if signals.liked is not None:
        liked = _latest(signals.liked, first)
        total += options.like_bonus * (liked == 1)
        total[liked == -1] = -options.dislike
    before = np.roll(total, 1)
    before[starts] = 0
    return np.asarray(total - before, np.float32)


def _plays(signals: Signals, count: int, options: ConfidenceOptions) -> NDArray[np.float32]:
    """[N] how many plays each event is: what `plays` says, else one, unless the event is only a rating or a like."""
    plays = np.ones(count, np.float32)
    for other in (signals.rating, signals.liked):
        if other is not None:
            plays[~np.isnan(other)] = 0
    if signals.played_ratio is not None:
        known = ~np.isnan(signals.played_ratio)
        plays[known] = 1
    if signals.plays is not None:
        plays = np.where(np.isnan(signals.plays), plays, signals.plays)
    if signals.played_ratio is not None:
        plays[signals.played_ratio < options.ratio_threshold] = 0
    return plays


def _running(values: NDArray[np.float32], first: NDArray[np.intp]) -> NDArray[np.float64]:
    """[N] the sum of each pair's values up to and with each event."""
    total = np.cumsum(values, dtype=np.float64)
    return np.asarray(total - (total[first] - values[first]))


def _latest(values: NDArray[np.floating], first: NDArray[np.intp]) -> NDArray[np.floating]:
    """[N] the pair's newest value that is not NaN; NaN while there is none."""
    position = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(position >= first, values[position], np.nan)


def _highest(ratings: NDArray[np.float32] | None) -> float:
    if ratings is None or not len(ratings):
        return 1.0
    highest = float(np.nanmax(ratings))
    if not highest > 0:
        raise DataError(f"rating: the highest is {highest:g}; ratings have to be above 0")
    return highest


def _rating_share(ratings: NDArray[np.floating], highest: float, options: ConfidenceOptions) -> NDArray[np.float32]:
    """[N] a rating as a share of the highest one; below half of it a dislike in proportion; 0 where there is none."""
    share = np.nan_to_num(ratings / highest)
    low = np.isfinite(ratings) & (share < 0.5)
    return np.asarray(np.where(low, -options.dislike * (1 - np.clip(share, 0, 1)), share), np.float32)
