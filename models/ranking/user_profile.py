"""User profiles: one user as candidates and features need them.

Shapes: T tracks, U users, L last tracks of a user, D dimensions of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..arrays import Ids, Scores, l2_normalize
from ..evaluation.splits import positions_in_groups
from ..hybrid.online import UserHistory, UserQuery
from ..interactions import Interactions

NO_TRACKS: Ids = np.zeros(0, np.int32)
_LAST_DECAY = 0.85


@dataclass(frozen=True, eq=False)
class UserProfile:
    """One user, of the training or not."""

    user_row: int
    """of the training, -1 for a user who is not in it"""
    history: UserHistory
    last: Ids
    """[up to L] the last different tracks they liked, the newest first"""
    query: UserQuery
    """the user's part of the hybrid's scores"""

    @cached_property
    def liked(self) -> Ids:
        """The tracks with positive confidence."""
        return self.history.track_rows[self.history.liked]

    @property
    def last_weights(self) -> Scores:
        """The newest of the last tracks has weight 1, older ones less."""
        return np.float32(_LAST_DECAY) ** np.arange(len(self.last), dtype=np.float32)

    def mean_direction(self, vectors: Scores) -> Scores:
        """[T, D] -> [D] the mean direction of the liked tracks' vectors; zeros if there are none."""
        return np.asarray(l2_normalize(vectors[self.liked]).sum(axis=0) / max(len(self.liked), 1))


def last_tracks(listens: Interactions, count: int) -> Ids:
    """[U, L] the last different tracks that each user liked, the newest first, -1 where there are fewer.

    All -1 where the log has neither time nor order.
    """
    last = np.full((listens.user_count, count), -1, np.int32)
    liked = listens.take(listens.likes)
    if liked.times is None or not len(liked):
        return last
    order = np.lexsort((-liked.times, liked.user_rows))
    users, tracks = liked.user_rows[order], liked.track_rows[order]
    pairs = users.astype(np.int64) * listens.track_count + tracks
    first = np.sort(np.unique(pairs, return_index=True)[1])
    users, tracks = users[first], tracks[first]
    places = positions_in_groups(users, listens.user_count)
    kept = places < count
    last[users[kept], places[kept]] = tracks[kept]
    return last
