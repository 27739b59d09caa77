"""Hubness: whether some tracks are among the nearest of very many others, and others of none.

Radovanović, Nanopoulos & Ivanović, "Hubs in space" (JMLR 2010): the skewness of the k-occurrence, which is how often
a track is one of the k nearest of the others. About 0 is an even share.

Shapes: Q queries, T tracks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays import Rows


def k_occurrence(neighbours: Rows, count: int) -> NDArray[np.intp]:
    """[T] in how many lists [Q, k] each of `count` tracks is; -1 in a list is nobody.

    >>> k_occurrence(np.array([[1, 2], [2, -1]]), 4).tolist()
    [0, 1, 2, 0]
    """
    return np.bincount(neighbours[neighbours >= 0], minlength=count)


def skewness(occurrences: NDArray[np.intp]) -> float:
    """The third standardised moment; 0 where all are the same.

    >>> skewness(np.array([0, 0, 0, 4])) > 1
    True
    """
    centred = occurrences - occurrences.mean()
    deviation = float(np.sqrt(np.mean(centred**2)))
    return float(np.mean(centred**3)) / deviation**3 if deviation else 0.0
