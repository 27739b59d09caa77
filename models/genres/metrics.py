"""How well a classifier does: accuracy, F1, confusion, and how much of that is luck.

Shapes: N tracks, C classes. `found` are probabilities [N, C], `targets` [N, C] bool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import expected_calibration_error

Floats = NDArray[np.float64]
Targets = NDArray[np.bool_]
RESAMPLES = 1000


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is found."""

    precision: float
    recall: float
    f1: float
    tracks: int


def said(found: NDArray[Any], *, multi_label: bool = False) -> Targets:
    """[N, C] the classes given: the most probable one, or all above one half."""
    if multi_label:
        return np.asarray(found >= 0.5)
    result = np.zeros(found.shape, bool)
    result[np.arange(len(found)), np.argmax(found, axis=1)] = True
    return result


def right(found: NDArray[Any], targets: Targets) -> NDArray[np.bool_]:
    """[N] whether the most probable class is one of the track's own."""
    return np.asarray(targets[np.arange(len(found)), np.argmax(found, axis=1)])


def per_class(found: NDArray[Any], targets: Targets, *, multi_label: bool = False) -> list[ClassFigures]:
    """[C] precision, recall and F1; 0 where nothing was found or there was nothing to find."""
    given = said(found, multi_label=multi_label)
    hits = (given & targets).sum(axis=0)
    precision = hits / np.maximum(given.sum(axis=0), 1)
    recall = hits / np.maximum(targets.sum(axis=0), 1)
    f1 = 2 * hits / np.maximum(given.sum(axis=0) + targets.sum(axis=0), 1)
    rows = zip(precision.tolist(), recall.tolist(), f1.tolist(), targets.sum(axis=0).tolist(), strict=True)
    return [ClassFigures(p, r, f, int(n)) for p, r, f, n in rows]


def macro_f1(found: NDArray[Any], targets: Targets, *, multi_label: bool = False) -> float:
    """The mean F1 of the classes that have tracks."""
    values = [figures.f1 for figures in per_class(found, targets, multi_label=multi_label) if figures.tracks]
    return float(np.mean(values)) if values else 0.0


def confusion(found: NDArray[Any], targets: Targets) -> NDArray[np.int64]:
    """[C, C] how many tracks of the row's class were most probably of the column's."""
    result = np.zeros((targets.shape[1], targets.shape[1]), np.int64)
    top = np.argmax(found, axis=1)
    for row, column in zip(*np.nonzero(targets), strict=True):
        result[column, top[row]] += 1
    return result


def interval(values: NDArray[Any], groups: NDArray[np.int64], *, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean, drawing whole groups: an artist's tracks stand or fall together."""
    _, of_track = np.unique(groups, return_inverse=True)
    sums = np.bincount(of_track, np.asarray(values, np.float64))
    sizes = np.bincount(of_track)
    drawn = rng.integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Figures:
    """What is told of a classifier on tracks that it was not trained on."""

    accuracy: float
    low: float
    high: float
    """95 % interval of the accuracy over artists"""
    macro_f1: float
    ece: float
    """expected calibration error: mean gap between probability claimed and share right"""
    answered: float
    """share of tracks whose answer is confident"""
    answered_accuracy: float | None
    classes: list[ClassFigures]
    confusion: NDArray[np.int64]
    """[C, C], summed over repeats"""


def figures(
    found: Floats,
    targets: Targets,
    groups: NDArray[np.int64],
    confident: NDArray[np.bool_],
    *,
    multi_label: bool = False,
    seed: int = 0,
) -> Figures:
    """All of it, from out-of-fold probabilities; a track may come several times (repeats)."""
    correct = right(found, targets)
    low, high = interval(correct, groups, rng=np.random.default_rng(seed))
    return Figures(
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        macro_f1=macro_f1(found, targets, multi_label=multi_label),
        ece=expected_calibration_error(found, targets),
        answered=float(confident.mean()),
        answered_accuracy=float(correct[confident].mean()) if confident.any() else None,
        classes=per_class(found, targets, multi_label=multi_label),
        confusion=confusion(found, targets),
    )
