"""Ranking datasets: what a ranker learns from.

The listens are split: sources and features see the history before the label period only; what users turned to in the
label period are the labels of their candidates. The history is split once more: two label periods teach more than one.
Each history makes the hybrid's choices itself: those of all listens were tuned on the labels.

Some users are kept aside from all of it. Of the others, those who turned to something teach, with a sample of what they
left; the users kept aside are as all users are, with all of their candidates, so that shares among them are true.

Shapes: N pairs of a user and a candidate, U users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..catalogue import Catalogue
from ..evaluation.splits import Split, fitting
from ..hybrid.model import Hybrid
from ..interactions import Interactions, to_find
from .candidates import CandidateGenerator, CandidateOptions
from .features import FeatureTable, HistoryStatistics, features, joined
from .ranker import RankerOptions

LABEL_PERIODS = 2
HELD_OUT_EVERY = 7
"""one in so many users is kept aside"""


@dataclass(frozen=True, kw_only=True)
class TwoStageOptions:
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    ranker: RankerOptions = field(default_factory=RankerOptions)


@dataclass(frozen=True, eq=False)
class RankingDataset:
    """What a ranker learns from: pairs, labels, and how well the candidates held what was turned to."""

    table: FeatureTable
    labels: NDArray[np.bool_]
    """[N]"""
    groups: NDArray[np.intp]
    """[N] users, in ascending order"""
    held_out: NDArray[np.bool_]
    """[N] whether the user is kept aside, with all candidates"""
    rate: float
    """the share of their candidates that all warm users turned to in the newest label period"""
    recall: dict[str, float]
    """source -> the share of what users turned to that it nominated; `all`: that is among the candidates"""


def ranking_dataset(
    listens: Interactions,
    catalogue: Catalogue,
    hybrid: Hybrid,
    *,
    albums: NDArray[np.int32] | None = None,
    options: TwoStageOptions | None = None,
    seed: int = 0,
) -> RankingDataset:
    """Splits the listens as the log allows, fits the sources on the history, and labels their candidates.

    Then the same of that history: a second label period, before the first, teaches the same of other tracks.
    `hybrid` gives the options of its ALS only; DataError where there is too little to learn from.
    """
    options = options or TwoStageOptions()
    rng = np.random.default_rng([seed, 7])
    held_out = rng.permutation(listens.user_count) % HELD_OUT_EVERY == 0
    datasets: list[RankingDataset] = []
    while len(datasets) < LABEL_PERIODS:
        split = fitting(listens, rng)
        if datasets:
            split = replace(split, test=split.test.take(~held_out[split.test.user_rows]))
        judges = np.zeros_like(held_out) if datasets else held_out
        try:
            datasets.append(_of_label_period(split, catalogue, hybrid, albums, options, seed, rng, judges))
        except DataError:
            if not datasets:
                raise
            break
        listens = split.train
    return _joined(datasets)


def _of_label_period(
    split: Split,
    catalogue: Catalogue,
    hybrid: Hybrid,
    albums: NDArray[np.int32] | None,
    options: TwoStageOptions,
    seed: int,
    rng: np.random.Generator,
    held_out: NDArray[np.bool_],
) -> RankingDataset:
    if not np.any(split.train.weights > 0) or not np.any(split.test.weights > 0):
        raise DataError("ranker: the label period or the history before it has no listens")
    before = Hybrid(catalogue, als=hybrid.als.options, seed=seed).fit(split.train)
    generator = CandidateGenerator(before, options.candidates).fit(split.train)
    dataset = labelled_candidates(
        generator, HistoryStatistics.of(split.train, catalogue, albums), split, options.ranker, rng, held_out
    )
    count = int(dataset.labels.sum())
    if count < options.ranker.least_positives:
        needed = options.ranker.least_positives
        raise DataError(f"ranker: {count} listens of the label period are among the candidates; {needed} are needed")
    return dataset


def _joined(datasets: Sequence[RankingDataset]) -> RankingDataset:
    """One dataset; a user of two label periods is two users. Rate and recall are those of the first, the newest."""
    starts = np.cumsum([0, *(dataset.groups.max() + 1 for dataset in datasets[:-1])])
    return RankingDataset(
        joined([dataset.table for dataset in datasets]),
        np.concatenate([dataset.labels for dataset in datasets]),
        np.concatenate([start + dataset.groups for start, dataset in zip(starts, datasets, strict=True)]),
        np.concatenate([dataset.held_out for dataset in datasets]),
        datasets[0].rate,
        datasets[0].recall,
    )


def labelled_candidates(
    generator: CandidateGenerator,
    statistics: HistoryStatistics,
    split: Split,
    options: RankerOptions,
    rng: np.random.Generator,
    held_out: NDArray[np.bool_],
) -> RankingDataset:
    """Candidates of the history with labels of the label period; `held_out` [U] the users kept aside.

    Some of these with all candidates; some of the others who turned to any of their candidates, with some negatives.
    """
    statistics.check_no_leak(split.test, within_user=split.within_user)
    truth = to_find(split.test.matrix, generator.hybrid.history.heard)
    warm = generator.hybrid.history.warm_users
    turned = (np.diff(truth.indptr) > 0) & warm
    learners = np.flatnonzero(turned & ~held_out)
    if not len(learners):
        raise DataError("ranker: no user has listens both in the label period and before it")
    judges = rng.permutation(np.flatnonzero(warm & held_out))[: options.users // (HELD_OUT_EVERY - 1)]
    users = np.sort(np.concatenate([rng.permutation(learners)[: options.users], judges]))
    tables, labels, groups = [], [], []
    reached: dict[str, int] = {}
    offered = 0
    for user in users.tolist():
        candidates = generator.candidates_of(generator.trained_profile(user))
        turned_to = np.isin(candidates.ids, truth.indices[truth.indptr[user] : truth.indptr[user + 1]])
        for name, flags in candidates.nominated.items():
            reached[name] = reached.get(name, 0) + int((turned_to & flags).sum())
        reached["all"] = reached.get("all", 0) + int(turned_to.sum())
        offered += len(candidates) if turned[user] else 0
        # Negatives: a sample without replacement, as those with the smallest of random numbers.
        lots = np.where(turned_to, np.inf, rng.random(len(candidates)))
        kept = np.full(len(candidates), held_out[user])
        if turned_to.any():
            kept |= turned_to | (lots < np.sort(lots)[min(options.negatives, len(candidates) - 1)])
        tables.append(features(generator, statistics, candidates).take(kept))
        labels.append(turned_to[kept])
        groups.append(np.full(int(kept.sum()), user))
    total = max(int(truth[users].nnz), 1)
    recall = {name: count / total for name, count in sorted(reached.items(), key=lambda pair: -pair[1])}
    owners = np.concatenate(groups).astype(np.intp)
    # Users who turned to nothing have as many candidates as others.
    rate = reached["all"] / max(offered, 1) * turned.sum() / warm.sum()
    return RankingDataset(joined(tables), np.concatenate(labels), owners, held_out[owners], float(rate), recall)
