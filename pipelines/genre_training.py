"""From labelled audio to a genre model with figures one can believe.

Every figure is of tracks the model has not been trained on: in folds that keep artists together first, and beside it in
random folds, marked leaky. Shapes: T tracks, C classes.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import DataError
from ..models.calibration import fit_calibration
from ..models.classification import Figures, figures, right
from ..models.folds import Rows, grouped_folds, groups_per_class
from ..models.genre_model import Card, GenreModel
from .genre_methods import Material, Method, as_rows
from .genre_sources import FeatureCache, hear, hear_all, sample_rate
from .labels import LabelledAudio, checked

Say = Callable[[str], None]
Tick = Callable[[int, int], None]
"""(files heard so far, of how many)"""
MOST_WRONG = 50


@dataclass(frozen=True, eq=False)
class Prepared:
    """Labelled audio that has been heard; what could not be heard is left out and named."""

    labels: LabelledAudio
    content: tuple[str, ...]
    """[T] SHA-256 of each file"""
    material: Material
    failed: dict[str, str]
    """file as labelled -> reason"""
    hear_seconds: float

    @property
    def data_hash(self) -> str:
        """SHA-256 over contents and labels, in any order of files."""
        lines = sorted(
            f"{mark} {'|'.join(names)}" for mark, names in zip(self.content, self.labels.labels, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def prepare(
    labels: LabelledAudio,
    sources: Sequence[str],
    cache: FeatureCache,
    *,
    skip_classes: bool = False,
    tick: Tick | None = None,
) -> Prepared:
    """Hears every file. DataError where too little is left to learn from."""
    started = time.perf_counter()
    found, failed = [], {}
    for one in hear_all(labels.paths, sources, cache):
        if one.reason:
            failed[labels.names[one.row]] = one.reason
        else:
            found.append(one)
        if tick:
            tick(one.row + 1, len(labels))
    seconds = time.perf_counter() - started
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
    return Prepared(final, content, material, failed, seconds)


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


def protocols(prepared: Prepared, *, folds: int = 5, repeats: int = 1, seed: int = 0) -> list[Protocol]:
    """The ways to test on this data, the honest one first."""
    labels, material = prepared.labels, prepared.material
    if labels.splits is not None:
        return [_given(prepared)]
    found = []
    if not labels.leaky:
        single = groups_per_class(material.targets, material.groups) < 2
        tested = np.asarray(~material.targets[:, single].any(axis=1))
        if (~single).sum() >= 2:
            skipped = tuple(name for name, alone in zip(labels.classes, single, strict=True) if alone)
            trials = _folds(material.targets, material.groups, tested, folds, repeats, seed)
            name = "album" if labels.target == "artist" else "artist"
            found.append(Protocol(name, False, trials, skipped))
    each = np.arange(len(labels))
    everything = np.ones(len(labels), bool)
    found.append(Protocol("random", True, _folds(material.targets, each, everything, folds, repeats, seed)))
    return found


def _folds(
    targets: NDArray[np.bool_], groups: Rows, tested: NDArray[np.bool_], folds: int, repeats: int, seed: int
) -> tuple[Trial, ...]:
    """Folds of the tested tracks. The others are always trained on (a genre to be mistaken for), unless their artist
    is being tested."""
    trials = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        rows = as_rows(tested)
        fold = grouped_folds(targets[rows], groups[rows], min(folds, len(np.unique(groups[rows]))), rng=rng)
        for number in np.unique(fold):
            test = rows[fold == number]
            trials.append(Trial(as_rows(~np.isin(groups, groups[test])), test))
    return tuple(trials)


def _given(prepared: Prepared) -> Protocol:
    labels, groups = prepared.labels, prepared.material.groups
    part = np.array(labels.splits)
    train, validation, test = (as_rows(part == name) for name in ("train", "validation", "test"))
    if not len(test):
        raise DataError(f"{labels.source}: column split: no test files")
    shared = np.isin(groups[test], groups[np.concatenate([train, validation])]).any()
    leaky = labels.leaky or bool(shared)
    return Protocol("given", leaky, (Trial(train, test, validation if len(validation) else None),))


@dataclass(frozen=True)
class Wrong:
    """A track the model is sure about and wrong."""

    name: str
    labels: tuple[str, ...]
    said: str
    probability: float
    own_probability: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One method under one protocol."""

    protocol: Protocol
    figures: Figures
    wrong: tuple[Wrong, ...]
    classes: tuple[str, ...]
    chosen: tuple[str, ...]
    seconds: float

    def row(self) -> dict[str, Any]:
        """What a line of the table says."""
        f = self.figures
        row: dict[str, Any] = {
            "split": self.protocol.name,
            "leaky": self.protocol.leaky,
            "accuracy": round(f.accuracy, 4),
            "low": round(f.low, 4),
            "high": round(f.high, 4),
            "macro_f1": round(f.macro_f1, 4),
            "ece": round(f.ece, 4),
            "answered": round(f.answered, 4),
            "answered_accuracy": None if f.answered_accuracy is None else round(f.answered_accuracy, 4),
        }
        return row | {"skipped_classes": list(self.protocol.skipped)}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 by class, of those that were tested."""
        named = zip(self.classes, self.figures.classes, strict=True)
        return {name: asdict(one) for name, one in named if one.tracks}


def evaluate(
    prepared: Prepared,
    method: Method,
    protocol: Protocol,
    *,
    seed: int = 0,
    calibration: str | None = None,
    error_rate: float = 0.1,
) -> Evaluation:
    """Trains on each training part and pools what is said of the test parts."""
    material, labels = prepared.material, prepared.labels
    started = time.perf_counter()
    found, confident, rows, chosen = [], [], [], []
    for number, trial in enumerate(protocol.trials):
        fitted = method.fit(material, trial.train, validation=trial.validation, seed=seed + number)
        curve = fit_calibration(
            fitted.held_scores,
            fitted.held_targets,
            multi_label=material.multi_label,
            method=calibration,
            error_rate=error_rate,
        )
        said = curve(fitted.classifier.scores(material.of(trial.test, method.sources)))
        found.append(said)
        confident.append(said.max(axis=1) >= curve.abstain_below)
        rows.append(trial.test)
        chosen.append(fitted.chosen)
    probabilities, order = np.concatenate(found), np.concatenate(rows)
    targets = material.targets[order]
    measured = figures(
        probabilities,
        targets,
        material.groups[order],
        np.concatenate(confident),
        multi_label=material.multi_label,
        seed=seed,
    )
    wrong = most_wrong(probabilities, targets, [labels.names[row] for row in order], labels.classes)
    return Evaluation(protocol, measured, wrong, labels.classes, tuple(chosen), time.perf_counter() - started)


def most_wrong(
    found: NDArray[np.float64], targets: NDArray[np.bool_], names: Sequence[str], classes: Sequence[str]
) -> tuple[Wrong, ...]:
    """The tracks whose own class is least believed against the one given, worst first; each once."""
    top = found.argmax(axis=1)
    own = np.where(targets, found, 0).max(axis=1)
    gap = found.max(axis=1) - own
    result: dict[str, Wrong] = {}
    for row in np.argsort(-gap, kind="stable").tolist():
        if right(found[row : row + 1], targets[row : row + 1])[0] or len(result) == MOST_WRONG:
            break
        labels = tuple(classes[column] for column in np.flatnonzero(targets[row]).tolist())
        said = classes[int(top[row])]
        result.setdefault(names[row], Wrong(names[row], labels, said, float(found[row].max()), float(own[row])))
    return tuple(result.values())


def train(
    prepared: Prepared,
    method: Method,
    evaluations: Sequence[Evaluation] = (),
    *,
    seed: int = 0,
    calibration: str | None = None,
    error_rate: float = 0.1,
) -> GenreModel:
    """The model to keep: trained on all tracks, or on the training part of a given split."""
    material, labels = prepared.material, prepared.labels
    rows, validation = np.arange(len(labels)), None
    if labels.splits is not None:
        trial = _given(prepared).trials[0] if "test" in labels.splits else None
        part = np.array(labels.splits)
        rows = trial.train if trial else as_rows(part == "train")
        validation = trial.validation if trial else None
    fitted = method.fit(material, rows, validation=validation, seed=seed)
    curve = fit_calibration(
        fitted.held_scores,
        fitted.held_targets,
        multi_label=material.multi_label,
        method=calibration,
        error_rate=error_rate,
    )
    card = Card(
        name=method.name,
        family=method.family,
        classes=labels.classes,
        multi_label=material.multi_label,
        target=labels.target,
        encoder=", ".join(fitted.classifier.sources),
        sample_rate=sample_rate(fitted.classifier.sources[0]),
        tracks=len(rows),
        data_hash=prepared.data_hash,
        training_content=tuple(sorted(prepared.content[row][:16] for row in rows)),
        chosen=fitted.chosen,
        figures={one.protocol.name: one.row() | {"per_class": one.per_class()} for one in evaluations},
    )
    return GenreModel(card, fitted.classifier, curve)


def seconds_per_track(model: GenreModel, paths: Sequence[Path]) -> float:
    """How long it takes to hear and classify a file, measured on a few, the first one's start-up left out."""
    times = []
    for path in [*paths[:1], *paths[:3]]:
        started = time.perf_counter()
        model.predict({source: [hear(path, source)] for source in model.sources})
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))


def evaluate_model(model: GenreModel, prepared: Prepared, *, seed: int = 0) -> Evaluation:
    """A saved model on labelled files; leaky where it was trained on some of them."""
    labels = prepared.labels
    unknown = [name for name in labels.classes if name not in model.card.classes]
    if unknown:
        raise DataError(f"{labels.source}: class {unknown[0]!r} is not known to the model, which was not trained on it")
    rows = as_rows(np.array(labels.splits) == "test") if labels.splits is not None else np.arange(len(labels))
    if not len(rows):
        raise DataError(f"{labels.source}: column split: no test files")
    column = {name: at for at, name in enumerate(model.card.classes)}
    targets = np.zeros((len(rows), len(column)), bool)
    for at, row in enumerate(rows):
        targets[at, [column[name] for name in labels.labels[row]]] = True
    started = time.perf_counter()
    found = model.predict(prepared.material.of(rows, model.sources))
    confident = found.max(axis=1) >= model.calibration.abstain_below
    seen = {mark[:16] for mark in model.card.training_content}
    leaky = any(prepared.content[row][:16] in seen for row in rows)
    groups = prepared.material.groups[rows]
    measured = figures(found, targets, groups, confident, multi_label=model.card.multi_label, seed=seed)
    wrong = most_wrong(found, targets, [labels.names[row] for row in rows], model.card.classes)
    protocol = Protocol("given", leaky, ())
    seconds = time.perf_counter() - started
    return Evaluation(protocol, measured, wrong, model.card.classes, (model.card.chosen,), seconds)


def write_wrong(path: Path, wrong: Sequence[Wrong]) -> None:
    """The clips the model is most wrong about, as CSV."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "said", "probability", "own_probability"])
        for one in wrong:
            figures_ = (f"{one.probability:.4f}", f"{one.own_probability:.4f}")
            writer.writerow([one.name, "|".join(one.labels), one.said, *figures_])


def with_figures(model: GenreModel, **more: Any) -> GenreModel:
    """The same model with further facts on its card."""
    return replace(model, card=replace(model.card, figures=model.card.figures | more))
