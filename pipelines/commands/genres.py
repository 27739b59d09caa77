"""The commands of genres: `genres train`, `genres evaluate`, `genres compare`."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from .console import Console
from .main import AddCommand

if TYPE_CHECKING:
    from ..audio_analysis.feature_sources import FeatureCache
    from ..genres.dataset import AudioDataset, EvaluationProtocol
    from ..genres.evaluate import GenreEvaluationOptions
    from ..genres.labels import LabelledAudio
    from ..genres.methods import Method

COMPARED = "probe,mlp,svm,logistic,forest,boosting,neighbours,cnn"


def add_commands(add_command: AddCommand) -> None:
    genres = add_command("genres", "train, evaluate and compare your own genre classifiers")
    actions = genres.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")

    def add_action(name: str, help: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
        parser.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="JSON lines also on a terminal"
        )
        return parser

    train = add_action("train", "learn genres from labelled audio")
    _add_labels(train)
    train.add_argument("--out", type=Path, required=True, metavar="M", help="the model's folder")
    train.add_argument(
        "--model", default="probe", help="probe, mlp, svm, logistic, forest, boosting, neighbours, cnn, fine-tuned"
    )
    train.add_argument(
        "--encoder", metavar="NAME", help="of probe, mlp, fine-tuned: musicnn-msd, musicnn-mtt, or a transformers model"
    )
    _add_training(train)
    train.set_defaults(run=_train)

    evaluate = add_action("evaluate", "how good a trained model is; with LABELS, on those")
    evaluate.add_argument("model", type=Path, metavar="M", help="the model's folder")
    _add_labels(evaluate, optional=True)
    evaluate.add_argument("--report", type=Path, metavar="DIR", help="write confusion.png and wrong.csv there")
    evaluate.set_defaults(run=_evaluate)

    compare = add_action("compare", "several ways to learn the same genres, in one table")
    _add_labels(compare)
    compare.add_argument("--models", default=COMPARED, metavar="A,B,…", help=f"of {COMPARED}, fine-tuned; probe:NAME")
    _add_training(compare)
    compare.set_defaults(run=_compare)


def _add_labels(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    kinds = "a folder per genre, a CSV (path, genre, artist, album, split), or FMA's tracks.csv"
    parser.add_argument("labels", type=Path, metavar="LABELS", nargs="?" if optional else None, help=kinds)
    parser.add_argument("--target", default="genre", choices=("genre", "artist"), help="what is learnt")
    parser.add_argument(
        "--split-files", nargs="+", type=Path, default=[], metavar="TXT", help="train, valid, test lists"
    )
    parser.add_argument("--audio", type=Path, metavar="DIR", help="where the audio is, when not beside the labels")
    parser.add_argument("--subset", choices=("small", "medium", "large", "full"), help="of FMA")
    parser.add_argument("--skip-classes", action="store_true", help="leave out classes that cannot be learnt")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where features are kept between runs")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folds", type=int, default=5, help="how many parts the tracks are divided into (5)")
    parser.add_argument(
        "--repeats", type=int, help="how often they are divided anew (5 where training takes seconds, else once)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibration", choices=("temperature", "isotonic"), help="chosen by the amount of data")
    parser.add_argument("--error-rate", type=float, default=0.1, help="share of wrong answers aimed at when confident")
    parser.add_argument("--epochs", type=int, help="most epochs of a network")


def _labels(arguments: argparse.Namespace) -> LabelledAudio:
    from ..genres.labels import read_labels

    return read_labels(
        arguments.labels,
        target=arguments.target,
        split_files=arguments.split_files,
        audio_folder=arguments.audio,
        subset=arguments.subset,
        skip_classes=arguments.skip_classes,
    )


def _cache(arguments: argparse.Namespace) -> FeatureCache:
    from ..audio_analysis.feature_sources import FeatureCache

    return FeatureCache(arguments.cache) if arguments.cache else FeatureCache()


def _prepare(arguments: argparse.Namespace, console: Console, sources: tuple[str, ...]) -> AudioDataset:
    from ..genres.dataset import prepare

    labels = _labels(arguments)
    with console.progress() as progress:
        task = progress.add_task("hearing", total=len(labels))
        prepared = prepare(
            labels,
            sources,
            _cache(arguments),
            skip_classes=arguments.skip_classes,
            tick=lambda done, _: progress.update(task, completed=done),
        )
    for name, reason in prepared.failed.items():
        console.message(f"left out: {name}: {reason}")
    left_out = sorted(set(labels.classes) - set(prepared.labels.classes))
    if left_out:
        console.message(f"classes left out: {', '.join(left_out)}")
    return prepared


def _fold_options(arguments: argparse.Namespace) -> GenreEvaluationOptions:
    from ..genres.evaluate import GenreEvaluationOptions

    for name, least in (("folds", 2), ("repeats", 1), ("epochs", 1)):
        given = getattr(arguments, name)
        if given is not None and given < least:
            raise UsageError(f"--{name} {given}: at least {least}")
    if not 0 < arguments.error_rate < 1:
        raise UsageError(f"--error-rate {arguments.error_rate}: between 0 and 1")
    return GenreEvaluationOptions(
        folds=arguments.folds,
        repeats=arguments.repeats,
        seed=arguments.seed,
        calibration=arguments.calibration,
        error_rate=arguments.error_rate,
    )


def _tell_what_is_tested(console: Console, protocols: list[EvaluationProtocol]) -> None:
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


def _train(arguments: argparse.Namespace, console: Console) -> None:
    from ...models.genres.model import check_replaceable
    from ..genres.evaluate import evaluate, train, write_misclassified
    from ..genres.methods import LEARNING, NetworkOptions, method_named
    from ..genres.plots import draw_confusion
    from .console import Trainings

    options = _fold_options(arguments)
    name = f"{arguments.model}:{arguments.encoder}" if arguments.encoder else arguments.model
    checkpoints = arguments.out.with_name(f".{arguments.out.name}.checkpoints")
    method = method_named(name, NetworkOptions(arguments.epochs, checkpoints))
    check_replaceable(arguments.out)
    prepared = _prepare(arguments, console, method.sources)
    tested = []
    if prepared.labels.splits is None or "test" in prepared.labels.splits:
        found = options.protocols(prepared, method)
        _tell_what_is_tested(console, found)
        with Trainings(console) as trainings:
            trainings.begin(method.name, sum(len(protocol.folds) for protocol in found))
            tested = [evaluate(prepared, method, protocol, options, progress=trainings) for protocol in found]
    started = time.perf_counter()
    model = train(prepared, method, tested, options, watch=console.message)
    seconds = round(time.perf_counter() - started, 2)
    model.save(arguments.out)
    if checkpoints.is_dir():
        (checkpoints / LEARNING).replace(arguments.out / LEARNING)
        shutil.rmtree(checkpoints)
    if tested:
        first = tested[0]
        title = f"{method.name}, {first.protocol.name} split"
        draw_confusion(arguments.out / "confusion.png", first.figures.confusion, first.classes, title)
        write_misclassified(arguments.out / "wrong.csv", first.misclassified)
    costs = {"train_seconds": seconds, "out": str(arguments.out)}
    for one in tested:
        _record(console, _head(method) | one.row() | costs)
    if not tested:
        console.record(**_head(method), tracks=model.card.tracks, **costs)


def _head(method: Method) -> dict[str, Any]:
    return {"model": method.name, "family": method.family}


def _evaluate(arguments: argparse.Namespace, console: Console) -> None:
    from ...models.genres.model import GenreModel
    from ..genres.evaluate import evaluate_model, write_misclassified
    from ..genres.plots import draw_confusion

    model = GenreModel.load(arguments.model)
    head = {"model": model.card.name, "family": model.card.family}
    if arguments.labels is None:
        if not model.card.figures:
            raise UsageError(f"{arguments.model}: was trained without a test; give LABELS to evaluate it on")
        for figures in model.card.figures.values():
            _record(console, head | figures)
        return
    prepared = _prepare(arguments, console, model.sources)
    found = evaluate_model(model, prepared)
    if found.protocol.leaky:
        console.message("some of these files were trained on: the figures are too good (leaky)")
    _record(console, head | found.row() | {"per_class": found.per_class()})
    if arguments.report:
        arguments.report.mkdir(parents=True, exist_ok=True)
        draw_confusion(arguments.report / "confusion.png", found.figures.confusion, found.classes, model.card.name)
        write_misclassified(arguments.report / "wrong.csv", found.misclassified)


def _record(console: Console, row: dict[str, Any]) -> None:
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
    if "train_seconds" in row:
        shown["train s"] = row["train_seconds"]
    if "size_bytes" in row:
        shown["s/track"] = row["seconds_per_track"]
        shown["MB"] = row["size_bytes"] / 1e6
        shown["needs"] = ", ".join(row["extra_dependencies"]) or "–"
    console.record(**shown)


def _compare(arguments: argparse.Namespace, console: Console) -> None:
    from ..genres.evaluate import compare
    from ..genres.methods import NetworkOptions, method_named
    from .console import Trainings

    options = _fold_options(arguments)
    # The same comparison, once interrupted, carries on with its networks, too.
    asked = [str(arguments.labels.absolute()), arguments.models, arguments.epochs, str(options)]
    place = hashlib.sha256(json.dumps(asked).encode(errors="surrogateescape")).hexdigest()[:16]
    checkpoints = _cache(arguments).folder.with_name("trainings") / place
    names = [name.strip() for name in arguments.models.split(",") if name.strip()]
    methods = [method_named(name, NetworkOptions(arguments.epochs, checkpoints)) for name in names]
    if not methods:
        raise UsageError("--models: names no model")
    prepared = _prepare(arguments, console, tuple(dict.fromkeys(s for method in methods for s in method.sources)))
    _tell_what_is_tested(console, options.protocols(prepared, methods[0]))
    try:
        with Trainings(console) as trainings:
            for method, one, costs in compare(prepared, methods, options, trainings):
                _record(console, _head(method) | one.row() | costs)
    finally:
        # Interrupted, it still shows what it has found.
        console.close()
    shutil.rmtree(checkpoints, ignore_errors=True)
