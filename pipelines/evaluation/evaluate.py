"""Evaluation: many models, one protocol, one table of rows.

A row is `{"model", "slice", "metric", "k", "value", "low", "high"}` and how it came about: the number of users, the
split, whether it is within-user (test listens of one user may be older than training listens of another) and whether
seen tracks may be recommended again. Rows of `recall_gain` and `ndcg_gain` compare a model with the one named by
`against` on the same users; `better` and `worse` say whether the interval excludes 0. `cold_share` is that of tracks
without listens in training in the lists of the slice `all`, `cold_share_ratio` is it over their share of what was
listened to, `ndcg_cold_to_warm` compares cold tracks among themselves with warm ones. Rows of the slices `cost`,
`ratings` and `learning` have no k; those of `learning` have an `epoch`.

Negatives are never sampled: every candidate is ranked. Shapes: B users of a slice, T tracks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...models.arrays import Ids, l2_normalize
from ...models.catalogue import Catalogue
from ...models.evaluation import metrics
from ...models.evaluation.bootstrap import RESAMPLES, Interval, coverage_intervals, intervals, ratio_interval
from ...models.evaluation.metrics import Values
from ...models.interactions import Interactions
from ...models.recommenders.base import Recommender
from ...models.recommenders.registry import in_order, make
from ..interactions.statistics import DAY_SECONDS
from ..library.progress import Message, silent
from .profiling import Fitting, Row, cost_row, growth_rows
from .protocols import COLD_TRACK, SPLITS, TRIALS, WARM_TRACK, EvaluationSlice, Trial, plan
from .ratings import rating_rows

COMPARED = ("recall", "ndcg")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    models: tuple[str, ...] = ("als", "content", "hybrid")
    """the baselines come by themselves; bpr, on one thread and far behind, only when asked for"""
    trials: tuple[str, ...] = TRIALS
    split: str = "auto"
    gap_days: float = 0.0
    """between training and test, where the split is by time"""
    allow_seen: bool = False
    ks: tuple[int, ...] = (5, 10, 20, 100)
    seed: int = 0
    resamples: int = RESAMPLES
    growth: bool = False
    """Whether to fit smaller parts, too, to say how training time grows."""
    model_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """model -> what it is made with, where that is not its defaults"""

    def make(self, name: str, catalogue: Catalogue) -> Recommender:
        """A model that is not fitted yet."""
        return make(name, catalogue, **self.model_arguments.get(name, {}))

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"k: {', '.join(map(str, self.ks))}; cut-offs have to be 1 or more")
        if self.gap_days < 0 or (self.gap_days and self.split not in ("auto", "time")):
            raise UsageError(
                f"gap: {self.gap_days:g} days with the split {self.split!r}; 0 or more, of a split by time"
            )
        for what, names, known in (("trial", self.trials, TRIALS), ("split", (self.split,), tuple(SPLITS))):
            for name in names:
                if name not in known:
                    raise UsageError(f"{name}: no such {what}; there are {', '.join(known)}")


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """What the metrics of one trial look up."""

    listeners: NDArray[np.int64]
    """[T] in training"""
    user_count: int
    """users with training listens"""
    sound: NDArray[np.float32]
    """[T, D] of length 1 or 0"""
    taste: NDArray[np.float32] | None
    """[T, F] of length 1 or 0; None without ALS among the models"""


def evaluate(
    listens: Interactions, catalogue: Catalogue, options: EvaluationOptions, *, message: Message = silent
) -> Iterator[Row]:
    """All rows, those of a slice as soon as it is done. `message` gets what goes on, and what was left out and why."""
    names = in_order(options.models)
    if not catalogue.has_sound.any() and "content" in names:
        message("content: left out; no track has sound")
        names.remove("content")
    measured = False
    for trial in plan(
        listens,
        catalogue,
        trials=options.trials,
        split=options.split,
        allow_seen=options.allow_seen,
        seed=options.seed,
        gap_seconds=options.gap_days * DAY_SECONDS,
    ):
        if options.gap_days and trial.split.name.startswith("within-user"):
            message(f"{trial.name}: no gap; {trial.split!r} is not by time")
        if not trial.slices:
            message(f"{trial.name}: left out; {trial.split!r} leaves nobody to ask")
            continue
        measured = True
        split = {"split": trial.split.name, "within_user": trial.split.within_user}
        for row in _rows_of_trial(trial, names, catalogue, options, message):
            yield row | split | {"allow_seen": options.allow_seen}
    if not measured:
        raise DataError(f"listens: {listens!r} leave nobody to ask; more users need listens in both parts of the split")


def _rows_of_trial(
    trial: Trial, names: Sequence[str], catalogue: Catalogue, options: EvaluationOptions, message: Message
) -> Iterator[Row]:
    sizes = ", ".join(f"{part.name} {len(part.user_rows):,}" for part in trial.slices)
    message(f"{trial.name}: {trial.split.name}; users asked for: {sizes}")
    train, costs = trial.split.train, trial.name == options.trials[0]
    models: dict[str, Recommender] = {}
    for name in names:
        model = options.make(name, catalogue)
        if note := model.fit_note(train):
            message(note)
        try:
            fitting = Fitting(model, train)
        except DataError as error:
            # Popular comes first: where it fails, there is nothing to learn for any model.
            if not models:
                raise
            message(f"{trial.name}: {name} left out; {error}")
            continue
        models[name] = fitting.model
        message(f"{trial.name}: {name} fitted in {fitting.seconds:.1f} s")
        if costs:
            yield from fitting.rows(name)
            yield from _learning(name, models[name])
    als = models.get("als")
    inputs = MetricInputs(
        train.listeners,
        len(np.unique(train.user_rows)),
        l2_normalize(catalogue.sound),
        None if als is None else l2_normalize(als.track_factors),  # type: ignore[attr-defined]
    )
    ndcg: dict[tuple[str, str], Values] = {}
    for number, part in enumerate(trial.slices):
        rng = np.random.default_rng([options.seed, TRIALS.index(trial.name), number])
        values: dict[str, dict[tuple[str, int], Values]] = {}
        for name, model in models.items():
            started, used = time.perf_counter(), time.process_time()
            ids = _recommended(model, part, max(options.ks), allow_seen=options.allow_seen)
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
            if costs and not number:
                each = 1000 / len(part.user_rows)
                yield cost_row(name, "seconds_per_1000_users", each * seconds)
                yield cost_row(name, "cpu_seconds_per_1000_users", each * cpu_seconds)
            if (ids < 0).all():
                message(f"{part.name}: {name} recommends none of these tracks, and scores 0")
            values[name] = metric_values(ids, part, inputs, options.ks)
            yield from interval_rows(name, ids, values[name], part, options, rng)
            ndcg[part.name, name] = _by_user(values[name]["ndcg", metrics.nearest_k(options.ks, 10)], part, trial)
        yield from _gains(values, part, options, rng)
        if part.name == COLD_TRACK:
            yield from _cold_to_warm(ndcg, models, part, options, rng)
    if options.growth and costs:
        for row in growth_rows(list(models), train, catalogue, options.make):
            message(f"growth: {row['model']} takes time as {row['metric'].removeprefix('growth_with_')}^{row['value']}")
            yield row
    if trial.name == "warm":
        rng = np.random.default_rng([options.seed, len(TRIALS)])
        yield from rating_rows(trial.split, rng, resamples=options.resamples)


def _recommended(model: Recommender, part: EvaluationSlice, k: int, *, allow_seen: bool) -> Ids:
    """[B, k] track ids of what the model recommends."""
    if part.fold_in:
        return model.recommend_from(part.history, k, allow_seen=allow_seen, candidates=part.candidates)[0]
    return model.recommend(part.user_rows, k, allow_seen=allow_seen, candidates=part.candidates)[0]


def metric_values(
    ids: Ids, part: EvaluationSlice, inputs: MetricInputs, ks: Sequence[int]
) -> dict[tuple[str, int], Values]:
    """(metric, k) -> [B] one value per user."""
    hits = metrics.hits(ids, part.truth)
    relevant = metrics.relevant_counts(part.truth)
    shared = {
        "novelty": metrics.novelties(ids, inputs.listeners, inputs.user_count, ks),
        "unseen_share": metrics.unseen_shares(ids, part.history, ks),
        "popularity_bias": metrics.popularity_biases(ids, inputs.listeners, part.history, ks),
    }
    if part.candidates is None and (inputs.listeners == 0).any():
        cold = part.truth[:, inputs.listeners == 0].nnz / max(part.truth.nnz, 1)
        shared["cold_share"] = metrics.cold_shares(ids, inputs.listeners, ks)
        shared["cold_share_ratio"] = shared["cold_share"] / (cold or np.nan)
    if inputs.sound.any():
        shared["diversity_sound"] = metrics.diversities(ids, inputs.sound, ks)
    if inputs.taste is not None:
        shared["diversity_taste"] = metrics.diversities(ids, inputs.taste, ks)
    values: dict[tuple[str, int], Values] = {}
    for number, k in enumerate(ks):
        values |= {
            ("precision", k): metrics.precision(hits, k),
            ("recall", k): metrics.recall(hits, relevant, k),
            ("ndcg", k): metrics.ndcg(hits, relevant, k),
            ("map", k): metrics.average_precision(hits, relevant, k),
            ("hit_rate", k): metrics.hit_rate(hits, k),
            ("user_coverage", k): metrics.user_coverage(ids, k),
        }
        values |= {(name, k): found[number] for name, found in shared.items()}
    return values


def interval_rows(
    model: str,
    ids: Ids,
    values: dict[tuple[str, int], Values],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """A row per metric and k; `values` as `metric_values` gives them."""
    found = intervals(np.stack(list(values.values()), axis=1), rng, resamples=options.resamples)
    for (metric, k), interval in zip(values, found, strict=True):
        yield _row(model, part, metric, k, interval)
    count = part.truth.shape[1] if part.candidates is None else int(part.candidates.sum())
    covered = coverage_intervals(ids, options.ks, count, rng)
    for k, interval in zip(options.ks, covered, strict=True):
        yield _row(model, part, "catalogue_coverage", k, interval)


def _gains(
    values: dict[str, dict[tuple[str, int], Values]],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """Every pair of models, on the same users."""
    pairs = list(combinations(reversed(values), 2))
    measures = [(metric, k) for metric in COMPARED for k in options.ks]
    if not pairs:
        return
    columns = [values[model][measure] - values[other][measure] for model, other in pairs for measure in measures]
    found = iter(intervals(np.stack(columns, axis=1), rng, resamples=options.resamples))
    for model, other in pairs:
        for metric, k in measures:
            interval = next(found)
            row = _row(model, part, f"{metric}_gain", k, interval)
            yield row | {"against": other, "better": interval.low > 0, "worse": interval.high < 0}


def _cold_to_warm(
    ndcg: dict[tuple[str, str], Values],
    names: Iterable[str],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """NDCG of cold tracks among themselves over that of warm ones; `ndcg` is (slice, model) -> [U]."""
    for name in names:
        if (WARM_TRACK, name) in ndcg:
            pair = ndcg[COLD_TRACK, name], ndcg[WARM_TRACK, name]
            interval = ratio_interval(*pair, rng, resamples=options.resamples)
            yield _row(name, part, "ndcg_cold_to_warm", metrics.nearest_k(options.ks, 10), interval)


def _by_user(values: Values, part: EvaluationSlice, trial: Trial) -> Values:
    """[B] values of the users of a slice -> [U], NaN for the others."""
    every = np.full(trial.split.train.user_count, np.nan)
    known = part.user_rows >= 0
    every[part.user_rows[known]] = values[known]
    return every


def _row(model: str, part: EvaluationSlice, metric: str, k: int, interval: Interval) -> Row:
    row = {"model": model, "slice": part.name, "metric": metric, "k": k}
    return row | interval.record() | {"users": len(part.user_rows)}


def _learning(name: str, model: Recommender) -> Iterator[Row]:
    """What each epoch came to, of a model that learns by epochs."""
    for point in getattr(model, "curve", ()):
        for metric in ("train_loss", "validation_loss"):
            if getattr(point, metric) is not None:
                yield cost_row(name, metric, getattr(point, metric)) | {"slice": "learning", "epoch": point.epoch}
