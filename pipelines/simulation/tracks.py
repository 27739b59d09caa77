"""The tracks of a synthetic world: points in a latent space, around an artist, who is around a style.

The sound of a track reveals its latent point to the degree `link`; the rest of it is as much its own.

Shapes: T tracks, K latent dimensions, D sound dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import l2_normalize
from .names import artist_names, title
from .options import WorldOptions

DAY_SECONDS = 86_400
EPOCH_SECONDS = 1_704_067_200
"""where the log begins: 1 January 2024"""

Floats = NDArray[np.float32]


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


def synthetic_tracks(options: WorldOptions) -> WorldTracks:
    """Tracks of artists of styles, with sound that reveals `options.link` of their latent points."""
    rng = np.random.default_rng([options.seed, 0])
    count = options.tracks
    # Artists are unequal in how much they release and in how popular they are.
    artist_share = 1 / np.arange(1, options.artists + 1) ** 0.5
    artist_rows = rng.choice(options.artists, count, p=artist_share / artist_share.sum())
    artist_rows[: min(count, options.artists)] = np.arange(options.artists)[:count]
    artist_styles = rng.integers(options.styles, size=options.artists)

    shape = (options.artists, options.latent_dimensions)
    latents = _family(rng, artist_rows, artist_styles, options)
    nuisance = _family(rng, artist_rows, rng.integers(options.styles, size=options.artists), options)
    seen = options.link * latents + np.sqrt(1 - options.link**2) * nuisance
    hidden = np.tanh(1.5 * seen @ rng.normal(size=(shape[1], 64)) + rng.normal(0, 0.3, 64))
    sound = hidden @ rng.normal(size=(64, options.sound_dimensions)) / 8 + rng.normal(
        0, 0.1, (count, options.sound_dimensions)
    )

    fame = rng.permutation(options.artists)[artist_rows] + 1.0
    popularity = fame**-0.6 * (rng.permutation(count) + 10.0) ** -0.7
    fresh = rng.random(count) < options.fresh
    released = EPOCH_SECONDS + DAY_SECONDS * np.where(
        fresh, rng.integers(0, options.days, count), -rng.integers(1, 5_000, count)
    )
    names = artist_names(options.artists, rng)
    guests = np.where(rng.random(count) < 0.06, rng.integers(options.artists, size=count), -1)
    collective = rng.random(count) < 0.01
    artists = tuple(
        ("Various Artists",)
        if shared
        else tuple(dict.fromkeys((names[own], names[guest]) if guest >= 0 else (names[own],)))
        for own, guest, shared in zip(artist_rows.tolist(), guests.tolist(), collective.tolist(), strict=True)
    )
    return WorldTracks(
        track_ids=tuple(str(row + 1) for row in range(count)),
        titles=tuple(title(rng) for _ in range(count)),
        artists=artists,
        albums=tuple(
            f"{names[own]} {number}" for own, number in zip(artist_rows, rng.integers(1, 5, count), strict=True)
        ),
        style_names=tuple(f"style {number + 1}" for number in range(options.styles)),
        style_rows=artist_styles[artist_rows].astype(np.int32),
        latents=latents,
        sound=sound.astype(np.float32),
        popularity=popularity / popularity.sum(),
        released_at=released.astype(np.int64),
        duration_seconds=rng.integers(120, 420, count),
    )


def _family(
    rng: np.random.Generator, artist_rows: NDArray[np.int64], artist_styles: NDArray[np.int64], options: WorldOptions
) -> Floats:
    """[T, K] unit points: style + artist + track."""
    dimensions = options.latent_dimensions
    styles = l2_normalize(rng.normal(size=(options.styles, dimensions)))
    between, within = np.sqrt(1 - options.within_artist), np.sqrt(options.within_artist)
    artists = styles[artist_styles] + between * l2_normalize(rng.normal(size=(options.artists, dimensions)))
    return l2_normalize(
        (artists[artist_rows] + within * l2_normalize(rng.normal(size=(options.tracks, dimensions)))).astype(np.float32)
    )
