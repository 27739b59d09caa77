"""Paths between tracks: where the best is known, what holds for every path, and what has none."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from crossfade.errors import UsageError
from crossfade.models.arrays import Rows, Scores
from crossfade.models.hybrid.index import HybridIndex
from crossfade.pipelines.search.paths import path
from crossfade.pipelines.versions.track_index import TrackIndex


def indexed(sound: np.ndarray, taste: np.ndarray | None = None) -> TrackIndex:
    factors = np.zeros((len(sound), 0)) if taste is None else taste
    ids = [str(row) for row in range(len(sound))]
    return TrackIndex(HybridIndex.of(factors.astype(np.float32), sound.astype(np.float32)), ids, "encoder", None)


def on_a_circle(*degrees: float) -> np.ndarray:
    turned = np.radians(degrees)
    return np.stack([np.cos(turned), np.sin(turned)], axis=1)


def test_equal_steps_are_taken_along_an_arc() -> None:
    tracks = indexed(on_a_circle(*range(0, 91, 10)))
    rows, similarity = path(tracks, "0", "9", 10)
    assert rows.tolist() == list(range(10))
    assert similarity[0] == 1 and np.ptp(similarity[2:-1]) < 0.2
    # Of few, they are as even as can be.
    assert path(tracks, "0", "9", 4)[0].tolist() == [0, 3, 6, 9]
    assert path(tracks, "0", "9", 2)[0].tolist() == [0, 9]
    assert path(tracks, "9", "0", 4)[0].tolist() == [9, 6, 3, 0]


def halves(tracks: TrackIndex, row: int, others: Rows) -> tuple[Scores, Scores]:
    vector, factors = tracks.index.vectors[row], tracks.index.factors
    return tracks.index.similarities(vector[:factors], vector[factors:], others)


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_what_holds_for_every_path(blend: float) -> None:
    rng = np.random.default_rng(1)
    tracks = indexed(rng.normal(size=(400, 8)), rng.normal(size=(400, 6)))
    for k in (2, 5, 12):
        rows, similarity = path(tracks, "3", "7", k, blend=blend)
        assert (rows[0], rows[-1]) == (3, 7) and len(rows) == k
        assert len(np.unique(rows)) == len(rows) == len(similarity)
        for before, after, score in zip(rows[:-1], rows[1:], similarity[1:], strict=True):
            taste, sound = halves(tracks, before, np.array([after]))
            expected = blend * taste[0] + (1 - blend) * sound[0]
            assert score == pytest.approx(expected, abs=1e-5)
        # Backwards it is the same path.
        assert path(tracks, "7", "3", k, blend=blend)[0][::-1].tolist() == rows.tolist()


def test_no_other_path_is_shorter() -> None:
    tracks = indexed(np.random.default_rng(2).normal(size=(10, 3)))
    scores = np.stack([halves(tracks, row, np.arange(10))[1] for row in range(10)])
    progress = scores[9] - scores[0]
    between = [row for row in range(1, 9) if progress[0] < progress[row] < progress[9]]

    def cost(rows: list[int]) -> float:
        return float(sum((1 - scores[one, other]) ** 2 for one, other in pairwise(rows)))

    for k in (3, 4, 5):
        ways = [[0, *sorted(stops, key=lambda row: progress[row]), 9] for stops in combinations(between, k - 2)]
        assert path(tracks, "0", "9", k, blend=0)[0].tolist() == min(ways, key=cost)
    assert len(path(tracks, "0", "9", 10, blend=0)[0]) == 2 + len(between)


def test_copies_and_tracks_that_are_gone_are_no_stops() -> None:
    tracks = indexed(on_a_circle(0, 0, 30, 30, 60, 90, 90))
    tracks.in_library[4] = False
    rows, _ = path(tracks, "0", "5", 9)
    assert rows.tolist() in ([0, 2, 5], [0, 3, 5])
    assert path(tracks, "0", "1", 9)[0].tolist() == [0, 1]


def test_what_has_no_path_is_explained() -> None:
    sound = on_a_circle(0, 45, 90)
    sound[2] = 0
    tracks = indexed(sound)
    with pytest.raises(UsageError, match="two different tracks"):
        path(tracks, "0", "0", 5)
    with pytest.raises(UsageError, match="no such track"):
        path(tracks, "0", "none", 5)
    with pytest.raises(UsageError, match="can be compared"):
        path(tracks, "0", "2", 5)
    with pytest.raises(UsageError, match="2 to 100"):
        path(tracks, "0", "1", 1)
