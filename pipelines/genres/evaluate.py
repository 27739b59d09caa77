"""How good a way to learn genres is, or a trained model, on tracks that it was not trained on.

Shapes: T tracks, C classes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...models.genres.metrics import Figures, figures, right
from ...models.genres.model import GenreModel
from .examples import Method, Prepared, Watch
from .protocols import Protocol, as_rows

MOST_WRONG = 50


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
    """parameters of each training"""
    tracks: int
    """how many were tested, each counted once"""

    def row(self) -> dict[str, Any]:
        """What a line of the table says."""
        f = self.figures
        row: dict[str, Any] = {
            "split": self.protocol.name,
            "leaky": self.protocol.leaky,
            "tracks": self.tracks,
            "repeats": self.protocol.repeats,
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
    watch: Watch | None = None,
    trained: Callable[[], None] | None = None,
) -> Evaluation:
    """Trains on each training part and pools what is said of the test parts.

    `watch` is told how a training goes, `trained` called after each.
    """
    material, labels = prepared.material, prepared.labels
    found, confident, rows, chosen = [], [], [], []
    for number, trial in enumerate(protocol.trials):
        fitted = method.fit(material, trial.train, validation=trial.validation, seed=seed + number, watch=watch)
        curve = fitted.calibration(material.multi_label, method=calibration, error_rate=error_rate)
        said = curve(fitted.classifier.scores(material.of(trial.test, method.sources)))
        found.append(said)
        confident.append(said.max(axis=1) >= curve.abstain_below)
        rows.append(trial.test)
        chosen.append(fitted.chosen)
        if trained:
            trained()
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
    return Evaluation(protocol, measured, wrong, labels.classes, tuple(chosen), len(np.unique(order)))


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
    found = model.predict(prepared.material.of(rows, model.sources))
    confident = found.max(axis=1) >= model.calibration.abstain_below
    seen = {mark[:16] for mark in model.card.training_content}
    leaky = any(prepared.content[row][:16] in seen for row in rows)
    groups = prepared.material.groups[rows]
    measured = figures(found, targets, groups, confident, multi_label=model.card.multi_label, seed=seed)
    wrong = most_wrong(found, targets, [labels.names[row] for row in rows], model.card.classes)
    protocol = Protocol("given", leaky, ())
    return Evaluation(protocol, measured, wrong, model.card.classes, (model.card.chosen,), len(rows))


def write_wrong(path: Path, wrong: Sequence[Wrong]) -> None:
    """The clips the model is most wrong about, as CSV."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "said", "probability", "own_probability"])
        for one in wrong:
            figures_ = (f"{one.probability:.4f}", f"{one.own_probability:.4f}")
            writer.writerow([one.name, "|".join(one.labels), one.said, *figures_])
