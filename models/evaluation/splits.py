"""Splits of listens into a training and a test part.

A validation part is a split of the training part, made the same way. Shapes: N listens, U users, T tracks, A artists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Mask, Rows
from ..catalogue import Catalogue
from ..interactions import Clock, Interactions

_DAY_SECONDS = 86_400


@dataclass(frozen=True, eq=False)
class Split:
    """A training and a test part over the same users and tracks."""

    train: Interactions
    test: Interactions
    name: str
    within_user: bool = False
    """Whether test listens of one user can be older than training listens of another."""

    def __repr__(self) -> str:
        return f"Split({self.name}, {len(self.train):,} to learn from, {len(self.test):,} to predict)"

    @property
    def warm_user_count(self) -> int:
        """Users in both parts."""
        return len(np.intersect1d(self.train.user_rows, self.test.user_rows))


def by_time(interactions: Interactions, *, share: float = 0.2, gap_seconds: float = 0.0) -> Split:
    """The latest `share` of all listens is the test; training ends `gap_seconds` before it begins."""
    times = _comparable_times(interactions)
    return since(interactions, np.quantile(times, 1 - share, method="higher"), gap_seconds=gap_seconds)


def since(interactions: Interactions, start: float, *, gap_seconds: float = 0.0, name: str = "temporal") -> Split:
    """All listens from the moment `start` (seconds) on are the test; training ends `gap_seconds` before it."""
    times = _comparable_times(interactions)
    train, test = times < start - gap_seconds, times >= start
    return Split(interactions.take(train), interactions.take(test), name)


def new_releases(interactions: Interactions, *, days: float = 28.0, gap_seconds: float = 0.0) -> Split:
    """The test is what the last `days` hold of the tracks that nobody listened to before; training ends before them.

    Listens of those days to older tracks, and all that lie in the gap, are in neither part.
    """
    times = _comparable_times(interactions)
    start = times.max() - days * _DAY_SECONDS
    parts = since(interactions, start, gap_seconds=gap_seconds)
    old = np.zeros(interactions.track_count, bool)
    old[interactions.track_rows[times < start]] = True
    test = parts.test.take(~old[parts.test.track_rows])
    return Split(parts.train, test, f"temporal, tracks first heard in the last {days:g} days")


def _comparable_times(interactions: Interactions) -> NDArray[np.int64]:
    """[N] seconds; DataError where there are none."""
    if interactions.clock is not Clock.TIME or interactions.times is None:
        raise DataError(f"listens: a split by time needs comparable times, but the clock is {interactions.clock}")
    if not len(interactions):
        raise DataError("listens: none, so there is nothing to split")
    return interactions.times


def by_user(interactions: Interactions, *, share: float = 0.2) -> Split:
    """The last `share` of each user's listens, by time or by order, and at least one of two or more."""
    if interactions.times is None:
        raise DataError("listens: each user's last listens need times or an order, and there is neither")
    order = np.lexsort((np.arange(len(interactions)), interactions.times, interactions.user_rows))
    place = positions_in_groups(interactions.user_rows[order], interactions.user_count)
    counts = np.bincount(interactions.user_rows, minlength=interactions.user_count)
    held = np.where(counts >= 2, np.maximum(1, np.floor(counts * share)), 0)
    test = np.zeros(len(interactions), bool)
    test[order] = place >= (counts - held)[interactions.user_rows[order]]
    return _parted(interactions, test, f"within-user, last {share:.0%} by {interactions.clock}")


def by_chance(interactions: Interactions, rng: np.random.Generator, *, share: float = 0.2) -> Split:
    """A `share` of the (user, track) pairs, each with all its listens, chosen evenly."""
    pairs = interactions.user_rows.astype(np.int64) * interactions.track_count + interactions.track_rows
    distinct, pair_of = np.unique(pairs, return_inverse=True)
    test = rng.random(len(distinct)) < share
    return _parted(interactions, test[pair_of], f"within-user, {share:.0%} of entries by chance")


def fitting(interactions: Interactions, rng: np.random.Generator, *, gap_seconds: float = 0.0) -> Split:
    """The split that the log allows: by time; where that leaves few users in both parts, within each user."""
    if interactions.clock is Clock.TIME:
        split = by_time(interactions, gap_seconds=gap_seconds)
        if split.warm_user_count >= max(50, 0.1 * len(np.unique(interactions.user_rows))):
            return split
    return within_users(interactions, rng)


def within_users(interactions: Interactions, rng: np.random.Generator, *, share: float = 0.2) -> Split:
    """The last `share` of each user's listens; without times or an order a share of the entries by chance."""
    if interactions.times is None:
        return by_chance(interactions, rng, share=share)
    return by_user(interactions, share=share)


def some_tracks(interactions: Interactions, rng: np.random.Generator, *, share: float = 0.2) -> Mask:
    """[T] a `share` of the tracks with listens."""
    return _some(np.unique(interactions.track_rows), interactions.track_count, rng, share)


def some_users(interactions: Interactions, rng: np.random.Generator, *, share: float = 0.1) -> Mask:
    """[U] a `share` of the users with listens."""
    return _some(np.unique(interactions.user_rows), interactions.user_count, rng, share)


def some_artists(catalogue: Catalogue, rng: np.random.Generator, *, share: float = 0.2) -> Mask:
    """[T] all tracks with any of the artists chosen, a `share` of all artists."""
    chosen = rng.random(len(catalogue.artist_names)) < share
    return np.asarray(catalogue.artist_matrix @ chosen.astype(np.float32) > 0)


def without_tracks(interactions: Interactions, tracks: Mask) -> Split:
    """All listens of the tracks [T] are the test."""
    return _parted(interactions, tracks[interactions.track_rows], "whole tracks held out", within_user=True)


def without_users(interactions: Interactions, users: Mask) -> Split:
    """All listens of the users [U] are the test."""
    return _parted(interactions, users[interactions.user_rows], "whole users held out", within_user=False)


def thinned(interactions: Interactions, listeners: NDArray[np.int64], rng: np.random.Generator) -> Split:
    """Each track keeps the listens of `listeners` [T] users chosen evenly, all for -1; the test is the rest."""
    pairs = interactions.track_rows.astype(np.int64) * interactions.user_count + interactions.user_rows
    distinct, pair_of = np.unique(pairs, return_inverse=True)
    tracks = distinct // max(interactions.user_count, 1)
    order = np.lexsort((rng.random(len(distinct)), tracks))
    kept = np.empty(len(distinct), bool)
    quota = listeners[tracks[order]]
    kept[order] = (quota < 0) | (positions_in_groups(tracks[order], interactions.track_count) < quota)
    return _parted(interactions, ~kept[pair_of], "tracks thinned", within_user=True)


def known_artists(catalogue: Catalogue, warm_tracks: Mask) -> Mask:
    """[T] whether one of the track's artists has a track among the warm ones [T]."""
    matrix = catalogue.artist_matrix
    known = matrix.T @ warm_tracks.astype(np.float32) > 0
    return np.asarray(matrix @ known.astype(np.float32) > 0)


def _some(rows: NDArray[np.int32], count: int, rng: np.random.Generator, share: float) -> Mask:
    mask = np.zeros(count, bool)
    mask[rng.choice(rows, round(len(rows) * share), replace=False)] = True
    return mask


def positions_in_groups(groups: Rows, count: int) -> NDArray[np.int64]:
    """0, 1, 2 … within each run of equal, sorted `groups`."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))])
    return np.asarray(np.arange(len(groups)) - starts[groups])


def _parted(interactions: Interactions, test: Mask, name: str, *, within_user: bool = True) -> Split:
    return Split(interactions.take(~test), interactions.take(test), name, within_user)
