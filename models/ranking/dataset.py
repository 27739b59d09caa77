"""Ranking datasets: labelled candidates to train a ranker on.

The listens are split: sources and features are computed from the history before the label period only; a candidate's
label is whether the user listened to it in the label period.

- By time, the label period is hidden for all users, as the future is when serving. Where that leaves fewer users than
  two label periods are asked for, the history is split once more, for a second label period.
- Within users, where label periods are not later than the listens of others, they are hidden for one fold of the users
  at a time, until the users are enough: the sources are fitted on the whole listens of the others, nearly as many as
  when serving.

Each history tunes the hybrid's choices itself: those of all listens were tuned on the labels.

A seventh of the users is held out, with all of their candidates, so that rates among them are those of all users. Of
the others, those with a positive label are trained on, with a sample of their negatives.

Shapes: N pairs of a user and a candidate, U users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Mask, row_entries, top_k_of_lists
from ..catalogue import Catalogue
from ..evaluation.splits import Split, fitting
from ..hybrid.model import Hybrid
from ..interactions import Interactions, to_find
from .candidates import CandidateGenerator, CandidateOptions
from .features import FeatureTable, HistoryStatistics, features, joined
from .ranker import RankerOptions

LABEL_PERIODS = 2
"""of a split by time"""
LABEL_FOLDS = 4
"""of users, of a split within them"""
HELD_OUT_EVERY = 7
"""one in so many users is held out"""


@dataclass(frozen=True, kw_only=True)
class TwoStageOptions:
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    ranker: RankerOptions = field(default_factory=RankerOptions)


@dataclass(frozen=True, eq=False)
class RankingDataset:
    """Pairs and their labels, and the recall of the candidate sources."""

    table: FeatureTable
    labels: Mask
    """[N]"""
    groups: NDArray[np.intp]
    """[N] users, in ascending order"""
    held_out: Mask
    """[N] whether the user is held out, with all candidates"""
    rate: float
    """the share of positive labels among all candidates of all warm users, in the newest label period"""
    recall: dict[str, float]
    """source -> the share of the tracks of the label period that it nominated; `all`: that are among the candidates"""
    users: int
    """who are not held out, also those without a positive label among their candidates, who have no pairs"""


def ranking_dataset(
    listens: Interactions,
    catalogue: Catalogue,
    hybrid: Hybrid,
    *,
    options: TwoStageOptions | None = None,
    seed: int = 0,
) -> RankingDataset:
    """Splits the listens as the log allows, fits the sources on each history, and labels their candidates.

    Of `hybrid` only the options of its ALS are used; DataError where there is too little to train on.
    """
    options = options or TwoStageOptions()
    rng = np.random.default_rng([seed, 7])
    held_out = rng.permutation(listens.user_count) % HELD_OUT_EVERY == 0

    def labelled(split: Split, users: Mask) -> RankingDataset:
        if not np.any(split.train.weights > 0) or not np.any(split.test.weights > 0):
            raise DataError("ranker: the label period or the history before it has no listens")
        before = Hybrid(catalogue, als=hybrid.als.options, seed=seed).fit(split.train)
        generator = CandidateGenerator(before, options.candidates).fit(split.train)
        statistics = HistoryStatistics.of(split.train, catalogue)
        return labelled_candidates(generator, statistics, split, options.ranker, rng, held_out, users)

    newest = fitting(listens, rng)
    if newest.within_user:
        folds: list[RankingDataset] = []
        for split, users in _folds(newest, rng):
            folds.append(labelled(split, users))
            if _are_enough(folds, options.ranker):
                break
        rate = float(np.mean([fold.rate for fold in folds]))
        recall = {name: float(np.mean([fold.recall.get(name, 0) for fold in folds])) for name in folds[0].recall}
        return _sufficient(replace(_joined(folds), rate=rate, recall=recall), options.ranker)
    datasets = [_sufficient(labelled(newest, np.ones_like(held_out)), options.ranker)]
    history = newest.train
    try:
        while len(datasets) < LABEL_PERIODS and not _are_enough(datasets, options.ranker):
            earlier = fitting(history, rng)
            datasets.append(_sufficient(labelled(earlier, ~held_out), options.ranker))
            history = earlier.train
    except DataError:
        # What is left of the listens is too little for another period.
        pass
    return _joined(datasets)


def _folds(split: Split, rng: np.random.Generator) -> Iterator[tuple[Split, Mask]]:
    """For each fold of the users [U]: a split that hides the label period of these only."""
    users = rng.permutation(np.unique(split.train.user_rows))
    fold_of = np.full(split.train.user_count, -1)
    fold_of[users] = np.arange(len(users)) % LABEL_FOLDS
    for fold in range(LABEL_FOLDS):
        hidden = fold_of[split.test.user_rows] == fold
        train = split.train.joined(split.test.take(~hidden))
        yield replace(split, train=train, test=split.test.take(hidden)), fold_of == fold


def _are_enough(datasets: Sequence[RankingDataset], options: RankerOptions) -> bool:
    """Whether there are as many users to train on as all label periods together may have."""
    return sum(dataset.users for dataset in datasets) >= LABEL_PERIODS * options.users


def _sufficient(dataset: RankingDataset, options: RankerOptions) -> RankingDataset:
    count, needed = int(dataset.labels.sum()), options.least_positives
    if count < needed:
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
        sum(dataset.users for dataset in datasets),
    )


def labelled_candidates(
    generator: CandidateGenerator,
    statistics: HistoryStatistics,
    split: Split,
    options: RankerOptions,
    rng: np.random.Generator,
    held_out: Mask,
    users: Mask | None = None,
) -> RankingDataset:
    """Candidates of the history with labels of the label period, of `users` [U] or all; `held_out` [U].

    A sample of the held-out users with all candidates; of the others who have a positive label, with some negatives.
    """
    statistics.check_no_leak(split.test, within_user=split.within_user)
    truth = to_find(split.test.matrix, generator.hybrid.history.matrix)
    warm = generator.hybrid.history.warm_users
    if users is not None:
        warm = warm & users
    active = (np.diff(truth.indptr) > 0) & warm
    trained = np.flatnonzero(active & ~held_out)
    if not len(trained):
        raise DataError("ranker: no user has listens both in the label period and before it")
    evaluated = rng.permutation(np.flatnonzero(warm & held_out))[: options.users // (HELD_OUT_EVERY - 1)]
    # A log with so many users needs no second label period, and no second fit of everything.
    most = options.users * (LABEL_PERIODS if len(trained) >= LABEL_PERIODS * options.users else 1)
    trained = rng.permutation(trained)[:most]
    chosen = np.sort(np.concatenate([trained, evaluated]))
    entries, owners = row_entries(truth, chosen)
    wanted = np.sort(chosen[owners] * truth.shape[1] + truth.indices[entries])
    tables, labels, groups = [], [], []
    reached: dict[str, int] = {}
    offered = 0
    for candidates in generator.trained_candidates(chosen):
        owners = np.array([user.user_row for user in candidates.users])[candidates.pairs.owners]
        cells = owners * truth.shape[1] + candidates.ids
        positive = wanted[np.minimum(np.searchsorted(wanted, cells), len(wanted) - 1)] == cells
        for name, flags in candidates.nominated.items():
            reached[name] = reached.get(name, 0) + int((positive & flags).sum())
        reached["all"] = reached.get("all", 0) + int(positive.sum())
        offered += int(active[owners].sum())
        # Negatives: a sample without replacement, as those with the smallest of random numbers.
        lots = np.where(positive, -np.inf, -rng.random(len(owners)))
        kept = positive.copy()
        kept[top_k_of_lists(lots, candidates.pairs.ends, options.negatives)[0]] = True
        kept &= np.bincount(owners, positive, len(active))[owners] > 0
        kept |= held_out[owners]
        tables.append(features(generator, statistics, candidates, kept))
        labels.append(positive[kept])
        groups.append(owners[kept])
    total = max(int(truth[chosen].nnz), 1)
    recall = {name: count / total for name, count in sorted(reached.items(), key=lambda pair: -pair[1])}
    owners = np.concatenate(groups).astype(np.intp)
    # Users without a positive label have as many candidates as others.
    rate = reached["all"] / max(offered, 1) * active.sum() / warm.sum()
    return RankingDataset(
        joined(tables), np.concatenate(labels), owners, held_out[owners], float(rate), recall, len(trained)
    )
