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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ...errors import DataError
from ...models.arrays import Ids, l2_normalize
from ...models.catalogue import Catalogue
from ...models.evaluation import metrics
from ...models.evaluation.bootstrap import ratio_interval
from ...models.evaluation.metrics import Values
from ...models.interactions import Interactions
from ...models.recommenders.base import Recommender
from ...models.recommenders.registry import REGISTRY, in_order
from ..interactions.statistics import DAY_SECONDS
from ..library.progress import Message, Progress, silent
from .metric_rows import (
    COMPARED,
    Measured,
    MetricInputs,
    gain_rows,
    group_rows,
    interval_rows,
    mean_of_seeds,
    metric_row,
    metric_values,
    pooled_rows,
)
from .options import EvaluationOptions
from .profiling import Fitting, Row, cost_row, growth_rows
from .protocols import COLD_TRACK, PROTOCOLS, TRIALS, WARM_TRACK, EvaluationSlice, Trial, plan, trial_number
from .ratings import rating_rows
from .slices import DIVIDED_TRIALS, SliceGroups
from .tuning import Tuning, Validation, listed, recommended, tuned

SPLIT_PROTOCOLS = {"temporal": "temporal", "within-user, last": "within-user", "within-user": "random"}
"""how the name of a split begins -> the protocol that always makes it"""


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
        self.groups: SliceGroups | None = None
        """of the first slice"""
        if trial.name in DIVIDED_TRIALS:
            self.groups = SliceGroups.of(trial.slices[0], trial.split, catalogue, self.inputs.popularity)
        self.tunings: dict[str, Tuning] = {}
        self.compared: dict[tuple[str, str], Measured] = {}
        """(slice, model) -> (metric, k) -> [B], of the metrics that models are compared by"""

    def rows(self) -> Iterator[Row]:
        trial = self.trial
        sizes = ", ".join(f"{part.name} {len(part.user_rows):,}" for part in trial.slices)
        self.message(f"{trial.name}: {trial.split.name}; users asked for: {sizes}")
        yield from self._tune_and_measure()
        for number, part in enumerate(trial.slices):
            values = {name: self.compared[part.name, name] for name in self.tunings}
            yield from gain_rows(values, part, self.options, self._rng(number, 1))
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
            if note := self.options.make(name, self.catalogue).fit_note(self.trial.split.train):
                self.message(f"{self.trial.name}: {note}")
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
        protocol: str = options.protocol
        if protocol == "auto":
            known = (name for start, name in SPLIT_PROTOCOLS.items() if trial.split.name.startswith(start))
            protocol = next(known, "auto")
        trials = (trial.name,) if trial.name in TRIALS else TRIALS
        # By another seed, so that what is held out by chance is not held out by the same draws.
        gap_days = options.gap_days if PROTOCOLS[protocol].has_gap else 0.0
        inner = replace(options, protocol=cast(Any, protocol), trials=trials, gap_days=gap_days, seed=options.seed + 1)
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
        if (earlier := options.tunings.get(name)) is not None:
            return Tuning.of_row(earlier)
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
            values = dict(tuning.chosen) | ({"seed": seed + extra} if seed is not None and extra else {})
            fitting = Fitting(self.options.make(name, self.catalogue, values), train)
            of_seed = f", seed {seed + extra}" if seed is not None and seeds > 1 else ""
            self.message(f"{self.trial.name}: {name} fitted in {fitting.seconds:.1f} s{of_seed}")
            if not extra:
                if self.costs:
                    yield from fitting.rows(name)
                    yield from _learning(name, fitting.model)
                if tuning.trials:
                    yield tuning.row(name) | {"trial": self.trial.name}
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
        mean = mean_of_seeds(each)
        rng = self._rng(number)
        yield from interval_rows(name, lists, each, part, options, rng)
        yield from pooled_rows(name, lists, part, options, rng)
        if self.groups is not None and not number:
            yield from group_rows(name, self.groups, lists, each, part, options)
        self.compared[part.name, name] = {(metric, k): mean[metric, k] for metric in COMPARED for k in options.ks}
        if part.name == COLD_TRACK:
            yield from self._cold_to_warm(name, part, rng)

    def _cold_to_warm(self, name: str, part: EvaluationSlice, rng: np.random.Generator) -> Iterator[Row]:
        """NDCG of cold tracks among themselves over that of warm ones."""
        warm = next((each for each in self.trial.slices if each.name == WARM_TRACK), None)
        if warm is None:
            return
        k = metrics.nearest_k(self.options.ks, 10)
        above, below = (_by_user(self.compared[each.name, name]["ndcg", k], each, self.trial) for each in (part, warm))
        interval = ratio_interval(above, below, rng, resamples=self.options.resamples)
        yield metric_row(name, part, "ndcg_cold_to_warm", k, interval)

    def _rng(self, number: int, *purpose: int) -> np.random.Generator:
        """The same for every model of a slice, so that intervals do not depend on the other models."""
        return np.random.default_rng([self.options.seed, trial_number(self.trial.name), number, *purpose])


def _by_user(values: Values, part: EvaluationSlice, trial: Trial) -> Values:
    """[B] values of the users of a slice -> [U], NaN for the others."""
    every = np.full(trial.split.train.user_count, np.nan)
    known = part.user_rows >= 0
    every[part.user_rows[known]] = values[known]
    return every


def _learning(name: str, model: Recommender) -> Iterator[Row]:
    """What each epoch came to, of a model that learns by epochs."""
    for point in getattr(model, "curve", ()):
        for metric in ("train_loss", "validation_loss"):
            if getattr(point, metric) is not None:
                yield cost_row(name, metric, getattr(point, metric)) | {"slice": "learning", "epoch": point.epoch}
