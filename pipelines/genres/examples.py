"""Labelled audio that has been heard, and what a way to learn genres makes of it.

Shapes: T tracks of the data set, n of them in `rows`, C classes, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import DataError
from ...models.genres.calibration import Calibration, fit_calibration
from ...models.genres.classical import Floats, Targets
from ...models.genres.classifiers import Classifier, Heard, Recipe
from ...models.genres.folds import Rows
from ...models.storage import content_hash
from ..audio_analysis.feature_sources import FeatureCache, hear_all
from .dataset import LabelledAudio, checked

Watch = Callable[[str], None]
"""is told now and then how a long training goes"""
Tick = Callable[[int, int], None]
"""(files heard so far, of how many)"""


@dataclass(frozen=True, eq=False)
class Material:
    """T tracks, heard and labelled."""

    heard: dict[str, list[Floats]]
    """by source, the windows of each track"""
    targets: Targets
    """[T, C]"""
    groups: Rows
    """[T]"""
    multi_label: bool = False
    classes: tuple[str, ...] = ()
    """[C]"""
    _vectors: dict[Recipe, Floats] = field(default_factory=dict)

    def vectors(self, recipe: Recipe) -> Floats:
        """[T, D], made once."""
        if recipe not in self._vectors:
            self._vectors[recipe] = recipe.vectors(self.heard)
        return self._vectors[recipe]

    def of(self, rows: Rows, sources: Sequence[str]) -> Heard:
        """What was heard of some tracks."""
        return {source: [self.heard[source][row] for row in rows] for source in sources}


@dataclass(frozen=True, eq=False)
class Prepared:
    """Labelled audio that has been heard; what could not be heard is left out and named."""

    labels: LabelledAudio
    content: tuple[str, ...]
    """[T] SHA-256 of each file"""
    material: Material
    failed: dict[str, str]
    """file as labelled -> reason"""

    @property
    def data_hash(self) -> str:
        """SHA-256 over contents and labels, in any order of files."""
        lines = sorted(
            f"{mark} {'|'.join(names)}" for mark, names in zip(self.content, self.labels.labels, strict=True)
        )
        return content_hash("\n".join(lines).encode(), "sha256")


def prepare(
    labels: LabelledAudio,
    sources: Sequence[str],
    cache: FeatureCache,
    *,
    skip_classes: bool = False,
    tick: Tick | None = None,
) -> Prepared:
    """Hears every file. DataError where too little is left to learn from."""
    found, failed = [], {}
    for one in hear_all(labels.paths, sources, cache):
        if one.reason:
            failed[labels.names[one.row]] = one.reason
        else:
            found.append(one)
        if tick:
            tick(one.row + 1, len(labels))
    if not found:
        name, reason = next(iter(failed.items()))
        raise DataError(f"{labels.source}: none of {len(labels)} files could be heard; {name}: {reason}")
    lost = set(labels.classes) - {name for one in found for name in labels.labels[one.row]}
    if lost and not skip_classes:
        name = min(lost)
        rows = [row for row, names in enumerate(labels.labels) if name in names]
        reason = failed[labels.names[rows[0]]]
        raise DataError(f"{labels.source}: class {name!r}: none of its {len(rows)} files could be heard ({reason})")
    kept = labels.select(one.row for one in found)
    # What is left must still be learnable: a class may have lost all but one of its files.
    final = checked(kept, skip_classes=skip_classes)
    position = {name: at for at, name in enumerate(kept.names)}
    order = [found[position[name]] for name in final.names]
    content = tuple(one.content for one in order)
    heard = {source: [one.windows[source] for one in order] for source in sources}
    material = Material(heard, final.targets, final.groups(content), final.multi_label, final.classes)
    return Prepared(final, content, material, failed)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained classifier and what it (or its kind, in inner folds) said of tracks it was not trained on."""

    classifier: Classifier
    held_scores: Floats
    """[n, C]"""
    held_targets: Targets
    """[n, C]"""
    chosen: str
    """the parameters, for people"""

    def calibration(self, multi_label: bool, *, method: str | None, error_rate: float) -> Calibration:
        """How its scores become probabilities, from what was held out."""
        return fit_calibration(
            self.held_scores, self.held_targets, multi_label=multi_label, method=method, error_rate=error_rate
        )


class Method(Protocol):
    """A way to learn genres."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def extras(self) -> tuple[str, ...]:
        """packages beyond the core install that using (not training) the model needs"""
        ...

    @property
    def quick(self) -> bool:
        """whether a training takes seconds, so that it can be repeated on several divisions"""
        ...

    def fit(
        self, material: Material, rows: Rows, *, validation: Rows | None, seed: int, watch: Watch | None = None
    ) -> Fitted: ...
