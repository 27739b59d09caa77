"""A quick view of a hybrid index: the same answers for one query at a time, from codes that nominate.

Tracks that lack a half are judged by the other one, as in `HybridIndex`; they are nominated apart, since their products
with a blended query say nothing about that.

Shapes: T tracks, F factors of taste, D dimensions of sound, k answers, n new tracks.
"""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from ..arrays import Answers, GrowingRows, Scores, l2_normalize, top_k
from .index import HybridIndex
from .inner_product_scan import EXACT_ROWS, Rows, Scan

_NOMINEES = 1000

Mask = NDArray[np.bool_]


class QuickIndex:
    """Never changes; `vectors` [T, F + D] are an index's, each half of length 1 or 0."""

    def __init__(self, vectors: Scores, factors: int, *, exact_rows: int = EXACT_ROWS) -> None:
        self.factors = factors
        self._vectors = vectors
        self._growing = GrowingRows(vectors)
        self._has_taste, self._has_sound = self._halves_of(vectors)
        self._few = exact_rows
        self._scan = Scan(vectors, exact_rows=exact_rows)

    @classmethod
    def of(cls, index: HybridIndex) -> QuickIndex:
        return cls(index.vectors(np.arange(len(index), dtype=np.int32)), index.factors)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def sound_width(self) -> int:
        return int(self._vectors.shape[1]) - self.factors

    def plus(self, taste: Scores, sound: Scores) -> QuickIndex:
        """With more tracks behind these, [n, F] and [n, D] with zeros for a missing half; this one stays as it is."""
        more = np.hstack([l2_normalize(taste), l2_normalize(sound)]).astype(np.float32)
        longer = copy(self)
        longer._growing, longer._vectors = self._growing.plus(len(self), more)
        has_taste, has_sound = self._halves_of(more)
        longer._has_taste = np.concatenate([self._has_taste, has_taste])
        longer._has_sound = np.concatenate([self._has_sound, has_sound])
        longer._scan = self._scan.plus(more, lambda: longer._vectors)
        return longer

    def sounds_like(self, rows: Rows, sound: Scores) -> bool:
        """Whether `sound` [n, D] is that of these rows [n]; no columns or zeros stand for a missing half."""
        held = self._vectors[rows, self.factors :]
        if sound.shape[1] not in (0, self.sound_width):
            return False
        return not (np.abs(held - (l2_normalize(sound) if sound.shape[1] else 0)) > 1e-6).any()

    def _halves_of(self, vectors: Scores) -> tuple[Mask, Mask]:
        return np.any(vectors[:, : self.factors] != 0, axis=1), np.any(vectors[:, self.factors :] != 0, axis=1)

    def similar(self, row: int, k: int, *, blend: float, candidates: Mask | None = None) -> Answers:
        """The k nearest to a track, itself left out; fewer where there are fewer. Shape: -> ([k], [k])"""
        factors = self.factors
        vector = self._vectors[row]
        rows, scores = self.search(vector[:factors], vector[factors:], k + 1, blend=blend, candidates=candidates)
        others = rows != row
        return rows[others][:k], scores[others][:k]

    def search(self, taste: Scores, sound: Scores, k: int, *, blend: float, candidates: Mask | None = None) -> Answers:
        """The k nearest to [F] and [D], zeros where the query lacks one. Shape: -> ([k], [k])"""
        taste, sound = l2_normalize(taste[None])[0], l2_normalize(sound[None])[0]
        by_taste, by_sound = bool(taste.any()), bool(sound.any())
        # A query asked by one half that it does not have is asked by the other.
        if not by_taste and not by_sound:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        weight = np.float32(blend if by_taste and by_sound else float(by_taste))
        both = self._has_taste & self._has_sound
        groups: list[tuple[np.float32, Mask]]
        if weight == 1:
            groups = [(weight, self._has_taste)]
        elif weight == 0:
            groups = [(weight, self._has_sound)]
        else:
            alone = (np.float32(1), self._has_taste & ~both), (np.float32(0), self._has_sound & ~both)
            groups = [(weight, both), *alone]
        allowed = np.ones(len(both), bool) if candidates is None else candidates
        parts = [self._best(taste, sound, k, one, mask & allowed) for one, mask in groups]
        rows, scores = np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
        return top_k(scores, k, rows=rows)

    def _best(self, taste: Scores, sound: Scores, k: int, weight: np.float32, mask: Mask) -> Answers:
        query = np.concatenate([weight * taste, (1 - weight) * sound]).astype(np.float32)
        count = int(np.count_nonzero(mask))
        if count <= self._few:
            rows: Rows = np.flatnonzero(mask)
        else:
            # The scan knows nothing of the mask: as many more as it hides.
            most = int(max(_NOMINEES, 4 * k) * len(mask) / count)
            rows = self._scan.nominees(query, min(most, len(mask)))
            rows = np.sort(rows[mask[rows]])
        return top_k(self._vectors[rows] @ query, k, rows=rows)
