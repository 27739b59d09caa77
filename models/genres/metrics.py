"""How well a classifier does: accuracy, F1, areas under curves, confusion, calibration, and how much is luck.

Shapes: N tracks, C classes; probabilities [N, C], targets [N, C] bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Mask
from ..evaluation.bootstrap import ratio_interval

Floats = NDArray[np.float64]
Targets = NDArray[np.bool_]


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class."""

    precision: float
    recall: float
    f1: float
    tracks: int


@dataclass(frozen=True, eq=False)
class TagRanking:
    """How well each tag of a multi-label classifier ranks the tracks, whatever its probabilities are worth.

    A tag that all of the tracks have, or none, ranks nothing: its areas are NaN, and no mean has them.
    """

    roc_auc: Floats
    """[C] area under the ROC curve: how often a track with the tag is above one without, ties counting half"""
    pr_auc: Floats
    """[C] average precision, the area under the stepwise precision-recall curve: sum over thresholds of the gain in
    recall x precision; a random order has the share of tracks with the tag"""

    @property
    def one_class(self) -> Mask:
        """[C] the tags that are left out."""
        return np.isnan(self.roc_auc)

    def means(self) -> tuple[float | None, float | None]:
        """Macro averages: every tag counts alike. None without a tag to rank by."""
        if self.one_class.all():
            return None, None
        return float(np.nanmean(self.roc_auc)), float(np.nanmean(self.pr_auc))


def top_class_is_right(probabilities: NDArray[Any], targets: Targets) -> Mask:
    """[N] whether the most probable class is one of the track's own."""
    return np.asarray(targets[np.arange(len(targets)), probabilities.argmax(axis=1)])


def per_class(probabilities: NDArray[Any], targets: Targets, *, multi_label: bool = False) -> list[ClassFigures]:
    """[C] precision, recall and F1 of the most probable class (or of all above one half); 0 where undefined."""
    predicted = probabilities >= (0.5 if multi_label else probabilities.max(axis=1, keepdims=True))
    if not multi_label:
        # Of equally probable classes the first.
        predicted &= predicted.cumsum(axis=1) == 1
    hits, given, own = (one.sum(axis=0) for one in (predicted & targets, predicted, targets))
    precision, recall = hits / np.maximum(given, 1), hits / np.maximum(own, 1)
    f1 = 2 * hits / np.maximum(given + own, 1)
    columns = (precision.tolist(), recall.tolist(), f1.tolist(), own.tolist())
    return [ClassFigures(*row) for row in zip(*columns, strict=True)]


def macro_f1(classes: Sequence[ClassFigures]) -> float:
    """The mean F1 of the classes that have tracks."""
    values = [one.f1 for one in classes if one.tracks]
    return float(np.mean(values)) if values else 0.0


def tag_ranking(probabilities: NDArray[Any], targets: Targets) -> TagRanking:
    """ROC-AUC and average precision of each tag; those of scikit-learn, which a core install does not have."""
    found = [_areas(*columns) for columns in zip(probabilities.T, targets.T, strict=True)]
    return TagRanking(*np.array(found, np.float64).reshape(-1, 2).T)


def _areas(scores: NDArray[Any], targets: Targets) -> tuple[float, float]:
    """(ROC-AUC, average precision) of one tag over N tracks."""
    _, which = np.unique(-scores, return_inverse=True)
    # By falling score, tracks of equal score at once.
    right, all_tracks = np.bincount(which, targets), np.bincount(which)
    hits, given = np.cumsum(right), np.cumsum(all_tracks)
    own, others = hits[-1], given[-1] - hits[-1]
    if not own or not others:
        return np.nan, np.nan
    roc_auc = (all_tracks - right) @ (hits - right / 2) / (own * others)
    return float(roc_auc), float(right @ (hits / given) / own)


def confusion(probabilities: NDArray[Any], targets: Targets) -> NDArray[np.int64]:
    """[C, C] how many tracks of the row's class were most probably of the column's."""
    counts = np.zeros((targets.shape[1], targets.shape[1]), np.int64)
    rows, columns = np.nonzero(targets)
    np.add.at(counts, (columns, probabilities.argmax(axis=1)[rows]), 1)
    return counts


def interval(values: NDArray[Any], groups: NDArray[np.int64], *, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % bootstrap interval of the mean, drawing whole groups: an artist's tracks stand or fall together."""
    _, of_track = np.unique(groups, return_inverse=True)
    sums, sizes = (np.asarray(np.bincount(of_track, weights), np.float64) for weights in (values, None))
    found = ratio_interval(sums, sizes, rng)
    return found.low, found.high


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of a classifier on tracks that it was not trained on."""

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
    ranking: TagRanking | None
    """None where a track has one class"""


def figures(
    probabilities: Floats,
    targets: Targets,
    groups: NDArray[np.int64],
    confident: Mask,
    *,
    multi_label: bool = False,
    seed: int = 0,
) -> Figures:
    """All of it, from out-of-fold probabilities; a track may come several times (repeats)."""
    correct = top_class_is_right(probabilities, targets)
    classes = per_class(probabilities, targets, multi_label=multi_label)
    low, high = interval(correct, groups, rng=np.random.default_rng(seed))
    return Figures(
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        macro_f1=macro_f1(classes),
        ece=expected_calibration_error(probabilities, targets),
        answered=float(confident.mean()),
        answered_accuracy=float(correct[confident].mean()) if confident.any() else None,
        classes=classes,
        confusion=confusion(probabilities, targets),
        ranking=tag_ranking(probabilities, targets) if multi_label else None,
    )


def expected_calibration_error(probabilities: NDArray[Any], targets: Mask, *, bins: int = 10) -> float:
    """Mean gap between what is claimed and what is true, weighted by how often it is claimed (0 is perfect).

    One label: the top class of each track, in bins of equal width. Several labels: every (track, class) pair.
    """
    if targets.sum(axis=1).max(initial=0) > 1 or targets.sum(axis=1).min(initial=1) < 1:
        claimed, right = np.asarray(probabilities).ravel(), targets.ravel()
    else:
        claimed = np.asarray(probabilities).max(axis=1)
        right = targets[np.arange(len(claimed)), np.asarray(probabilities).argmax(axis=1)]
    bin_of = np.minimum((claimed * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, claimed - right, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(claimed), 1))
