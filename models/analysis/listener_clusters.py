"""Segments: clusters of listeners (or tracks) by their taste vectors.

Vectors are compared by direction, so they are scaled to length 1 and turned onto their main axes; then k-means or a
Gaussian mixture. How many segments there are is chosen by two figures, both kept: the silhouette (how much nearer its
own segment each one is than the next; Rousseeuw 1987), and stability (how well two clusterings of overlapping random
parts agree, as adjusted Rand index; Ben-Hur, Elisseeff & Guyon 2002).

Shapes: N things, D dimensions, S segments.
"""

from __future__ import annotations

import warnings
from dataclasses import astuple, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError, optional_module
from ..arrays import Floats, l2_normalize
from ..storage import Arrays, StoredModel

Labels = NDArray[np.int32]
METHODS = ("k-means", "mixture")
NOWHERE = -1
"""label of a row of zeros"""
_SILHOUETTE_SAMPLE = 4000


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    method: str = "k-means"
    count: int | None = None
    """None chooses among 2 … `most`"""
    most: int = 12
    axes: int = 12
    """main axes that are looked at; small differences along many axes drown the large ones"""
    repeats: int = 5
    """pairs of random parts whose clusterings are compared"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method {self.method}: no such one; there are {', '.join(METHODS)}")
        if self.count is not None and self.count < 1:
            raise UsageError(f"count: {self.count}, but there has to be at least 1 segment")
        if self.most < 2:
            raise UsageError(f"most: {self.most}, but a choice needs at least 2")


@dataclass(frozen=True)
class Choice:
    """How good a number of segments is."""

    count: int
    silhouette: float
    """-1 … 1"""
    stability: float
    """adjusted Rand index, 1 where both halves agree entirely"""
    chosen: bool = False


class Segments(StoredModel):
    """Finds segments and assigns vectors to them."""

    name = "segments"
    options: SegmentOptions
    options_type = SegmentOptions
    stored_arrays = ("labels", "centers", "variances", "shares", "center", "axes")

    def __init__(self, options: SegmentOptions | None = None) -> None:
        self.options = options or SegmentOptions()

    def fit(self, vectors: Floats) -> Self:
        """[N, D]; rows of zeros are in no segment."""
        if not np.isfinite(vectors).all():
            raise DataError("vectors: some are not numbers")
        has_vector = np.any(vectors != 0, axis=1)
        unit = l2_normalize(vectors[has_vector])
        distinct = len(np.unique(unit, axis=0)) if len(unit) < 1000 else len(unit)
        if distinct < 2:
            raise DataError(f"segments: {distinct} different vectors, but parting them needs at least 2")
        self.center = unit.mean(axis=0)
        axes = np.linalg.svd(unit - self.center, full_matrices=False)[2][: self.options.axes]
        self.axes: Floats = np.ascontiguousarray(axes, np.float32)
        """[at most `axes`, D]"""
        points = (unit - self.center) @ self.axes.T
        self.choices = self._choices(points, distinct)
        count = next(choice.count for choice in self.choices if choice.chosen)
        labels, centers, variances, shares = _clusters(points, count, self.options, self.options.seed)
        # The largest first; none is empty.
        sizes = np.bincount(labels, minlength=count)
        order = np.argsort(-sizes, kind="stable")
        order = order[sizes[order] > 0]
        self.centers: Floats = centers[order].astype(np.float32)
        """[S, axes]"""
        self.variances: Floats = variances[order].astype(np.float32)
        """[S, axes] how far a segment reaches along each axis; the same for all of k-means"""
        self.shares: Floats = shares[order].astype(np.float32)
        """[S] how likely each is before anything is known; the same for all of k-means"""
        place = np.full(count, NOWHERE, np.int32)
        place[order] = np.arange(len(order))
        self.labels: Labels = np.full(len(vectors), NOWHERE, np.int32)
        """[N] 0 for the largest segment; -1 for a row of zeros"""
        self.labels[has_vector] = place[labels]
        return self

    def assign(self, vectors: Floats) -> Labels:
        """[N, D] -> [N] the most likely segment, of k-means the one with the nearest centre; -1 for a vector of zeros.

        Twice the negative log of share times normal density (Bishop 2006, 9.2), less what all segments have in common.
        """
        if vectors.shape[1] != len(self.center):
            raise DataError(f"vectors: {vectors.shape[1]} dimensions, but the segments are of {len(self.center)}")
        points = (l2_normalize(vectors) - self.center) @ self.axes.T
        distances = ((points[:, None] - self.centers[None]) ** 2 / self.variances[None]).sum(axis=2)
        distances += np.log(self.variances).sum(axis=1) - 2 * np.log(self.shares)
        return np.where(np.any(vectors != 0, axis=1), distances.argmin(axis=1), NOWHERE).astype(np.int32)

    def facts(self) -> dict[str, Any]:
        return {"choices": [astuple(choice) for choice in self.choices]}

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        super().restore(arrays, facts)
        self.choices = tuple(Choice(*choice) for choice in facts["choices"])

    def _choices(self, points: Floats, distinct: int) -> tuple[Choice, ...]:
        options = self.options
        if options.count is not None:
            count = min(options.count, distinct)
            if count == 1:
                return (Choice(1, 0.0, 1.0, chosen=True),)
            counts = [count]
        else:
            counts = list(range(2, min(options.most, distinct - 1, len(points) // 2) + 1)) or [2]
        rng = np.random.default_rng([options.seed, 3])
        measured = [
            (count, _silhouette(points, count, options), _stability(points, count, options, rng)) for count in counts
        ]
        best = int(np.argmax([silhouette + stability for _, silhouette, stability in measured]))
        return tuple(Choice(*figures, chosen=number == best) for number, figures in enumerate(measured))


def lift(inside: NDArray[np.number], outside: NDArray[np.number], *, doubt: float = 10.0) -> NDArray[np.float64]:
    """Each thing's share in a segment over its share overall: shares of `inside` over shares of `outside`.

    `doubt` listens in the overall proportions are added to the segment, so that one listen is not the most typical.
    """
    shares = outside / max(float(outside.sum()), 1e-9)
    smoothed = (inside + doubt * shares) / (float(inside.sum()) + doubt)
    return np.asarray(np.divide(smoothed, shares, out=np.zeros(len(shares)), where=shares > 0), np.float64)


def _silhouette(points: Floats, count: int, options: SegmentOptions) -> float:
    metrics = _sklearn("metrics")
    labels = _clusters(points, count, options, options.seed)[0]
    if len(np.unique(labels)) < 2 or len(points) <= len(np.unique(labels)):
        return -1.0
    size = _SILHOUETTE_SAMPLE if len(points) > _SILHOUETTE_SAMPLE else None
    try:
        return float(metrics.silhouette_score(points, labels, sample_size=size, random_state=options.seed))
    except ValueError:
        # The whole sample is in one segment.
        return -1.0


def _stability(points: Floats, count: int, options: SegmentOptions, rng: np.random.Generator) -> float:
    metrics = _sklearn("metrics")
    size = max(count, round(0.8 * len(points)))
    agreement = []
    for _ in range(options.repeats):
        first, second = (np.sort(rng.choice(len(points), size, replace=False)) for _ in range(2))
        seeds = rng.integers(1 << 31, size=2)
        labels = [
            _clusters(points[part], count, options, int(seed))[0]
            for part, seed in zip((first, second), seeds, strict=True)
        ]
        _, in_first, in_second = np.intersect1d(first, second, return_indices=True)
        agreement.append(metrics.adjusted_rand_score(labels[0][in_first], labels[1][in_second]))
    return float(np.mean(agreement))


def _clusters(points: Floats, count: int, options: SegmentOptions, seed: int) -> tuple[Labels, Floats, Floats, Floats]:
    """(labels, centers, variances, shares) of one clustering; see `Segments` for the arrays."""
    if options.method == "mixture":
        mixture = _sklearn("mixture").GaussianMixture(
            count, covariance_type="diag", reg_covar=1e-4, n_init=2, random_state=seed, max_iter=200
        )
        with warnings.catch_warnings():
            # A mixture that has not settled after all its steps is good enough.
            warnings.simplefilter("ignore")
            labels = mixture.fit_predict(points)
        return labels.astype(np.int32), mixture.means_, mixture.covariances_, mixture.weights_
    means = _sklearn("cluster").KMeans(count, n_init=4, random_state=seed)
    labels = means.fit_predict(points).astype(np.int32)
    centers = means.cluster_centers_
    return labels, centers, np.ones_like(centers), np.full(count, 1 / count, np.float32)


def _sklearn(module: str) -> Any:
    return optional_module(f"sklearn.{module}", "segments")
