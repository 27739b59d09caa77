"""The content prior: a track's taste vector, predicted from its sound and from its artists' other tracks.

    prior(t) = mean + f(sound of t) + sum_s a(t, s) e(s) / (shrinkage + sum_s a(t, s))

f is a ridge regression on sound features, e(s) = y(s) - mean - f(s) is what the sound of a warm track s does not
explain, and s runs over the other warm tracks of t's artists. a(t, s) is the number of artists they share, times
exp(-attention * distance of their sounds). It is the mean of a Gaussian process whose kernel adds sound and artist.
Without an artist the sum is empty, without sound f is 0, with neither the prior is the mean of all tracks.

The length of a taste vector grows with the track's listeners, so the length of a predicted one is how popular the
track is expected to be. Where that is not to be trusted, `debias` takes it away: the vector is multiplied by (typical
length / its length) ** debias, and 1 leaves its direction alone.

The regression has artists as random effects: what sound does not explain of a track's taste is the artist's own share
and the track's, r = Z b + e, with the variance of b one over `ARTIST_VARIANCE_RATIO` of that of e. Without them it
would learn the sound of who released most. Rows are whitened (Balestra & Nerlove 1966), and least squares on whitened
rows are the right ones:

    V^(-1/2) = I - Z diag(theta / n) Z'      theta = 1 - sqrt(ratio / (ratio + n))

This is exact where tracks have one artist each; with several, a track belongs to each of them in part.

Shapes: T tracks of the catalogue, W warm ones, B tracks asked for, F factors, A artists, C columns, E sound features,
N near ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...errors import UsageError
from ..arrays import Floats, Mask, Rows, csr_arrays, csr_of
from ..catalogue import Catalogue, artist_matrix
from ..storage import Arrays
from .sound_features import SoundMap

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


SOUNDS = ("none", "linear", "kernel")
ARTIST_VARIANCE_RATIO = 1.0
_PAIRS_PER_BATCH = 1 << 18
_SAVED = {name: name for name in ("mean", "weights", "residuals", "columns")} | {"heard": "has_sound"}
"""name in a saved model -> attribute"""

_SAVED_ARTISTS = ("artists_indptr", "artists_indices")


@dataclass(frozen=True, kw_only=True)
class PriorOptions:
    """The defaults are what validation mostly chose."""

    sound: str = "kernel"
    """`none`, `linear` or `kernel` (see `sound_features`)"""
    scale: float = 2.0
    """of the kernel: e-folds over the median distance"""
    penalty: float = 4.0
    """of the ridge; the larger, the less rare sounds move a prediction"""
    shrinkage: float | None = 1.0
    """how many tracks of an artist are worth as much as the sound alone; None leaves artists out"""
    attention: float = 0.0
    """how much more an artist's similar tracks count; 0 is the plain mean"""
    debias: float = 0.0
    """popularity debiasing, 0 … 1: how much of the differences in length of predicted vectors is taken away"""
    landmarks: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sound not in SOUNDS:
            raise UsageError(f"prior: no sound map named {self.sound}; there are {', '.join(SOUNDS)}")


@dataclass(frozen=True, eq=False)
class CatalogueSound:
    """The sound of a catalogue's tracks as the regression has it; made once, used for many penalties."""

    map: SoundMap
    columns: Floats
    """[T, C]"""
    has_sound: Mask
    """[T]"""
    features: Floats
    """[T, E]"""

    @classmethod
    def of(cls, catalogue: Catalogue, warm: Mask, options: PriorOptions) -> Self:
        """By a map that is fitted on the warm tracks [T]."""
        sound, genres = catalogue.sound, _genres(catalogue)
        map = SoundMap.fit(sound[warm], genres[warm])
        columns, has_sound = map.columns(sound, genres)
        training = columns[warm & has_sound]
        if options.sound == "none" or len(training) < 2:
            return cls(map, columns, has_sound, columns[:, :0])
        if options.sound == "kernel":
            rng = np.random.default_rng(options.seed)
            map = map.with_kernel(training, scale=options.scale, landmarks=options.landmarks, rng=rng)
        return cls(map, columns, has_sound, map.features(columns) * has_sound[:, None])


class ArtistEffects:
    """V of the module's docstring, of W tracks with artists [W, A]."""

    def __init__(self, artists: csr_matrix) -> None:
        counts = np.diff(artists.indptr)
        self._membership = artists.astype(np.float32).tocsr()
        self._membership.data = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
        self._tracks = np.asarray(self._membership.sum(axis=0)).ravel()
        theta = 1 - np.sqrt(ARTIST_VARIANCE_RATIO / (ARTIST_VARIANCE_RATIO + self._tracks))
        self._shares = (theta / np.maximum(self._tracks, 1e-9)).astype(np.float32)

    def whitened(self, rows: Floats) -> Floats:
        """[W, C] V^(-1/2) rows"""
        means = self._shares[:, None] * (self._membership.T @ rows)
        return np.asarray(rows - self._membership @ means, np.float32)

    @property
    def precisions(self) -> Floats:
        """[W] the diagonal of V^-1"""
        squares = self._membership.multiply(self._membership)
        weights = self._shares**2 * self._tracks - 2 * self._shares
        return np.asarray(1 + squares @ weights, np.float32)


class SoundRegression:
    """Ridge regression of taste on sound features with artists as random effects, for any penalty."""

    def __init__(self, vectors: Floats, warm: Mask, catalogue: Catalogue, sound: CatalogueSound) -> None:
        self.mean: Floats = vectors[warm].mean(axis=0) if warm.any() else np.zeros(vectors.shape[1], np.float32)
        self.training = np.flatnonzero(warm & sound.has_sound)
        self.effects = ArtistEffects(catalogue.artist_matrix[self.training])
        self.whitened = self.effects.whitened(sound.features[self.training])
        self._target = self.whitened.T @ self.effects.whitened(vectors[self.training] - self.mean)
        self._strengths, self._directions = np.linalg.eigh((self.whitened.T @ self.whitened).astype(np.float64))

    def inverse(self, penalty: float) -> Floats:
        """[E, E] of the normal matrix"""
        return np.asarray((self._directions / (self._strengths + penalty)) @ self._directions.T, np.float32)

    def weights(self, penalty: float) -> Floats:
        """[E, F]"""
        return np.asarray(self.inverse(penalty) @ self._target)


class ContentPrior:
    """Predicts taste vectors of tracks without listeners."""

    def __init__(self, options: PriorOptions | None = None) -> None:
        self.options = options or PriorOptions()

    def fit(self, vectors: Floats, warm: Mask, catalogue: Catalogue, sound: CatalogueSound | None = None) -> Self:
        """Learns from the taste vectors [T, F] of the warm tracks [T] of the catalogue."""
        sound = sound or CatalogueSound.of(catalogue, warm, self.options)
        regression, rows = SoundRegression(vectors, warm, catalogue, sound), np.flatnonzero(warm)
        self.map, self.mean, self.artist_names = sound.map, regression.mean, catalogue.artist_names
        self.weights = regression.weights(self.options.penalty)
        by_sound = np.asarray(self.mean + sound.features @ self.weights, np.float32)
        self.residuals: Floats = vectors[rows] - by_sound[rows]
        self.artists: csr_matrix = catalogue.artist_matrix[rows]
        """[W, A]"""
        self.columns, self.has_sound = sound.columns[rows], sound.has_sound[rows]
        self.near_features: Floats = sound.features[:, : sound.map.near]
        """[T, N] features of the catalogue whose dot product is the kernel's near part"""
        self._catalogue_sound, self._track_artists = sound, catalogue.artist_matrix
        self._warm_row = np.full(len(catalogue), -1)
        self._warm_row[rows] = np.arange(len(rows))
        # Closed-form leave-one-out: `surprise` is how far a track is from where all others, its artist's too, would
        # have it, `pull` what its own vector does to its prediction by sound.
        training, effects = regression.training, regression.effects
        twice = effects.whitened(regression.whitened)
        solved = twice @ regression.inverse(self.options.penalty)
        pull = (solved * sound.features[training]).sum(axis=1)
        own = effects.precisions - (solved * twice).sum(axis=1)
        left = effects.whitened(effects.whitened(vectors[training] - by_sound[training]))
        surprise = left / np.maximum(own, 0.01)[:, None]
        by_sound[training] -= pull[:, None] * surprise
        self._by_sound_of_others = by_sound
        return self

    @property
    def of_catalogue(self) -> Floats:
        """[T, F] of every track of the catalogue it was fitted on, as if that track itself had had no listens."""
        return self.of_tracks(np.arange(len(self._warm_row)))

    def of_tracks(self, rows: Rows) -> Floats:
        """[B, F] some rows of `of_catalogue`."""
        return self._debiased(self._of_tracks(rows))

    def with_options(self, **changes: Any) -> ContentPrior:
        """The same sound map with another `shrinkage`, `attention` or `debias`; nothing is fitted again."""
        prior = copy(self)
        prior.options = replace(self.options, **changes)
        prior.__dict__.pop("typical_length", None)
        return prior

    def predict(self, catalogue: Catalogue) -> tuple[Floats, Mask]:
        """[B, F] of other tracks than those it was fitted on, and [B] whether there was anything to predict it from."""
        columns, has_sound = self.map.columns(catalogue.sound, _genres(catalogue))
        artists = self.artist_rows(catalogue.artists)
        features = self.map.features(columns)[:, : len(self.weights)] * has_sound[:, None]
        by_sound = np.asarray(self.mean + features @ self.weights, np.float32)
        predicted = self._debiased(by_sound + self._by_artist(artists, columns, has_sound))
        return predicted, self.can_predict(has_sound, artists)

    def near_features_of(self, catalogue: Catalogue) -> Floats:
        """[B, N] the same of other tracks: zeros for one without sound, no columns where the map has no kernel."""
        columns, has_sound = self.map.columns(catalogue.sound, _genres(catalogue))
        return self.map.features(columns)[:, : self.map.near] * has_sound[:, None]

    def can_predict(self, has_sound: Mask, artists: csr_matrix) -> Mask:
        """[B] whether such tracks are predicted otherwise than by the mean of all."""
        shared = np.asarray(artists @ self.artists.sum(axis=0).T).ravel() > 0
        by_sound, by_artist = bool(len(self.weights)), self.options.shrinkage is not None
        return np.asarray((has_sound & by_sound) | (shared & by_artist))

    def artist_rows(self, artists: Sequence[tuple[str, ...]]) -> csr_matrix:
        """[B, A] of `artist_names`; artists without warm tracks are left out."""
        return artist_matrix(artists, self._row_of_artist)

    def arrays(self) -> Arrays:
        """For `save_model`, with `metadata`."""
        own = {name: getattr(self, attribute) for name, attribute in _SAVED.items()}
        return own | csr_arrays(self.artists, *_SAVED_ARTISTS) | self.map.arrays()

    def metadata(self) -> dict[str, Any]:
        found = {"sound_width": self.map.sound_width, "rate": self.map.rate, "artist_names": list(self.artist_names)}
        return found | ({"typical_length": self.typical_length} if self.options.debias else {})

    @classmethod
    def from_arrays(cls, arrays: Arrays, metadata: dict[str, Any], options: PriorOptions) -> Self:
        """What `arrays` and `metadata` gave; predicts, but no longer has `of_catalogue`."""
        prior = cls(options)
        prior.map = SoundMap.from_arrays(arrays, metadata["sound_width"], metadata["rate"])
        for name, attribute in _SAVED.items():
            setattr(prior, attribute, arrays[name])
        prior.artist_names = tuple(metadata["artist_names"])
        prior.artists = csr_of(arrays, len(prior.artist_names), *_SAVED_ARTISTS)
        if prior.options.debias:
            prior.typical_length = metadata["typical_length"]
        return prior

    @cached_property
    def typical_length(self) -> float:
        """The median over the warm tracks, each predicted without its own listens."""
        warm = np.flatnonzero(self._warm_row >= 0)
        return float(np.median(np.linalg.norm(self._of_tracks(warm), axis=1))) if len(warm) else 1.0

    def _debiased(self, predicted: Floats) -> Floats:
        """[B, F]"""
        if not self.options.debias:
            return predicted
        lengths = np.linalg.norm(predicted, axis=1, keepdims=True)
        ratios = self.typical_length / np.where(lengths > 0, lengths, self.typical_length)
        return np.asarray(predicted * ratios**self.options.debias, np.float32)

    def _of_tracks(self, rows: Rows) -> Floats:
        """[B, F]"""
        sound = self._catalogue_sound
        by_artist = self._by_artist(
            self._track_artists[rows], sound.columns[rows], sound.has_sound[rows], leave_out=self._warm_row[rows]
        )
        return np.asarray(self._by_sound_of_others[rows] + by_artist)

    @cached_property
    def _row_of_artist(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.artist_names)}

    @cached_property
    def _tracks_of(self) -> csr_matrix:
        """[A, W]"""
        return self.artists.T.tocsr()

    def _by_artist(
        self, artists: csr_matrix, columns: Floats, has_sound: Mask, leave_out: Rows | None = None
    ) -> Floats:
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
                both = has_sound[asked] & self.has_sound[shared.indices]
                distances = _distances(columns, asked[both], self.columns, shared.indices[both])
                weights[both] *= np.exp(-self.options.attention * distances)
            shared.data = weights
            total = np.asarray(shared.sum(axis=1)) + self.options.shrinkage
            answer[start:stop] = (shared @ self.residuals) / np.maximum(total, 1e-6)
            start = stop
        return answer


def _distances(a: Floats, a_rows: Rows, b: Floats, b_rows: Rows) -> Floats:
    """[P] of pairs of rows: 1 is typical of two columns that differ by one deviation."""
    found = np.empty(len(a_rows), np.float32)
    step = max(1, (1 << 24) // max(a.shape[1], 1))
    for start in range(0, len(found), step):
        part = slice(start, start + step)
        found[part] = np.abs(a[a_rows[part]] - b[b_rows[part]]).mean(axis=1)
    return found


def _genres(catalogue: Catalogue) -> Floats:
    found = catalogue.genre_probabilities
    return found if len(found) == len(catalogue) else np.zeros((len(catalogue), 0), np.float32)
