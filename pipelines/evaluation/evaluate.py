"""Evaluation: many models, one protocol, one table of rows.

A row is `{"model", "slice", "metric", "k", "value", "low", "high"}` and how it came about: the number of users, the
split, whether it is within-user (test listens of one user may be older than training listens of another) and whether
seen tracks may be recommended again. Rows of `recall_gain` and `ndcg_gain` compare a model with the one named by
`against` on the same users: `low` and `high` are of this pair alone, `better` and `worse` hold for all pairs of models
together (`p_corrected`, see models/evaluation/significance.py). `tuning` says how the model's options were chosen;
where it is fitted with several `seeds`, values are means over them, and `seed_spread` is their standard deviation. Rows
of the slices `cost`, `tuning`, `ratings` and `learning` have no k; those of `learning` have an `epoch`. Rows
with a `group` are of a part of a slice's listeners or tracks, as "warm, light listeners", and fit nothing anew
(`slices`). Rows with a `source` are what others published. docs/metrics.md has the formula of every metric.

Negatives are never sampled: every candidate is ranked. Shapes: B users of a slice, T tracks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...models.arrays import Ids, l2_normalize
from ...models.catalogue import Catalogue
from ...models.evaluation import metrics
from ...models.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, exposure_intervals, intervals, ratio_interval
from ...models.evaluation.metrics import Values
from ...models.evaluation.popularity import (
    TrackPopularity,
    novelties,
    popularity_biases,
    popularity_divergences,
    popularity_shifts,
    tail_shares,
)
from ...models.evaluation.significance import holm, sign_flip_p_values
from ...models.interactions import Interactions
from ...models.recommenders.base import Recommender
from ...models.recommenders.registry import REGISTRY, in_order, make
from ..interactions.statistics import DAY_SECONDS
from ..library.progress import Message, Progress, silent
from .profiling import Fitting, Row, cost_row, growth_rows
from .protocols import COLD_TRACK, PROTOCOLS, TRIALS, WARM_TRACK, EvaluationSlice, Trial, plan, trial_number
from .ratings import rating_rows
from .slices import DIVIDED_TRIALS, SliceGroups
from .tuning import Tuning, Validation, listed, recommended, tuned
from .yambda_benchmark import gains

COMPARED = ("recall", "ndcg")
SPLIT_PROTOCOLS = {"temporal": "temporal", "within-user, last": "within-user", "within-user": "random"}
"""how the name of a split begins -> the protocol that always makes it"""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    models: tuple[str, ...] = ("als", "content", "hybrid")
    """the baselines come by themselves; bpr, on one thread and far behind, only when asked for"""
    trials: tuple[str, ...] = TRIALS
    protocol: str = "auto"
    """see `protocols`"""
    gap_days: float = 0.0
    """between training and test, where the split is by time"""
    allow_seen: bool = False
    ks: tuple[int, ...] = (5, 10, 20, 100)
    seed: int = 0
    resamples: int = RESAMPLES
    tune: int = 0
    """trials that every model's options are chosen by, the first of them with the defaults; 0: the defaults"""
    seeds: int = 1
    """that every model with randomness is fitted with"""
    growth: bool = False
    """Whether to fit smaller parts, too, to say how training time grows."""
    model_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """model -> what it is made with, where that is not its defaults"""

    def make(self, name: str, catalogue: Catalogue, values: Mapping[str, Any] | None = None) -> Recommender:
        """A model that is not fitted yet, with other values of some options."""
        arguments = self.model_arguments.get(name, {})
        made = make(name, catalogue, **arguments)
        return make(name, catalogue, **{**arguments, **made.arguments_with(values)}) if values else made

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"k: {', '.join(map(str, self.ks))}; cut-offs have to be 1 or more")
        for option, least in (("tune", 0), ("seeds", 1), ("resamples", 1)):
            if getattr(self, option) < least:
                raise UsageError(f"{option}: {getattr(self, option)}, but has to be {least} or more")
        for what, names, known in (
            ("trial", self.trials, TRIALS),
            ("protocol", (self.protocol,), tuple(PROTOCOLS)),
        ):
            for name in names:
                if name not in known:
                    raise UsageError(f"{name}: no such {what}; there are {', '.join(known)}")
        chosen = PROTOCOLS[self.protocol]
        if self.gap_days < 0 or (self.gap_days and not chosen.has_gap):
            raise UsageError(
                f"gap: {self.gap_days:g} days with the protocol {self.protocol!r}; 0 or more, of a split by time"
            )
        if chosen.trial is not None and (self.trials != TRIALS or self.allow_seen):
            option = "allow-seen" if self.allow_seen else "trials"
            raise UsageError(f"{option}: not with the protocol {self.protocol!r}, which has its own")


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

    @cached_property
    def popularity(self) -> TrackPopularity:
        return TrackPopularity(self.listeners)


def evaluate(
    listens: Interactions,
    catalogue: Catalogue,
    options: EvaluationOptions,
    *,
    message: Message = silent,
    progress: Progress = silent,
) -> Iterator[Row]:
    """All rows, those of a model as soon as it is measured, those that compare models at the end of a trial.

    `message` gets what goes on, and what was left out and why; `progress` counts the fits of the tuning.
    """
    names = in_order(options.models)
    if not catalogue.has_sound.any() and "content" in names:
        message("content: left out; no track has sound")
        names.remove("content")
    measured: list[str] = []
    for trial in _plan(listens, catalogue, options):
        if options.gap_days and trial.split.name.startswith("within-user"):
            message(f"{trial.name}: no gap; {trial.split!r} is not by time")
        if not trial.slices:
            message(f"{trial.name}: left out; {trial.split!r} leaves nobody to ask")
            continue
        measured.append(trial.name)
        split = {"split": trial.split.name, "within_user": trial.split.within_user}
        evaluation = _TrialEvaluation(trial, names, catalogue, options, message, progress, costs=len(measured) == 1)
        for row in evaluation.rows():
            yield row | split | {"allow_seen": row.get("allow_seen", options.allow_seen)}
    if not measured:
        raise DataError(
            f"protocol {options.protocol}: {listens!r} leave nobody to ask; more users need listens in both parts of "
            "the split"
        )


def _plan(listens: Interactions, catalogue: Catalogue, options: EvaluationOptions) -> Iterator[Trial]:
    return plan(
        listens,
        catalogue,
        protocol=options.protocol,
        trials=options.trials,
        allow_seen=options.allow_seen,
        seed=options.seed,
        gap_seconds=options.gap_days * DAY_SECONDS,
    )


class _TrialEvaluation:
    """The models of one trial, one after the other: tuned, fitted, measured on all slices, and let go."""

    def __init__(
        self,
        trial: Trial,
        names: Sequence[str],
        catalogue: Catalogue,
        options: EvaluationOptions,
        message: Message,
        progress: Progress,
        *,
        costs: bool,
    ) -> None:
        self.trial, self.catalogue, self.options = trial, catalogue, options
        self.message, self.progress, self.costs = message, progress, costs
        # ALS first, since its vectors say how diverse the lists of all models are.
        self.names = sorted(names, key=lambda name: name != "als")
        train = trial.split.train
        self.inputs = MetricInputs(
            train.listeners, len(np.unique(train.user_rows)), l2_normalize(catalogue.sound), None
        )
        self.groups: list[SliceGroups | None] = [None] * len(trial.slices)
        if trial.name in DIVIDED_TRIALS and trial.slices:
            self.groups[0] = SliceGroups.of(trial.slices[0], trial.split, catalogue, self.inputs.popularity)
        self.tunings: dict[str, Tuning] = {}
        self.compared: dict[tuple[str, str], dict[tuple[str, int], Values]] = {}
        """(slice, model) -> (metric, k) -> [B], of the metrics that models are compared by"""

    def rows(self) -> Iterator[Row]:
        trial = self.trial
        sizes = ", ".join(f"{part.name} {len(part.user_rows):,}" for part in trial.slices)
        self.message(f"{trial.name}: {trial.split.name}; users asked for: {sizes}")
        yield from self._tune_and_measure()
        for number, part in enumerate(trial.slices):
            values = {name: self.compared[part.name, name] for name in self.tunings}
            yield from _gains(values, part, self.options, self._rng(number, 1))
        yield from map(dict, trial.published)
        if self.options.growth and self.costs:
            for row in growth_rows(list(self.tunings), trial.split.train, self.catalogue, self._made):
                axis = row["metric"].removeprefix("growth_with_")
                self.message(f"growth: {row['model']} takes time as {axis}^{row['value']}")
                yield row
        if trial.name == "warm":
            rng = np.random.default_rng([self.options.seed, len(TRIALS)])
            yield from rating_rows(trial.split, rng, resamples=self.options.resamples)

    def _tune_and_measure(self) -> Iterator[Row]:
        validation = self._validation()
        done, total = 0, 0
        if validation is not None:
            tunable = [name for name in self.names if self.options.make(name, self.catalogue).search_space]
            total = len(tunable) * self.options.tune

        def tried(name: str) -> None:
            nonlocal done
            done += 1
            self.progress(done, total, f"tuning {name}")

        for name in self.names:
            try:
                tuning = self._tuned(name, validation, lambda name=name: tried(name))  # type: ignore[misc]
                if tuning is None:
                    self.message(f"{self.trial.name}: {name} left out; none of its {self.options.tune} trials is valid")
                    continue
                self.tunings[name] = tuning
                yield from self._model_rows(name, tuning)
            except DataError as error:
                # Where the simplest fails, there is nothing to learn for any model.
                if name == "popular":
                    raise
                self.tunings.pop(name, None)
                self.message(f"{self.trial.name}: {name} left out; {error}")
        self.tunings = {name: self.tunings[name] for name in REGISTRY if name in self.tunings}

    def _validation(self) -> Validation | None:
        """A validation part of the training listens, cut as the test was; None without tuning, and where none is."""
        options, trial = self.options, self.trial
        if not options.tune:
            return None
        protocol = options.protocol
        if protocol == "auto":
            known = (name for start, name in SPLIT_PROTOCOLS.items() if trial.split.name.startswith(start))
            protocol = next(known, "auto")
        trials = (trial.name,) if trial.name in TRIALS else TRIALS
        # By another seed, so that what is held out by chance is not held out by the same draws.
        gap_days = options.gap_days if PROTOCOLS[protocol].has_gap else 0.0
        inner = replace(options, protocol=protocol, trials=trials, gap_days=gap_days, seed=options.seed + 1)
        try:
            (part,) = _plan(trial.split.train, self.catalogue, inner)
            if part.slices:
                return Validation.of(part, self._rng(0, 2))
            why = f"{part.split!r} leaves nobody to ask"
        except DataError as error:
            why = str(error)
        self.message(f"{trial.name}: not tuned, since there is no validation part: {why}")
        return None

    def _tuned(self, name: str, validation: Validation | None, tried: Callable[[], None]) -> Tuning | None:
        options = self.options
        if validation is None:
            return Tuning("as given" if options.model_arguments.get(name) else "defaults")
        tuning = tuned(
            name,
            lambda values: options.make(name, self.catalogue, values),
            validation,
            options.tune,
            options.seed,
            message=lambda text: self.message(f"{self.trial.name}: {text}"),
            tried=tried,
        )
        if tuning is not None and not tuning.trials:
            self.message(f"{self.trial.name}: {name} has {tuning.label}")
        elif tuning is not None:
            defaults = "" if tuning.default_ndcg is None else f", {tuning.default_ndcg:.4f} by the defaults"
            self.message(
                f"{self.trial.name}: {name} {tuning.label} in {tuning.seconds:.0f} s: {listed(tuning.chosen)}; "
                f"validation NDCG@10 {tuning.ndcg:.4f}{defaults}"
            )
        return tuning

    def _made(self, name: str, catalogue: Catalogue) -> Recommender:
        return self.options.make(name, catalogue, self.tunings[name].chosen)

    def _model_rows(self, name: str, tuning: Tuning) -> Iterator[Row]:
        """Of costs, learning, tuning and quality; of quality, means over the seeds of a model with randomness."""
        train, slices, ks = self.trial.split.train, self.trial.slices, self.options.ks
        seed = self._made(name, self.catalogue).first_seed
        seeds = self.options.seeds if seed is not None else 1
        lists: list[list[Ids]] = [[] for _ in slices]
        for extra in range(seeds):
            values = tuning.chosen | ({"seed": seed + extra} if seed is not None and extra else {})
            fitting = Fitting(self.options.make(name, self.catalogue, values), train)
            of_seed = f", seed {seed + extra}" if seed is not None and seeds > 1 else ""
            self.message(f"{self.trial.name}: {name} fitted in {fitting.seconds:.1f} s{of_seed}")
            if not extra:
                if self.costs:
                    yield from fitting.rows(name)
                    yield from _learning(name, fitting.model)
                if tuning.trials:
                    yield _tuning_row(name, tuning) | {"trial": self.trial.name}
                if name == "als":
                    taste = l2_normalize(fitting.model.track_factors)  # type: ignore[attr-defined]
                    self.inputs = replace(self.inputs, taste=taste)
            for number, part in enumerate(slices):
                started, used = time.perf_counter(), time.process_time()
                lists[number].append(recommended(fitting.model, part, max(ks)))
                seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - used
                if self.costs and not number and not extra:
                    each = 1000 / len(part.user_rows)
                    yield cost_row(name, "seconds_per_1000_users", each * seconds)
                    yield cost_row(name, "cpu_seconds_per_1000_users", each * cpu_seconds)
            # One fitted model at a time is in memory.
            del fitting
        about = {"tuning": tuning.label, "seeds": seeds}
        for number in range(len(slices)):
            for row in self._slice_rows(name, number, lists[number]):
                yield row | about

    def _slice_rows(self, name: str, number: int, lists: Sequence[Ids]) -> Iterator[Row]:
        """Of one slice, from the lists of each seed."""
        part, options, inputs = self.trial.slices[number], self.options, self.inputs
        if all((ids < 0).all() for ids in lists):
            self.message(f"{part.name}: {name} recommends none of these tracks, and scores 0")
        each = [metric_values(ids, part, inputs, options.ks) for ids in lists]
        mean = _mean_of(each)
        rng = self._rng(number)
        yield from interval_rows(name, lists, each, part, options, rng)
        yield from _pooled(name, lists, part, options, rng)
        if (groups := self.groups[number]) is not None:
            yield from _group_rows(name, groups, lists, each, part, options)
        self.compared[part.name, name] = {(metric, k): mean[metric, k] for metric in COMPARED for k in options.ks}
        if part.name == COLD_TRACK:
            yield from self._cold_to_warm(name, part, rng)

    def _cold_to_warm(self, name: str, part: EvaluationSlice, rng: np.random.Generator) -> Iterator[Row]:
        """NDCG of cold tracks among themselves over that of warm ones."""
        warm = next((each for each in self.trial.slices if each.name == WARM_TRACK), None)
        if warm is None:
            return
        k = metrics.nearest_k(self.options.ks, 10)
        pair = [_by_user(self.compared[each.name, name]["ndcg", k], each, self.trial) for each in (part, warm)]
        yield _row(name, part, "ndcg_cold_to_warm", k, ratio_interval(*pair, rng, resamples=self.options.resamples))

    def _rng(self, number: int, *purpose: int) -> np.random.Generator:
        """The same for every model of a slice, so that intervals do not depend on the other models."""
        return np.random.default_rng([self.options.seed, trial_number(self.trial.name), number, *purpose])


def _tuning_row(name: str, tuning: Tuning) -> Row:
    row = {"model": name, "slice": "tuning", "metric": "validation_ndcg", "k": None, "value": tuning.ndcg}
    about = {"defaults": tuning.default_ndcg, "chosen": dict(tuning.chosen), "trials": tuning.trials}
    return row | {"low": None, "high": None} | about | {"failed": tuning.failed, "seconds": tuning.seconds}


def _mean_of(each: Sequence[dict[tuple[str, int], Values]]) -> dict[tuple[str, int], Values]:
    """One value per user: the mean over seeds."""
    if len(each) == 1:
        return each[0]
    return {measure: np.mean([values[measure] for values in each], axis=0) for measure in each[0]}


def _spread(values: Iterable[float]) -> Row:
    """The field of a metric's standard deviation between seeds; nothing for one seed."""
    found = np.array(list(values))
    if len(found) < 2:
        return {}
    spread = float(found.std(ddof=1))
    return {"seed_spread": None if np.isnan(spread) else round(spread, 6)}


def _mean(values: Values) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def metric_values(
    ids: Ids, part: EvaluationSlice, inputs: MetricInputs, ks: Sequence[int]
) -> dict[tuple[str, int], Values]:
    """(metric, k) -> [B] one value per user."""
    hits = metrics.hits(ids, part.truth)
    relevant = metrics.relevant_counts(part.truth)
    shared = {
        "novelty": novelties(ids, inputs.popularity, inputs.user_count, ks),
        "unseen_share": metrics.unseen_shares(ids, part.history, ks),
        "popularity_bias": popularity_biases(ids, inputs.popularity, part.history, ks),
        "popularity_shift": popularity_shifts(ids, inputs.popularity, part.history, ks),
        "tail_share": tail_shares(ids, inputs.popularity, ks),
    }
    divergences = popularity_divergences(ids, inputs.popularity, part.history, ks)
    shared["popularity_kl"], shared["popularity_js"] = divergences
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
            ("mrr", k): metrics.reciprocal_rank(hits, k),
            ("user_coverage", k): metrics.user_coverage(ids, k),
        }
        values |= {(name, k): found[number] for name, found in shared.items()}
    return values


def interval_rows(
    model: str,
    lists: Sequence[Ids],
    each: Sequence[dict[tuple[str, int], Values]],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """A row per metric and k, of the lists of each seed and what `metric_values` gives for them."""
    yield from _interval_rows(model, each, part, options, rng)
    count = part.truth.shape[1] if part.candidates is None else int(part.candidates.sum())
    exposures = [exposure_intervals(ids, options.ks, count, rng) for ids in lists]
    for at, metric in enumerate(("catalogue_coverage", "gini")):
        for place, k in enumerate(options.ks):
            found = [exposure[at][place] for exposure in exposures]
            bounds = np.mean([(one.value, one.low, one.high) for one in found], axis=0)
            yield _row(model, part, metric, k, Interval(*bounds)) | _spread(one.value for one in found)


def _interval_rows(
    model: str,
    each: Sequence[dict[tuple[str, int], Values]],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    mean = _mean_of(each)
    found = intervals(np.stack(list(mean.values()), axis=1), rng, resamples=options.resamples)
    for measure, interval in zip(mean, found, strict=True):
        yield _row(model, part, *measure, interval) | _spread(_mean(values[measure]) for values in each)


def _group_rows(
    model: str,
    groups: SliceGroups,
    lists: Sequence[Ids],
    each: Sequence[dict[tuple[str, int], Values]],
    part: EvaluationSlice,
    options: EvaluationOptions,
) -> Iterator[Row]:
    """The rows of the groups within a slice; their draws are their own, so that they change no other interval."""
    rng = np.random.default_rng([options.seed, len(TRIALS), 1])
    of_seeds = (groups.values(ids, values, options.ks) for ids, values in zip(lists, each, strict=True))
    for seeds in zip(*of_seeds, strict=True):
        name, users, _ = seeds[0]
        for row in _interval_rows(model, [found for _, _, found in seeds], part, options, rng):
            yield row | {"slice": f"{part.name}, {name}", "group": name, "users": users}


def _pooled(
    model: str, lists: Sequence[Ids], part: EvaluationSlice, options: EvaluationOptions, rng: np.random.Generator
) -> Iterator[Row]:
    """The mean DCG over the mean ideal DCG, of slices whose targets are listens and not tracks."""
    if part.target_counts is None:
        return
    hits = [metrics.hits(ids, part.truth) for ids in lists]
    for k in options.ks:
        pairs = [gains(found, part.target_counts, k) for found in hits]
        above, below = np.mean([pair[0] for pair in pairs], axis=0), pairs[0][1]
        interval = ratio_interval(above, below, rng, resamples=options.resamples)
        yield _row(model, part, "pooled_ndcg", k, interval) | _spread(pair[0].sum() / below.sum() for pair in pairs)


def _gains(
    values: dict[str, dict[tuple[str, int], Values]],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    """Every pair of models, on the same users; a claim holds for all pairs of a metric and k together."""
    names = list(values)
    pairs = list(combinations(reversed(range(len(names))), 2))
    if not pairs:
        return
    for metric in COMPARED:
        for k in options.ks:
            columns = np.stack([values[name][metric, k] for name in names], axis=1)
            p_values = sign_flip_p_values(columns, pairs, rng)
            first, second = np.array(pairs).T
            found = intervals(columns[:, first] - columns[:, second], rng, resamples=options.resamples)
            for (model, other), interval, p_value, corrected in zip(
                pairs, found, p_values, holm(p_values), strict=True
            ):
                sure = bool(corrected < 1 - LEVEL)
                yield _row(names[model], part, f"{metric}_gain", k, interval) | {
                    "against": names[other],
                    "better": sure and interval.value > 0,
                    "worse": sure and interval.value < 0,
                    "p_value": round(float(p_value), 6),
                    "p_corrected": round(float(corrected), 6),
                }


def _by_user(values: Values, part: EvaluationSlice, trial: Trial) -> Values:
    """[B] values of the users of a slice -> [U], NaN for the others."""
    every = np.full(trial.split.train.user_count, np.nan)
    known = part.user_rows >= 0
    every[part.user_rows[known]] = values[known]
    return every


def _row(model: str, part: EvaluationSlice, metric: str, k: int, interval: Interval) -> Row:
    row = {"model": model, "slice": part.name, "metric": metric, "k": k}
    return row | interval.record() | {"users": len(part.user_rows), "allow_seen": part.allow_seen}


def _learning(name: str, model: Recommender) -> Iterator[Row]:
    """What each epoch came to, of a model that learns by epochs."""
    for point in getattr(model, "curve", ()):
        for metric in ("train_loss", "validation_loss"):
            if getattr(point, metric) is not None:
                yield cost_row(name, metric, getattr(point, metric)) | {"slice": "learning", "epoch": point.epoch}
