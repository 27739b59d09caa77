"""The commands of genres: `genres train`, `genres evaluate`, `genres compare`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ...errors import UsageError
from ...option_types import Names
from ..genres.options import GenreEvaluationOptions, LabelOptions
from .options import GenreModelFolder, Screen, option

if TYPE_CHECKING:
    from ..audio_analysis.feature_sources import FeatureCache
    from ..genres.dataset import AudioDataset, EvaluationProtocol
    from ..genres.methods import Method

COMPARED = ("probe", "mlp", "svm", "logistic", "forest", "boosting", "neighbours", "cnn")
Labels = Annotated[
    Path,
    Parameter(help="a folder per genre, a CSV (path, genre, artist, album, split), FMA's tracks.csv, or mirdata:NAME"),
]


LABELS, EVALUATION = LabelOptions(), GenreEvaluationOptions()


def genres_train(
    labels: Labels,
    /,
    *,
    out: Annotated[Path, option("the model's folder")],
    model: Annotated[str, option("probe, mlp, svm, logistic, forest, boosting, neighbours, cnn, fine-tuned")] = "probe",
    encoder: Annotated[str | None, option("musicnn-msd, musicnn-mtt, or a transformers model")] = None,
    label_options: LabelOptions = LABELS,
    options: GenreEvaluationOptions = EVALUATION,
    console: Screen,
) -> None:
    """Learn genres from labelled audio.

    Example: crossfade genres train labels.csv --out model
    """
    from ...models.genres.model import check_replaceable
    from ..charts.chart import draw
    from ..genres.evaluate import confusion_chart, evaluate, evaluation_protocols, train, write_misclassified
    from ..genres.methods import LEARNING, method_named

    checkpoints = out.with_name(f".{out.name}.checkpoints")
    name = f"{model}:{encoder}" if encoder else model
    method = method_named(name, options.epochs, checkpoints)
    check_replaceable(out)
    prepared = _prepared(labels, method.sources, label_options, console)
    tested = []
    if prepared.labels.splits is None or "test" in prepared.labels.splits:
        found = evaluation_protocols(prepared, method, options)
        _print_what_is_tested(console, found)
        with console.trainings() as trainings:
            trainings.begin(method.name, sum(len(protocol.folds) for protocol in found))
            tested = [evaluate(prepared, method, protocol, options, trainings=trainings) for protocol in found]
    started = time.perf_counter()
    trained = train(prepared, method, tested, options, message=console.message)
    seconds = round(time.perf_counter() - started, 2)
    trained.save(out)
    if checkpoints.is_dir():
        (checkpoints / LEARNING).replace(out / LEARNING)
        shutil.rmtree(checkpoints)
    if tested:
        first = tested[0]
        title = f"{method.name}, {first.protocol.name} split"
        draw(confusion_chart(first, title), out / "confusion.png")
        write_misclassified(out / "wrong.csv", first.misclassified)
    costs = {"train_seconds": seconds, "out": str(out)}
    for one in tested:
        _record(console, _head(method) | one.row() | costs)
    if not tested:
        console.record(**_head(method), tracks=trained.card.tracks, **costs)


def genres_evaluate(
    labels: Labels | None = None,
    other_labels: Annotated[Path | None, Parameter(show=False)] = None,
    /,
    *,
    genre_model: GenreModelFolder = None,
    label_options: LabelOptions = LABELS,
    report: Annotated[Path | None, option("folder for confusion.png and wrong.csv")] = None,
    console: Screen,
) -> None:
    """How good a trained model is, as measured in training; with LABELS, on those.

    Example: crossfade genres evaluate other.csv --genre-model model
    """
    from ...models.genres.model import GenreModel
    from ..charts.chart import draw
    from ..genres.evaluate import confusion_chart, evaluate_model, write_misclassified

    if genre_model is None:
        if labels is None:
            raise UsageError("genres evaluate: say which model, by --genre-model M")
        console.message("crossfade: genres evaluate M is now called genres evaluate --genre-model M")
        genre_model, labels, other_labels = labels, other_labels, None
    if other_labels is not None:
        raise UsageError(f"genres evaluate: {other_labels}: one LABELS is all that it takes")
    model = GenreModel.load(genre_model)
    head = {"model": model.card.name, "family": model.card.family}
    if labels is None:
        if not model.card.figures:
            raise UsageError(f"{genre_model}: was trained without a test; give LABELS to evaluate it on")
        for figures in model.card.figures.values():
            _record(console, head | figures)
        return
    found = evaluate_model(model, _prepared(labels, model.sources, label_options, console))
    if found.protocol.leaky:
        console.message("some of these files were trained on: the figures are too good (leaky)")
    _record(console, head | found.row() | {"per_class": found.per_class()})
    if report:
        report.mkdir(parents=True, exist_ok=True)
        draw(confusion_chart(found, model.card.name), report / "confusion.png")
        write_misclassified(report / "wrong.csv", found.misclassified)


def genres_compare(
    labels: Labels,
    /,
    *,
    models: Annotated[Names, option(f"of {','.join(COMPARED)} (all of these), fine-tuned, probe:ENCODER")] = COMPARED,
    label_options: LabelOptions = LABELS,
    options: GenreEvaluationOptions = EVALUATION,
    console: Screen,
) -> None:
    """Several ways to learn the same genres, in one table.

    Example: crossfade genres compare labels.csv --models probe,svm
    """
    from ...models.storage import hash_of_values
    from ..genres.evaluate import compare, evaluation_protocols
    from ..genres.methods import method_named

    # The same comparison, once interrupted, carries on with its networks, too.
    key = hash_of_values([str(labels.absolute()), models, str(options)])[:16]
    checkpoints = _features(label_options).folder.with_name("trainings") / key
    methods = [method_named(name, options.epochs, checkpoints) for name in models]
    if not methods:
        raise UsageError("--models: names no model")
    sources = tuple(dict.fromkeys(source for method in methods for source in method.sources))
    prepared = _prepared(labels, sources, label_options, console)
    _print_what_is_tested(console, evaluation_protocols(prepared, methods[0], options))
    try:
        with console.trainings() as trainings:
            for method, one, costs in compare(prepared, methods, options, trainings):
                _record(console, _head(method) | one.row() | costs)
    finally:
        # Interrupted, it still shows what it has found.
        console.close()
    shutil.rmtree(checkpoints, ignore_errors=True)


def _prepared(labels: Path, sources: Sequence[str], options: LabelOptions, console: Screen) -> AudioDataset:
    """Everything that the sources extract from the labelled audio; what could not be used is printed."""
    from ..genres.dataset import prepare
    from ..genres.labels import read_labels

    labelled = read_labels(labels, options)
    with console.bar("hearing") as progress:
        cache, skip_classes = _features(options), options.skip_classes
        prepared = prepare(labelled, sources, cache, skip_classes=skip_classes, progress=progress)
    for name, reason in prepared.failed.items():
        console.message(f"left out: {name}: {reason}")
    if left_out := sorted(set(labelled.classes) - set(prepared.labels.classes)):
        console.message(f"classes left out: {', '.join(left_out)}")
    return prepared


def _features(options: LabelOptions) -> FeatureCache:
    from ..audio_analysis.feature_sources import FeatureCache

    return FeatureCache(options.cache) if options.cache else FeatureCache()


def _print_what_is_tested(console: Screen, protocols: list[EvaluationProtocol]) -> None:
    """What the artist-aware figure leaves out, or that there is none."""
    for one in protocols:
        if one.skipped:
            names = ", ".join(one.skipped)
            console.message(f"not in the {one.name}-aware figure, having one {one.name} each: {names}")
        if one.unknown:
            console.message(f"not in the {one.name}-aware figure: {one.unknown:,} tracks whose {one.name} is not known")
    if protocols[0].name == "given" and protocols[0].leaky:
        console.message("the given split is leaky: an artist is on both sides, or artists are not known")
    elif all(one.leaky for one in protocols):
        console.message("no artist-aware figure: too few artists are known; what follows flatters (leaky)")


def _head(method: Method) -> dict[str, Any]:
    return {"model": method.name, "family": method.family}


def _record(console: Screen, row: dict[str, Any]) -> None:
    """All of a line as JSON; in a table what fits beside each other."""
    if console.as_json or "accuracy" not in row:
        console.record(**row)
        return
    shown = {
        "model": row["model"],
        "split": row["split"],
        "leaky": row["leaky"],
        "accuracy": f"{row['accuracy']:.2f} ({row['low']:.2f}–{row['high']:.2f})",
        "F1": f"{row['macro_f1']:.2f}",
        "ECE": f"{row['ece']:.3f}",
    }
    if row.get("roc_auc") is not None:
        shown |= {"ROC-AUC": f"{row['roc_auc']:.3f}", "PR-AUC": f"{row['pr_auc']:.3f}"}
    if row.get("one_class_tags"):
        shown["not in AUC"] = ", ".join(row["one_class_tags"])
    if "train_seconds" in row:
        shown["train s"] = row["train_seconds"]
    if "size_bytes" in row:
        shown["s/track"] = row["seconds_per_track"]
        shown["MB"] = row["size_bytes"] / 1e6
        shown["needs"] = ", ".join(row["extra_dependencies"]) or "–"
    console.record(**shown)
