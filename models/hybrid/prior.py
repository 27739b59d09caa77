"""The content prior: a track's taste vector, predicted from its sound and from its artists' other tracks.

    prior(t) = mean + f(sound of t) + sum_s a(t, s) e(s) / (shrinkage + sum_s a(t, s))

f is a ridge regression on sound features that knows of artist effects (`artist_effects`), e(s) = y(s) - mean - f(s) is
what the sound of a warm track s does not explain, and s runs over the other warm tracks of t's artists. a(t, s) is the
number of artists they share, times exp(-attention * distance of their sounds): an artist's quiet songs speak for a
quiet song. It is the mean of a Gaussian process whose kernel adds sound and artist. Without an artist the sum is empty,
without sound f is 0, with neither the prior is the mean of all tracks.

Shapes: T tracks of the catalogue, B tracks asked for, F factors, A artists, E sound features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ..catalogue import Catalogue
from ..storage import Arrays
from .artist_effects import ArtistEffects
from .sound_features import Matrix, SoundColumns, SoundKernel

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SOUNDS = ("none", "linear", "kernel")
_PAIRS_PER_BATCH = 1 << 18


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """How the prior listens; the defaults are what validation mostly chose."""

    sound: str = "kernel"
    """`none`, `linear` or `kernel` (see `sound_features`)"""
    scale: float = 2.0
    """of the kernel: e-folds over the median distance"""
    penalty: float = 4.0
    """of the ridge; the larger, the less a rare sound is believed"""
    shrinkage: float | None = 1.0
    """how many tracks of an artist are worth as much as the sound alone; None leaves artists out"""
    attention: float = 0.0
    """how much more an artist's similar tracks count; 0 is the plain mean"""
    landmarks: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sound not in SOUNDS:
            raise UsageError(f"prior: no sound map named {self.sound}; there are {', '.join(SOUNDS)}")


@dataclass(frozen=True, eq=False)
class Hearing:
    """The tracks of a catalogue as one prior's sound map hears them; made once, used for many penalties."""

    columns: Matrix
    """[T, C]"""
    heard: NDArray[np.bool_]
    """[T]"""
    features: Matrix
    """[T, E]"""
    map: SoundColumns
    kernel: SoundKernel | None


def hear(catalogue: Catalogue, warm: NDArray[np.bool_], options: PriorOptions) -> Hearing:
    """Fits the sound map on the warm tracks [T] and applies it to all."""
    genres = _genres(catalogue)
    map = SoundColumns.fit(catalogue.sound[warm], genres[warm])
    columns, heard = map.of(catalogue.sound, genres)
    kernel = None
    features = columns
    taught = columns[warm & heard]
    if options.sound == "none" or len(taught) < 2:
        features = np.zeros((len(catalogue), 0), np.float32)
    elif options.sound == "kernel":
        kernel = SoundKernel.fit(
            taught,
            scale=options.scale,
            landmarks=options.landmarks,
            features=options.landmarks,
            rng=np.random.default_rng(options.seed),
        )
        features = kernel.of(columns)
        features[~heard] = 0
    return Hearing(columns, heard, features, map, kernel)


class ContentPrior:
    """Predicts taste vectors of tracks that nobody has listened to."""

    def __init__(self, options: PriorOptions | None = None) -> None:
        self.options = options or PriorOptions()

    def fit(
        self, vectors: Matrix, warm: NDArray[np.bool_], catalogue: Catalogue, hearing: Hearing | None = None
    ) -> Self:
        """Learns from the taste vectors [T, F] of the warm tracks [T] of the catalogue."""
        self._hearing = hearing = hearing or hear(catalogue, warm, self.options)
        rows = np.flatnonzero(warm)
        self.mean: Matrix = vectors[rows].mean(axis=0) if len(rows) else np.zeros(vectors.shape[1], np.float32)
        taught = rows[hearing.heard[rows]]
        features = hearing.features[taught]
        effects = ArtistEffects.of(catalogue.artist_matrix[taught])
        whitened = effects.whitened(features)
        gram = whitened.T @ whitened + self.options.penalty * np.eye(features.shape[1], dtype=np.float32)
        inverse = np.linalg.inv(gram.astype(np.float64)).astype(np.float32)
        self.weights: Matrix = inverse @ (whitened.T @ effects.whitened(vectors[taught] - self.mean))
        by_sound = self._by_sound(hearing.features)
        self.residuals: Matrix = vectors[rows] - by_sound[rows]
        self.artists: csr_matrix = catalogue.artist_matrix[rows]
        """[W, A] of the warm tracks"""
        self.columns = hearing.columns[rows]
        self.heard = hearing.heard[rows]
        self.artist_names = catalogue.artist_names
        self.near_features: Matrix = hearing.features[:, : 0 if hearing.kernel is None else hearing.kernel.near]
        """[T, N] features of the catalogue whose dot product says how near two sounds are"""
        self._track_artists = catalogue.artist_matrix
        self._own = np.full(len(catalogue), -1)
        self._own[rows] = np.arange(len(rows))
        # Closed-form leave-one-out: `surprise` is how far a track is from where all others, its artist's too, would
        # have it, `pull` what its own vector does to its prediction by sound.
        twice = effects.whitened(whitened)
        solved = twice @ inverse
        pull = (solved * features).sum(axis=1)
        own = effects.precisions - (solved * twice).sum(axis=1)
        left = effects.whitened(effects.whitened(vectors[taught] - by_sound[taught]))
        surprise = left / np.maximum(own, 0.01)[:, None]
        by_sound[taught] -= pull[:, None] * surprise
        self._alone = by_sound
        return self

    @property
    def of_catalogue(self) -> Matrix:
        """[T, F] of every track of the catalogue it was fitted on, as if that track itself had had no listens."""
        return self.of_tracks(np.arange(len(self._own)))

    def of_tracks(self, rows: NDArray[np.intp]) -> Matrix:
        """[B, F] some rows of `of_catalogue`."""
        hearing = self._hearing
        by_artist = self._by_artist(
            self._track_artists[rows], hearing.columns[rows], hearing.heard[rows], leave_out=self._own[rows]
        )
        return np.asarray(self._alone[rows] + by_artist)

    def with_artists(self, shrinkage: float | None, attention: float) -> ContentPrior:
        """The same sound map with another view of artists; nothing is fitted again."""
        prior = copy(self)
        prior.options = replace(self.options, shrinkage=shrinkage, attention=attention)
        return prior

    def predict(self, sound: Matrix, artists: csr_matrix, genres: Matrix | None = None) -> Matrix:
        """[B, F] for tracks with `sound` [B, D] (zeros: never heard) and `artists` [B, A] of `artist_names`."""
        genres = np.zeros((len(sound), 0), np.float32) if genres is None else genres
        columns, heard = self._hearing.map.of(sound, genres)
        kernel = self._hearing.kernel
        features = columns if kernel is None else kernel.of(columns)
        features = features[:, : len(self.weights)] * heard[:, None]
        return self._by_sound(features) + self._by_artist(artists, columns, heard)

    def near_features_of(self, sound: Matrix, genres: Matrix | None = None) -> Matrix:
        """[B, N] the same of other tracks: zeros for one never heard, no columns where the prior has no kernel."""
        genres = np.zeros((len(sound), 0), np.float32) if genres is None else genres
        kernel = self._hearing.kernel
        if kernel is None:
            return np.zeros((len(sound), 0), np.float32)
        columns, heard = self._hearing.map.of(sound, genres)
        return kernel.of(columns)[:, : kernel.near] * heard[:, None]

    def knows(self, heard: NDArray[np.bool_], artists: csr_matrix) -> NDArray[np.bool_]:
        """[B] whether the prior of such tracks says more than the mean of all."""
        shared = np.asarray(artists @ self.artists.sum(axis=0).T).ravel() > 0
        return np.asarray((heard & bool(len(self.weights))) | (shared & (self.options.shrinkage is not None)))

    def artist_rows(self, artists: tuple[tuple[str, ...], ...]) -> csr_matrix:
        """[B, A] for names; an artist without training tracks is nobody."""
        from scipy.sparse import csr_matrix

        row_of = self._row_of_artist
        known = ((t, row_of.get(name)) for t, names in enumerate(artists) for name in dict.fromkeys(names))
        pairs = [(t, row) for t, row in known if row is not None]
        tracks, rows = np.array(pairs, np.int32).reshape(-1, 2).T
        ones = np.ones(len(pairs), np.float32)
        return csr_matrix((ones, (tracks, rows)), shape=(len(artists), len(self.artist_names)))

    def arrays(self) -> Arrays:
        """For `save_model`, with `facts`."""
        arrays: Arrays = {
            "mean": self.mean,
            "weights": self.weights,
            "residuals": self.residuals,
            "columns": self.columns,
            "heard": self.heard,
            "artists_indptr": self.artists.indptr.astype(np.int64),
            "artists_indices": self.artists.indices.astype(np.int32),
            **self._hearing.map.arrays(),
        }
        return arrays if self._hearing.kernel is None else arrays | self._hearing.kernel.arrays()

    def facts(self) -> dict[str, Any]:
        kernel = self._hearing.kernel
        return {
            "sound_width": self.sound_width,
            "rate": None if kernel is None else kernel.rate,
            "artist_names": list(self.artist_names),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, facts: dict[str, Any], options: PriorOptions) -> Self:
        """What `arrays` and `facts` gave; predicts, but no longer knows `of_catalogue`."""
        from scipy.sparse import csr_matrix

        prior = cls(options)
        map = SoundColumns.from_arrays(arrays, facts["sound_width"])
        kernel = None if facts["rate"] is None else SoundKernel.from_arrays(arrays, facts["rate"])
        nothing = np.zeros((0, 0), np.float32)
        prior._hearing = Hearing(nothing, np.zeros(0, bool), nothing, map, kernel)
        prior.mean, prior.weights, prior.residuals = arrays["mean"], arrays["weights"], arrays["residuals"]
        prior.columns, prior.heard = arrays["columns"], arrays["heard"]
        prior.artist_names = tuple(facts["artist_names"])
        indices = arrays["artists_indices"]
        parts = (np.ones(len(indices), np.float32), indices, arrays["artists_indptr"])
        prior.artists = csr_matrix(parts, shape=(len(prior.residuals), len(prior.artist_names)))
        return prior

    @property
    def sound_width(self) -> int:
        """D that `predict` wants; 0 where the prior has heard nothing."""
        return self._hearing.map.sound_width

    @cached_property
    def _row_of_artist(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.artist_names)}

    @cached_property
    def _tracks_of(self) -> csr_matrix:
        """[A, W]"""
        return self.artists.T.tocsr()

    def _by_sound(self, features: Matrix) -> Matrix:
        return np.asarray(self.mean + features @ self.weights, np.float32)

    def _by_artist(
        self,
        artists: csr_matrix,
        columns: Matrix,
        heard: NDArray[np.bool_],
        leave_out: NDArray[np.intp] | None = None,
    ) -> Matrix:
        """[B, F] the shrunk mean of what sound left unexplained; `leave_out` [B] names each track's own warm row."""
        answer = np.zeros((artists.shape[0], len(self.mean)), np.float32)
        if self.options.shrinkage is None or not self.artists.nnz:
            return answer
        tracks_of = self._tracks_of
        ends = np.cumsum(np.asarray(artists @ np.diff(tracks_of.indptr)).ravel())
        start = 0
        while start < len(answer):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_PER_BATCH, side="right")))
            shared = (artists[start:stop] @ tracks_of).tocsr()
            asked = np.repeat(np.arange(start, start + shared.shape[0]), np.diff(shared.indptr))
            weights = shared.data.astype(np.float32)
            if leave_out is not None:
                weights[leave_out[asked] == shared.indices] = 0
            if self.options.attention:
                both = heard[asked] & self.heard[shared.indices]
                apart = _apart(columns, asked[both], self.columns, shared.indices[both])
                weights[both] *= np.exp(-self.options.attention * apart)
            shared.data = weights
            total = np.asarray(shared.sum(axis=1)) + self.options.shrinkage
            answer[start:stop] = (shared @ self.residuals) / np.maximum(total, 1e-6)
            start = stop
        return answer


def by_sound_alone(
    vectors: Matrix,
    warm: NDArray[np.bool_],
    catalogue: Catalogue,
    hearing: Hearing,
    penalties: Sequence[float],
    rows: NDArray[np.intp],
) -> Iterator[Matrix]:
    """[B, F] of some cold tracks under each of the penalties, for little more than the price of one."""
    taught = np.flatnonzero(warm & hearing.heard)
    mean = vectors[warm].mean(axis=0)
    effects = ArtistEffects.of(catalogue.artist_matrix[taught])
    features = effects.whitened(hearing.features[taught])
    strengths, directions = np.linalg.eigh((features.T @ features).astype(np.float64))
    basis = directions.astype(np.float32)
    target = basis.T @ (features.T @ effects.whitened(vectors[taught] - mean))
    asked = hearing.features[rows] @ basis
    for penalty in penalties:
        yield mean + (asked / (strengths + penalty).astype(np.float32)) @ target


def _apart(a: Matrix, a_rows: NDArray[np.intp], b: Matrix, b_rows: NDArray[np.int32]) -> Matrix:
    """[P] distances of pairs of rows: 1 is typical of two columns that differ by one deviation."""
    found = np.empty(len(a_rows), np.float32)
    step = max(1, (1 << 24) // max(a.shape[1], 1))
    for start in range(0, len(found), step):
        part = slice(start, start + step)
        found[part] = np.abs(a[a_rows[part]] - b[b_rows[part]]).mean(axis=1)
    return found


def _genres(catalogue: Catalogue) -> Matrix:
    found = catalogue.genre_probabilities
    return found if len(found) == len(catalogue) else np.zeros((len(catalogue), 0), np.float32)
