"""Content: recommends what sounds like the tracks a user likes; listeners other than the user play no part.

Shapes: U users, T tracks, D dimensions of the sound vector, B users asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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

    def __init__(self, catalogue: Catalogue | None = None, options: ContentOptions | None = None) -> None:
        self.options = options or ContentOptions()
        self._catalogue = catalogue

    def fit(self, interactions: Interactions) -> Self:
        if self._catalogue is None:
            raise DataError("content: needs the catalogue's sound to be fitted")
        if len(self._catalogue) != interactions.track_count:
            raise DataError(
                f"content: {len(self._catalogue)} tracks, but the listens are of {interactions.track_count}"
            )
        self.history = History.of(interactions)
        self.sound: Scores = l2_normalize(comparable(self._catalogue.sound, self.options.standardize))
        """[T, D] of length 1, or zeros where a track was never heard"""
        self.__dict__.pop("_heard", None)
        return self

    def scores_from(self, heard: csr_matrix) -> Scores:
        cells = np.asarray(l2_normalize(liked(heard) @ self.sound) @ self.sound.T, np.float32)
        cells[:, ~self._heard] = -np.inf
        return cells

    def knows(self, likes: csr_matrix) -> NDArray[np.bool_]:
        """Users none of whose tracks were heard count as cold."""
        return np.asarray(likes @ self._heard.astype(np.float32) > 0)

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

    @cached_property
    def _heard(self) -> NDArray[np.bool_]:
        return np.asarray(np.any(self.sound != 0, axis=1))


def comparable(sound: Scores, standardize: bool | None = None) -> Scores:
    """Sound vectors whose cosines mean something; see `ContentOptions.standardize`. Rows of zeros stay."""
    heard = np.any(sound != 0, axis=1)
    if not heard.any():
        return np.asarray(sound, np.float32)
    center, spread = sound[heard].mean(axis=0, dtype=np.float64), sound[heard].std(axis=0, dtype=np.float64)
    varied = spread > 1e-6 * spread.max()
    if standardize is None:
        standardize = bool(varied.any() and spread.max() > UNEQUAL_SCALES * np.median(spread[varied]))
    if not standardize:
        return np.asarray(sound, np.float32)
    scaled = (sound - center) / np.where(varied, spread, 1)
    return np.asarray(np.where(heard[:, None], scaled, 0), np.float32)
