"""A map of tracks that stays as it is: some tracks are laid out, all others are put between those they are nearest to.

A sample of tracks, the anchors, is laid out by `flat_map`. A track lies at the mean of its nearest anchors' places,
each weighted by 1 / (squared distance of the vectors) (Shepard 1968, "A two-dimensional interpolation function for
irregularly-spaced data"), an anchor where it was laid out. So where a track lies depends on its own vector alone:
tracks that come move nobody, and laying out takes the same time however many there are.

Shapes: T tracks, A anchors, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Self

import numpy as np

from ...errors import UsageError
from ..arrays import Floats, l2_normalize
from ..storage import StoredModel
from .projection import flat_map

_LEAST_SQUARED_DISTANCE = 1e-9
_FOR_NEIGHBOURHOODS = 50
"""tracks, below which their main axes say as much as t-SNE does"""


@dataclass(frozen=True)
class TrackMapOptions:
    anchors: int = 2000
    """how many tracks are laid out, at most"""
    neighbours: int = 8
    """anchors that a track is put between"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.anchors < 1 or self.neighbours < 1:
            raise UsageError(
                f"map: {self.anchors} anchors and {self.neighbours} neighbours; both have to be at least 1"
            )


class TrackMap(StoredModel):
    """Positions in the unit square. Vectors are compared by direction."""

    name = "track_map"
    options_type = TrackMapOptions
    stored_arrays = ("anchors", "positions")
    stored_facts = ("method", "of", "tracks")

    def __init__(self, options: TrackMapOptions = TrackMapOptions()) -> None:
        self.options = options
        self.anchors: Floats = np.zeros((0, 0), np.float32)
        """[A, D] of length 1"""
        self.positions: Floats = np.zeros((0, 2), np.float32)
        """[A, 2] in 0 … 1"""
        self.method = ""
        """of `flat_map`"""
        self.of = ""
        """name of the vectors"""
        self.tracks = 0
        """that there were to choose anchors from"""

    def __repr__(self) -> str:
        return f"TrackMap({self.of}, {len(self.anchors):,} of {self.tracks:,} tracks laid out by {self.method})"

    def same_as(self, other: TrackMap) -> bool:
        """Whether both put every track at the same place."""
        mine, theirs = (self.anchors, self.positions), (other.anchors, other.positions)
        return self.options == other.options and all(map(np.array_equal, mine, theirs))

    def fit(self, vectors: Floats, of: str = "") -> Self:
        """Lays out a sample of vectors [T, D]; rows of zeros are left out. By UMAP where it is installed, else by t-SNE
        where scikit-learn is, else by their two main axes."""
        known = np.flatnonzero(np.any(vectors != 0, axis=1))
        rng = np.random.default_rng(self.options.seed)
        chosen = np.sort(rng.permutation(known)[: self.options.anchors])
        self.of, self.tracks = of, len(known)
        self.anchors = l2_normalize(np.ascontiguousarray(vectors[chosen], np.float32))
        method = None
        if len(chosen) >= _FOR_NEIGHBOURHOODS and find_spec("umap") is None and find_spec("sklearn") is not None:
            method = "tsne"
        found, self.method = flat_map(self.anchors, seed=self.options.seed, method=method)
        low, high = (found.min(axis=0), found.max(axis=0)) if len(found) else (np.zeros(2), np.zeros(2))
        size = max(float((high - low).max()), 1e-12)
        self.positions = np.asarray(np.clip((found - (low + high) / 2) / size + 0.5, 0, 1), np.float32)
        return self

    def place(self, vectors: Floats) -> Floats:
        """[T, 2] positions of vectors [T, D]; NaN for a row of zeros, and for all where nothing was laid out."""
        import faiss

        places = np.full((len(vectors), 2), np.nan, np.float32)
        known = np.flatnonzero(np.any(vectors != 0, axis=1))
        if not len(self.anchors) or not len(known):
            return places
        unit = l2_normalize(np.ascontiguousarray(vectors[known], np.float32))
        count = min(self.options.neighbours, len(self.anchors))
        squared, nearest = faiss.knn(unit, self.anchors, count)
        weights = 1 / np.maximum(squared, _LEAST_SQUARED_DISTANCE).astype(np.float64)
        weights /= weights.sum(axis=1, keepdims=True)
        places[known] = np.einsum("tk,tkc->tc", weights, self.positions[nearest])
        return places
