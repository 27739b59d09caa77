"""Made-up names of artists and tracks for the synthetic world."""

from __future__ import annotations

import numpy as np

_FIRST = [
    "Amber",
    "Silver",
    "Velvet",
    "Quiet",
    "Northern",
    "Paper",
    "Copper",
    "Hollow",
    "Distant",
    "Marble",
    "Crimson",
    "Wooden",
    "Electric",
    "Winter",
    "Salt",
    "Golden",
    "Broken",
    "Second",
    "Blue",
    "Iron",
]
_SECOND = [
    "Harbour",
    "Lanterns",
    "Foxes",
    "Meridian",
    "Orchard",
    "Signals",
    "Sparrows",
    "Avenue",
    "Machines",
    "Rivers",
    "Atlas",
    "Caravan",
    "Mirrors",
    "Tides",
    "Engine",
    "Cathedral",
    "Gardens",
    "Wolves",
    "Parade",
    "Comet",
]
_TITLE = [
    "Morning",
    "Letters",
    "Dust",
    "Glass",
    "Rain",
    "Corners",
    "Fever",
    "Shadow",
    "Ladder",
    "Kite",
    "Bridges",
    "Ember",
    "Sleep",
    "Current",
    "Window",
    "Season",
    "Static",
    "Harvest",
    "Anchor",
    "Echo",
    "Saltwater",
    "Thunder",
    "Midnight",
    "Clover",
]
_BETWEEN = ("of the", "in the", "for the", "under", "after", "without", "and")


def artist_names(count: int, rng: np.random.Generator) -> list[str]:
    """`count` different names; numbered once the words run out."""
    pairs = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    order = rng.permutation(len(pairs))
    return [
        pairs[order[row % len(pairs)]] + (f" {row // len(pairs) + 1}" if row >= len(pairs) else "")
        for row in range(count)
    ]


def title(rng: np.random.Generator) -> str:
    """A title; titles may repeat, as they do."""
    first = int(rng.integers(len(_TITLE)))
    second = (first + int(rng.integers(1, len(_TITLE)))) % len(_TITLE)
    shape = rng.integers(3)
    if shape == 0:
        return _TITLE[first]
    between = _BETWEEN[rng.integers(len(_BETWEEN))]
    return f"{_TITLE[first]} {between} {_TITLE[second]}" if shape == 1 else f"{_TITLE[first]} {_TITLE[second]}"
