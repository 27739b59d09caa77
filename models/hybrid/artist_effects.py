"""Artist effects: an artist's tracks are loved together, so that a hundred of them are not a hundred witnesses.

What sound does not explain of a track's taste is the artist's own share and the track's: r = Z b + e, with the variance
of b one over `PULL` of that of e. Regression on sound has to weigh tracks by that, or it learns the sound of who
released most. The rows are whitened (the random effects estimator of Balestra & Nerlove 1966), and ordinary least
squares on whitened rows are the right ones:

    V^(-1/2) = I - Z diag(theta / n) Z'      theta = 1 - sqrt(PULL / (PULL + n))

This is exact where tracks have one artist each; with several, a track belongs to each of them in part.

Shapes: W tracks, A artists, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Matrix = NDArray[np.float32]

PULL = 1.0


@dataclass(frozen=True, eq=False)
class ArtistEffects:
    belongs: csr_matrix
    """[W, A] rows that add up to 1, or to 0 for a track without artist"""
    shares: Matrix
    """[A] theta / n"""

    @classmethod
    def of(cls, artists: csr_matrix) -> Self:
        """From the artists [W, A] of the tracks that are learned from."""
        counts = np.diff(artists.indptr)
        belongs = artists.astype(np.float32).tocsr()
        belongs.data = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
        tracks = np.asarray(belongs.sum(axis=0)).ravel()
        theta = 1 - np.sqrt(PULL / (PULL + tracks))
        return cls(belongs, (theta / np.maximum(tracks, 1e-9)).astype(np.float32))

    def whitened(self, rows: Matrix) -> Matrix:
        """[W, C] V^(-1/2) rows"""
        return np.asarray(rows - self.belongs @ (self.shares[:, None] * (self.belongs.T @ rows)), np.float32)

    @property
    def precisions(self) -> Matrix:
        """[W] the diagonal of V^-1"""
        tracks = np.asarray(self.belongs.sum(axis=0)).ravel()
        squares = self.belongs.multiply(self.belongs)
        return np.asarray(1 - 2 * squares @ self.shares + squares @ (self.shares**2 * tracks), np.float32)
