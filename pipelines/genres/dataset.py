"""Labelled audio with its features, and how it is divided for a test: by artist, and beside it at random (leaky).

Shapes: T tracks of the data set, n of them in rows, C classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...models.arrays import Floats
from ...models.genres.classical import Targets
from ...models.genres.folds import Rows, grouped_folds, groups_per_class, splits
from ...models.genres.heads import PooledFeatures, WindowFeatures
from ...models.storage import content_hash
from ..audio_analysis.feature_sources import FeatureCache, extract_all
from ..library.progress import Progress, silent
from .labels import LabelledAudio, checked


@dataclass(frozen=True, eq=False)
class AudioDataset:
    """T labelled files and their features; files without features are left out and named in `failed`."""

    labels: LabelledAudio
    features: dict[str, list[Floats]]
    """by source, the windows of each track"""
    content: tuple[str, ...] = ()
    """[T] SHA-256 of each file"""
    failed: dict[str, str] = field(default_factory=dict)
    """file as labelled -> reason"""
    _vectors: dict[PooledFeatures, Floats] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def targets(self) -> Targets:
        """[T, C]"""
        return self.labels.targets

    @cached_property
    def groups(self) -> Rows:
        """[T] tracks of one artist (or equal content) have one number"""
        return self.labels.groups(self.content)

    @property
    def multi_label(self) -> bool:
        return self.labels.multi_label

    @property
    def data_hash(self) -> str:
        """SHA-256 over contents and labels, in any order of files."""
        lines = sorted(f"{one} {'|'.join(names)}" for one, names in zip(self.content, self.labels.labels, strict=True))
        return content_hash("\n".join(lines).encode(), "sha256")

    def vectors(self, pooled: PooledFeatures) -> Floats:
        """[T, D], made once."""
        if pooled not in self._vectors:
            self._vectors[pooled] = pooled.vectors(self.features)
        return self._vectors[pooled]

    def of(self, rows: Rows, sources: Sequence[str]) -> WindowFeatures:
        """The windows of some tracks."""
        return {source: [self.features[source][row] for row in rows] for source in sources}


def prepare(
    labels: LabelledAudio,
    sources: Sequence[str],
    cache: FeatureCache,
    *,
    skip_classes: bool = False,
    progress: Progress = silent,
) -> AudioDataset:
    """Extracts the features of every file. DataError where too little is left to learn from."""
    extracted, failed = {}, {}
    for one in extract_all(labels.paths, sources, cache):
        name = labels.names[one.row]
        if one.reason:
            failed[name] = one.reason
        else:
            extracted[name] = one
        progress(one.row + 1, len(labels))
    if not extracted:
        name, reason = next(iter(failed.items()))
        raise DataError(f"{labels.source}: none of {len(labels)} files could be heard; {name}: {reason}")
    kept = labels.select(row for row, name in enumerate(labels.names) if name in extracted)
    lost = set(labels.classes) - set(kept.classes)
    if lost and not skip_classes:
        name = min(lost)
        files = [file for file, names in zip(labels.names, labels.labels, strict=True) if name in names]
        why = f"none of its {len(files)} files could be heard ({failed[files[0]]})"
        raise DataError(f"{labels.source}: class {name!r}: {why}")
    # What is left must still be learnable: a class may have lost all but one of its files.
    final = checked(kept, skip_classes=skip_classes)
    rows = [extracted[name] for name in final.names]
    features = {source: [one.windows[source] for one in rows] for source in sources}
    return AudioDataset(final, features, tuple(one.content for one in rows), failed)


@dataclass(frozen=True)
class Fold:
    """One division into training and test tracks."""

    train: Rows
    test: Rows
    validation: Rows | None = None


@dataclass(frozen=True)
class EvaluationProtocol:
    """How tracks are divided, and what that is worth."""

    name: str
    """artist (or album), random, given"""
    leaky: bool
    """whether tracks of one artist may be on both sides"""
    folds: tuple[Fold, ...] = ()
    skipped: tuple[str, ...] = ()
    """classes of a single artist, which cannot be tested on another artist"""
    unknown: int = 0
    """tracks without an artist, which are neither trained on nor tested: their artist may be on the other side"""
    repeats: int = 1
    """how often the tracks were divided anew"""


def protocols(dataset: AudioDataset, *, folds: int = 5, repeats: int = 1, seed: int = 0) -> list[EvaluationProtocol]:
    """The ways to test on this data, the honest one first."""
    labels, targets, groups = dataset.labels, dataset.targets, dataset.groups
    if labels.splits is not None:
        fold = given_fold(labels.splits)
        if not len(fold.test):
            raise DataError(f"{labels.source}: column split: no test files")
        shared = np.isin(groups[fold.test], np.delete(groups, fold.test)).any()
        return [EvaluationProtocol("given", labels.leaky or bool(shared), (fold,))]
    result = []
    known = np.array([bool(names) for names in labels.group_keys()])
    single = groups_per_class(targets[known], groups[known]) < 2
    if (~single).sum() >= 2:
        tested = known & ~targets[:, single].any(axis=1)
        skipped = tuple(name for name, alone in zip(labels.classes, single, strict=True) if alone)
        name = "album" if labels.target == "artist" else "artist"
        divided = _folds(targets, groups, tested, known, folds, repeats, seed)
        result.append(EvaluationProtocol(name, False, divided, skipped, int((~known).sum()), repeats))
    everything = np.ones(len(dataset), bool)
    divided = _folds(targets, np.arange(len(dataset)), everything, everything, folds, repeats, seed)
    return [*result, EvaluationProtocol("random", True, divided, repeats=repeats)]


def _folds(
    targets: Targets,
    groups: Rows,
    tested: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    folds: int,
    repeats: int,
    seed: int,
) -> tuple[Fold, ...]:
    """Folds of the tested tracks. The other usable ones are always trained on (a genre to be mistaken for), unless
    their artist is being tested."""
    rows = np.flatnonzero(tested)
    count = min(folds, len(np.unique(groups[rows])))
    result = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        for _, test in splits(grouped_folds(targets[rows], groups[rows], count, rng=rng)):
            train = np.flatnonzero(usable & ~np.isin(groups, groups[rows[test]]))
            result.append(Fold(train, rows[test]))
    return tuple(result)


def given_fold(parts: Sequence[str]) -> Fold:
    """The rows of each part, as the labels fix them; the test part may be empty."""
    train, validation, test = (np.flatnonzero(np.array(parts) == part) for part in ("train", "validation", "test"))
    return Fold(train, test, validation if len(validation) else None)
