"""Taste segments: users of like taste, and what is popular among them.

Shapes: S segments, F factors, T tracks.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Scores, l2_normalize
from ..hybrid.model import Hybrid

_MOST_USERS = 20_000
"""from whom the segments are learned: of more, a sample"""


def taste_segments(hybrid: Hybrid, count: int) -> tuple[Scores, Scores]:
    """([S, F] centres of k-means, [S, T] each segment's share of likes of a track over its damped share of all)."""
    import faiss

    history = hybrid.history
    warm = np.flatnonzero(history.warm_users)
    if len(warm) > _MOST_USERS:
        warm = np.sort(np.random.default_rng(1).permutation(warm)[:_MOST_USERS])
    vectors = l2_normalize(hybrid.fold_in(history.matrix[warm]))
    count = min(count, len(warm) // 40)
    if count < 2:
        return np.zeros((0, vectors.shape[1]), np.float32), np.zeros((0, len(history.popularity)), np.float32)
    means = faiss.Kmeans(vectors.shape[1], count, niter=15, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(vectors)
    segment_of = means.index.search(vectors, 1)[1][:, 0]
    scores = np.zeros((count, len(history.popularity)), np.float32)
    liked = history.liked[warm]
    users = np.repeat(np.arange(len(warm)), np.diff(liked.indptr))
    np.add.at(scores, (segment_of[users], liked.indices), 1)
    sizes = np.bincount(segment_of, minlength=count)[:, None]
    overall = scores.sum(axis=0) / len(warm)
    # Damped, so that a track with one listener does not come first in that listener's segment.
    scores = np.where(scores > 0, (scores / sizes) / np.sqrt(overall + 0.01), -np.inf)
    return np.asarray(means.centroids, np.float32), scores.astype(np.float32)
