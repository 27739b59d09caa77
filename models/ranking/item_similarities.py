"""Item similarities: which matrices from track to track the candidate sources use, and how they are saved.

A source multiplies one of them with weights of some of a user's tracks. One that can't be fitted is left out, and it is
said why.

Shapes: T tracks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from ...errors import CrossfadeError
from ..arrays import csr_arrays, csr_of
from ..interactions import Interactions
from ..recommenders.ease import EASE, EASEOptions
from ..recommenders.item_knn import ItemKNN, ItemKNNOptions
from ..recommenders.item_similarity import SAVED_SIMILARITY
from ..storage import Arrays
from .sequence import sequence_similarities

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

EASE_OPTIONS = EASEOptions(max_items=10_000, all_weights_up_to=0)
_SAVED = {
    "items": SAVED_SIMILARITY,
    "sequence": ("sequence_indptr", "sequence_tracks", "sequence_scores"),
    "next": ("next_indptr", "next_tracks", "next_scores"),
    "ease": ("ease_indptr", "ease_tracks", "ease_scores"),
}
"""name -> names of its arrays in a file"""


def _items(listens: Interactions, neighbours: int) -> dict[str, csr_matrix]:
    return {"items": ItemKNN(ItemKNNOptions(neighbours=neighbours)).fit(listens).similarity}


def _sequence(listens: Interactions, neighbours: int) -> dict[str, csr_matrix]:
    both, after = sequence_similarities(listens, neighbours)
    return {"sequence": both, "next": after}


def _ease(listens: Interactions, neighbours: int) -> dict[str, csr_matrix]:
    """Nothing of a log with times or an order."""
    if listens.times is not None:
        return {}
    return {"ease": EASE(replace(EASE_OPTIONS, neighbours=neighbours)).fit(listens).kept_weights()}


_FITTED: dict[str, Callable[[Interactions, int], dict[str, csr_matrix]]] = {
    "items": _items,
    "sequence": _sequence,
    "ease": _ease,
}
"""name -> (listens, neighbours of each track) -> name -> [T, T]"""


@dataclass(frozen=True, eq=False)
class ItemSimilarities:
    """Those that could be fitted on one history."""

    matrices: dict[str, csr_matrix]
    """name -> [T, T]; a row is what a listen to its track adds to the scores of others"""
    failed: dict[str, str]
    """name -> why it could not be fitted"""

    @classmethod
    def of(cls, listens: Interactions, neighbours: int) -> Self:
        """`neighbours` are kept of each track."""
        matrices: dict[str, csr_matrix] = {}
        failed: dict[str, str] = {}
        for name, fitted in _FITTED.items():
            try:
                matrices |= fitted(listens, neighbours)
            except CrossfadeError as error:
                failed[name] = str(error)
        return cls(matrices, failed)

    def append_tracks(self, count: int) -> ItemSimilarities:
        """With so many further tracks, similar to none."""
        from scipy.sparse import csr_matrix

        longer = {}
        for name, near in self.matrices.items():
            total = near.shape[0] + count
            ends = np.pad(near.indptr, (0, count), mode="edge")
            longer[name] = csr_matrix((near.data, near.indices, ends), shape=(total, total))
        return replace(self, matrices=longer)

    def arrays(self) -> Arrays:
        """For `save_model`."""
        arrays: Arrays = {}
        for name, matrix in self.matrices.items():
            arrays |= csr_arrays(matrix, *_SAVED[name])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays, track_count: int, failed: dict[str, str]) -> Self:
        matrices = {name: csr_of(arrays, track_count, *saved) for name, saved in _SAVED.items() if saved[0] in arrays}
        return cls(matrices, failed)
