"""Catalogue: what is known of tracks besides who listened, as arrays of rows.

Shapes: T tracks, A artists, G genres, D dimensions of the sound vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .arrays import Floats, Mask

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COLLECTIVE_ARTISTS = frozenset({"", "va", "various", "various artists", "unknown", "unknown artist", "[unknown]"})
"""Names, in lower case, that stand for nobody in particular: their tracks have no artist in common."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """T tracks with their artists, genres and sound vectors; any of these may be unknown for any track."""

    track_ids: tuple[str, ...]
    """[T] external ids"""
    artists: tuple[tuple[str, ...], ...]
    """[T] zero or more artist names each"""
    sound: NDArray[np.float32]
    """[T, D] sound vectors; a row of zeros where the track has none (D = 0 where no track has)"""
    genres: tuple[tuple[str, ...], ...] = ()
    """[T] the catalogue's own genre labels, or () where it has none at all"""
    genre_probabilities: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """[T, G] by the genre model, rows of zeros where unknown; [0, 0] where there are none"""
    released_at: NDArray[np.int64] | None = None
    """[T] seconds since 1970; the minimum of int64 where unknown"""
    genre_names: tuple[str, ...] = ()
    """[G] the columns of `genre_probabilities`, where they are known"""
    albums: tuple[str | None, ...] = ()
    """[T] album titles, None where unknown, or () where no album is known"""

    def __post_init__(self) -> None:
        count = len(self.track_ids)
        if len(self.artists) != count or len(self.sound) != count:
            raise DataError(f"catalogue: {count} track ids, {len(self.artists)} artists, {len(self.sound)} sounds")
        if self.genre_names and self.genre_probabilities.shape[1] not in (0, len(self.genre_names)):
            width = self.genre_probabilities.shape[1]
            raise DataError(f"catalogue: {width} genre probabilities a track, but {len(self.genre_names)} genres")

    @classmethod
    def of_one(
        cls, track_id: str, sound: Floats, genres: Floats | None = None, genre_names: tuple[str, ...] = ()
    ) -> Self:
        """Of one track of unknown artist: its sound [D], and perhaps the probabilities [G] of genres."""
        probabilities = np.zeros((0, 0), np.float32) if genres is None or not len(genres) else genres[None]
        return cls((track_id,), ((),), np.atleast_2d(sound), (), probabilities, genre_names=genre_names)

    def __len__(self) -> int:
        return len(self.track_ids)

    def __repr__(self) -> str:
        embedded = int(self.has_sound.sum())
        return f"Catalogue({len(self):,} tracks, {len(self.artist_names):,} artists, {embedded:,} embedded)"

    def take(self, rows: NDArray[np.intp]) -> Catalogue:
        """Only some rows of it."""
        return Catalogue(
            tuple(self.track_ids[row] for row in rows),
            tuple(self.artists[row] for row in rows),
            self.sound[rows],
            tuple(self.genres[row] for row in rows) if self.genres else (),
            self.genre_probabilities[rows] if len(self.genre_probabilities) else self.genre_probabilities,
            None if self.released_at is None else self.released_at[rows],
            self.genre_names,
            tuple(self.albums[row] for row in rows) if self.albums else (),
        )

    @cached_property
    def has_sound(self) -> Mask:
        """[T] whether the track has a sound vector."""
        return np.asarray(np.any(self.sound != 0, axis=1))

    @cached_property
    def album_counts(self) -> NDArray[np.int32] | None:
        """[T] on how many different albums a track's artists are, the most of any of them; None without albums."""
        if not any(album is not None for album in self.albums):
            return None
        albums: defaultdict[str, set[str]] = defaultdict(set)
        for artists, album in zip(self.artists, self.albums, strict=True):
            for artist in artists:
                if album is not None and artist.strip().lower() not in COLLECTIVE_ARTISTS:
                    albums[artist].add(album)
        counts = (max((len(albums[artist]) for artist in artists), default=0) for artists in self.artists)
        return np.fromiter(counts, np.int32, len(self))

    @cached_property
    def artist_names(self) -> tuple[str, ...]:
        """[A] different artists in order of first appearance, collective names left out."""
        names = (name for names in self.artists for name in names)
        return tuple(dict.fromkeys(name for name in names if name.strip().lower() not in COLLECTIVE_ARTISTS))

    @cached_property
    def artist_matrix(self) -> csr_matrix:
        """[T, A] float32: 1 where the artist is one of the track's."""
        return artist_matrix(self.artists, {name: row for row, name in enumerate(self.artist_names)})


def release_years(released_at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The calendar years (UTC) of releases, in seconds since 1970.

    >>> release_years(np.array([946_684_799, 946_684_800])).tolist()
    [1999, 2000]
    """
    return released_at.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970


def artist_matrix(artists: Sequence[tuple[str, ...]], row_of: Mapping[str, int]) -> csr_matrix:
    """[T, A] float32: 1 where the artist is one of the track's; names without a row are left out."""
    from scipy.sparse import csr_matrix

    rows = [[row_of[name] for name in dict.fromkeys(names) if name in row_of] for names in artists]
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([row for some in rows for row in some], np.int32)
    return csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=(len(artists), len(row_of)))
