"""Local scaling: distances measured by how near the tracks around both ends usually are, so that no track is a hub.

In many dimensions some vectors are among the nearest of very many others, and others of none (Radovanović et al. 2010,
"Hubs in space"). Dividing a distance by what is usual around its two ends evens this out (Jégou et al. 2007, "A
contextual dissimilarity measure"; NICDM in Schnitzer et al. 2012, "Local and global scaling reduce hubs in space"):

    similarity(x, y) = 1 - (1 - cos(x, y)) * w(x) * w(y),    w(x) = sqrt(mean of all tracks' m / m(x))

m(x) is the mean of 1 - cos between x and its `NEIGHBOURS` nearest among the references, which are all tracks, or of
more than `MOST_REFERENCES` every second, fourth … one. Two that sound the same are still 1, and where every track has
equally near neighbours it is the cosine. A library of one track has no references: its similarities are cosines.

Tracks that are appended are compared with the references, and new references with all tracks, so a scaling that grew is
the one that is made of all tracks at once.

Shapes: T tracks, n new ones, B queries, D dimensions, R references, K = NEIGHBOURS.
"""

from __future__ import annotations

from copy import copy
from typing import Self

import numpy as np

from ..arrays import Scores
from ..storage import Arrays

MOST_REFERENCES = 8192
NEIGHBOURS = 50
"""fewer leave less of the hubs and cost more of the genre, more leave both (scripts/experiments/measure_likeness)"""
_SAME = 1 - 1e-5
"""two tracks this near are one and the same, which is nobody's neighbour"""
_NEAREST = 0.1
"""of the mean distance; a smaller one counts as so much, or a track with many copies would be far from all others"""
_ROWS_PER_BATCH = 4096


class LocalScaling:
    """The weights w of T vectors [T, D] of length 1 or 0. Never changes: one over more tracks is a new one."""

    def __init__(self, vectors: Scores) -> None:
        self._count, self._step = 0, 1
        """vectors that are not 0; the references are every `_step`th of them"""
        self._references = np.zeros((0, vectors.shape[1]), np.float32)
        self._nearest = np.zeros((0, NEIGHBOURS), np.float32)
        """[T, K] cosines of the nearest references, in any order; -1 for the missing ones"""
        self._distances = np.zeros(0, np.float32)
        """[T] m, NaN where there is none"""
        self._add(vectors, vectors)

    def append(self, more: Scores, vectors: Scores) -> LocalScaling:
        """Over `vectors` [T + n, D], of which `more` [n, D] are the last; this one stays as it is."""
        longer = copy(self)
        longer._add(more, vectors)
        return longer

    def of(self, queries: Scores) -> Scores:
        """w of any vectors, be they tracks or not. Shape: [B, D] -> [B]"""
        return self._weights(_distances(_nearest(queries, self._references)))

    def arrays(self) -> Arrays:
        """What `from_arrays` takes."""
        counts = np.array([self._count, self._step], np.int64)
        return {
            "counts": counts,
            "references": self._references,
            "nearest": self._nearest,
            "distances": self._distances,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        scaling = cls(np.zeros((0, arrays["references"].shape[1]), np.float32))
        scaling._count, scaling._step = arrays["counts"].tolist()
        scaling._references, scaling._nearest = arrays["references"], arrays["nearest"]
        scaling._distances = arrays["distances"]
        scaling._weigh()
        return scaling

    def _add(self, more: Scores, vectors: Scores) -> None:
        known = np.any(more != 0, axis=1)
        places = self._count + np.arange(np.count_nonzero(known))
        self._count += len(places)
        if -(-self._count // self._step) > MOST_REFERENCES:
            while -(-self._count // self._step) > MOST_REFERENCES:
                self._step *= 2
            self._references = vectors[np.any(vectors != 0, axis=1)][:: self._step]
            self._nearest = _padded(_nearest(vectors, self._references))
            self._distances = _distances(self._nearest)
        else:
            new = more[known][places % self._step == 0]
            old = vectors[: len(vectors) - len(more)]
            if len(new) and len(old):
                self._nearest, self._distances = self._with_references(_nearest(old, new))
            self._references = np.concatenate([self._references, new])
            nearest = _padded(_nearest(more, self._references))
            self._nearest = np.concatenate([self._nearest, nearest])
            self._distances = np.concatenate([self._distances, _distances(nearest)])
        self._weigh()

    def _weigh(self) -> None:
        usual = self._distances[np.isfinite(self._distances)]
        self._mean = float(usual.mean(dtype=np.float64)) if len(usual) else 0.0
        self.weights = self._weights(self._distances)
        """[T] w"""

    def _with_references(self, cosines: Scores) -> tuple[Scores, Scores]:
        """The nearest and the mean distances where there are these further references. Shape: [T, at most K]"""
        closer = np.flatnonzero(cosines.max(axis=1) > self._nearest.min(axis=1))
        nearest, distances = self._nearest.copy(), self._distances.copy()
        nearest[closer] = _largest(np.hstack([nearest[closer], cosines[closer]]))
        distances[closer] = _distances(nearest[closer])
        return nearest, distances

    def _weights(self, distances: Scores) -> Scores:
        """1 where nothing is known of what is usual."""
        if not self._mean:
            return np.ones_like(distances)
        usual = np.where(np.isfinite(distances), distances / self._mean, 1)
        return np.asarray(1 / np.sqrt(np.maximum(usual, _NEAREST)), np.float32)


def _distances(nearest: Scores) -> Scores:
    """[N] mean of 1 - cos over those that are there; NaN where none is. Shape: [N, K] -> [N]"""
    there = nearest > -1
    counts = there.sum(axis=1)
    totals = np.where(there, 1 - nearest, 0).sum(axis=1)
    return np.asarray(np.where(counts > 0, totals / np.maximum(counts, 1), np.nan), np.float32)


def _nearest(vectors: Scores, references: Scores) -> Scores:
    """Cosines of the K nearest references, -1 for those that are the same. Shape: [N, D], [R, D] -> [N, at most K]"""
    found = np.empty((len(vectors), min(NEIGHBOURS, len(references))), np.float32)
    for start in range(0, len(vectors), _ROWS_PER_BATCH):
        part = vectors[start : start + _ROWS_PER_BATCH]
        cosines = part @ references.T
        cosines[cosines > _SAME] = -1
        cosines[~np.any(part, axis=1)] = -1
        found[start : start + len(part)] = _largest(cosines)
    return found


def _padded(nearest: Scores) -> Scores:
    """[N, at most K] -> [N, K]"""
    return np.pad(nearest, ((0, 0), (0, NEIGHBOURS - nearest.shape[1])), constant_values=-1)


def _largest(cosines: Scores) -> Scores:
    """[N, C] -> [N, at most K], in any order"""
    if cosines.shape[1] <= NEIGHBOURS:
        return cosines
    return np.partition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
