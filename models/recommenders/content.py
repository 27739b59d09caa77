"""Content: recommends what sounds like the tracks a user likes; listeners other than the user play no part.

It is neither the hybrid without listeners nor ALS with other factors: nothing is fitted, and a user is the mean
direction of the sound they like.

Shapes: U users, T tracks, D dimensions of the sound vector, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ..arrays import Answers, Ids, Mask, Scores, column_scale, l2_normalize
from ..catalogue import Catalogue
from ..interactions import Interactions, liked
from .base import History, Recommender, check_catalogue, nearest_neighbours
from .search_space import Choice, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UNEQUAL_SCALES = 10.0
"""Columns whose spreads differ by more than this are quantities of different units, such as tempo beside energy."""


@dataclass(frozen=True)
class ContentOptions:
    standardize: bool | None = None
    """Give each column mean 0 and spread 1 first. None does so where the columns have different units: an encoder's
    embedding has directions that mean something as they are, a table of audio features has not."""


class Content(Recommender):
    """Scores a track by the cosine of its sound and the mean sound of what the user likes."""

    name = "content"
    options: ContentOptions
    options_type = ContentOptions
    stored_arrays = ("sound",)
    search_space: ClassVar[SearchSpace] = {"standardize": Choice((False, True))}

    def __init__(self, catalogue: Catalogue | None = None, options: ContentOptions | None = None) -> None:
        super().__init__(options)
        self._catalogue = catalogue

    def fit(self, interactions: Interactions) -> Self:
        catalogue = check_catalogue(self.name, self._catalogue, interactions)
        self.history = History.of(interactions)
        self.sound: Scores = l2_normalize(standardized_columns(catalogue.sound, self.options.standardize))
        """[T, D] of length 1, or zeros for a track without sound"""
        return self

    def scores_from(self, user_items: csr_matrix) -> Scores:
        cells = np.asarray(l2_normalize(liked(user_items) @ self.sound) @ self.sound.T, np.float32)
        cells[:, ~self._has_sound] = -np.inf
        return cells

    def are_warm(self, likes: csr_matrix) -> Mask:
        """Users none of whose tracks have sound count as cold."""
        return np.asarray(likes @ self._has_sound.astype(np.float32) > 0)

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of sound."""
        return nearest_neighbours(self.sound, track_rows, k)

    @property
    def _has_sound(self) -> Mask:
        return np.asarray(np.any(self.sound != 0, axis=1))


def standardized_columns(sound: Scores, standardize: bool | None = None) -> Scores:
    """Sound vectors whose columns can be compared; see `ContentOptions.standardize`. Rows of zeros stay."""
    has_sound = np.any(sound != 0, axis=1)
    if standardize is False or not has_sound.any():
        return np.asarray(sound, np.float32)
    deviations = sound[has_sound].std(axis=0, dtype=np.float64)
    varied = deviations[deviations > 1e-6 * deviations.max()]
    if standardize is None and not (len(varied) and deviations.max() > UNEQUAL_SCALES * np.median(varied)):
        return np.asarray(sound, np.float32)
    means, scales = column_scale(sound[has_sound])
    return np.asarray(np.where(has_sound[:, None], (sound - means) / scales, 0), np.float32)
