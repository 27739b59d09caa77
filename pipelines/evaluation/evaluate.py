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
from collections.abc import Iterator, Sequence
from dataclasses import replace

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
from .protocols import COLD_TRACK, SCENARIOS, WARM_TRACK, EvaluationSlice, Scenario, scenario_number
from .ratings import rating_rows
from .slices import DIVIDED_SCENARIOS, SliceGroups
from .tuning import Tuner, Tuning, plan_of, recommended


def evaluate(
    listens: Interactions,
    catalogue: Catalogue,
    options: EvaluationOptions,
    *,
    message: Message = silent,
    progress: Progress = silent,
) -> Iterator[Row]:
    """All rows, those of a model as soon as it is measured, those that compare models at the end of a scenario.

    `message` gets what goes on, and what was left out and why; `progress` counts the fits of the tuning.
    """
    names = in_order(options.models)
    if not catalogue.has_sound.any() and "content" in names:
        message("content: left out; no track has sound")
        names.remove("content")
    measured: list[str] = []
    for scenario in plan_of(listens, catalogue, options):
        if options.gap_days and scenario.split.name.startswith("within-user"):
            message(f"{scenario.name}: no gap; {scenario.split!r} is not by time")
        if not scenario.slices:
            message(f"{scenario.name}: left out; {scenario.split!r} leaves nobody to ask")
            continue
        measured.append(scenario.name)
        split = {"split": scenario.split.name, "within_user": scenario.split.within_user}
        costs = len(measured) == 1
        evaluation = _ScenarioEvaluation(scenario, names, catalogue, options, message, progress, costs=costs)
        for row in evaluation.rows():
            yield row | split | {"allow_seen": row.get("allow_seen", options.allow_seen)}
    if not measured:
        raise DataError(
            f"protocol {options.protocol}: {listens!r} leave nobody to ask; more users need listens in both parts of "
            "the split"
        )


class _ScenarioEvaluation:
    """The models of one scenario, one after the other: tuned, fitted, measured on all slices, and let go."""

    def __init__(
        self,
        scenario: Scenario,
        names: Sequence[str],
        catalogue: Catalogue,
        options: EvaluationOptions,
        message: Message,
        progress: Progress,
        *,
        costs: bool,
    ) -> None:
        self.scenario, self.catalogue, self.options = scenario, catalogue, options
        self.message, self.progress, self.costs = message, progress, costs
        # ALS first, since its vectors say how diverse the lists of all models are.
        self.names = sorted(names, key=lambda name: name != "als")
        train = scenario.split.train
        self.inputs = MetricInputs(
            train.listeners, len(np.unique(train.user_rows)), l2_normalize(catalogue.sound), None
        )
        self.groups: SliceGroups | None = None
        """of the first slice"""
        if scenario.name in DIVIDED_SCENARIOS:
            self.groups = SliceGroups.of(scenario.slices[0], scenario.split, catalogue, self.inputs.popularity)
        self.tunings: dict[str, Tuning] = {}
        self.compared: dict[tuple[str, str], Measured] = {}
        """(slice, model) -> (metric, k) -> [B], of the metrics that models are compared by"""

    def rows(self) -> Iterator[Row]:
        scenario = self.scenario
        sizes = ", ".join(f"{part.name} {len(part.user_rows):,}" for part in scenario.slices)
        self.message(f"{scenario.name}: {scenario.split.name}; users asked for: {sizes}")
        yield from self._tune_and_measure()
        for number, part in enumerate(scenario.slices):
            values = {name: self.compared[part.name, name] for name in self.tunings}
            yield from gain_rows(values, part, self.options, self._rng(number, 1))
        yield from map(dict, scenario.published)
        if self.options.growth and self.costs:
            for row in growth_rows(list(self.tunings), scenario.split.train, self.catalogue, self._made):
                axis = row["metric"].removeprefix("growth_with_")
                self.message(f"growth: {row['model']} takes time as {axis}^{row['value']}")
                yield row
        if scenario.name == "warm":
            rng = np.random.default_rng([self.options.seed, len(SCENARIOS)])
            yield from rating_rows(scenario.split, rng, resamples=self.options.resamples)

    def _tune_and_measure(self) -> Iterator[Row]:
        tuner = Tuner(self.scenario, self.names, self.catalogue, self.options, self.message, self.progress)
        where = self.scenario.name
        for name in self.names:
            if note := self.options.make(name, self.catalogue).fit_note(self.scenario.split.train):
                self.message(f"{where}: {note}")
            try:
                tuning = tuner.tuning_of(name)
                if tuning is None:
                    self.message(f"{where}: {name} left out; none of its {self.options.tune} trials is valid")
                    continue
                self.tunings[name] = tuning
                yield from self._model_rows(name, tuning)
            except DataError as error:
                # Where the simplest fails, there is nothing to learn for any model.
                if name == "popular":
                    raise
                self.tunings.pop(name, None)
                self.message(f"{where}: {name} left out; {error}")
        self.tunings = {name: self.tunings[name] for name in REGISTRY if name in self.tunings}

    def _made(self, name: str, catalogue: Catalogue) -> Recommender:
        return self.options.make(name, catalogue, self.tunings[name].chosen)

    def _model_rows(self, name: str, tuning: Tuning) -> Iterator[Row]:
        """Of costs, learning, tuning and quality; of quality, means over the seeds of a model with randomness."""
        train, slices, ks = self.scenario.split.train, self.scenario.slices, self.options.ks
        seed = self._made(name, self.catalogue).first_seed
        seeds = self.options.seeds if seed is not None else 1
        lists: list[list[Ids]] = [[] for _ in slices]
        for extra in range(seeds):
            values = dict(tuning.chosen) | ({"seed": seed + extra} if seed is not None and extra else {})
            fitting = Fitting(self.options.make(name, self.catalogue, values), train)
            of_seed = f", seed {seed + extra}" if seed is not None and seeds > 1 else ""
            self.message(f"{self.scenario.name}: {name} fitted in {fitting.seconds:.1f} s{of_seed}")
            if not extra:
                if self.costs:
                    yield from fitting.rows(name)
                    yield from _learning(name, fitting.model)
                if tuning.trials:
                    yield tuning.row(name) | {"scenario": self.scenario.name}
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
        part, options, inputs = self.scenario.slices[number], self.options, self.inputs
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
        warm = next((each for each in self.scenario.slices if each.name == WARM_TRACK), None)
        if warm is None:
            return
        k = metrics.nearest_k(self.options.ks, 10)
        above, below = (
            _by_user(self.compared[each.name, name]["ndcg", k], each, self.scenario) for each in (part, warm)
        )
        interval = ratio_interval(above, below, rng, resamples=self.options.resamples)
        yield metric_row(name, part, "ndcg_cold_to_warm", k, interval)

    def _rng(self, number: int, *purpose: int) -> np.random.Generator:
        """The same for every model of a slice, so that intervals do not depend on the other models."""
        return np.random.default_rng([self.options.seed, scenario_number(self.scenario.name), number, *purpose])


def _by_user(values: Values, part: EvaluationSlice, scenario: Scenario) -> Values:
    """[B] values of the users of a slice -> [U], NaN for the others."""
    every = np.full(scenario.split.train.user_count, np.nan)
    known = part.user_rows >= 0
    every[part.user_rows[known]] = values[known]
    return every


def _learning(name: str, model: Recommender) -> Iterator[Row]:
    """What each epoch came to, of a model that learns by epochs."""
    for point in getattr(model, "curve", ()):
        for metric in ("train_loss", "validation_loss"):
            if getattr(point, metric) is not None:
                yield cost_row(name, metric, getattr(point, metric)) | {"slice": "learning", "epoch": point.epoch}
