"""Sequence neighbours count what was listened to shortly before or after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossfade.errors import DataError
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.ranking.sequence import sequence_similarities


def test_sequence_neighbours_are_near_in_the_order_of_listening() -> None:
    """Two steps apart weighs 0.9 of one step; every pair is counted in both directions, over users."""
    rows = np.array([0, 0, 0, 1, 1], np.int32)
    tracks = np.array([2, 0, 1, 1, 0], np.int32)
    times = np.array([3, 1, 2, 1, 2])
    listens = Interactions(rows, tracks, np.ones(5, np.float32), 2, 4, times, Clock.ORDER)
    by_track = np.array([2, 2, 1, 1]) ** -0.3
    together = np.array([[0, 2, 0.9, 0], [2, 0, 1, 0], [0.9, 1, 0, 0], [0, 0, 0, 0]])
    after = np.array([[0, 1, 0.9, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    for found, expected in zip(sequence_similarities(listens, 3), (together, after), strict=True):
        np.testing.assert_allclose(found.toarray(), expected * by_track * by_track[:, None], rtol=1e-6)
    assert (np.count_nonzero(sequence_similarities(listens, 1)[0].toarray(), axis=1) == [1, 1, 1, 0]).all()
    with pytest.raises(DataError, match="neither time nor order"):
        sequence_similarities(replace(listens, times=None, clock=Clock.NONE), 3)
