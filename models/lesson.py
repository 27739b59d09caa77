"""Lessons: what a ranker learns from.

The listens are split: sources and features see the history before the label period only; what users turned to in the
label period are the labels of their candidates. The history is split once more: two label periods teach more than one.

Shapes: N pairs of a user and a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import DataError
from .candidates import CELLS, USERS_PER_BATCH, CandidateOptions, Sources
from .catalogue import Catalogue
from .hybrid import Hybrid
from .listens import Listens, to_find
from .ranker import RankerOptions
from .ranking_features import Facts, FeatureTable, features, joined
from .splits import Split, fitting

LABEL_PERIODS = 2


@dataclass(frozen=True, kw_only=True)
class ChainOptions:
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    ranker: RankerOptions = field(default_factory=RankerOptions)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a ranker learns from: pairs, labels, and how well the candidates held what was turned to."""

    table: FeatureTable
    labels: NDArray[np.bool_]
    """[N]"""
    groups: NDArray[np.intp]
    """[N] users"""
    recall: dict[str, float]
    """source -> the share of what users turned to that it nominated; `all`: that is among the candidates"""


def lesson_of(
    listens: Listens,
    catalogue: Catalogue,
    hybrid: Hybrid,
    *,
    albums: NDArray[np.int32] | None = None,
    options: ChainOptions | None = None,
    seed: int = 0,
) -> Lesson:
    """Splits the listens as the log allows, fits the sources on the history, and labels their candidates.

    Then the same of that history: a second label period, before the first, teaches the same of other tracks.
    `hybrid` gives its choices only; DataError where there is too little to learn from.
    """
    options = options or ChainOptions()
    rng = np.random.default_rng([seed, 7])
    lessons: list[Lesson] = []
    while len(lessons) < LABEL_PERIODS:
        split = fitting(listens, rng)
        try:
            lessons.append(_of_period(split, catalogue, hybrid, albums, options, seed, rng))
        except DataError:
            if not lessons:
                raise
            break
        listens = split.train
    return _joined(lessons)


def _of_period(
    split: Split,
    catalogue: Catalogue,
    hybrid: Hybrid,
    albums: NDArray[np.int32] | None,
    options: ChainOptions,
    seed: int,
    rng: np.random.Generator,
) -> Lesson:
    if not np.any(split.train.weights > 0) or not np.any(split.test.weights > 0):
        raise DataError("ranker: the label period or the history before it has no listens")
    before = Hybrid(catalogue, als=hybrid.als.options, choices=hybrid.choices, seed=seed).fit(split.train)
    sources = Sources(before, options.candidates).fit(split.train)
    lesson = learn(sources, Facts.of(split.train, catalogue, albums), split, options.ranker, rng)
    found = int(lesson.labels.sum())
    if found < options.ranker.least_positives:
        needed = options.ranker.least_positives
        raise DataError(f"ranker: {found} listens of the label period are among the candidates; {needed} are needed")
    return lesson


def _joined(lessons: Sequence[Lesson]) -> Lesson:
    """One lesson; a user of two label periods is two users. Recall is that of the first, the newest."""
    newest = lessons[0]
    # A shorter history may lack a source, as segments need many listeners.
    kept = [lesson for lesson in lessons if lesson.table.names == newest.table.names]
    starts = np.cumsum([0, *(lesson.groups.max() + 1 for lesson in kept[:-1])])
    return Lesson(
        joined([lesson.table for lesson in kept]),
        np.concatenate([lesson.labels for lesson in kept]),
        np.concatenate([start + lesson.groups for start, lesson in zip(starts, kept, strict=True)]),
        newest.recall,
    )


def learn(sources: Sources, facts: Facts, split: Split, options: RankerOptions, rng: np.random.Generator) -> Lesson:
    """Candidates of the history with labels of the label period, some of the users and some of the negatives."""
    facts.forbid(split.test, within_user=split.within_user)
    truth = to_find(split.test.matrix, sources.hybrid.history.heard)
    users = np.flatnonzero((np.diff(truth.indptr) > 0) & sources.hybrid.history.warm_users)
    if not len(users):
        raise DataError("ranker: no user has listens both in the label period and before it")
    if len(users) > options.users:
        users = np.sort(rng.choice(users, options.users, replace=False))
    batch = max(1, min(USERS_PER_BATCH, CELLS // sources.track_count))
    tables, labels, groups = [], [], []
    reached: dict[str, int] = {}
    for start in range(0, len(users), batch):
        rows = users[start : start + batch].astype(np.int32)
        found = sources.gather(sources.audience(rows))
        wanted = np.take_along_axis(truth[rows].toarray() > 0, np.maximum(found.ids, 0), axis=1) & found.there
        for name, flags in found.nominated.items():
            reached[name] = reached.get(name, 0) + int((wanted & flags).sum())
        reached["all"] = reached.get("all", 0) + int(wanted.sum())
        # A user's negatives: those with the smallest of random numbers.
        lots = np.where(wanted | ~found.there, np.inf, rng.random(wanted.shape))
        most = min(options.negatives, lots.shape[1] - 1)
        cut = np.partition(lots, most, axis=1)[:, [most]]
        kept = wanted | (lots < cut)
        kept &= wanted.any(axis=1, keepdims=True)
        here = kept[found.there]
        tables.append(features(sources, facts, found).take(here))
        labels.append(wanted[found.there][here])
        groups.append(np.repeat(rows, found.there.sum(axis=1))[here])
    total = max(int(truth[users].nnz), 1)
    recall = {name: count / total for name, count in sorted(reached.items(), key=lambda pair: -pair[1])}
    return Lesson(joined(tables), np.concatenate(labels), np.concatenate(groups).astype(np.intp), recall)
