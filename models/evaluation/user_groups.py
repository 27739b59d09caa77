"""Groups of users: light to heavy listeners, niche to mainstream ones.

Each grouping divides the users that are asked about into thirds; users with equal values stay together, so that groups
may differ in size, and be empty where nearly all users are alike.

Shapes: B users, T tracks, N listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..interactions import Interactions
from .metrics import Values
from .popularity import TrackPopularity, cumulative_shares, profile_means

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ACTIVITY_GROUPS = ("light listeners", "medium listeners", "heavy listeners")
MAINSTREAM_GROUPS = ("niche listeners", "middle listeners", "mainstream listeners")


def thirds(values: NDArray[Any]) -> NDArray[np.int8]:
    """[B] 0 for the lowest third, 1 for the middle one, 2 for the highest.

    >>> thirds(np.array([5, 1, 3, 1, 9, 9]))
    array([1, 0, 1, 0, 2, 2], dtype=int8)
    """
    return np.digitize(cumulative_shares(values), (1 / 3, 2 / 3)).astype(np.int8)


def activity_groups(train: Interactions, user_rows: NDArray[np.int32]) -> NDArray[np.int8]:
    """[B] places in ACTIVITY_GROUPS, by the number of training listens.

    A row of the log is one listen, or as many as it counts plays.
    """
    plays = None
    if train.states is not None and train.states.plays is not None:
        plays = np.maximum(train.states.plays, 1)
    return thirds(np.bincount(train.user_rows, plays, minlength=train.user_count)[user_rows])


def mainstream_groups(user_items: csr_matrix, popularity: TrackPopularity) -> NDArray[np.int8]:
    """[B] places in MAINSTREAM_GROUPS, by how popular the profile is; `user_items` [B, T] are training confidences."""
    return thirds(mainstreaminess(user_items, popularity))


def mainstreaminess(user_items: csr_matrix, popularity: TrackPopularity) -> Values:
    """[B] mean log2 listeners of the tracks that a user likes; NaN for users who like none.

    Up to a constant this is the negative cross-entropy of the profile and the listeners of all tracks, the part of
    their Kullback-Leibler divergence that does not depend on how many tracks a user likes: the divergence itself
    (Bauer & Schedl 2019, "Global and country-specific mainstreaminess measures") falls by a bit with each doubling
    of the profile, and would divide light listeners from heavy ones once more. It is also the mean popularity of a
    profile by which Abdollahpouri et al. (2019, "The unfairness of popularity bias in recommendation") and Kowald et
    al. (2020) compare groups, on a log scale, where a single hit does not outweigh all else.
    """
    return profile_means(user_items, popularity.logs)
