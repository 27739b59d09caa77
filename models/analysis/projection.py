"""Maps: vectors laid out in two dimensions for a picture. UMAP where it is installed, else the two main axes.

McInnes, Healy & Melville (2018), "UMAP". Near things are near in the picture; far distances and axes mean nothing.

Shapes: N things, D dimensions.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ..arrays import l2_normalize

Floats = NDArray[np.float32]


def flat_map(vectors: Floats, *, seed: int = 0, method: str | None = None) -> tuple[Floats, str]:
    """([N, 2] positions, "umap" or "pca"); `method` None takes UMAP where it is installed and there is enough to map.

    Rows of zeros lie in the middle.
    """
    if method not in (None, "umap", "pca"):
        raise UsageError(f"method {method}: has to be umap or pca")
    if not np.isfinite(vectors).all():
        raise DataError("vectors: some are not numbers")
    there = np.any(vectors != 0, axis=1)
    if method is None:
        method = "umap" if find_spec("umap") is not None and there.sum() >= 50 else "pca"
    positions = np.zeros((len(vectors), 2), np.float32)
    if there.any():
        found = _umap(vectors[there], seed) if method == "umap" else _main_axes(l2_normalize(vectors[there]))
        positions[there] = found - found.mean(axis=0)
    return positions, method


def _main_axes(vectors: Floats) -> Floats:
    centered = vectors - vectors.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:2]
    # The sign of an axis is arbitrary; the largest entry is made positive, so that a picture can be repeated.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    found = np.zeros((len(vectors), 2), np.float32)
    found[:, : len(axes)] = centered @ axes.T
    return found


def _umap(vectors: Floats, seed: int) -> Floats:
    import warnings

    from umap import UMAP

    with warnings.catch_warnings():
        # It says that a seed means one thread, and what its own dependencies will deprecate.
        warnings.simplefilter("ignore")
        found = UMAP(metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors)
    return np.asarray(found, np.float32)
