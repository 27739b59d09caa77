"""Rating baselines without factors: the mean rating, or the mean plus biases of the user and of the track.

The biases are those of Koren (2009), "Matrix factorization techniques for recommender systems": deviations, shrunk
towards 0 where there are few ratings.

Shapes: N ratings, U users, T tracks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Floats, Ids
from ..interactions import Interactions


def ratings_of(interactions: Interactions) -> Floats:
    """[N]; DataError where there are none."""
    if interactions.ratings is None or not len(interactions):
        raise DataError("ratings: the log has none; a model of ratings needs one for every listen")
    if not np.isfinite(interactions.ratings).all():
        raise DataError("ratings: not a number in some rows")
    return interactions.ratings


@dataclass(frozen=True)
class Biases:
    """The mean rating and each user's and track's deviation from it."""

    mean: float
    users: Floats
    """[U]; 0 for users without ratings"""
    tracks: Floats
    """[T]"""

    @classmethod
    def constant(cls, interactions: Interactions) -> Biases:
        """The mean rating for all users and tracks."""
        mean = float(ratings_of(interactions).mean(dtype=np.float64))
        return cls(mean, np.zeros(interactions.user_count, np.float32), np.zeros(interactions.track_count, np.float32))

    @classmethod
    def fit(cls, interactions: Interactions, *, shrinkage: float = 5.0, rounds: int = 10) -> Biases:
        """Ridge regression on user and track, in turn; `shrinkage` counts as that many ratings of the mean."""
        ratings = ratings_of(interactions).astype(np.float64)
        mean = float(ratings.mean())
        users, tracks = np.zeros(interactions.user_count), np.zeros(interactions.track_count)
        for _ in range(rounds):
            left = ratings - mean - users[interactions.user_rows]
            tracks = _shrunken(interactions.track_rows, left, interactions.track_count, shrinkage)
            left = ratings - mean - tracks[interactions.track_rows]
            users = _shrunken(interactions.user_rows, left, interactions.user_count, shrinkage)
        return cls(mean, users.astype(np.float32), tracks.astype(np.float32))

    def recent(self, interactions: Interactions, *, half: float = 50.0, shrinkage: float = 6.0) -> Biases:
        """The same with users' recent deviations: a rating counts half as much as one `half` ratings later.

        Users' standards drift. Without times nothing changes.
        """
        if interactions.times is None:
            return self
        left = ratings_of(interactions).astype(np.float64) - self.mean - self.tracks[interactions.track_rows]
        order = np.lexsort((interactions.times, interactions.user_rows))
        owners = interactions.user_rows[order]
        ends = np.cumsum(np.bincount(owners, minlength=interactions.user_count))
        weights = 0.5 ** ((ends[owners] - 1 - np.arange(len(order))) / half)
        total = np.bincount(owners, weights * left[order], minlength=interactions.user_count)
        count = np.bincount(owners, weights, minlength=interactions.user_count)
        users = (total + shrinkage * self.users) / (count + shrinkage)
        return Biases(self.mean, users.astype(np.float32), self.tracks)

    def predict(self, user_rows: Ids, track_rows: Ids) -> Floats:
        """[N] ratings; an unknown user or track (-1) has no bias."""
        users = np.where(user_rows >= 0, self.users[user_rows], 0)
        return np.asarray(self.mean + users + np.where(track_rows >= 0, self.tracks[track_rows], 0), np.float32)


def _shrunken(rows: Ids, left: NDArray[np.float64], count: int, shrinkage: float) -> NDArray[np.float64]:
    return np.bincount(rows, left, minlength=count) / (np.bincount(rows, minlength=count) + shrinkage)
