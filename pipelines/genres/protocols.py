"""How labelled tracks are divided for a test: folds of unheard artists first, random folds beside them, marked leaky.

Shapes: T tracks, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...models.genres.folds import Rows, grouped_folds, groups_per_class
from .examples import Prepared


@dataclass(frozen=True)
class Trial:
    """One division into training and test tracks."""

    train: Rows
    test: Rows
    validation: Rows | None = None


@dataclass(frozen=True)
class Protocol:
    """How tracks are divided, and what that is worth."""

    name: str
    """artist (or album), random, given"""
    leaky: bool
    """whether tracks of one artist may be on both sides"""
    trials: tuple[Trial, ...]
    skipped: tuple[str, ...] = ()
    """classes of a single artist, which no unheard artist can be tested on"""
    unknown: int = 0
    """tracks without an artist, which are neither trained on nor tested: their artist may be on the other side"""
    repeats: int = 1
    """how often the tracks were divided anew"""


def protocols(prepared: Prepared, *, folds: int = 5, repeats: int = 1, seed: int = 0) -> list[Protocol]:
    """The ways to test on this data, the honest one first."""
    labels, material = prepared.labels, prepared.material
    if labels.splits is not None:
        return [_given(prepared, labels.splits)]
    found = []
    known = np.array([bool(names) for names in labels.group_keys() or [()] * len(labels)])
    if known.any():
        single = groups_per_class(material.targets[known], material.groups[known]) < 2
        tested = known & ~material.targets[:, single].any(axis=1)
        if (~single).sum() >= 2:
            skipped = tuple(name for name, alone in zip(labels.classes, single, strict=True) if alone)
            trials = _folds(material.targets, material.groups, tested, known, folds, repeats, seed)
            name = "album" if labels.target == "artist" else "artist"
            found.append(Protocol(name, False, trials, skipped, int((~known).sum()), repeats))
    each = np.arange(len(labels))
    everything = np.ones(len(labels), bool)
    trials = _folds(material.targets, each, everything, everything, folds, repeats, seed)
    found.append(Protocol("random", True, trials, repeats=repeats))
    return found


def _folds(
    targets: NDArray[np.bool_],
    groups: Rows,
    tested: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    folds: int,
    repeats: int,
    seed: int,
) -> tuple[Trial, ...]:
    """Folds of the tested tracks. The other usable ones are always trained on (a genre to be mistaken for), unless
    their artist is being tested."""
    trials = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        rows = as_rows(tested)
        fold = grouped_folds(targets[rows], groups[rows], min(folds, len(np.unique(groups[rows]))), rng=rng)
        for number in np.unique(fold):
            test = rows[fold == number]
            trials.append(Trial(as_rows(usable & ~np.isin(groups, groups[test])), test))
    return tuple(trials)


def given_parts(splits: Sequence[str]) -> Trial:
    """The rows of each part, as the labels fix them; the test part may be empty."""
    part = np.array(splits)
    train, validation, test = (as_rows(part == name) for name in ("train", "validation", "test"))
    return Trial(train, test, validation if len(validation) else None)


def _given(prepared: Prepared, splits: Sequence[str]) -> Protocol:
    trial, groups = given_parts(splits), prepared.material.groups
    if not len(trial.test):
        raise DataError(f"{prepared.labels.source}: column split: no test files")
    shared = np.isin(groups[trial.test], np.delete(groups, trial.test)).any()
    return Protocol("given", prepared.labels.leaky or bool(shared), (trial,))


def as_rows(mask: NDArray[np.bool_]) -> Rows:
    """Row numbers where a mask is set."""
    return np.flatnonzero(mask).astype(np.int64)
