"""Classical classifiers: fitted by scikit-learn, kept as plain arrays, applied by NumPy.

Whatever is fitted ends as one of four kinds of `Scorer`, so that a saved model holds numbers only and needs no
scikit-learn to be used: a pickle would run code when it is loaded and break with the next version.

Shapes: N tracks, D features, C classes, P prototypes, K nodes of all trees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, MissingExtra
from ..arrays import top_k

Floats = NDArray[np.float32]
Targets = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]

SMALLEST = 1e-3
"""the least probability that a vote (of trees or neighbours) counts as, before its logarithm"""


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
class Linear(ArrayFields):
    """Scores `x @ weights + bias`: logistic regression, linear SVM, discriminant analysis, ridge."""

    kind: ClassVar[str] = "linear"
    weights: Floats
    """[D, C]"""
    bias: Floats
    """[C]"""

    def __call__(self, features: Floats) -> Floats:
        return np.asarray(features @ self.weights + self.bias, np.float32)


@dataclass(frozen=True, eq=False)
class Kernel(ArrayFields):
    """Scores `exp(-gamma |x - p|²) @ weights + bias`: an SVM with an RBF kernel for each class against the rest."""

    kind: ClassVar[str] = "kernel"
    prototypes: Floats
    """[P, D] support vectors"""
    weights: Floats
    """[P, C]"""
    bias: Floats
    """[C]"""
    gamma: Floats
    """[1]"""

    def __call__(self, features: Floats) -> Floats:
        return np.asarray(np.exp(-self.gamma * _distances(features, self.prototypes)) @ self.weights + self.bias)


@dataclass(frozen=True, eq=False)
class Neighbours(ArrayFields):
    """Scores the log share of each class among the nearest prototypes."""

    kind: ClassVar[str] = "neighbours"
    prototypes: Floats
    """[P, D]"""
    targets: Floats
    """[P, C] 0 or 1"""
    k: NDArray[np.int64]
    """[1]"""

    def __call__(self, features: Floats) -> Floats:
        k = min(int(self.k[0]), len(self.prototypes))
        nearest, _ = top_k(-_distances(features, self.prototypes), k)
        return _log_odds(self.targets[nearest].mean(axis=1))


@dataclass(frozen=True, eq=False)
class Trees(ArrayFields):
    """Scores from decision trees, all nodes in one table: a forest's log shares, or the sum of boosted trees."""

    kind: ClassVar[str] = "trees"
    roots: NDArray[np.int64]
    """[trees] the first node of each"""
    left: NDArray[np.int64]
    """[K] the node where the feature is at most the threshold; the node itself at a leaf"""
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    values: Floats
    """[K, C] what a leaf adds to each class"""
    start: Floats
    """[C] the score before any tree"""
    votes: NDArray[np.bool_]
    """[1] whether the values are shares to be averaged and put on a log scale"""

    def __call__(self, features: Floats) -> Floats:
        total = np.tile(self.start.astype(np.float64), (len(features), 1))
        rows = np.arange(len(features))
        for root in self.roots:
            node = np.full(len(features), root)
            while True:
                # Leaves point at themselves, so that rows that have arrived stay there.
                goes_left = features[rows, self.feature[node]] <= self.threshold[node]
                following = np.where(goes_left, self.left[node], self.right[node])
                if np.array_equal(following, node):
                    break
                node = following
            total += self.values[node]
        return _log_odds(total / len(self.roots)) if self.votes[0] else total.astype(np.float32)


SCORERS: dict[str, type[Scorer]] = {cls.kind: cls for cls in (Linear, Kernel, Neighbours, Trees)}
"""by the name under which a model folder records them"""


def _distances(a: Floats, b: Floats) -> Floats:
    """Squared Euclidean distances. Shape: [N, D], [P, D] -> [N, P]"""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.asarray(np.maximum(squared, 0), np.float32)


def _log_odds(shares: NDArray[Any]) -> Floats:
    """Shares as logits, whose sigmoid is the share; their softmax is close to it where classes are many."""
    inside = np.clip(shares, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float32)


def _sklearn(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise MissingExtra("classical models", "train") from error


def fit_logistic(features: Floats, targets: Targets, *, c: float = 1.0, seed: int = 0) -> Linear:
    """Multinomial logistic regression, or one for each class where tracks have several labels.

    `c` is the inverse strength of the penalty on the weights, with classes weighted to count alike.
    """
    logistic = _sklearn("linear_model").LogisticRegression(
        C=c, max_iter=2000, class_weight="balanced", random_state=seed
    )
    features = np.asarray(features, np.float64)
    if has_one_label(targets) and targets.shape[1] > 2:
        found = logistic.fit(features, targets.argmax(axis=1))
        return Linear(found.coef_.T.astype(np.float32), found.intercept_.astype(np.float32))
    return _one_against_the_rest(logistic, features, targets)


def _one_against_the_rest(estimator: Any, features: NDArray[Any], targets: Targets) -> Linear:
    """A linear model for each class."""
    weights = np.zeros((features.shape[1], targets.shape[1]), np.float32)
    bias = _log_odds(targets.mean(axis=0))
    for column in _telling(targets):
        found = estimator.fit(features, targets[:, column])
        weights[:, column], bias[column] = found.coef_[0], found.intercept_[0]
    return Linear(weights, bias)


def _telling(targets: Targets) -> NDArray[np.intp]:
    """The classes that some tracks have and some do not; of the others the log odds are all there is to learn."""
    return np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0))


def fit_ridge(features: Floats, targets: Targets, *, penalty: float = 1.0, seed: int = 0) -> Linear:
    """Least squares onto -1 and 1 with classes weighted to count alike; the penalty is relative to D.

    Solved in the smaller of the spaces of features and tracks; near to discriminant analysis with a shrunk covariance.
    """
    x = np.asarray(features, np.float64)
    y = np.where(targets, 1.0, -1.0)
    counts = np.maximum(targets.sum(axis=0), 1)
    weight = np.where(targets, 1 / counts, 0).sum(axis=1)
    weight = np.sqrt(weight / weight.mean())[:, None]
    centre = (weight**2 * x).sum(axis=0) / (weight**2).sum()
    middle = (weight**2 * y).sum(axis=0) / (weight**2).sum()
    x, y = weight * (x - centre), weight * (y - middle)
    strength = penalty * x.shape[1]
    if x.shape[0] < x.shape[1]:
        solved = x.T @ np.linalg.solve(x @ x.T + strength * np.eye(len(x)), y)
    else:
        solved = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    return Linear(solved.astype(np.float32), (middle - centre @ solved).astype(np.float32))


def fit_svm(
    features: Floats, targets: Targets, *, c: float = 1.0, width: float | None = 1.0, seed: int = 0
) -> Linear | Kernel:
    """A support vector machine for each class against the rest; linear where `width` is None.

    The kernel is exp(-|x - p|² / (D width)): for standardised features a width of 1 is scikit-learn's "scale".
    """
    features = np.asarray(features, np.float64)
    svm = _sklearn("svm")
    if width is None:
        linear = svm.LinearSVC(C=c, class_weight="balanced", random_state=seed, max_iter=20_000, dual="auto")
        return _one_against_the_rest(linear, features, targets)
    gamma = 1.0 / (features.shape[1] * width)
    alphas = np.zeros((len(features), targets.shape[1]))
    bias = _log_odds(targets.mean(axis=0))
    for column in _telling(targets):
        found = svm.SVC(C=c, gamma=gamma, class_weight="balanced").fit(features, targets[:, column])
        alphas[found.support_, column] = found.dual_coef_[0]
        bias[column] = found.intercept_[0]
    used = np.any(alphas != 0, axis=1)
    return Kernel(
        features[used].astype(np.float32),
        alphas[used].astype(np.float32),
        bias,
        np.array([gamma], np.float32),
    )


def fit_neighbours(features: Floats, targets: Targets, *, k: int = 5, seed: int = 0) -> Neighbours:
    """The k nearest training tracks vote."""
    return Neighbours(np.asarray(features, np.float32), targets.astype(np.float32), np.array([k], np.int64))


def fit_forest(features: Floats, targets: Targets, *, trees: int = 200, leaf: int = 1, seed: int = 0) -> Trees:
    """A random forest."""
    make = _sklearn("ensemble").RandomForestClassifier
    options = {"n_estimators": trees, "min_samples_leaf": leaf, "random_state": seed, "n_jobs": 1}
    one_label = has_one_label(targets)
    found = make(**options, class_weight="balanced" if one_label else None)
    found.fit(np.asarray(features, np.float32), targets.argmax(axis=1) if one_label else targets)

    def values(tree: Any, number: int) -> NDArray[Any]:
        # One label: [K, 1, C] shares. Several: [K, C, 2] shares of without and with.
        shares = tree.value / tree.value.sum(axis=2, keepdims=True)
        if one_label:
            return np.asarray(shares[:, 0])
        # A class that is always or never there has a single column.
        present = [classes.tolist().index(True) if True in classes else None for classes in found.classes_]
        columns = [shares[:, c, at] if at is not None else np.zeros(len(shares)) for c, at in enumerate(present)]
        return np.stack(columns, axis=1)

    start = np.zeros(targets.shape[1], np.float32)
    return _flattened([one.tree_ for one in found.estimators_], values, start, votes=True)


def fit_boosting(
    features: Floats, targets: Targets, *, rounds: int = 60, depth: int = 3, rate: float = 0.15, seed: int = 0
) -> Trees:
    """Gradient boosting with a tree a class and round, each split choosing among √D features."""
    make = _sklearn("ensemble").GradientBoostingClassifier
    options = {
        "n_estimators": rounds,
        "max_depth": depth,
        "learning_rate": rate,
        "max_features": "sqrt",
        "subsample": 0.8,
        "random_state": seed,
    }
    features = np.asarray(features, np.float32)
    count = targets.shape[1]
    trees: list[Any] = []
    columns: list[int] = []
    start = _log_odds(targets.mean(axis=0))
    if has_one_label(targets) and count > 2:
        found = make(**options).fit(features, targets.argmax(axis=1))
        start = np.log(np.maximum(found.init_.class_prior_, 1e-9)).astype(np.float32)
        for stage in found.estimators_:
            for column, one in enumerate(stage):
                trees.append(one.tree_)
                columns.append(column)
    else:
        for column in _telling(targets):
            found = make(**options).fit(features, targets[:, column])
            prior = found.init_.class_prior_
            start[column] = np.log(prior[1]) - np.log(prior[0])
            for stage in found.estimators_:
                trees.append(stage[0].tree_)
                columns.append(column)

    def values(tree: Any, number: int) -> NDArray[Any]:
        result = np.zeros((tree.node_count, count))
        result[:, columns[number]] = rate * tree.value[:, 0, 0]
        return result

    return _flattened(trees, values, start, votes=False)


def _flattened(trees: list[Any], values: Callable[[Any, int], NDArray[Any]], start: Floats, *, votes: bool) -> Trees:
    """scikit-learn's trees as one table of nodes."""
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])
    # Nothing to tell apart, no trees: empty tables.
    empty: NDArray[Any] = np.zeros(0)
    left, right, feature, threshold, leaves = [empty], [empty], [empty], [empty], [np.zeros((0, len(start)))]
    for number, (root, tree) in enumerate(zip(roots, trees, strict=False)):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        left.append(root + np.where(leaf, own, tree.children_left))
        right.append(root + np.where(leaf, own, tree.children_right))
        feature.append(np.where(leaf, 0, tree.feature))
        threshold.append(np.where(leaf, 0.0, tree.threshold))
        # Only leaves' values are ever added.
        leaves.append(np.where(leaf[:, None], values(tree, number), 0))
    return Trees(
        roots[:-1].astype(np.int64),
        np.concatenate(left).astype(np.int64),
        np.concatenate(right).astype(np.int64),
        np.concatenate(feature).astype(np.int64),
        np.concatenate(threshold).astype(np.float64),
        np.concatenate(leaves).astype(np.float32),
        start,
        np.array([votes]),
    )


def has_one_label(targets: Targets) -> bool:
    """Whether every track has exactly one class, and every class a track."""
    return bool((targets.sum(axis=1) == 1).all() and targets.any(axis=0).all())
