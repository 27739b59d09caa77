"""Maps: vectors laid out in two dimensions for a picture. Near things are near in the picture; far distances and axes
mean nothing.

UMAP (McInnes, Healy & Melville 2018), t-SNE (van der Maaten & Hinton 2008) or the two main axes.

Shapes: N things, D dimensions.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np

from ...errors import DataError, UsageError, optional_module
from ..arrays import Floats, l2_normalize

METHODS = ("umap", "tsne", "pca")


def flat_map(vectors: Floats, *, seed: int = 0, method: str | None = None) -> tuple[Floats, str]:
    """([N, 2] positions, the method); None takes UMAP where it is installed and there is enough to map, else the two
    main axes.

    Vectors are compared by direction. Rows of zeros lie in the middle. Less than five have no neighbourhood, and are
    mapped by their main axes instead of t-SNE.
    """
    if method not in (None, *METHODS):
        raise UsageError(f"method {method}: has to be one of {', '.join(METHODS)}")
    if not np.isfinite(vectors).all():
        raise DataError("vectors: some are not numbers")
    mapped = np.any(vectors != 0, axis=1)
    if method is None:
        method = "umap" if find_spec("umap") is not None and mapped.sum() >= 50 else "pca"
    positions = np.zeros((len(vectors), 2), np.float32)
    if mapped.any():
        unit = l2_normalize(vectors[mapped])
        if method == "umap":
            found = _umap(unit, seed)
        else:
            found = _tsne(unit, seed) if method == "tsne" and len(unit) >= 5 else _main_axes(unit, 2)
        positions[mapped] = found - found.mean(axis=0)
    return positions, method


def _main_axes(vectors: Floats, count: int) -> Floats:
    """[N, count]: the coordinates along the main axes, zeros where there are fewer."""
    centered = vectors - vectors.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:count]
    # The sign of an axis is arbitrary; the largest entry is made positive, so that a picture can be repeated.
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    found = np.zeros((len(vectors), count), np.float32)
    found[:, : len(axes)] = centered @ axes.T
    return found


def _tsne(vectors: Floats, seed: int) -> Floats:
    """Over the first 32 main axes, starting from the first two, small (Kobak & Berens 2019)."""
    components = _main_axes(vectors, 32)
    start = 1e-4 * components[:, :2] / max(float(components[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    make = optional_module("sklearn.manifold", "the map").TSNE
    tsne = make(perplexity=perplexity, init=start, random_state=seed, max_iter=500, n_jobs=1)
    return np.asarray(tsne.fit_transform(components), np.float32)


def _umap(vectors: Floats, seed: int) -> Floats:
    from umap import UMAP

    with warnings.catch_warnings():
        # It warns that a seed means one thread, and of its dependencies' deprecations.
        warnings.simplefilter("ignore")
        return np.asarray(UMAP(metric="cosine", random_state=seed, n_jobs=1).fit_transform(vectors), np.float32)
