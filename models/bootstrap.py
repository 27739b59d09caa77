"""Bootstrap: how far a mean over users would move with other users like them.

Users are drawn again with replacement, and the middle 95 % of the means is the interval (Efron 1979). Two models are
compared on the same users: the interval is that of the mean difference, which is far narrower than the two intervals
of the means suggest (Sakai 2006).

Shapes: B users, M measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .metrics import Values
from .recommender import Ids

RESAMPLES = 1000
LEVEL = 0.95
_CELLS_PER_BATCH = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds it keeps to in 95 % of the draws; all NaN where there is nothing to average."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def intervals(values: Values, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> list[Interval]:
    """One per column of `values` [B, M]; NaN where a user has no value, which leaves that user out of the column."""
    users, measures = values.shape
    there = ~np.isnan(values)
    known = np.where(there, values, 0.0)
    counts = there.sum(axis=0)
    whole = bool(there.all())
    means = np.empty((resamples, measures))
    batch = max(1, _CELLS_PER_BATCH // max(users, 1))
    for start in range(0, resamples, batch):
        drawn = _draws(users, min(batch, resamples - start), rng)
        below = users if whole else drawn @ there.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[start : start + len(drawn)] = drawn @ known / below
    found = []
    tail = (1 - LEVEL) / 2
    for column in range(measures):
        if not counts[column]:
            found.append(Interval(np.nan, np.nan, np.nan))
            continue
        value = known[:, column].sum() / counts[column]
        drawn_means = means[:, column]
        low, high = np.quantile(drawn_means[~np.isnan(drawn_means)], [tail, 1 - tail])
        # Rounding can put the bounds of a constant a hair beside it.
        found.append(Interval(float(value), float(min(low, value)), float(max(high, value))))
    return found


def coverage_interval(ids: Ids, track_count: int, rng: np.random.Generator, *, resamples: int = 25) -> Interval:
    """Catalogue coverage of answers [B, k].

    A drawn sample has only 63 % of the users and so covers fewer tracks than all do: the bounds are the value and
    1.96 standard deviations of the draws, not their quantiles.
    """
    from scipy.sparse import csr_matrix

    shown = ids >= 0
    distinct, tracks = np.unique(ids[shown], return_inverse=True)
    value = len(distinct) / track_count
    users = np.repeat(np.arange(len(ids)), shown.sum(axis=1))
    lists = csr_matrix((np.ones(len(tracks), np.float32), (tracks, users)), shape=(len(distinct), len(ids)))
    drawn = _draws(len(ids), resamples, rng) > 0
    covered = (lists @ drawn.T.astype(np.float32) > 0).sum(axis=0) / track_count
    margin = 1.96 * float(covered.std())
    return Interval(value, max(0.0, value - margin), min(1.0, value + margin))


def _draws(users: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[resamples, B] how often each user is drawn."""
    drawn = np.empty((resamples, users))
    for row in drawn:
        row[:] = np.bincount(rng.integers(0, users, users, np.int32), minlength=users)
    return drawn
