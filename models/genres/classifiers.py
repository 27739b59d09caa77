"""What turns heard tracks into scores for genres: a head on feature vectors here, a network in convolutional.py.

Shapes: N tracks, W windows, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .classical import Arrays, Floats
from .heads import Head

Heard = Mapping[str, Sequence[Floats]]
"""by source, what each of N tracks sounds like: windows [W, …] each"""


@dataclass(frozen=True)
class Part:
    """Some columns of what a source says about a window."""

    source: str
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How a track's feature vector is made: parts of sources, each the mean over windows (and their deviation)."""

    parts: tuple[Part, ...]
    pooling: str = "mean"
    """mean, or mean+std"""

    @property
    def sources(self) -> tuple[str, ...]:
        """What has to be heard, by name."""
        return tuple(dict.fromkeys(part.source for part in self.parts))

    def vectors(self, heard: Heard) -> Floats:
        """Shape: N tracks of windows [W, …] -> [N, D]"""
        columns = []
        for part in self.parts:
            windows = [track[:, part.first : part.last] for track in heard[part.source]]
            columns.append(np.stack([of_track.mean(axis=0) for of_track in windows]))
            if self.pooling == "mean+std":
                columns.append(np.stack([of_track.std(axis=0) for of_track in windows]))
        return np.concatenate(columns, axis=1).astype(np.float32)


class Classifier(Protocol):
    """What turns heard tracks into scores; a head on feature vectors, or a network on windows."""

    @property
    def sources(self) -> tuple[str, ...]: ...

    def scores(self, heard: Heard) -> Floats:
        """[N, C]"""
        ...

    def options(self) -> dict[str, Any]:
        """JSON that, with the arrays, makes the same classifier."""
        ...

    def arrays(self) -> Arrays: ...


@dataclass(frozen=True, eq=False)
class HeadClassifier:
    """Feature vectors by a recipe, then a head."""

    recipe: Recipe
    head: Head

    @property
    def sources(self) -> tuple[str, ...]:
        return self.recipe.sources

    def scores(self, heard: Heard) -> Floats:
        return self.head(self.recipe.vectors(heard))

    def options(self) -> dict[str, Any]:
        return {
            "type": "head",
            "parts": [asdict(part) for part in self.recipe.parts],
            "pooling": self.recipe.pooling,
            "normalisation": str(self.head.normalisation),
            "scorer": self.head.scorer.kind,
        }

    def arrays(self) -> Arrays:
        return self.head.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], options: Mapping[str, Any]) -> Self:
        recipe = Recipe(tuple(Part(**part) for part in options["parts"]), options["pooling"])
        head = Head.from_arrays(arrays, kind=options["scorer"], normalisation=options["normalisation"])
        return cls(recipe, head)
