"""Search spaces: the values of a model's options that its tuning draws from, one distribution an option."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    logarithmic: bool = False
    """Whether equal ratios, rather than equal differences, are equally likely."""
    integer: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        if self.logarithmic:
            number = float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        else:
            number = float(rng.uniform(self.low, self.high))
        return round(number) if self.integer else number


@dataclass(frozen=True)
class Choice:
    """One of some values, all equally likely."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        return self.values[int(rng.integers(len(self.values)))]


SearchSpace = Mapping[str, Range | Choice]
"""option -> where its values come from"""


def draw(space: SearchSpace, rng: np.random.Generator) -> dict[str, Any]:
    """option -> value, each drawn by itself."""
    return {option: distribution.draw(rng) for option, distribution in space.items()}
