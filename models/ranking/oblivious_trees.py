"""Oblivious trees: those that CatBoost grows, applied by numpy, so that only learning needs CatBoost.

All nodes of a level ask the same question, so the number of a row's leaf has a bit for each level (Prokhorenkova et
al. 2018, "CatBoost: unbiased boosting with categorical features"). CatBoost itself prepares a pool and starts a thread
for every call, which for one listener's candidates takes longer than the trees do.

Shapes: N rows, F features, T trees, D levels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..storage import Arrays

_ROWS = 4096


@dataclass(frozen=True, eq=False)
class ObliviousTrees:
    features: NDArray[np.int32]
    """[D, T] the feature that a level asks for"""
    borders: NDArray[np.float32]
    """[D, T] above which the answer is yes; infinite where a tree has fewer levels"""
    leaves: NDArray[np.float64]
    """[T, 2^D]"""
    bias: float = 0.0

    @classmethod
    def of(cls, model: Any) -> Self:
        """The trees of a CatBoost model of numbers only, with one output."""
        with TemporaryDirectory() as scratch:
            file = Path(scratch) / "model.json"
            model.save_model(str(file), format="json")
            saved = json.loads(file.read_text())
        trees = saved["oblivious_trees"]
        depth = max((len(tree["splits"]) for tree in trees), default=0)
        features = np.zeros((depth, len(trees)), np.int32)
        borders = np.full((depth, len(trees)), np.inf, np.float32)
        leaves = np.zeros((len(trees), 1 << depth))
        scale, (bias,) = saved["scale_and_bias"]
        for number, tree in enumerate(trees):
            for level, split in enumerate(tree["splits"]):
                features[level, number], borders[level, number] = split["float_feature_index"], split["border"]
            leaves[number, : len(tree["leaf_values"])] = np.multiply(scale, tree["leaf_values"])
        return cls(features, borders, leaves, bias)

    def __call__(self, numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        """[F, N] features, row by row -> [N] sums of leaves. NaN is below every border, as CatBoost has it."""
        found = [self._sums(numbers[:, start : start + _ROWS]) for start in range(0, numbers.shape[1], _ROWS)]
        return np.concatenate(found) if found else np.zeros(0)

    def _sums(self, numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        depth, trees = self.features.shape
        leaf = np.repeat(np.arange(trees, dtype=np.int32)[:, None] << depth, numbers.shape[1], axis=1)
        for level, (features, borders) in enumerate(zip(self.features, self.borders, strict=True)):
            leaf += (numbers[features] > borders[:, None]).astype(np.int32) << level
        return np.asarray(self.bias + self.leaves.ravel()[leaf].sum(axis=0))

    def arrays(self) -> Arrays:
        return {"features": self.features, "borders": self.borders, "leaves": self.leaves}
