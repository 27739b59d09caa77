"""Styles of the demo's music: overlapping regions of a few continuous parameters.

A style is a centre and a spread; an artist is a point drawn from a style's region, and a track is drawn near its
artist. The parameters are also the latent space in which the demo's listeners have their taste.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Sound:
    """How a track sounds; every parameter is in 0 … 1."""

    tempo: float = 0.4
    """60 … 180 beats a minute"""
    swing: float = 0.0
    """offbeats from straight to triplet"""
    brightness: float = 0.5
    distortion: float = 0.0
    density: float = 0.5
    """how many of the possible notes are played"""
    reverb: float = 0.2
    complexity: float = 0.2
    """chords from triads to ninths, bass from roots to walking lines"""
    minor: float = 0.4
    """how likely a minor key is"""
    machine: float = 0.0
    """drums and lead from acoustic to electronic"""
    drums: float = 0.0
    bass: float = 0.0
    pluck: float = 0.0
    """acoustic guitar"""
    keys: float = 0.0
    strings: float = 0.0
    pad: float = 0.0
    lead: float = 0.0
    """a horn, or a synthesiser where `machine` is high"""
    power: float = 0.0
    """electric guitars"""
    voice: float = 0.0

    def vector(self) -> NDArray[np.float32]:
        """[P] the parameters in order of `PARAMETERS`."""
        return np.array(astuple(self), np.float32)

    @classmethod
    def from_vector(cls, vector: NDArray[np.floating[Any]]) -> Sound:
        """The sound at a point, pulled back into 0 … 1."""
        return cls(**dict(zip(PARAMETERS, np.clip(vector, 0, 1).tolist(), strict=True)))

    @property
    def beats_per_minute(self) -> float:
        return 60 + 120 * self.tempo


PARAMETERS = tuple(field.name for field in fields(Sound))

STYLES: dict[str, Sound] = {
    "metal": Sound(tempo=0.38, brightness=0.7, distortion=0.95, density=0.85, reverb=0.2, complexity=0.1, minor=0.95,
                   drums=0.45, bass=0.2, power=1.0, voice=0.8),
    "electronic": Sound(tempo=0.56, brightness=0.75, distortion=0.15, density=0.7, reverb=0.3, complexity=0.2,
                        minor=0.6, machine=1.0, drums=0.9, bass=0.8, pad=0.4, lead=0.6),
    "ambient": Sound(tempo=0.15, brightness=0.3, density=0.15, reverb=0.95, complexity=0.5, minor=0.5, machine=0.8,
                     strings=0.1, pad=1.0, keys=0.2),
    "folk": Sound(tempo=0.4, brightness=0.5, density=0.65, reverb=0.15, complexity=0.1, minor=0.25, pluck=1.0,
                  bass=0.15, voice=0.4),
    "jazz": Sound(tempo=0.5, swing=0.9, brightness=0.4, density=0.5, reverb=0.25, complexity=0.95, minor=0.4, drums=0.5,
                  bass=0.8, keys=0.7, lead=0.6),
    "classical": Sound(tempo=0.35, brightness=0.45, density=0.55, reverb=0.55, complexity=0.25, minor=0.5, strings=1.0,
                       keys=0.3),
}  # fmt: skip
"""The centre of each style's region, by the name that a listener would give it."""

BRIDGES = (("ambient", "classical"), ("folk", "jazz"))
"""pairs of styles that have an artist halfway between them"""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How far artists stray from their style, and tracks from their artist."""

    artist: float = 0.09
    """standard deviation of each parameter"""
    track: float = 0.08
    borrowed: float = 0.45
    """the most that a track takes from another style, as a share"""


def artist_sound(style: str, overlap: Overlap, rng: np.random.Generator, *, bridge: str | None = None) -> Sound:
    """An artist of a style, or halfway between two."""
    centre = (STYLES[style].vector() + STYLES[bridge or style].vector()) / 2
    return Sound.from_vector(_strayed(centre, overlap.artist, rng))


def track_sound(artist: Sound, overlap: Overlap, rng: np.random.Generator) -> Sound:
    """A track of an artist, who now and then borrows from some other style."""
    other = list(STYLES.values())[rng.integers(len(STYLES))].vector()
    share = overlap.borrowed * rng.random() ** 2
    return Sound.from_vector(_strayed((1 - share) * artist.vector() + share * other, overlap.track, rng))


def _strayed(centre: NDArray[np.floating[Any]], spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point around the centre; an instrument that is not there at all rarely joins."""
    noise = rng.normal(0, spread, len(PARAMETERS))
    absent = (centre < 0.02) & (rng.random(len(PARAMETERS)) < 0.7)
    return np.clip(centre + np.where(absent, 0, noise), 0, 1)
