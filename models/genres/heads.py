"""Heads: from the features of a track to a score for each genre.

A head normalises features with constants it learnt in training and applies a `Scorer`. The linear probe and the MLP sit
on an encoder's embeddings; classical models sit on descriptors.

Shapes: N tracks, D features, H hidden units, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, MissingExtra
from ..arrays import column_scale
from ..storage import prefixed
from .classical import SCORERS, ArrayFields, Arrays, Floats, Scorer, Targets, has_one_label

NEVER = -1000.0
"""the score of a class that had no training example: a probability of nothing"""


class Normalisation(StrEnum):
    """What is done to features before they are scored."""

    STANDARD = "standard"
    """zero mean and unit deviation over the training tracks, for features of different units"""
    DIRECTION = "direction"
    """length √D, for embeddings, which are compared by cosine"""


@dataclass(frozen=True, eq=False)
class Head:
    """Normalised features, then a scorer."""

    normalisation: Normalisation
    scorer: Scorer
    mean: Floats
    """[D]; zeros for `direction`"""
    scale: Floats
    """[D]; ones for `direction`"""
    known: NDArray[np.bool_]
    """[C] the classes the scorer knows; the others score NEVER"""

    def __call__(self, features: Floats) -> Floats:
        """Shape: [N, D] -> [N, C]"""
        result = np.full((len(features), len(self.known)), NEVER, np.float32)
        result[:, self.known] = self.scorer(self._normalised(features))
        return result

    def _normalised(self, features: Floats) -> Floats:
        if self.normalisation is Normalisation.DIRECTION:
            return _direction(features)
        return np.asarray((features - self.mean) / self.scale, np.float32)

    def arrays(self) -> Arrays:
        parts = {f"scorer.{name}": array for name, array in self.scorer.arrays().items()}
        return {"mean": self.mean, "scale": self.scale, "known": self.known, **parts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, kind: str, normalisation: str) -> Self:
        if kind not in SCORERS:
            raise LibraryError(f"genre model: a scorer {kind!r} is not known; it may come from a newer version")
        parts = prefixed(arrays, "scorer.")
        missing = next((name for name in ("mean", "scale", "known") if name not in arrays), None)
        if missing or normalisation not in set(Normalisation):
            what = f"array {missing!r} is missing" if missing else f"normalisation {normalisation!r} is not known"
            raise LibraryError(f"genre model: {what}")
        scorer = SCORERS[kind].from_arrays(parts)
        return cls(Normalisation(normalisation), scorer, arrays["mean"], arrays["scale"], arrays["known"])


def fit_head(
    features: Floats,
    targets: Targets,
    normalisation: Normalisation,
    fit: Callable[[Floats, Targets], Scorer],
) -> Head:
    """A head whose scorer is made by `fit(normalised features, targets)`.

    Shape: features [N, D], targets [N, C] bool
    """
    known = np.asarray(targets.any(axis=0))
    mean = np.zeros(features.shape[1], np.float32)
    scale = np.ones(features.shape[1], np.float32)
    if normalisation is Normalisation.STANDARD:
        mean, scale = (array.astype(np.float32) for array in column_scale(features))
        normalised = np.asarray((features - mean) / scale, np.float32)
    else:
        normalised = _direction(features)
    with _one_thread():
        scorer = fit(normalised, targets[:, known])
    return Head(normalisation, scorer, mean, scale, known)


def _one_thread() -> AbstractContextManager[object]:
    """Keeps BLAS from sharing out the small steps of a solver among threads, which makes them ten times as slow."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits


def _direction(features: Floats) -> Floats:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features * np.sqrt(features.shape[1]) / np.maximum(length, 1e-9), np.float32)


@dataclass(frozen=True, eq=False)
class Perceptron(ArrayFields):
    """One hidden layer of ReLUs."""

    kind: ClassVar[str] = "perceptron"
    hidden: Floats
    """[D, H]"""
    hidden_bias: Floats
    """[H]"""
    weights: Floats
    """[H, C]"""
    bias: Floats
    """[C]"""

    def __call__(self, features: Floats) -> Floats:
        active = np.maximum(features @ self.hidden + self.hidden_bias, 0)
        return np.asarray(active @ self.weights + self.bias, np.float32)


SCORERS[Perceptron.kind] = Perceptron


def fit_perceptron(
    features: Floats, targets: Targets, *, hidden: int = 128, epochs: int = 60, decay: float = 1e-2, seed: int = 0
) -> Perceptron:
    """Trained in torch with AdamW, dropout and a cosine schedule; the same seed gives the same numbers."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("the MLP head", "train") from error
    random = torch.Generator().manual_seed(seed)
    count, dimensions = features.shape
    one_label = has_one_label(targets)

    def layer(inputs: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = torch.randn(inputs, outputs, generator=random) * np.sqrt(2 / inputs)
        return start.requires_grad_(), torch.zeros(outputs, requires_grad=True)

    parameters = [*layer(dimensions, hidden), *layer(hidden, targets.shape[1])]
    with torch.no_grad():
        parameters[2] *= 0.1
    x, y = torch.from_numpy(np.ascontiguousarray(features)), torch.from_numpy(targets.astype(np.float32))
    size = min(256, max(16, count // 8))
    steps = epochs * -(-count // size)
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(count, generator=random), size):
            kept = (torch.rand(len(rows), dimensions, generator=random) > 0.2).float() / 0.8
            active = torch.relu((x[rows] * kept) @ parameters[0] + parameters[1])
            active = active * (torch.rand(active.shape, generator=random) > 0.5).float() * 2
            scores = active @ parameters[2] + parameters[3]
            if one_label:
                loss = torch.nn.functional.cross_entropy(scores, y[rows], label_smoothing=0.05)
            else:
                loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, y[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return Perceptron(*(parameter.detach().numpy().copy() for parameter in parameters))
