"""Named regions of a map: where tracks of one kind lie together, as a cartographer would letter it.

The map is looked at through a grid whose cells are smoothed by a Gaussian, wide for the large regions and narrow for
the small ones. A cell is named after the kind that tells it from the whole map best, the one with the largest
share(cell) * log(share(cell) / share(map)), its part of the Kullback-Leibler divergence; cells of one name that touch
are a region.

Shapes: N points, G names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats, Rows, top_k

_CELLS = 96
_WIDTHS = (5.0, 2.2, 1.0)
"""standard deviations of the Gaussians in cells: large, middling and small regions"""
_SPARSE = 0.12
"""of the mean density where there are points: cells with less are between the regions"""
_LEAST = 1e-6
_FEWEST = 5
"""points of a region"""
_TOGETHER = 0.03
"""standard deviation, as a share of the map, within which points are one spot"""


@dataclass(frozen=True)
class Region:
    name: str
    x: float
    """of the place where it is densest, 0 … 1"""
    y: float
    size: float
    """square root of its area, as a share of the map's side"""
    tracks: int


def genre_regions(positions: Floats, shares: Floats, names: Sequence[str]) -> list[Region]:
    """Regions of positions [N, 2] in 0 … 1 by how much of each name a point has, [N, G]; the most tracks first.

    A small region inside a larger one of the same name is left out.
    """
    from scipy import ndimage

    if not len(positions) or not len(names):
        return []
    cells = _cells(positions)
    counts = _grid(cells, np.ones(len(cells)))
    masses = np.stack([_grid(cells, column) for column in shares.T])
    overall = masses.sum(axis=(1, 2)) / max(float(masses.sum()), 1e-12)
    found: list[Region] = []
    named = np.full(counts.shape, -1)
    for width in _WIDTHS:
        density = ndimage.gaussian_filter(counts, width, mode="constant")
        parts = np.stack([ndimage.gaussian_filter(mass, width, mode="constant") for mass in masses])
        best = _most_telling(parts.reshape(len(names), -1).T, overall).reshape(counts.shape)
        best[(density < _SPARSE * density[counts > 0].mean()) | (parts.sum(axis=0) < _LEAST * density)] = -1
        for name in np.unique(best[best >= 0]).tolist():
            labels, regions = ndimage.label(best == name)
            for region in range(1, regions + 1):
                inside = labels == region
                tracks = int(counts[inside].sum())
                row, column = np.unravel_index(np.argmax(np.where(inside, parts[name], -1)), counts.shape)
                if tracks >= _FEWEST and named[row, column] != name:
                    x, y = (float(place + 0.5) / _CELLS for place in (column, row))
                    size = round(float(np.sqrt(inside.sum())) / _CELLS, 4)
                    found.append(Region(names[name], round(x, 4), round(y, 4), size, tracks))
        named = np.where(best >= 0, best, named)
    return sorted(found, key=lambda region: -region.tracks)


def artist_regions(positions: Floats, artists: NDArray[np.integer], names: Sequence[str]) -> list[Region]:
    """Spots of positions [N, 2] that lie together and are one artist's, [N] places in `names` or none of them."""
    known = (artists >= 0) & (artists < len(names))
    of, places = artists[known], positions[known].astype(np.float64)
    counts = np.bincount(of, minlength=len(names))
    some = np.maximum(counts, 1)
    means, squares = (
        np.stack([np.bincount(of, column, len(names)) / some for column in (places**power).T], axis=1)
        for power in (1, 2)
    )
    spread = np.sqrt(np.maximum(squares - means**2, 0).mean(axis=1))
    together = np.flatnonzero((counts >= _FEWEST) & (spread < _TOGETHER))
    spots = zip(together.tolist(), *np.round(np.column_stack([means, 2 * spread])[together].T, 4).tolist(), strict=True)
    found = [Region(names[one], x, y, size, int(counts[one])) for one, x, y, size in spots]
    return sorted(found, key=lambda region: -region.tracks)


def telling_names(shares: Floats, overall: Floats, names: Sequence[str], k: int = 2) -> list[str]:
    """The names [G] that tell a group from the whole best, by their shares [G] in both; those alone that it has more
    of than the whole."""
    part = _divergence(shares / max(float(shares.sum()), 1e-12), overall / max(float(overall.sum()), 1e-12))
    best, _ = top_k(np.where(part > 0, part, -np.inf), k)
    return [names[place] for place in best.tolist()]


def _most_telling(parts: Floats, overall: Floats) -> Rows:
    """[B] the column of parts [B, G] with the largest term of the divergence from `overall` [G]"""
    totals = np.maximum(parts.sum(axis=1, keepdims=True), 1e-12)
    shares = parts / totals
    # Where all is alike, nothing diverges: then by what there is most of.
    return np.asarray((_divergence(shares, overall) + _LEAST * shares).argmax(axis=1), np.intp)


def _divergence(shares: Floats, overall: Floats) -> Floats:
    return np.asarray(shares * np.log(np.maximum(shares, 1e-12) / np.maximum(overall, 1e-12)))


def _cells(positions: Floats) -> Rows:
    """[N] the place of each point's cell in the flattened grid"""
    column, row = np.clip((positions * _CELLS).astype(np.intp), 0, _CELLS - 1).T
    return np.asarray(row * _CELLS + column)


def _grid(cells: Rows, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.bincount(cells, weights, _CELLS * _CELLS).reshape(_CELLS, _CELLS))
