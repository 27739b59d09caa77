"""Heads: from the features of a track to a score for each genre, without training a whole network.

The windows of a track are pooled to one feature vector, normalised with constants that were learnt in training, and
scored. The linear probe and the perceptron sit on an encoder's embeddings, classical models on descriptors.

Shapes: N tracks, W windows, D features, H hidden units, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, MissingExtra
from ..arrays import Floats, Mask, column_scale, one_blas_thread
from ..storage import Arrays, prefixed
from .classical import ArrayFields, EstimatorScorer, LinearScorer, Scorer, Targets, has_one_label

WindowFeatures = Mapping[str, Sequence[Floats]]
"""by source, the windows [W, …] of each of N tracks"""
HIDDEN = 128
"""units of the perceptron"""
NEVER = -1000.0
"""the score of a class that had no training example: a probability of nothing"""


class Classifier(Protocol):
    """Tracks to scores: a `HeadClassifier`, or a `NetworkClassifier` of networks.py."""

    @property
    def sources(self) -> tuple[str, ...]:
        """names of the features it needs"""
        ...

    def scores(self, features: WindowFeatures) -> Floats:
        """[N, C]"""
        ...

    def options(self) -> dict[str, Any]:
        """JSON that, with the arrays, makes the same classifier"""
        ...

    def arrays(self) -> Arrays: ...


@dataclass(frozen=True)
class FeatureSlice:
    """Some columns of a source's windows."""

    source: str
    first: int = 0
    last: int | None = None


@dataclass(frozen=True)
class PooledFeatures:
    """How a track's feature vector is made: parts of sources, each the mean over windows (and their deviation)."""

    parts: tuple[FeatureSlice, ...]
    pooling: str = "mean"
    """mean, or mean+std"""

    @property
    def sources(self) -> tuple[str, ...]:
        """The features it needs, by name."""
        return tuple(dict.fromkeys(part.source for part in self.parts))

    def vectors(self, features: WindowFeatures) -> Floats:
        """Shape: N tracks of windows [W, …] -> [N, D]"""
        columns = []
        for part in self.parts:
            windows = [track[:, part.first : part.last] for track in features[part.source]]
            columns.append(np.stack([of_track.mean(axis=0) for of_track in windows]))
            if self.pooling == "mean+std":
                columns.append(np.stack([of_track.std(axis=0) for of_track in windows]))
        return np.concatenate(columns, axis=1).astype(np.float32)


class Normalisation(StrEnum):
    """What is done to feature vectors before they are scored."""

    STANDARD = "standard"
    """zero mean and unit deviation over the training tracks, for features of different units"""
    DIRECTION = "direction"
    """length √D, for embeddings, which are compared by cosine"""


@dataclass(frozen=True, eq=False)
class Head:
    """Normalised feature vectors, then a scorer."""

    normalisation: Normalisation
    scorer: Scorer
    mean: Floats
    """[D]; zeros for `direction`"""
    scale: Floats
    """[D]; ones for `direction`"""
    known: Mask
    """[C] the classes the scorer was trained on; the others score NEVER"""

    def __call__(self, vectors: Floats) -> Floats:
        """Shape: [N, D] -> [N, C]"""
        result = np.full((len(vectors), len(self.known)), NEVER, np.float32)
        result[:, self.known] = self.scorer(_normalised(vectors, self.normalisation, self.mean, self.scale))
        return result

    def arrays(self) -> Arrays:
        parts = {f"scorer.{name}": array for name, array in self.scorer.arrays().items()}
        return {"mean": self.mean, "scale": self.scale, "known": self.known, **parts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, kind: str, normalisation: str) -> Self:
        if kind not in SCORERS or normalisation not in set(Normalisation):
            what = f"scorer {kind!r} on normalisation {normalisation!r}"
            raise LibraryError(f"genre model: {what} is not known; update crossfade")
        scorer = SCORERS[kind].from_arrays(prefixed(arrays, "scorer."))
        return cls(Normalisation(normalisation), scorer, arrays["mean"], arrays["scale"], arrays["known"])


def _normalised(vectors: Floats, normalisation: Normalisation, mean: Floats, scale: Floats) -> Floats:
    if normalisation is Normalisation.DIRECTION:
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors * np.sqrt(vectors.shape[1]) / np.maximum(length, 1e-9), np.float32)
    return np.asarray((vectors - mean) / scale, np.float32)


def fit_head(
    vectors: Floats, targets: Targets, normalisation: Normalisation, fit: Callable[[Floats, Targets], Scorer]
) -> Head:
    """A head whose scorer is made by `fit(normalised vectors, targets)`.

    Shape: vectors [N, D], targets [N, C] bool
    """
    known = np.asarray(targets.any(axis=0))
    mean, scale = np.zeros(vectors.shape[1], np.float32), np.ones(vectors.shape[1], np.float32)
    if normalisation is Normalisation.STANDARD:
        mean, scale = (array.astype(np.float32) for array in column_scale(vectors))
    with one_blas_thread():
        scorer = fit(_normalised(vectors, normalisation, mean, scale), targets[:, known])
    return Head(normalisation, scorer, mean, scale, known)


@dataclass(frozen=True, eq=False)
class PerceptronScorer(ArrayFields):
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


SCORERS: dict[str, type[Scorer]] = {cls.kind: cls for cls in (LinearScorer, EstimatorScorer, PerceptronScorer)}
"""by the name under which a model folder records them"""


def fit_perceptron(features: Floats, targets: Targets, *, epochs: int = 60, seed: int = 0) -> PerceptronScorer:
    """Trained in torch with AdamW, dropout and a cosine schedule; the same seed gives the same numbers."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("the MLP head", "train") from error
    from ..nn.training_loop import Dropout, Schedule, seeded, state_arrays, tensor, train

    count, dimensions = features.shape
    batch = min(256, max(16, count // 8))
    with seeded(seed):
        layers = torch.nn.Linear(dimensions, HIDDEN), torch.nn.Linear(HIDDEN, targets.shape[1])
        for layer, gain in zip(layers, (1.0, 0.1), strict=True):
            torch.nn.init.normal_(layer.weight, std=gain * (2 / layer.in_features) ** 0.5)
            torch.nn.init.zeros_(layer.bias)
    module = torch.nn.Sequential(Dropout(0.2), layers[0], torch.nn.ReLU(), Dropout(0.5), layers[1])
    x, y = tensor(features), tensor(targets.astype(np.float32))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        if has_one_label(targets):
            return torch.nn.functional.cross_entropy(module(x[rows]), y[rows], label_smoothing=0.05)
        return torch.nn.functional.binary_cross_entropy_with_logits(module(x[rows]), y[rows])

    def batches(rng: np.random.Generator) -> Iterator[torch.Tensor]:
        return iter(torch.split(tensor(rng.permutation(count)), batch))

    steps = -(-count // batch)
    schedule = Schedule(epochs=epochs, patience=epochs, learning_rate=3e-3, weight_decay=1e-2, steps=steps)
    train(module.to(x.device), loss, batches, schedule, seed=seed)
    state = state_arrays(module)
    return PerceptronScorer(state["1.weight"].T, state["1.bias"], state["4.weight"].T, state["4.bias"])


@dataclass(frozen=True, eq=False)
class HeadClassifier:
    """Pooled feature vectors, then a head."""

    pooled: PooledFeatures
    head: Head

    @property
    def sources(self) -> tuple[str, ...]:
        return self.pooled.sources

    def scores(self, features: WindowFeatures) -> Floats:
        return self.head(self.pooled.vectors(features))

    def options(self) -> dict[str, Any]:
        return {
            "type": "head",
            **asdict(self.pooled),
            "normalisation": str(self.head.normalisation),
            "scorer": self.head.scorer.kind,
        }

    def arrays(self) -> Arrays:
        return self.head.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], options: Mapping[str, Any]) -> Self:
        pooled = PooledFeatures(tuple(FeatureSlice(**part) for part in options["parts"]), options["pooling"])
        head = Head.from_arrays(arrays, kind=options["scorer"], normalisation=options["normalisation"])
        return cls(pooled, head)
