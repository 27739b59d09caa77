"""Fold-in: the taste vector of somebody known by their listens alone, by one least squares step of ALS.

With the tracks' factors Y as they are, a user of confidences c has the vector x that solves

    (Y' Y + regularization + sum of (alpha |c_t| - 1) y_t y_t') x = sum of alpha c_t y_t over what they like

(Hu, Koren & Volinsky 2008, equation 4); the sum on the left is over likes and dislikes. It is the only way from listens
to a vector: in evaluation, in lists for everybody, and in the service with what was listened to since.

Shapes: T tracks, F factors, B users, L tracks of one user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..audio.errors import DataError
from .recommender import Ids, Scores

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from .als import ALS


class FoldIn:
    """Against given factors; never changes."""

    def __init__(self, als: ALS, factors: Scores, gram: Scores | None = None) -> None:
        """`als` weighs the listens; `factors` [T, F] are its tracks' or others; `gram` is Y' Y where it is known."""
        self._als, self.factors = als, factors
        self.gram: Scores = factors.T @ factors if gram is None else gram
        """[F, F]"""
        self._normal = self.gram + als.options.regularization * np.eye(factors.shape[1], dtype=np.float32)

    def following(self, als: ALS, factors: Scores) -> FoldIn:
        """The same against `factors`, which are these and more behind them, at the cost of those that came."""
        more = factors[len(self.factors) :]
        return FoldIn(als, factors, self.gram + more.T @ more)

    def one(self, track_rows: Ids, weights: Scores) -> Scores:
        """[F] of somebody with these confidences [L] in tracks [L]; zeros where they say nothing."""
        from scipy.linalg.lapack import sposv

        telling = weights != 0
        if not telling.any():
            return np.zeros(self.factors.shape[1], np.float32)
        track_rows, weights = track_rows[telling], weights[telling]
        confidences = self._als.options.alpha * self._als.confidences_of_one(track_rows, weights)
        factors = self.factors[track_rows]
        normal = self._normal + factors.T @ ((np.abs(confidences) - 1)[:, None] * factors)
        target = factors.T @ np.maximum(confidences, 0)
        _, vector, failed = sposv(normal, target)
        # Not positive definite only where rounding says so.
        return np.asarray(np.linalg.solve(normal, target) if failed else vector, np.float32)

    def many(self, heard: csr_matrix) -> Scores:
        """[B, T] confidences -> [B, F]"""
        if heard.shape[1] != len(self.factors):
            raise DataError(f"heard: {heard.shape[1]} tracks, but the model knows {len(self.factors)}")
        vectors = np.empty((heard.shape[0], self.factors.shape[1]), np.float32)
        for row, (start, stop) in enumerate(zip(heard.indptr, heard.indptr[1:], strict=False)):
            vectors[row] = self.one(heard.indices[start:stop], heard.data[start:stop])
        return vectors
