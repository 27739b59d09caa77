"""Ranker: gradient-boosted trees (CatBoost) that order one user's candidates.

The trees start from the scores of a logistic regression on the same features: with little data a weighted sum is hard
to beat, and trees alone come out below it. Each user's base rate of positive labels is taken out beforehand
(`base_rates`), since it does not affect the order.

A candidate's label is whether the user listened to it in the label period after the history (`dataset`). Each common
genre is a feature of its own, 1 or 0.

Held-out users are not trained on. All of their candidates decide the number of trees (early stopping) and calibrate
the scores (Platt 1999), which are logits of the probability that a user listens to a track that is new to them within a
period as long as the label period.

Shapes: N pairs of a user and a candidate, F features, G genres.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, optional_module
from ..arrays import Mask
from ..genres.calibration import platt
from ..storage import Arrays, StoredModel, prefixed
from .features import FeatureTable

GENRE = "genre_name"
_MOST_GENRES = 64
OBJECTIVES = {"classifier": "Logloss", "yetirank": "YetiRank"}
_JUDGED_BY = "QuerySoftMax"
"""the loss on held-out users; a user's base rate makes no difference to it"""
LEAK_AUC = 0.99
"""a single feature with a higher AUC than this was computed from the labels"""
_MOST_LEAK_ROWS = 100_000
_NEWTON_STEPS = 20
_STEADY = 1e-3
"""a feature whose logarithm has a smaller standard deviation counts as constant"""
_ROWS_PER_BLOCK = 512
_FARTHEST = 8.0
"""standard deviations"""


@dataclass(frozen=True, kw_only=True)
class RankerOptions:
    objective: str = "classifier"
    """classifier (Logloss) or yetirank: as good on mpd-5core, for 4.5 times the time"""
    iterations: int | None = None
    """trees at most; None takes 60 and one more for every 40 positive labels, up to 300"""
    # Chosen on a validation part of mpd-5core.
    depth: int = 6
    learning_rate: float = 0.08
    features_per_level: float = 0.4
    """share of the features, drawn anew for each level of a tree, that may be its split"""
    negatives: int = 60
    """negatives of each user, a uniform sample of the candidates without a positive label"""
    users: int = 4000
    """to train on, at most, of each label period; of one that has them, those of all label periods"""
    least_positives: int = 100
    """with fewer positive labels, training is refused"""
    threads: int = 0
    """0 uses every core; the answer does not depend on it"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise DataError(f"objective: {self.objective}; there are {', '.join(OBJECTIVES)}")


@dataclass(frozen=True, eq=False)
class Linear:
    """A logistic regression on signed logarithms of the features; what is unknown counts as 0."""

    means: NDArray[np.float64]
    """[F] of the logarithms"""
    scales: NDArray[np.float64]
    """[F]"""
    weights: NDArray[np.float64]
    """[F], and the constant at the end"""

    @classmethod
    def fit(cls, numbers: NDArray[np.float32], labels: Mask) -> Self:
        logistic = optional_module("sklearn.linear_model", "ranker").LogisticRegression(C=0.1, max_iter=400)
        logs = _logarithms(numbers)
        means, scales = logs.mean(axis=0), logs.std(axis=0)
        # A feature that hardly varies gets no weight: later it may be a little different for all users at once.
        steady = scales < _STEADY
        linear = cls(means, np.where(steady, 1, scales), np.zeros(numbers.shape[1] + 1))
        standard = np.where(steady, 0, linear._standard(logs))
        model = logistic.fit(standard, labels)
        weights = np.append(np.where(steady, 0, model.coef_[0]), model.intercept_)
        return cls(means, linear.scales, weights)

    def scores(self, numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        """[N, F] -> [N] logits."""
        found = [
            # Feature by feature, so that a row's last digits do not depend on the rows around it.
            (self.weights[:-1, None] * self._standard(_logarithms(block)).T).sum(axis=0) + self.weights[-1]
            for block in _blocks(numbers)
        ]
        return np.concatenate(found) if found else np.zeros(0)

    def _standard(self, logs: NDArray[np.float32]) -> NDArray[np.float32]:
        # Clipped, since a linear score grows without bound outside the range of the training.
        standard = (logs - self.means.astype(np.float32)) / self.scales.astype(np.float32)
        return np.asarray(np.clip(standard, -_FARTHEST, _FARTHEST), np.float32)


@dataclass(frozen=True, eq=False)
class ObliviousTrees:
    """CatBoost's trees applied by numpy, so that only training needs CatBoost.

    All nodes of a level compare the same feature with the same border, so the number of a row's leaf has a bit for each
    level (Prokhorenkova et al. 2018, "CatBoost: unbiased boosting with categorical features"). CatBoost itself prepares
    a pool and starts a thread for every call, which for one user's candidates takes longer than the trees do.

    Shapes: N rows, F features, T trees, D levels.
    """

    features: NDArray[np.int32]
    """[D, T] the feature that a level compares"""
    borders: NDArray[np.float32]
    """[D, T] above which the level's bit is 1; infinite where a tree has fewer levels"""
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
        # A tree whose features were all constant has null for its splits.
        splits = [tree["splits"] or [] for tree in trees]
        depth = max(map(len, splits), default=0)
        features = np.zeros((depth, len(trees)), np.int32)
        borders = np.full((depth, len(trees)), np.inf, np.float32)
        leaves = np.zeros((len(trees), 1 << depth))
        scale, (bias,) = saved["scale_and_bias"]
        for number, tree in enumerate(trees):
            for level, split in enumerate(splits[number]):
                features[level, number], borders[level, number] = split["float_feature_index"], split["border"]
            leaves[number, : len(tree["leaf_values"])] = np.multiply(scale, tree["leaf_values"])
        return cls(features, borders, leaves, bias)

    def __call__(self, numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        """[F, N] features, row by row -> [N] sums of leaves. NaN is below every border, as CatBoost has it."""
        found = [self._sums(block.T) for block in _blocks(numbers.T)]
        return np.concatenate(found) if found else np.zeros(0)

    def _sums(self, numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        depth, trees = self.features.shape
        shape = trees, numbers.shape[1]
        leaf = np.zeros(shape, np.min_scalar_type((1 << depth) - 1))
        column, above = np.empty(shape, np.float32), np.empty(shape, bool)
        for level in reversed(range(depth)):
            leaf += leaf
            np.take(numbers, self.features[level], axis=0, out=column, mode="clip")
            np.greater(column, self.borders[level][:, None], out=above)
            leaf += above.view(np.uint8)
        places = leaf + (np.arange(trees)[:, None] << depth)
        return np.asarray(self.bias + self.leaves.ravel().take(places).sum(axis=0))

    def arrays(self) -> Arrays:
        return {"features": self.features, "borders": self.borders, "leaves": self.leaves}


class Ranker(StoredModel):
    """Scores pairs; within a user, higher is better."""

    name = "ranker"
    options: RankerOptions
    options_type = RankerOptions
    stored_facts = (("names", "features"), "genres", ("_importance", "importance"), "curve")
    curve: dict[str, list[float]]
    """learn and validation (the users kept aside) -> the loss after each tree"""

    def __init__(self, options: RankerOptions | None = None) -> None:
        self.options = options or RankerOptions()

    def fit(
        self,
        table: FeatureTable,
        labels: Mask,
        groups: NDArray[np.intp],
        held_out: Mask,
    ) -> Self:
        """`labels` [N] whether the user listened to the track, `groups` [N] users in ascending order.

        `held_out` [N] all candidates of the held-out users, whether or not any of them has a positive label.
        """
        trained = ~held_out
        for which, users in ((trained, "of the users to train on"), (held_out, "of the held-out users")):
            if not labels[which].any() or labels[which].all():
                raise DataError(f"ranker: candidates {users} have no listens in the label period; too little to learn")
        check_no_leaking_feature(table, labels)
        options = self.options
        self.names = table.names
        often = Counter(table.genres.tolist()).most_common(_MOST_GENRES)
        self.genres = tuple(table.genre_names[code] for code, _ in often)
        linear = Linear.fit(table.numbers[trained], labels[trained])
        start = linear.scores(table.numbers)
        start[trained] += base_rates(start[trained], labels[trained], groups[trained])

        def part(which: Mask) -> Any:
            numbers = self._columns(table.take(which)).T
            return catboost.Pool(
                numbers, label=labels[which].astype(int), group_id=groups[which], baseline=start[which]
            )

        catboost = optional_module("catboost", "ranker")
        pool = part(trained)
        model = catboost.CatBoost(
            {
                "loss_function": OBJECTIVES[options.objective],
                "eval_metric": _JUDGED_BY,
                "iterations": options.iterations or min(300, 60 + int(labels[trained].sum()) // 40),
                "depth": options.depth,
                "learning_rate": options.learning_rate,
                "rsm": options.features_per_level,
                # As good as CatBoost's 10 steps and 254 borders, in less time.
                "leaf_estimation_iterations": 1,
                "border_count": 64,
                "random_seed": options.seed,
                "thread_count": options.threads or -1,
                "allow_writing_files": False,
                "logging_level": "Silent",
            }
        )
        model.fit(pool, eval_set=part(held_out), early_stopping_rounds=30)
        trees = ObliviousTrees.of(model)
        self.curve = {part: losses[_JUDGED_BY] for part, losses in model.get_evals_result().items()}
        held = table.take(held_out)
        slope, shift = platt(trees(self._columns(held)) + start[held_out], labels[held_out])
        if slope <= 0:
            raise DataError("ranker: no better than chance for users it did not learn from; too little to learn")
        self._trees = replace(trees, leaves=slope * trees.leaves, bias=slope * trees.bias + shift)
        self._linear = replace(linear, weights=slope * linear.weights)
        importance = model.get_feature_importance(pool, type="PredictionValuesChange")
        self._importance = [float(x) for x in (*importance[: len(self.names)], importance[len(self.names) :].sum())]
        return self

    def calibrate(self, rate: float, logits: NDArray[np.floating]) -> None:
        """Shifts all scores so that the mean probability of these logits [N] is the rate."""
        if not len(logits):
            return
        every = np.zeros(len(logits), np.intp)
        shift = base_rates(np.asarray(logits, np.float64), np.full(len(logits), rate), every)[0]
        self._trees = replace(self._trees, bias=float(self._trees.bias + shift))

    def scores(self, table: FeatureTable) -> NDArray[np.float32]:
        """[N] the logit of the probability of a listen."""
        if missing := sorted(set(self.names) - set(table.names)):
            raise DataError(f"ranker: trained on other features; missing {missing}; train again")
        table = table.select(self.names)
        return np.asarray(self._trees(self._columns(table)) + self._linear.scores(table.numbers), np.float32)

    def _columns(self, table: FeatureTable) -> NDArray[np.float32]:
        """[F + G, N] the inputs of the trees; a genre that was not in the training is none of them."""
        place_of = {name: place for place, name in enumerate(self.genres)}
        places = np.array([place_of.get(name, -1) for name in table.genre_names])
        features = len(self.names)
        columns = np.empty((features + len(self.genres), len(table)), np.float32)
        columns[:features] = table.numbers.T
        columns[features:] = places[table.genres] == np.arange(len(self.genres))[:, None]
        return columns

    @property
    def importance(self) -> dict[str, float]:
        """feature -> its share of all changes that the trees make to the score, in percent, the largest first."""
        named = zip((*self.names, GENRE), self._importance, strict=True)
        return dict(sorted(named, key=lambda pair: -pair[1]))

    def arrays(self) -> Arrays:
        trees = {f"trees_{name}": array for name, array in self._trees.arrays().items()}
        return trees | {f"linear_{name}": array for name, array in vars(self._linear).items()}

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"bias": self._trees.bias}

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        super().restore(arrays, facts)
        self._trees = ObliviousTrees(**prefixed(arrays, "trees_"), bias=facts["bias"])
        self._linear = Linear(**prefixed(arrays, "linear_"))


def base_rates(
    logits: NDArray[np.float64], labels: Mask | NDArray[np.float64], groups: NDArray[np.intp]
) -> NDArray[np.float64]:
    """[N] the shift of each user's logits that makes the expected number of positive labels the actual one.

    Active users listen to more of their candidates; without the shift trees would be spent on that, not on the order.
    """
    _, users = np.unique(groups, return_inverse=True)
    count = int(users.max()) + 1
    actual = np.bincount(users, labels, count)
    rates = np.zeros(count)
    for _ in range(_NEWTON_STEPS):
        expected = 1 / (1 + np.exp(-(logits + rates[users])))
        slope = np.bincount(users, expected * (1 - expected), count)
        rates += np.clip((actual - np.bincount(users, expected, count)) / np.maximum(slope, 1e-3), -1, 1)
    return rates[users]


def check_no_leaking_feature(table: FeatureTable, labels: Mask) -> None:
    """DataError where one feature alone, ascending or descending, separates the labels nearly without error.

    Of a long table, every so many rows are looked at.
    """
    from scipy.stats import rankdata

    part = slice(None, None, 1 + len(labels) // _MOST_LEAK_ROWS)
    labels = labels[part]
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives < 20 or negatives < 20:
        return
    for name, column in zip(table.names, table.numbers[part].T, strict=True):
        # What is unknown stands below all values.
        ranks = rankdata(np.where(np.isnan(column), -np.inf, column))
        auc = (ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives)
        if max(auc, 1 - auc) > LEAK_AUC:
            raise DataError(f"{name}: a leak; this feature alone separates the labels (AUC {max(auc, 1 - auc):.4f})")


def _logarithms(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    known = np.where(np.isnan(numbers), np.float32(0), numbers)
    return np.asarray(np.copysign(np.log(1 + np.abs(known)), known), np.float32)


def _blocks(numbers: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Of rows [N, F], as many at once as the processor's cache holds."""
    for start in range(0, len(numbers), _ROWS_PER_BLOCK):
        yield numbers[start : start + _ROWS_PER_BLOCK]
