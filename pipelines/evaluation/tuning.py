"""Tuning: a model's options, chosen by random search on a validation part of the training listens.

The validation part is cut from the training listens as the test was cut from the log, by the same protocol with the
same slices; the test is not looked at. Trial 0 has the model's defaults, each other trial draws all options of
`Recommender.search_space` anew, and the highest NDCG@10, averaged over the slices, is kept. Draws depend on the seed
and on the model's name alone: neither on the other models nor on the number of trials.

Random search, and not Optuna: of a budget of some twenty trials its sampler (TPE) draws the first ten by chance, spaces
here have two to six options, and independent draws are near the best of such a space soon (Bergstra & Bengio 2012). It
would be a dependency for what is a loop of twenty lines here.

Shapes: B users of a slice, T tracks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from ...errors import CrossfadeError, DataError
from ...models.arrays import Ids
from ...models.catalogue import Catalogue
from ...models.evaluation import metrics
from ...models.interactions import Interactions
from ...models.recommenders.base import Recommender
from ...models.recommenders.search_space import draw
from ..interactions.statistics import DAY_SECONDS
from ..library.progress import Message, Progress, silent
from .options import EvaluationOptions
from .profiling import Row
from .protocols import PROTOCOLS, SCENARIOS, EvaluationSlice, Scenario, plan, scenario_number

K = 10
"""of the NDCG that options are chosen by"""
MOST_USERS = 2000
"""of a slice, drawn by chance: more would change a choice less than another validation part does"""
SPLIT_PROTOCOLS = {"temporal": "temporal", "within-user, last": "within-user", "within-user": "random"}
"""how the name of a split begins -> the protocol that always makes it"""
FAILURES = (CrossfadeError, MemoryError, ArithmeticError, np.linalg.LinAlgError)
"""what a trial may end with and be left out"""


@dataclass(frozen=True)
class Tuning:
    """What a model is made with, and what it took to find it."""

    label: str
    """for tables: "defaults", "tuned, 20 trials", "nothing to tune" or "as given", by the caller"""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """option -> value, where they are not the defaults"""
    trials: int = 0
    """that were fitted, failed ones included"""
    failed: int = 0
    seconds: float = 0.0
    ndcg: float | None = None
    """on the validation part"""
    default_ndcg: float | None = None
    """of the defaults; None where they failed"""

    def row(self, model: str) -> Row:
        """Of the slice `tuning`."""
        row = {"model": model, "slice": "tuning", "metric": "validation_ndcg", "k": None, "value": self.ndcg}
        about = {"defaults": self.default_ndcg, "chosen": dict(self.chosen), "trials": self.trials}
        return row | {"low": None, "high": None} | about | {"failed": self.failed, "seconds": self.seconds}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Tuning:
        """From its row, such as that of an evaluation that was interrupted."""
        names = ("chosen", "trials", "failed", "seconds")
        found = {name: row[name] for name in names}
        return cls(_label(row["trials"]), **found, ndcg=row["value"], default_ndcg=row["defaults"])


@dataclass(frozen=True, eq=False)
class Validation:
    """What trials are fitted and measured on."""

    train: Interactions
    slices: tuple[EvaluationSlice, ...]

    @classmethod
    def of(cls, scenario: Scenario, rng: np.random.Generator) -> Validation:
        """`scenario` is made of the training listens only."""
        return cls(scenario.split.train, tuple(_some_users(part, rng) for part in scenario.slices))

    def ndcg(self, model: Recommender) -> float:
        """The mean over slices of a fitted model's NDCG@10."""
        return float(np.mean([_ndcg(model, part) for part in self.slices]))


def plan_of(listens: Interactions, catalogue: Catalogue, options: EvaluationOptions) -> Iterator[Scenario]:
    """The scenarios that the options of an evaluation ask for."""
    return plan(
        listens,
        catalogue,
        protocol=options.protocol,
        scenarios=options.scenarios,
        allow_seen=options.allow_seen,
        seed=options.seed,
        gap_seconds=options.gap_days * DAY_SECONDS,
    )


class Tuner:
    """Chooses the options of the models of one scenario; `progress` counts the trials of all of them."""

    def __init__(
        self,
        scenario: Scenario,
        names: Sequence[str],
        catalogue: Catalogue,
        options: EvaluationOptions,
        message: Message,
        progress: Progress,
    ) -> None:
        self._catalogue, self._options = catalogue, options
        self._progress, self._where, self._message = progress, scenario.name, message
        self._validation = self._validation_of(scenario) if options.tune else None
        tunable = [name for name in names if options.make(name, catalogue).search_space]
        self._done, self._total = 0, len(tunable) * options.tune

    def tuning_of(self, name: str) -> Tuning | None:
        """None where all trials have failed."""
        options = self._options
        if (earlier := options.tunings.get(name)) is not None:
            return Tuning.of_row(earlier)
        if self._validation is None:
            return Tuning("as given" if options.model_arguments.get(name) else "defaults")

        def tried() -> None:
            self._done += 1
            self._progress(self._done, self._total, f"tuning {name}")

        def make(values: Mapping[str, Any]) -> Recommender:
            return options.make(name, self._catalogue, values)

        tuning = tuned(name, make, self._validation, options.tune, options.seed, message=self._say, tried=tried)
        if tuning is not None and not tuning.trials:
            self._say(f"{name} has {tuning.label}")
        elif tuning is not None:
            defaults = "" if tuning.default_ndcg is None else f", {tuning.default_ndcg:.4f} by the defaults"
            self._say(
                f"{name} {tuning.label} in {tuning.seconds:.0f} s: {listed(tuning.chosen)}; "
                f"validation NDCG@10 {tuning.ndcg:.4f}{defaults}"
            )
        return tuning

    def _validation_of(self, scenario: Scenario) -> Validation | None:
        """A part of the training listens, cut as the test was; None where there is none."""
        options = self._options
        protocol: str = options.protocol
        if protocol == "auto":
            known = (name for start, name in SPLIT_PROTOCOLS.items() if scenario.split.name.startswith(start))
            protocol = next(known, "auto")
        scenarios = (scenario.name,) if scenario.name in SCENARIOS else SCENARIOS
        # By another seed, so that what is held out by chance is not held out by the same draws.
        seed, gap_days = options.seed + 1, options.gap_days if PROTOCOLS[protocol].has_gap else 0.0
        inner = replace(options, protocol=cast(Any, protocol), scenarios=scenarios, gap_days=gap_days, seed=seed)
        try:
            (part,) = plan_of(scenario.split.train, self._catalogue, inner)
            # What only the test has is no candidate: nobody can be found to like it here.
            heard = scenario.split.train.listeners > 0
            slices = (replace(each, candidates=heard) if each.candidates is None else each for each in part.slices)
            part = replace(part, slices=tuple(slices))
            if part.slices:
                return Validation.of(part, np.random.default_rng([options.seed, scenario_number(scenario.name), 0, 2]))
            why = f"{part.split!r} leaves nobody to ask"
        except DataError as error:
            why = str(error)
        self._say(f"not tuned, since there is no validation part: {why}")
        return None

    def _say(self, text: str) -> None:
        self._message(f"{self._where}: {text}")


def tuned(
    name: str,
    make: Callable[[Mapping[str, Any]], Recommender],
    validation: Validation,
    trials: int,
    seed: int,
    *,
    message: Message = silent,
    tried: Callable[[], None] = silent,
) -> Tuning | None:
    """The best of some trials of `make(options that are not the defaults)`; None where all have failed.

    `tried` is called after each trial. What a failed one ended with goes to `message`.
    """
    space, rng = make({}).search_space, np.random.default_rng([seed, *name.encode()])
    if not space:
        return Tuning("nothing to tune")
    started = time.perf_counter()
    found: list[tuple[float, Mapping[str, Any]]] = []
    defaults = None
    for trial in range(trials):
        values = draw(space, rng) if trial else {}
        try:
            ndcg = validation.ndcg(make(values).fit(validation.train))
            if np.isfinite(ndcg):
                found.append((ndcg, values))
                defaults = defaults if trial else ndcg
            else:
                message(f"{name}: trial {trial} ({listed(values)}) left out; its scores are no numbers")
        except FAILURES as error:
            message(f"{name}: trial {trial} ({listed(values)}) left out; {str(error) or type(error).__name__}")
        tried()
    if not found:
        return None
    # Of equal ones the first, so that the defaults stay unless something is better.
    ndcg, chosen = max(found, key=lambda each: each[0])
    return Tuning(
        _label(trials),
        chosen,
        trials,
        trials - len(found),
        time.perf_counter() - started,
        ndcg,
        defaults,
    )


def _label(trials: int) -> str:
    return f"tuned, {trials} trials"


def listed(values: Mapping[str, Any]) -> str:
    """Options in a line of text.

    >>> listed({"factors": 64, "alpha": 12.345678}), listed({})
    ('factors 64, alpha 12.3', 'the defaults')
    """
    texts = ((option, f"{value:.3g}" if isinstance(value, float) else value) for option, value in values.items())
    return ", ".join(f"{option} {text}" for option, text in texts) or "the defaults"


def recommended(model: Recommender, part: EvaluationSlice, k: int) -> Ids:
    """[B, k] track ids of what the model recommends to the users of a slice."""
    if part.fold_in:
        return model.recommend_from(
            part.history, k, newest=part.newest, allow_seen=part.allow_seen, candidates=part.candidates
        )[0]
    return model.recommend(part.user_rows, k, allow_seen=part.allow_seen, candidates=part.candidates)[0]


def _ndcg(model: Recommender, part: EvaluationSlice) -> float:
    hits = metrics.hits(recommended(model, part, K), part.truth)
    return float(np.nanmean(metrics.ndcg(hits, metrics.relevant_counts(part.truth), K)))


def _some_users(part: EvaluationSlice, rng: np.random.Generator) -> EvaluationSlice:
    if len(part.user_rows) <= MOST_USERS:
        return part
    places = np.sort(rng.choice(len(part.user_rows), MOST_USERS, replace=False))
    counts = None if part.target_counts is None else part.target_counts[places]
    return replace(
        part,
        user_rows=part.user_rows[places],
        truth=part.truth[places],
        history=part.history[places],
        target_counts=counts,
        newest=None if part.newest is None else part.newest[places],
    )
