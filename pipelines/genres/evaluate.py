"""Training and testing genre classifiers: one method on held-out tracks, several compared, the model to keep, a saved
model on other files.

Shapes: T tracks, C classes.
"""

from __future__ import annotations

import csv
import time
import typing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError
from ...models.genres.metrics import Figures, figures, top_class_is_right
from ...models.genres.model import Card, GenreModel
from ..audio_analysis.feature_sources import extract, sample_rate
from ..charts.chart import Chart
from ..evaluation.profiling import size_on_disk
from ..library.progress import Message, silent
from .dataset import AudioDataset, EvaluationProtocol, given_fold, protocols
from .methods import Method
from .options import GenreEvaluationOptions

MOST_MISCLASSIFIED = 50
FEW_TRACKS = 1000
REPEATS = 5
DEFAULTS = GenreEvaluationOptions()


class TrainingProgress(typing.Protocol):
    """Is called as trainings go on: before the first of so many, as one goes on, after each."""

    def begin(self, name: str, total: int) -> None: ...
    def message(self, text: str) -> None: ...
    def trained(self) -> None: ...


@dataclass(frozen=True)
class Misclassified:
    """A track whose most probable class is not its own."""

    name: str
    labels: tuple[str, ...]
    predicted: str
    probability: float
    own_probability: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One method under one protocol."""

    protocol: EvaluationProtocol
    figures: Figures
    misclassified: tuple[Misclassified, ...]
    classes: tuple[str, ...]
    chosen: tuple[str, ...]
    """parameters of each training"""
    tracks: int
    """how many were tested, each counted once"""

    def row(self) -> dict[str, Any]:
        """The fields of a line that `genres train` prints."""
        names = ("accuracy", "low", "high", "macro_f1", "ece", "answered", "answered_accuracy")
        values = {name: getattr(self.figures, name) for name in names}
        return {
            "split": self.protocol.name,
            "leaky": self.protocol.leaky,
            "tracks": self.tracks,
            "repeats": self.protocol.repeats,
            **{name: None if value is None else round(value, 4) for name, value in values.items()},
            "skipped_classes": list(self.protocol.skipped),
            **self._ranking(),
        }

    def _ranking(self) -> dict[str, Any]:
        """Of several labels: macro ROC-AUC and average precision, and the tags they leave out."""
        ranking = self.figures.ranking
        if ranking is None:
            return {}
        means = {
            name: None if value is None else round(value, 4)
            for name, value in zip(("roc_auc", "pr_auc"), ranking.means(), strict=True)
        }
        return means | {"one_class_tags": [self.classes[tag] for tag in np.flatnonzero(ranking.one_class).tolist()]}

    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Precision, recall and F1 by class, of those that were tested; of several labels, ROC-AUC and PR-AUC, too."""
        figures = [asdict(one) for one in self.figures.classes]
        if (ranking := self.figures.ranking) is not None:
            for one, *areas in zip(figures, ranking.roc_auc.tolist(), ranking.pr_auc.tolist(), strict=True):
                one |= {
                    name: None if np.isnan(area) else area
                    for name, area in zip(("roc_auc", "pr_auc"), areas, strict=True)
                }
        named = zip(self.classes, figures, strict=True)
        return {name: one for name, one in named if one["tracks"]}


def evaluation_protocols(
    dataset: AudioDataset, method: Method, options: GenreEvaluationOptions
) -> list[EvaluationProtocol]:
    """The ways to test this method, the honest one first."""
    repeats = options.repeats or (REPEATS if method.quick and len(dataset) < FEW_TRACKS else 1)
    return protocols(dataset, folds=options.folds, repeats=repeats, seed=options.seed)


def evaluate(
    dataset: AudioDataset,
    method: Method,
    protocol: EvaluationProtocol,
    options: GenreEvaluationOptions = DEFAULTS,
    *,
    trainings: TrainingProgress | None = None,
) -> Evaluation:
    """Trains on each training part and pools the predictions of the test parts."""
    message = trainings.message if trainings else silent
    parts, confident, chosen = [], [], []
    for number, fold in enumerate(protocol.folds):
        fitted = method.fit(
            dataset, fold.train, validation=fold.validation, seed=options.seed + number, message=message
        )
        curve = fitted.calibration(dataset.multi_label, options)
        parts.append(curve(fitted.classifier.scores(dataset.of(fold.test, method.sources))))
        confident.append(parts[-1].max(axis=1) >= curve.abstain_below)
        chosen.append(fitted.chosen)
        if trainings:
            trainings.trained()
    rows = np.concatenate([fold.test for fold in protocol.folds])
    probabilities, targets, multi_label = np.concatenate(parts), dataset.targets[rows], dataset.multi_label
    groups, answered, seed = dataset.groups[rows], np.concatenate(confident), options.seed
    measured = figures(probabilities, targets, groups, answered, multi_label=multi_label, seed=seed)
    classes = dataset.labels.classes
    worst = most_misclassified(probabilities, targets, [dataset.labels.names[row] for row in rows], classes)
    return Evaluation(protocol, measured, worst, classes, tuple(chosen), len(np.unique(rows)))


def evaluate_model(model: GenreModel, dataset: AudioDataset, *, seed: int = 0) -> Evaluation:
    """A saved model on labelled files; leaky where it was trained on some of them."""
    labels, classes = dataset.labels, model.card.classes
    unknown = [name for name in labels.classes if name not in classes]
    if unknown:
        raise DataError(f"{labels.source}: class {unknown[0]!r} is not known to the model, which was not trained on it")
    rows = np.arange(len(labels)) if labels.splits is None else given_fold(labels.splits).test
    if not len(rows):
        raise DataError(f"{labels.source}: column split: no test files")
    targets = np.zeros((len(rows), len(classes)), bool)
    targets[:, [classes.index(name) for name in labels.classes]] = dataset.targets[rows]
    probabilities = model.predict(dataset.of(rows, model.sources))
    training_content = {content[:16] for content in model.card.training_content}
    leaky = any(dataset.content[row][:16] in training_content for row in rows)
    confident = probabilities.max(axis=1) >= model.calibration.abstain_below
    multi_label = model.card.multi_label
    measured = figures(probabilities, targets, dataset.groups[rows], confident, multi_label=multi_label, seed=seed)
    worst = most_misclassified(probabilities, targets, [labels.names[row] for row in rows], classes)
    protocol = EvaluationProtocol("given", leaky)
    return Evaluation(protocol, measured, worst, classes, (model.card.chosen,), len(rows))


def most_misclassified(
    probabilities: NDArray[np.float64], targets: NDArray[np.bool_], names: Sequence[str], classes: Sequence[str]
) -> tuple[Misclassified, ...]:
    """The tracks whose own class is least probable against the one predicted, worst first; each once."""
    top = probabilities.max(axis=1)
    own = np.where(targets, probabilities, 0).max(axis=1)
    wrong = ~top_class_is_right(probabilities, targets)
    result: dict[str, Misclassified] = {}
    for row in np.argsort(own - top, kind="stable").tolist():
        if not wrong[row] or len(result) == MOST_MISCLASSIFIED:
            break
        labels = tuple(classes[column] for column in np.flatnonzero(targets[row]).tolist())
        predicted = classes[int(probabilities[row].argmax())]
        one = Misclassified(names[row], labels, predicted, float(top[row]), float(own[row]))
        result.setdefault(names[row], one)
    return tuple(result.values())


def confusion_chart(evaluation: Evaluation, title: str) -> Chart:
    """The share of each class (row) that was given each class (column)."""
    counts, classes = evaluation.figures.confusion, evaluation.classes
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    columns = {"label": np.repeat(classes, len(classes)), "predicted": np.tile(classes, len(classes))}
    return Chart(
        name="confusion",
        title=title,
        frame=pl.DataFrame(columns | {"share": shares.ravel()}),
        kind="heat",
        x="predicted",
        y="label",
        value="share",
        values_shown=True,
        percent=True,
    )


def write_misclassified(path: Path, misclassified: Sequence[Misclassified]) -> None:
    """As CSV; `said` is the predicted class."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "said", "probability", "own_probability"])
        for one in misclassified:
            values = (f"{one.probability:.4f}", f"{one.own_probability:.4f}")
            writer.writerow([one.name, "|".join(one.labels), one.predicted, *values])


def train(
    dataset: AudioDataset,
    method: Method,
    evaluations: Sequence[Evaluation] = (),
    options: GenreEvaluationOptions = DEFAULTS,
    *,
    message: Message = silent,
) -> GenreModel:
    """The model to keep, of all tracks or of the training part of a given split; its card has the evaluations."""
    labels = dataset.labels
    rows, validation = np.arange(len(labels)), None
    if labels.splits is not None:
        fold = given_fold(labels.splits)
        rows, validation = fold.train, fold.validation
    fitted = method.fit(dataset, rows, validation=validation, seed=options.seed, message=message)
    curve = fitted.calibration(dataset.multi_label, options)
    card = Card(
        name=method.name,
        family=method.family,
        classes=labels.classes,
        multi_label=dataset.multi_label,
        target=labels.target,
        encoder=", ".join(fitted.classifier.sources),
        sample_rate=sample_rate(fitted.classifier.sources[0]),
        tracks=len(rows),
        data_hash=dataset.data_hash,
        training_content=tuple(sorted(dataset.content[row][:16] for row in rows)),
        chosen=fitted.chosen,
        figures={one.protocol.name: one.row() | {"per_class": one.per_class()} for one in evaluations},
    )
    return GenreModel(card, fitted.classifier, curve)


def compare(
    dataset: AudioDataset, methods: Sequence[Method], options: GenreEvaluationOptions, trainings: TrainingProgress
) -> Iterator[tuple[Method, Evaluation, dict[str, Any]]]:
    """Each method under each protocol, with the cost of the model that would be kept."""
    for method in methods:
        ways = evaluation_protocols(dataset, method, options)
        trainings.begin(method.name, sum(len(protocol.folds) for protocol in ways) + 1)
        evaluations = [evaluate(dataset, method, protocol, options, trainings=trainings) for protocol in ways]
        started = time.perf_counter()
        model = train(dataset, method, options=options, message=trainings.message)
        costs = {
            "train_seconds": round(time.perf_counter() - started, 2),
            "seconds_per_track": round(seconds_per_track(model, dataset.labels.paths), 3),
            "size_bytes": size_on_disk(model),
            "extra_dependencies": list(method.extras),
        }
        trainings.trained()
        for evaluation in evaluations:
            yield method, evaluation, costs


def seconds_per_track(model: GenreModel, paths: tuple[Path, ...]) -> float:
    """How long it takes to classify a file, measured on a few; the first one, which loads the models, is left out."""
    times = []
    for path in [*paths[:1], *paths[:3]]:
        started = time.perf_counter()
        model.predict({source: [extract(path, source)] for source in model.sources})
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))
