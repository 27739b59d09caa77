"""Online user profiles: one user's interactions, from the training and from the events since.

Shapes: L tracks of the user, n new events, F factors, E sound features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Mask, Rows, Scores
from ..confidence_weights import ConfidenceOptions, States, fading, merged


@dataclass(frozen=True, eq=False)
class UserHistory:
    """The L different tracks of one user, and the confidence in each.

    One rule for everybody, in batch and live: tracks of weight 0 (skips) play no part in the fold-in, disliked ones are
    fitted as such, and none of the three is recommended again.
    """

    track_rows: Ids
    """[L]"""
    weights: Scores
    """[L]; above 0 liked, below 0 not, 0 skipped"""
    states: States | None = None
    """[L] what the weights are computed from; None for weights that came as numbers"""
    moment: int | None = None
    """seconds since 1970 that the states are of; None where it is not known"""

    @property
    def liked(self) -> Mask:
        """[L]"""
        return self.weights > 0

    @property
    def is_cold(self) -> bool:
        return not bool(self.liked.any())

    def with_events(
        self, track_rows: Ids, events: States, times: NDArray[np.int64], options: ConfidenceOptions | None = None
    ) -> UserHistory:
        """With n further events, as if they had been part of the log: tracks [n], states [n], seconds [n].

        They come after the events of the history.
        """
        if not len(track_rows):
            return self
        options = options or ConfidenceOptions()
        count, more = len(self.track_rows), len(track_rows)
        newest = int(times.max())
        moment = newest if self.moment is None else max(self.moment, newest)
        when = np.concatenate([np.full(count, moment if self.moment is None else self.moment), times])
        rows = np.concatenate([self.track_rows, track_rows])
        order = np.lexsort((when, np.arange(count + more) >= count, rows))
        before = States(given=self.weights) if self.states is None else self.states
        left = fading(when[order], moment, options)
        starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        states = merged(before.joined(events, count, more).take(order), starts, left)
        return UserHistory(rows[order][starts].astype(np.int32), states.confidences(options), states, moment)

    def with_seen(self, track_rows: Ids) -> UserHistory:
        """With further tracks as skips: they are not recommended."""
        rows, first = np.unique(np.concatenate([self.track_rows, track_rows]), return_index=True)
        return UserHistory(rows, np.concatenate([self.weights, np.zeros(len(track_rows), np.float32)])[first])


NO_HISTORY = UserHistory(np.zeros(0, np.int32), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class UserQuery:
    """The part of the hybrid's scores that depends on the user."""

    taste: Scores
    """[F]"""
    vector: Scores
    """[F + E] taste and the mean sound of the liked tracks"""
    familiar_tracks: Rows
    """the tracks by artists of liked tracks, in order of row"""
    familiar_counts: Scores
    """how many liked tracks these artists have"""
