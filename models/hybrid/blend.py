"""The crossfade: from what is predicted of a track to what its listeners say.

    taste = w * ALS + (1 - w) * prior        w = n / (n + tau)        gain = level ** (1/2) ** n

n is the number of the track's listeners; after tau of them both count the same. A track without listeners is the prior,
one with many is ALS. Predicted vectors are shorter than learned ones and the listens of a new track all lie ahead, so
`level` sets the volume at which tracks without listeners come in: it is chosen such that they get their share of the
lists of a validation period. Every listener halves it, in decibels; it does not change the order of tracks of equal n.

Shapes: T tracks, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Crossfade:
    tau: float = 8.0
    """listeners after which the prior and ALS count the same; above 0"""
    level: float = 1.0
    """gain of a track without listeners; above 0"""

    def __post_init__(self) -> None:
        if not self.tau > 0 or not self.level > 0:
            raise UsageError(f"crossfade: tau {self.tau} and level {self.level} have to be above 0")

    def weights(self, listeners: NDArray[np.integer]) -> Matrix:
        """[T] w in 0 … 1.

        >>> Crossfade(tau=2.0).weights(np.array([0, 2, 6]))
        array([0.  , 0.5 , 0.75], dtype=float32)
        """
        return np.asarray(listeners / (listeners + self.tau), np.float32)

    def taste(self, als: Matrix, prior: Matrix, listeners: NDArray[np.integer]) -> Matrix:
        """[T, F]"""
        w = self.weights(listeners)[:, None]
        return np.asarray(w * als + (1 - w) * prior, np.float32)

    def gains(self, listeners: NDArray[np.integer]) -> Matrix:
        """[T]"""
        return np.asarray(self.level ** np.exp2(-np.minimum(listeners, 100).astype(np.float64)), np.float32)
