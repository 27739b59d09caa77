"""Regions of a map whose parts are known, and what holds for any."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.models.analysis.map_regions import artist_regions, genre_regions, telling_names

NAMES = ["rock", "folk", "jazz"]


def islands(*middles: tuple[float, float], each: int = 200, width: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Positions about these places, and the number of the place of each."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(len(middles)), each)
    return np.clip(np.array(middles)[of] + width * rng.normal(size=(len(of), 2)), 0, 1).astype(np.float32), of


def test_every_island_has_its_name_at_its_middle() -> None:
    middles = [(0.2, 0.2), (0.8, 0.3), (0.5, 0.8)]
    positions, of = islands(*middles)
    found = genre_regions(positions, np.eye(3)[of], NAMES)
    assert sorted(region.name for region in found) == sorted(NAMES)
    for region in found:
        assert (region.x, region.y) == pytest.approx(middles[NAMES.index(region.name)], abs=0.06)
        assert region.tracks == pytest.approx(200, abs=20) and 0.05 < region.size < 0.4


def test_a_name_in_two_places_is_written_twice() -> None:
    positions, of = islands((0.2, 0.2), (0.8, 0.8), (0.2, 0.8))
    found = genre_regions(positions, np.eye(2)[[0, 0, 1]][of], NAMES[:2])
    assert sorted(region.name for region in found) == ["folk", "rock", "rock"]
    assert found == sorted(found, key=lambda region: -region.tracks)


def test_what_is_everywhere_names_nothing_where_something_else_is_told() -> None:
    """Rock is the likeliest on both islands; folk is what the second one has more of."""
    positions, of = islands((0.2, 0.2), (0.8, 0.8))
    shares = np.array([[0.9, 0.1, 0.0], [0.55, 0.45, 0.0]])[of]
    assert {(region.name, region.x < 0.5) for region in genre_regions(positions, shares, NAMES)} == {
        ("rock", True),
        ("folk", False),
    }


def test_a_small_region_inside_a_large_one_is_found() -> None:
    positions, of = islands((0.5, 0.5), (0.56, 0.5), each=400, width=0.08)
    positions[of == 1] = 0.5 + 0.2 * (positions[of == 1] - 0.5)
    names = [region.name for region in genre_regions(positions, np.eye(2)[of], NAMES[:2])]
    assert set(names) == {"rock", "folk"}


def test_nothing_is_named_where_nothing_is_known() -> None:
    positions, _ = islands((0.5, 0.5))
    assert genre_regions(positions[:0], np.zeros((0, 3)), NAMES) == []
    assert genre_regions(positions, np.zeros((len(positions), 0)), []) == []
    assert genre_regions(positions, np.zeros((len(positions), 3)), NAMES) == []


def test_where_all_is_one_kind_it_is_named_so() -> None:
    positions, _ = islands((0.5, 0.5))
    assert {region.name for region in genre_regions(positions, np.eye(3)[np.full(len(positions), 2)], NAMES)} == {
        "jazz"
    }


def test_an_artist_is_written_where_its_tracks_keep_together() -> None:
    positions, of = islands((0.2, 0.2), (0.7, 0.7), each=20, width=0.01)
    positions[of == 1] = np.random.default_rng(1).uniform(size=(20, 2))
    artists = of.copy()
    artists[:3] = 255
    (found,) = artist_regions(positions, artists, ["together", "everywhere"])
    assert (found.name, found.tracks) == ("together", 17)
    assert (found.x, found.y) == pytest.approx((0.2, 0.2), abs=0.02)
    assert artist_regions(positions[:0], artists[:0], []) == []


def test_a_group_is_told_by_what_it_has_more_of() -> None:
    overall = np.array([80.0, 10, 10])
    assert telling_names(np.array([5.0, 4, 1]), overall, NAMES) == ["folk"]
    assert telling_names(np.array([0.0, 2, 3]), overall, NAMES) == ["jazz", "folk"]
    assert telling_names(overall, overall, NAMES) == []
