"""Rows of metrics: what the lists of one model, or those of two, come to on one slice.

A model is given by the lists of each of its seeds: values are means over them, and `seed_spread` is their standard
deviation. docs/metrics.md has the formulas.

Shapes: B users of a slice, T tracks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import Ids
from ...models.evaluation import metrics
from ...models.evaluation.bootstrap import LEVEL, Interval, exposure_intervals, intervals, ratio_interval
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
from .options import EvaluationOptions
from .profiling import Row
from .protocols import SCENARIOS, EvaluationSlice
from .slices import SliceGroups
from .yambda_benchmark import gains

COMPARED = ("recall", "ndcg")
"""metrics that models are compared by"""
Measured = dict[tuple[str, int], Values]
"""(metric, k) -> [B] one value per user"""


@dataclass(frozen=True, eq=False)
class MetricInputs:
    """What the metrics of one scenario look up."""

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


def metric_values(ids: Ids, part: EvaluationSlice, inputs: MetricInputs, ks: Sequence[int]) -> Measured:
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
    values: Measured = {}
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
    each: Sequence[Measured],
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
            yield metric_row(model, part, metric, k, Interval(*bounds)) | _spread(one.value for one in found)


def _interval_rows(
    model: str,
    each: Sequence[Measured],
    part: EvaluationSlice,
    options: EvaluationOptions,
    rng: np.random.Generator,
) -> Iterator[Row]:
    mean = mean_of_seeds(each)
    found = intervals(np.stack(list(mean.values()), axis=1), rng, resamples=options.resamples)
    for measure, interval in zip(mean, found, strict=True):
        yield metric_row(model, part, *measure, interval) | _spread(_mean(values[measure]) for values in each)


def group_rows(
    model: str,
    groups: SliceGroups,
    lists: Sequence[Ids],
    each: Sequence[Measured],
    part: EvaluationSlice,
    options: EvaluationOptions,
) -> Iterator[Row]:
    """The rows of the groups within a slice; their draws are their own, so that they change no other interval."""
    rng = np.random.default_rng([options.seed, len(SCENARIOS), 1])
    of_seeds = (groups.values(ids, values, options.ks) for ids, values in zip(lists, each, strict=True))
    for seeds in zip(*of_seeds, strict=True):
        name, users, _ = seeds[0]
        for row in _interval_rows(model, [found for _, _, found in seeds], part, options, rng):
            yield row | {"slice": f"{part.name}, {name}", "group": name, "users": users}


def pooled_rows(
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
        yield metric_row(model, part, "pooled_ndcg", k, interval) | _spread(
            pair[0].sum() / below.sum() for pair in pairs
        )


def gain_rows(
    values: dict[str, Measured],
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
                yield metric_row(names[model], part, f"{metric}_gain", k, interval) | {
                    "against": names[other],
                    "better": sure and interval.value > 0,
                    "worse": sure and interval.value < 0,
                    "p_value": round(float(p_value), 6),
                    "p_corrected": round(float(corrected), 6),
                }


def mean_of_seeds(each: Sequence[Measured]) -> Measured:
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


def metric_row(model: str, part: EvaluationSlice, metric: str, k: int, interval: Interval) -> Row:
    row = {"model": model, "slice": part.name, "metric": metric, "k": k}
    return row | interval.record() | {"users": len(part.user_rows), "allow_seen": part.allow_seen}
