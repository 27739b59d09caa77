"""Classical classifiers: ridge and logistic regression in NumPy, the others fitted by scikit-learn and kept by skops.

A linear model is two arrays, and needs NumPy alone to be used. Support vector machines, trees and nearest neighbours
stay scikit-learn's estimators; `skops.io` writes them as numbers and JSON, and refuses types that are not listed here.

Shapes: N tracks, D features, C classes, S bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self
from zipfile import ZIP_DEFLATED

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, optional_module
from ..arrays import Floats, Mask
from ..storage import Arrays

Targets = NDArray[np.bool_]

SKLEARN = "scikit-learn's models"
LEAST_SHARE = 1e-3
"""the least probability that a vote (of trees or neighbours) counts as, before its logarithm"""
TRUSTED_TYPES = frozenset({"sklearn.tree._tree.Tree", "sklearn.multiclass._ConstantPredictor"})
"""what estimators are made of besides scikit-learn's public classes, NumPy's arrays and Python's own types"""


class Scorer(Protocol):
    """Features to one score a class; with `probabilities` of calibration.py they become probabilities."""

    kind: ClassVar[str]

    def __call__(self, features: Floats) -> Floats:
        """Shape: [N, D] -> [N, C]"""
        ...

    def arrays(self) -> Arrays:
        """What `from_arrays` makes the same scorer of."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self: ...


@dataclass(frozen=True, eq=False)
class ArrayFields:
    """A frozen dataclass whose fields are all arrays."""

    def arrays(self) -> Arrays:
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        try:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except KeyError as error:
            raise LibraryError(f"genre model: array {error.args[0]!r} is missing") from error


@dataclass(frozen=True, eq=False)
class LinearScorer(ArrayFields):
    """Scores `x @ weights + bias`: logistic and ridge regression."""

    kind: ClassVar[str] = "linear"
    weights: Floats
    """[D, C]"""
    bias: Floats
    """[C]"""

    def __call__(self, features: Floats) -> Floats:
        return np.asarray(features @ self.weights + self.bias, np.float32)


@dataclass(frozen=True, eq=False)
class EstimatorScorer:
    """A fitted scikit-learn estimator: its decision function, or the log odds of its probabilities."""

    kind: ClassVar[str] = "scikit-learn"
    estimator: Any

    def __call__(self, features: Floats) -> Floats:
        # A class that all tracks have is a constant, which has a decision function even where the others have none.
        one_vs_rest = isinstance(self.estimator, optional_module("sklearn.multiclass", SKLEARN).OneVsRestClassifier)
        if hasattr(self.estimator.estimator if one_vs_rest else self.estimator, "decision_function"):
            return np.asarray(self.estimator.decision_function(features), np.float32)
        return _log_odds(self.estimator.predict_proba(features))

    def arrays(self) -> Arrays:
        """`skops`: [S] uint8, the file that skops writes"""
        content = optional_module("skops.io", SKLEARN).dumps(self.estimator, compression=ZIP_DEFLATED)
        return {"skops": np.frombuffer(content, np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """LibraryError where it holds a type that is not trusted, or cannot be read by this scikit-learn."""
        skops = optional_module("skops.io", SKLEARN)
        try:
            content = arrays["skops"].tobytes()
            untrusted = set(skops.get_untrusted_types(data=content)) - TRUSTED_TYPES
            if not untrusted:
                return cls(skops.loads(content, trusted=sorted(TRUSTED_TYPES)))
        except Exception as error:
            # What goes wrong with a damaged file, or between versions of scikit-learn, is of no one kind.
            raise LibraryError(f"genre model: its estimator cannot be read ({error}); train it again") from error
        raise LibraryError(f"genre model: holds {min(untrusted)}, which is no part of a classifier; it is not loaded")


def _log_odds(shares: NDArray[Any]) -> Floats:
    """Shares as logits, whose sigmoid is the share; their softmax is close to it where classes are many."""
    inside = np.clip(shares, LEAST_SHARE, 1 - LEAST_SHARE)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float32)


def fit_ridge(features: Floats, targets: Targets, *, penalty: float = 1.0, seed: int = 0) -> LinearScorer:
    """Least squares onto -1 and 1 with classes weighted to count alike; the penalty is relative to D.

    Solved in the smaller of the spaces of features and tracks; near to discriminant analysis with a shrunk covariance.
    """
    x = np.asarray(features, np.float64)
    y = np.where(targets, 1.0, -1.0)
    counts = np.maximum(targets.sum(axis=0), 1)
    weight = np.where(targets, 1 / counts, 0).sum(axis=1)
    weight = np.sqrt(weight / weight.mean())[:, None]
    x_mean = (weight**2 * x).sum(axis=0) / (weight**2).sum()
    y_mean = (weight**2 * y).sum(axis=0) / (weight**2).sum()
    x, y = weight * (x - x_mean), weight * (y - y_mean)
    strength = penalty * x.shape[1]
    if x.shape[0] < x.shape[1]:
        solved = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(len(x)), y)
    else:
        solved = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    return LinearScorer(solved.astype(np.float32), (y_mean - x_mean @ solved).astype(np.float32))


def fit_logistic(features: Floats, targets: Targets, *, c: float = 1.0, seed: int = 0) -> LinearScorer:
    """Multinomial logistic regression, or one for each class where tracks have several labels.

    `c` is the inverse strength of the penalty on the weights, with classes weighted to count alike.
    """
    make = optional_module("sklearn.linear_model", SKLEARN).LogisticRegression
    logistic = make(C=c, max_iter=2000, class_weight="balanced", random_state=seed)
    features = np.asarray(features, np.float64)
    if has_one_label(targets) and targets.shape[1] > 2:
        logistic.fit(features, targets.argmax(axis=1))
        return LinearScorer(logistic.coef_.T.astype(np.float32), logistic.intercept_.astype(np.float32))
    weights = np.zeros((features.shape[1], targets.shape[1]), np.float32)
    bias = _log_odds(targets.mean(axis=0))
    for column in np.flatnonzero(_varies(targets)):
        logistic.fit(features, targets[:, column])
        weights[:, column], bias[column] = logistic.coef_[0], logistic.intercept_[0]
    return LinearScorer(weights, bias)


def fit_svm(features: Floats, targets: Targets, *, c: float = 1.0, width: float | None = 1.0, seed: int = 0) -> Scorer:
    """A support vector machine for each class against the rest; linear where `width` is None.

    The kernel is exp(-|x - p|² / (D width)): for standardised features a width of 1 is scikit-learn's "scale".
    """
    svm = optional_module("sklearn.svm", SKLEARN)
    if width is None:
        machine = svm.LinearSVC(C=c, class_weight="balanced", random_state=seed, max_iter=20_000, dual="auto")
    else:
        machine = svm.SVC(C=c, gamma=1.0 / (features.shape[1] * width), class_weight="balanced")
    return _fit_estimator(machine, features, targets, one_vs_rest=True)


def fit_neighbours(features: Floats, targets: Targets, *, k: int = 5, seed: int = 0) -> Scorer:
    """The k nearest training tracks vote."""
    make = optional_module("sklearn.neighbors", SKLEARN).KNeighborsClassifier
    return _fit_estimator(make(min(k, len(features)), algorithm="brute"), features, targets)


def fit_forest(features: Floats, targets: Targets, *, trees: int = 200, seed: int = 0) -> Scorer:
    """A random forest; where tracks have several labels, one for each class."""
    make = optional_module("sklearn.ensemble", SKLEARN).RandomForestClassifier
    forest = make(n_estimators=trees, random_state=seed, class_weight="balanced")
    return _fit_estimator(forest, features, targets)


def fit_boosting(features: Floats, targets: Targets, *, rounds: int = 60, seed: int = 0) -> Scorer:
    """Gradient boosting with a tree a class and round, each split choosing among √D features."""
    make = optional_module("sklearn.ensemble", SKLEARN).GradientBoostingClassifier
    options = {"learning_rate": 0.15, "max_features": "sqrt", "subsample": 0.8, "random_state": seed}
    return _fit_estimator(make(n_estimators=rounds, **options), features, targets)


def _fit_estimator(estimator: Any, features: Floats, targets: Targets, *, one_vs_rest: bool = False) -> Scorer:
    """Of all classes at once, or one estimator for each: where asked for, and where tracks have several labels."""
    x = np.asarray(features, np.float64)
    if not _varies(targets).any():
        return LinearScorer(np.zeros((x.shape[1], targets.shape[1]), np.float32), _log_odds(targets.mean(axis=0)))
    if not one_vs_rest and has_one_label(targets) and targets.shape[1] > 2:
        return EstimatorScorer(estimator.fit(x, targets.argmax(axis=1)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Label .* is present in all training examples")
        each = optional_module("sklearn.multiclass", SKLEARN).OneVsRestClassifier(estimator)
        return EstimatorScorer(each.fit(x, targets.astype(np.int64)))


def _varies(targets: Targets) -> Mask:
    """[C] whether some tracks have the class and some do not; else its share is all there is to learn."""
    return np.asarray(targets.any(axis=0) & ~targets.all(axis=0))


def has_one_label(targets: Targets) -> bool:
    """Whether every track has exactly one class, and every class a track."""
    return bool((targets.sum(axis=1) == 1).all() and targets.any(axis=0).all())
