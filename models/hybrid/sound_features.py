"""Sound features: a track's sound vector and its similarity to a few hundred others, so that a linear map can bend.

The kernel is k(a, b) = exp(-scale * d(a, b) / m) + a · b / C with m the median distance between landmarks: a near part
(Laplacian for the few named columns of a feature table, Matérn 1/2 for embeddings, where the Euclidean distance is one
matrix product), and a linear one, which does not vanish far from all landmarks. The features of the near part are its
Nyström approximation (Williams & Seeger 2000): k(a, b) ≈ features(a) · features(b), the strongest directions first.
Columns are standardised with constants that are kept, so a track's features never move when another track is added.

Shapes: B tracks, D dimensions of sound, G genres, C = D + G columns, M landmarks, N near features, E = N + C features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ...errors import DataError
from ..arrays import Floats, Mask, column_scale, top_k
from ..storage import Arrays

_FEW_COLUMNS = 32
_ROWS_PER_BATCH = 16_384
_FARTHEST = 10.0
"""deviations: sound far outside that of the training (another unit, a broken file) is clipped to this"""


@dataclass(frozen=True, eq=False)
class SoundMap:
    """From sound and, where they are known, genre probabilities to columns, and from these to features."""

    means: Floats
    """[C]"""
    deviations: Floats
    """[C] above 0"""
    sound_width: int
    """D"""
    landmarks: Floats
    """[M, C]; none without a kernel"""
    basis: Floats
    """[M, N]"""
    rate: float | None
    """of the kernel: its scale over the median distance; None without one: features are the columns"""

    @classmethod
    def fit(cls, sound: Floats, genres: Floats) -> Self:
        """The constants of the tracks with sound, without a kernel; `genres` [B, G] may have no columns."""
        has_sound = np.any(sound != 0, axis=1)
        nothing = np.zeros((0, 0), np.float32)
        if not has_sound.any():
            return cls(np.zeros(0, np.float32), np.ones(0, np.float32), 0, nothing, nothing, None)
        # A track whose genres are unknown has zeros, which are no probabilities.
        blocks = [sound[has_sound], genres[has_sound & np.any(genres != 0, axis=1)]]
        blocks = [block if len(block) else np.zeros((1, block.shape[1]), np.float32) for block in blocks]
        scales = [column_scale(block) for block in blocks]
        means, deviations = (np.concatenate(part).astype(np.float32) for part in zip(*scales, strict=True))
        # A block of many columns would drown the other one: both weigh the same, whatever their widths.
        deviations[sound.shape[1] :] *= np.sqrt(max(genres.shape[1], 1) / sound.shape[1])
        return cls(means, deviations, sound.shape[1], nothing, nothing, None)

    def with_kernel(self, columns: Floats, *, scale: float, landmarks: int, rng: np.random.Generator) -> Self:
        """From the columns of tracks with sound; distinct rows only, since many tables repeat an artist's values."""
        distinct = np.unique(columns, axis=0)
        if len(distinct) > landmarks:
            distinct = distinct[np.sort(rng.choice(len(distinct), landmarks, replace=False))]
        between = distances(distinct, distinct)
        off = between[~np.eye(len(distinct), dtype=bool)]
        rate = scale / max(float(np.median(off)) if len(off) else 1.0, 1e-6)
        strengths, directions = np.linalg.eigh(np.exp(-rate * between).astype(np.float64))
        kept, _ = top_k(strengths, landmarks)
        kept = kept[strengths[kept] > 1e-4]
        basis = (directions[:, kept] / np.sqrt(strengths[kept])).astype(np.float32)
        return replace(self, landmarks=distinct, basis=basis, rate=rate)

    def columns(self, sound: Floats, genres: Floats | None = None) -> tuple[Floats, Mask]:
        """[B, C] standardised columns, and [B] whether the track has sound; rows without are zeros."""
        has_sound = np.any(sound != 0, axis=1)
        if not has_sound.any() or not self.sound_width:
            return np.zeros((len(sound), len(self.means)), np.float32), has_sound & bool(self.sound_width)
        if sound.shape[1] != self.sound_width:
            raise DataError(
                f"sound: {sound.shape[1]} dimensions, but the prior was trained on {self.sound_width}; train again"
            )
        width = len(self.means) - self.sound_width
        if genres is None or genres.shape[1] != width:
            genres = np.zeros((len(sound), width), np.float32)
        # Without genre probabilities a track stands at the mean of all.
        genres = np.where(np.any(genres != 0, axis=1, keepdims=True), genres, self.means[self.sound_width :])
        columns = (np.hstack([sound, genres]) - self.means) / self.deviations
        columns = np.clip(columns, -_FARTHEST, _FARTHEST)
        columns[~has_sound] = 0
        return columns.astype(np.float32), has_sound

    def features(self, columns: Floats) -> Floats:
        """[B, C] -> [B, E], the near ones first"""
        if self.rate is None:
            return columns
        found = np.empty((len(columns), self.near + columns.shape[1]), np.float32)
        for start in range(0, len(columns), _ROWS_PER_BATCH):
            part = slice(start, start + _ROWS_PER_BATCH)
            found[part, : self.near] = np.exp(-self.rate * distances(columns[part], self.landmarks)) @ self.basis
        found[:, self.near :] = columns / np.sqrt(columns.shape[1])
        return found

    @property
    def near(self) -> int:
        """N"""
        return int(self.basis.shape[1])

    def arrays(self) -> Arrays:
        """For `save_model`; `sound_width` and `rate` are kept beside them."""
        arrays = {"column_means": self.means, "column_deviations": self.deviations}
        return arrays if self.rate is None else arrays | {"landmarks": self.landmarks, "basis": self.basis}

    @classmethod
    def from_arrays(cls, arrays: Arrays, sound_width: int, rate: float | None) -> Self:
        kernel = [arrays.get(name, np.zeros((0, 0), np.float32)) for name in ("landmarks", "basis")]
        return cls(arrays["column_means"], arrays["column_deviations"], sound_width, kernel[0], kernel[1], rate)


def distances(a: Floats, b: Floats) -> Floats:
    """[A, C], [B, C] -> [A, B]: city block for a few columns, Euclidean for embeddings."""
    if a.shape[1] <= _FEW_COLUMNS:
        from scipy.spatial.distance import cdist

        return np.asarray(cdist(a, b, "cityblock"), np.float32)
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
