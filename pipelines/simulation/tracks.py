"""The tracks that the listeners of a synthetic world choose from, and made-up names for artists and tracks.

Shapes: T tracks, K latent dimensions, D dimensions of the sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EPOCH_SECONDS = 1_704_067_200
"""where the log begins: 1 January 2024"""

Floats = NDArray[np.float32]

_FIRST = (
    "Amber Silver Velvet Quiet Northern Paper Copper Hollow Distant Marble Crimson Wooden Electric Winter Salt Golden "
    "Broken Second Blue Iron"
)
_SECOND = (
    "Harbour Lanterns Foxes Meridian Orchard Signals Sparrows Avenue Machines Rivers Atlas Caravan Mirrors Tides "
    "Engine Cathedral Gardens Wolves Parade Comet"
)
_TITLE = (
    "Morning Letters Dust Glass Rain Corners Fever Shadow Ladder Kite Bridges Ember Sleep Current Window Season Static "
    "Harvest Anchor Echo Saltwater Thunder Midnight Clover"
)
_BETWEEN = ("of the", "in the", "for the", "under", "after", "without", "and")


@dataclass(frozen=True, eq=False)
class WorldTracks:
    """What the listeners choose from."""

    track_ids: tuple[str, ...]
    titles: tuple[str, ...]
    artists: tuple[tuple[str, ...], ...]
    albums: tuple[str, ...]
    style_names: tuple[str, ...]
    style_rows: NDArray[np.int32]
    """[T]"""
    latents: Floats
    """[T, K] of length 1"""
    sound: Floats
    """[T, D]"""
    popularity: NDArray[np.float64]
    """[T] probabilities"""
    released_at: NDArray[np.int64]
    """[T] seconds since 1970"""
    duration_seconds: NDArray[np.int64]
    """[T]"""

    def __len__(self) -> int:
        return len(self.track_ids)


def artist_names(count: int, rng: np.random.Generator) -> list[str]:
    """`count` different names; numbered once the words run out."""
    pairs = [f"{first} {second}" for first in _FIRST.split() for second in _SECOND.split()]
    order = rng.permutation(len(pairs))
    numbers = ["", *(f" {number}" for number in range(2, count // len(pairs) + 2))]
    return [pairs[order[row % len(pairs)]] + numbers[row // len(pairs)] for row in range(count)]


def title(rng: np.random.Generator) -> str:
    """A title; titles may repeat, as they do."""
    words = _TITLE.split()
    first = int(rng.integers(len(words)))
    second = (first + int(rng.integers(1, len(words)))) % len(words)
    shape = rng.integers(3)
    if shape == 0:
        return words[first]
    between = _BETWEEN[rng.integers(len(_BETWEEN))]
    return f"{words[first]} {between} {words[second]}" if shape == 1 else f"{words[first]} {words[second]}"
