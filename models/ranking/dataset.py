"""Lessons: what a ranker learns from.

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
from .candidates import CELLS, USERS_PER_BATCH, CandidateOptions, Sources
from .features import Facts, FeatureTable, features, joined
from .ranker import RankerOptions

LABEL_PERIODS = 2
ASIDE = 7
"""one in so many users is kept aside"""


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
    """[N] users, in ascending order"""
    aside: NDArray[np.bool_]
    """[N] whether the user is kept aside, with all candidates"""
    rate: float
    """the share of their candidates that all warm users turned to in the newest label period"""
    recall: dict[str, float]
    """source -> the share of what users turned to that it nominated; `all`: that is among the candidates"""


def lesson_of(
    listens: Interactions,
    catalogue: Catalogue,
    hybrid: Hybrid,
    *,
    albums: NDArray[np.int32] | None = None,
    options: ChainOptions | None = None,
    seed: int = 0,
) -> Lesson:
    """Splits the listens as the log allows, fits the sources on the history, and labels their candidates.

    Then the same of that history: a second label period, before the first, teaches the same of other tracks.
    `hybrid` gives the options of its ALS only; DataError where there is too little to learn from.
    """
    options = options or ChainOptions()
    rng = np.random.default_rng([seed, 7])
    aside = rng.permutation(listens.user_count) % ASIDE == 0
    lessons: list[Lesson] = []
    while len(lessons) < LABEL_PERIODS:
        split = fitting(listens, rng)
        if lessons:
            split = replace(split, test=split.test.take(~aside[split.test.user_rows]))
        judges = np.zeros_like(aside) if lessons else aside
        try:
            lessons.append(_of_period(split, catalogue, hybrid, albums, options, seed, rng, judges))
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
    aside: NDArray[np.bool_],
) -> Lesson:
    if not np.any(split.train.weights > 0) or not np.any(split.test.weights > 0):
        raise DataError("ranker: the label period or the history before it has no listens")
    before = Hybrid(catalogue, als=hybrid.als.options, seed=seed).fit(split.train)
    sources = Sources(before, options.candidates).fit(split.train)
    lesson = learn(sources, Facts.of(split.train, catalogue, albums), split, options.ranker, rng, aside)
    found = int(lesson.labels.sum())
    if found < options.ranker.least_positives:
        needed = options.ranker.least_positives
        raise DataError(f"ranker: {found} listens of the label period are among the candidates; {needed} are needed")
    return lesson


def _joined(lessons: Sequence[Lesson]) -> Lesson:
    """One lesson; a user of two label periods is two users. Rate and recall are those of the first, the newest."""
    starts = np.cumsum([0, *(lesson.groups.max() + 1 for lesson in lessons[:-1])])
    return Lesson(
        joined([lesson.table for lesson in lessons]),
        np.concatenate([lesson.labels for lesson in lessons]),
        np.concatenate([start + lesson.groups for start, lesson in zip(starts, lessons, strict=True)]),
        np.concatenate([lesson.aside for lesson in lessons]),
        lessons[0].rate,
        lessons[0].recall,
    )


def learn(
    sources: Sources,
    facts: Facts,
    split: Split,
    options: RankerOptions,
    rng: np.random.Generator,
    aside: NDArray[np.bool_],
) -> Lesson:
    """Candidates of the history with labels of the label period; `aside` [U] the users kept aside.

    Some of these with all candidates; some of the others who turned to any of their candidates, with some negatives.
    """
    facts.forbid(split.test, within_user=split.within_user)
    truth = to_find(split.test.matrix, sources.hybrid.history.heard)
    warm = sources.hybrid.history.warm_users
    turned = (np.diff(truth.indptr) > 0) & warm
    learners = np.flatnonzero(turned & ~aside)
    if not len(learners):
        raise DataError("ranker: no user has listens both in the label period and before it")
    judges = rng.permutation(np.flatnonzero(warm & aside))[: options.users // (ASIDE - 1)]
    users = np.sort(np.concatenate([rng.permutation(learners)[: options.users], judges]))
    batch = max(1, min(USERS_PER_BATCH, CELLS // sources.track_count))
    tables, labels, groups = [], [], []
    reached: dict[str, int] = {}
    offered = 0
    for start in range(0, len(users), batch):
        rows = users[start : start + batch].astype(np.int32)
        found = sources.gather(sources.audience(rows))
        wanted = np.take_along_axis(truth[rows].toarray() > 0, np.maximum(found.ids, 0), axis=1) & found.there
        for name, flags in found.nominated.items():
            reached[name] = reached.get(name, 0) + int((wanted & flags).sum())
        reached["all"] = reached.get("all", 0) + int(wanted.sum())
        offered += int(found.there[turned[rows]].sum())
        # A user's negatives: those with the smallest of random numbers.
        lots = np.where(wanted | ~found.there, np.inf, rng.random(wanted.shape))
        most = min(options.negatives, lots.shape[1] - 1)
        cut = np.partition(lots, most, axis=1)[:, [most]]
        kept = wanted | (lots < cut)
        kept &= wanted.any(axis=1, keepdims=True)
        kept |= found.there & aside[rows, None]
        here = kept[found.there]
        tables.append(features(sources, facts, found).take(here))
        labels.append(wanted[found.there][here])
        groups.append(np.repeat(rows, found.there.sum(axis=1))[here])
    total = max(int(truth[users].nnz), 1)
    recall = {name: count / total for name, count in sorted(reached.items(), key=lambda pair: -pair[1])}
    owners = np.concatenate(groups).astype(np.intp)
    # Users who turned to nothing have as many candidates as others.
    rate = reached["all"] / max(offered, 1) * turned.sum() / warm.sum()
    return Lesson(joined(tables), np.concatenate(labels), owners, aside[owners], float(rate), recall)
