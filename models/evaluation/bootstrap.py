"""Bootstrap: how far a mean over users would move with other users like them.

Users are drawn again with replacement, and the middle 95 % of the means is the interval (Efron 1979). Two models are
compared on the same users: the interval is that of the mean difference, which is far narrower than the two intervals
of the means suggest (Sakai 2006).

Shapes: B users, M measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, one_blas_thread
from .metrics import Values
from .popularity import gini

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

RESAMPLES = 1000
LEVEL = 0.95
_CELLS_PER_BATCH = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds it keeps to in 95 % of the draws; all NaN where there is nothing to average."""

    value: float
    low: float
    high: float

    @classmethod
    def of_draws(cls, value: float, draws: NDArray[np.floating]) -> Interval:
        """From the value and that of each draw; draws that are not finite are left out."""
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(draws[np.isfinite(draws)], [tail, 1 - tail])
        # Rounding can put the bounds of a constant a hair beside it.
        return cls(float(value), float(min(low, value)), float(max(high, value)))

    def record(self) -> dict[str, Any]:
        """Rounded for a table; None for NaN."""
        return {name: None if np.isnan(number) else round(number, 6) for name, number in vars(self).items()}


def intervals(values: Values, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> list[Interval]:
    """One per column of `values` [B, M]; NaN where a user has no value, which leaves that user out of the column."""
    users, measures = values.shape
    mask = ~np.isnan(values)
    known = np.where(mask, values, 0.0)
    counts = mask.sum(axis=0)
    # Products of float32 cost half: numbers of draws are small, and only the distance from the mean is rounded.
    centre = known.sum(axis=0) / np.maximum(counts, 1)
    apart = np.where(mask, known - centre, 0.0).astype(np.float32)
    partly = np.flatnonzero(counts < users)
    weights = mask[:, partly].astype(np.float32)
    means = np.empty((resamples, measures))
    batch = max(1, _CELLS_PER_BATCH // max(users, 1))
    # The products are thin.
    with one_blas_thread(), np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, resamples, batch):
            drawn = _draws(users, min(batch, resamples - start), rng)
            below = np.full((len(drawn), measures), float(users))
            below[:, partly] = drawn @ weights
            means[start : start + len(drawn)] = centre + drawn @ apart / below
    return [
        Interval.of_draws(known[:, column].sum() / counts[column], means[:, column])
        if counts[column]
        else Interval(np.nan, np.nan, np.nan)
        for column in range(measures)
    ]


def ratio_interval(above: Values, below: Values, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Interval:
    """The mean of `above` [B] over the mean of `below` [B], each over the users who have it (NaN: none)."""
    known = np.stack([np.nan_to_num(above), np.nan_to_num(below)], axis=1).astype(np.float32)
    mask = np.stack([~np.isnan(above), ~np.isnan(below)], axis=1).astype(np.float32)

    def ratios(drawn: NDArray[np.float32]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (drawn @ known).astype(np.float64) / (drawn @ mask)
            return np.asarray(means[:, 0] / means[:, 1])

    value = float(ratios(np.ones((1, len(above)), np.float32))[0])
    if not np.isfinite(value):
        return Interval(np.nan, np.nan, np.nan)
    batch = max(1, _CELLS_PER_BATCH // max(len(above), 1))
    starts = range(0, resamples, batch)
    drawn = np.concatenate([ratios(_draws(len(above), min(batch, resamples - start), rng)) for start in starts])
    return Interval.of_draws(value, drawn)


def exposure_intervals(
    ids: Ids, ks: Sequence[int], track_count: int, rng: np.random.Generator, *, resamples: int = 25
) -> tuple[list[Interval], list[Interval]]:
    """(catalogue coverage, Gini) of the first k of the answers [B, at least k], for each k of `ks`.

    Coverage is the share of the `track_count` tracks that may be recommended which some list has; Gini says how
    unequally often they are (`popularity.gini`). A drawn sample has only 63 % of the users, and so fewer tracks, more
    unequally, than all have: the bounds are the value and 1.96 standard deviations of the draws, not their quantiles.
    """
    users = len(ids)
    # Column 0 has every user once; the others have how often each is drawn.
    drawn = np.ones((users, resamples + 1), np.float32)
    for column in range(1, resamples + 1):
        drawn[:, column] = np.bincount(rng.integers(0, users, users), minlength=users)
    counts = np.zeros((int(ids.max(initial=-1)) + 1, resamples + 1), np.float32)
    coverage: dict[int, Interval] = {}
    inequality: dict[int, Interval] = {}
    done = 0
    for k in sorted(set(ks)):
        counts += _recommended(ids[:, done:k], len(counts)) @ drawn
        done = k
        coverage[k] = _around(np.count_nonzero(counts, axis=0) / track_count)
        inequality[k] = _around(np.array([gini(column, track_count) for column in counts.T.astype(np.int64)]))
    return [coverage[k] for k in ks], [inequality[k] for k in ks]


def _recommended(ids: Ids, track_count: int) -> csr_matrix:
    """[T, B] 1 for each track that is among a user's answers `ids` [B, k]."""
    from scipy.sparse import csr_matrix

    mask = ids >= 0
    ends = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    return csr_matrix((np.ones(ends[-1], np.float32), ids[mask], ends), shape=(len(ids), track_count)).T


def _around(values: NDArray[np.float64]) -> Interval:
    """The first value, and 1.96 standard deviations of the others around it, within 0 … 1."""
    value, margin = float(values[0]), 1.96 * float(values[1:].std())
    if np.isnan(value):
        return Interval(np.nan, np.nan, np.nan)
    return Interval(value, max(0.0, value - margin), min(1.0, value + margin))


def _draws(users: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[resamples, B] how often each user is drawn."""
    drawn = np.empty((resamples, users), np.float32)
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, users, users, np.int32), minlength=users)
    return drawn
