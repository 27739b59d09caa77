"""The playback order is a short path: right where the right one is known, and all tracks are in it once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from crossfade.pipelines.search.playback_order import KEY, TEMPO, costs, playback_order


def test_points_on_a_line_are_walked_along(rng: np.random.Generator) -> None:
    at = np.concatenate([[-1.0], rng.permutation(40)])
    order = playback_order(np.abs(at[:, None] - at))
    assert at[order].tolist() == sorted(at)


def test_no_stretch_can_be_turned_to_make_it_shorter(rng: np.random.Generator) -> None:
    points = rng.normal(size=(60, 2))
    cost = np.linalg.norm(points[:, None] - points, axis=2)
    order = playback_order(cost)
    assert order[0] == 0 and sorted(order) == list(range(60))

    def length(path: list[int]) -> float:
        return float(sum(cost[one, other] for one, other in pairwise(path)))

    turned = [
        [*order[:first], *order[first:last][::-1], *order[last:]]
        for first in range(1, 60)
        for last in range(first + 1, 61)
    ]
    assert length(order) <= min(map(length, turned)) + 1e-9


def test_a_passage_costs_what_ears_mind() -> None:
    sound = np.array([[1, 0], [1, 0], [0, 0]], np.float32)
    cost = costs(sound, np.array([60.0, 120.0, 90.0]), ["C major", "A minor", None])
    # Double tempo and the relative key are no distance.
    assert cost[0, 1] == pytest.approx(0)
    assert costs(sound[:2], np.array([60.0, 60.0]), ["C major", "F# major"])[0, 1] == pytest.approx(6 * KEY)
    assert costs(sound[:2], np.array([60.0, 60 * 2**0.5]), [None, None])[0, 1] == pytest.approx(0.5 * TEMPO)
    assert np.isfinite(costs(np.zeros((2, 0), np.float32), np.full(2, np.nan), [None, None])).all()
    assert playback_order(np.zeros((0, 0))) == [] and playback_order(np.zeros((1, 1))) == [0]
