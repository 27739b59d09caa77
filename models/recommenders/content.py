"""Content: recommends what sounds like the tracks a user likes; listeners other than the user play no part.

It is neither the hybrid without listeners nor ALS with other factors: nothing is fitted, and a user is the mean
direction of the sound they like.

Shapes: U users, T tracks, D dimensions of the sound vector, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Answers, Ids, Scores, l2_normalize
from ..catalogue import Catalogue
from ..interactions import Interactions, liked
from ..storage import load_model, load_options, save_model
from .base import History, ScoringRecommender, nearest_neighbours

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

UNEQUAL_SCALES = 10.0
"""Columns whose spreads differ by more than this are quantities of different units, such as tempo beside energy."""


@dataclass(frozen=True)
class ContentOptions:
    standardize: bool | None = None
    """Give each column mean 0 and spread 1 first. None does so where the columns have different units: an encoder's
    embedding has directions that mean something as they are, a table of audio features has not."""


class Content(ScoringRecommender):
    """Scores a track by the cosine of its sound and the mean sound of what the user likes."""

    name = "content"
    options_type = ContentOptions

    def __init__(self, catalogue: Catalogue | None = None, options: ContentOptions | None = None) -> None:
        self.options = options or ContentOptions()
        self._catalogue = catalogue

    def fit(self, interactions: Interactions) -> Self:
        catalogue = self._catalogue
        if catalogue is None or len(catalogue) != interactions.track_count:
            known = "no catalogue" if catalogue is None else f"a catalogue of {len(catalogue)}"
            raise DataError(f"content: {known} for listens on {interactions.track_count} tracks")
        self.history = History.of(interactions)
        self.sound: Scores = l2_normalize(comparable(catalogue.sound, self.options.standardize))
        """[T, D] of length 1, or zeros for a track without sound"""
        return self

    def scores_from(self, heard: csr_matrix) -> Scores:
        cells = np.asarray(l2_normalize(liked(heard) @ self.sound) @ self.sound.T, np.float32)
        cells[:, ~self._has_sound] = -np.inf
        return cells

    def knows(self, likes: csr_matrix) -> NDArray[np.bool_]:
        """Users none of whose tracks have sound count as cold."""
        return np.asarray(likes @ self._has_sound.astype(np.float32) > 0)

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of sound."""
        return nearest_neighbours(self.sound, track_rows, k)

    def save(self, folder: Path) -> None:
        save_model(folder, self.name, {"sound": self.sound, **self.history.arrays()}, self.options)

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, header = load_model(folder, cls.name)
        model = cls(options=load_options(ContentOptions, header))
        model.sound, model.history = arrays["sound"], History.from_arrays(arrays)
        return model

    @property
    def _has_sound(self) -> NDArray[np.bool_]:
        return np.asarray(np.any(self.sound != 0, axis=1))


def comparable(sound: Scores, standardize: bool | None = None) -> Scores:
    """Sound vectors whose cosines mean something; see `ContentOptions.standardize`. Rows of zeros stay."""
    has_sound = np.any(sound != 0, axis=1)
    if standardize is False or not has_sound.any():
        return np.asarray(sound, np.float32)
    center, spread = sound[has_sound].mean(axis=0, dtype=np.float64), sound[has_sound].std(axis=0, dtype=np.float64)
    varied = spread > 1e-6 * spread.max()
    if standardize is None and not (varied.any() and spread.max() > UNEQUAL_SCALES * np.median(spread[varied])):
        return np.asarray(sound, np.float32)
    scaled = (sound - center) / np.where(varied, spread, 1)
    return np.asarray(np.where(has_sound[:, None], scaled, 0), np.float32)
