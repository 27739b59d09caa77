"""The commands of the genre jobs: `genres train`, `genres evaluate`, `genres compare`, `find`, `tag`."""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..audio.errors import UsageError
from .command_line import AddCommand
from .console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .genre_methods import Method
    from .genre_training import Evaluation, Prepared
    from .labels import LabelledAudio
    from .tagging import Change

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
    train.add_argument("--model", default="probe", help="probe, mlp, svm, logistic, forest, boosting, neighbours, cnn")
    train.add_argument("--encoder", metavar="NAME", help="musicnn-msd, or a transformers model (name or folder)")
    _add_training(train, repeats=1)
    train.set_defaults(run=_train)

    evaluate = add_action("evaluate", "how good a trained model is; with LABELS, on those")
    evaluate.add_argument("model", type=Path, metavar="M", help="the model's folder")
    _add_labels(evaluate, optional=True)
    evaluate.add_argument("--report", type=Path, metavar="DIR", help="write confusion.png and wrong.csv there")
    evaluate.set_defaults(run=_evaluate)

    compare = add_action("compare", "several ways to learn the same genres, in one table")
    _add_labels(compare)
    compare.add_argument("--models", default=COMPARED, metavar="A,B,…", help=f"of {COMPARED}, probe:NAME")
    _add_training(compare, repeats=1)
    compare.set_defaults(run=_compare)

    find = add_command("find", "tracks that sound like a description, by a model of sound and text (CLAP)")
    find.add_argument("text", help="such as: a slow acoustic ballad with a female voice")
    find.add_argument("--library", type=Path, required=True, metavar="L", help="the library's folder")
    find.add_argument("--encoder", metavar="NAME", help="a CLAP model by name or folder; hears what it has not heard")
    find.add_argument("-k", type=int, default=10, help="how many (10)")
    find.set_defaults(run=_find)

    tag = add_command("tag", "genres into the files' own tags; only shown, unless --write")
    tag.add_argument("places", nargs="*", type=Path, metavar="FILE_OR_FOLDER")
    tag.add_argument("--model", type=Path, metavar="M", help="a genre model; the built-in genres otherwise")
    tag.add_argument("--write", action="store_true", help="do it")
    tag.add_argument("--undo", action="store_true", help="put back what the files said before")
    tag.add_argument("--journal", type=Path, metavar="FILE", help="where changes are noted, for --undo")
    tag.set_defaults(run=_tag)


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


def _add_training(parser: argparse.ArgumentParser, *, repeats: int) -> None:
    parser.add_argument("--folds", type=int, default=5, help="how many parts the tracks are divided into (5)")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"how often they are divided anew ({repeats})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calibration", choices=("temperature", "isotonic"), help="chosen by the amount of data")
    parser.add_argument("--error-rate", type=float, default=0.1, help="share of wrong answers aimed at when confident")
    parser.add_argument("--epochs", type=int, help="most epochs of the CNN")


def _labels(arguments: argparse.Namespace) -> LabelledAudio:
    from .labels import read_labels

    return read_labels(
        arguments.labels,
        target=arguments.target,
        split_files=arguments.split_files,
        audio_folder=arguments.audio,
        subset=arguments.subset,
        skip_classes=arguments.skip_classes,
    )


def _prepare(arguments: argparse.Namespace, console: Console, sources: tuple[str, ...]) -> Prepared:
    from .genre_sources import FeatureCache
    from .genre_training import prepare

    labels = _labels(arguments)
    cache = FeatureCache(arguments.cache) if arguments.cache else FeatureCache()
    with console.progress() as progress:
        task = progress.add_task("hearing", total=len(labels))
        prepared = prepare(
            labels,
            sources,
            cache,
            skip_classes=arguments.skip_classes,
            tick=lambda done, _: progress.update(task, completed=done),
        )
    for name, reason in prepared.failed.items():
        console.message(f"left out: {name}: {reason}")
    left_out = sorted(set(labels.classes) - set(prepared.labels.classes))
    if left_out:
        console.message(f"classes left out: {', '.join(left_out)}")
    return prepared


def _check(arguments: argparse.Namespace) -> None:
    for name, least in (("folds", 2), ("repeats", 1)):
        if getattr(arguments, name) < least:
            raise UsageError(f"--{name} {getattr(arguments, name)}: at least {least}")
    if not 0 < arguments.error_rate < 1:
        raise UsageError(f"--error-rate {arguments.error_rate}: between 0 and 1")
    if arguments.epochs is not None and arguments.epochs < 1:
        raise UsageError(f"--epochs {arguments.epochs}: at least 1")


def _evaluations(
    arguments: argparse.Namespace, console: Console, prepared: Prepared, method: Method
) -> Iterator[Evaluation]:
    from .genre_training import evaluate, protocols

    found = protocols(prepared, folds=arguments.folds, repeats=arguments.repeats, seed=arguments.seed)
    for protocol in found:
        if protocol.skipped:
            names = ", ".join(protocol.skipped)
            console.message(f"not in the {protocol.name}-aware figure, having one {protocol.name} each: {names}")
        yield evaluate(
            prepared,
            method,
            protocol,
            seed=arguments.seed,
            calibration=arguments.calibration,
            error_rate=arguments.error_rate,
        )


def _train(arguments: argparse.Namespace, console: Console) -> None:
    from ..models.genre_model import check_replaceable
    from .genre_methods import CnnOptions, method_named
    from .genre_pictures import draw_confusion
    from .genre_training import train, write_wrong

    _check(arguments)
    name = f"{arguments.model}:{arguments.encoder}" if arguments.encoder else arguments.model
    checkpoints = arguments.out.with_name(f".{arguments.out.name}.checkpoints")
    options = CnnOptions(arguments.epochs, checkpoints, console.message)
    method = method_named(name, options)
    check_replaceable(arguments.out)
    prepared = _prepare(arguments, console, method.sources)
    evaluations = []
    if prepared.labels.splits is None or "test" in prepared.labels.splits:
        evaluations = list(_evaluations(arguments, console, prepared, method))
    started = time.perf_counter()
    model = train(
        prepared,
        method,
        evaluations,
        seed=arguments.seed,
        calibration=arguments.calibration,
        error_rate=arguments.error_rate,
    )
    seconds = time.perf_counter() - started
    model.save(arguments.out)
    if checkpoints.is_dir():
        (checkpoints / "learning.png").replace(arguments.out / "learning.png")
        shutil.rmtree(checkpoints)
    if evaluations:
        first = evaluations[0]
        title = f"{method.name}, {first.protocol.name} split"
        draw_confusion(arguments.out / "confusion.png", first.figures.confusion, first.classes, title)
        write_wrong(arguments.out / "wrong.csv", first.wrong)
    for one in evaluations:
        console.record(**_head(method), **one.row(), train_seconds=round(seconds, 2), out=str(arguments.out))
    if not evaluations:
        console.record(
            **_head(method), tracks=model.card.tracks, train_seconds=round(seconds, 2), out=str(arguments.out)
        )


def _head(method: Method) -> dict[str, Any]:
    return {"model": method.name, "family": method.family}


def _evaluate(arguments: argparse.Namespace, console: Console) -> None:
    from ..models.genre_model import GenreModel
    from .genre_pictures import draw_confusion
    from .genre_training import evaluate_model, write_wrong

    model = GenreModel.load(arguments.model)
    head = {"model": model.card.name, "family": model.card.family}
    if arguments.labels is None:
        if not model.card.figures:
            raise UsageError(f"{arguments.model}: was trained without a test; give LABELS to evaluate it on")
        for figures in model.card.figures.values():
            console.record(**head, **_shown(figures, console))
        return
    prepared = _prepare(arguments, console, model.sources)
    found = evaluate_model(model, prepared)
    if found.protocol.leaky:
        console.message("some of these files were trained on: the figures are too good (leaky)")
    console.record(**head, **_shown(found.row() | {"per_class": found.per_class()}, console))
    if arguments.report:
        arguments.report.mkdir(parents=True, exist_ok=True)
        draw_confusion(arguments.report / "confusion.png", found.figures.confusion, found.classes, model.card.name)
        write_wrong(arguments.report / "wrong.csv", found.wrong)


def _shown(figures: dict[str, Any], console: Console) -> dict[str, Any]:
    """All figures as JSON; without those of each class in a table."""
    return figures if console.as_json else {name: value for name, value in figures.items() if name != "per_class"}


def _compare(arguments: argparse.Namespace, console: Console) -> None:
    from tempfile import TemporaryDirectory

    from .genre_methods import CnnOptions, method_named
    from .genre_training import seconds_per_track, train

    _check(arguments)
    options = CnnOptions(arguments.epochs)
    methods = [method_named(name.strip(), options) for name in arguments.models.split(",") if name.strip()]
    sources = tuple(dict.fromkeys(source for method in methods for source in method.sources))
    prepared = _prepare(arguments, console, sources)
    for method in methods:
        console.message(f"{method.name} …")
        evaluations = list(_evaluations(arguments, console, prepared, method))
        started = time.perf_counter()
        model = train(prepared, method, seed=arguments.seed, calibration=arguments.calibration)
        seconds = time.perf_counter() - started
        with TemporaryDirectory() as folder:
            model.save(Path(folder) / "model")
            size = sum(path.stat().st_size for path in (Path(folder) / "model").iterdir())
        costs = {
            "train_seconds": round(seconds, 2),
            "seconds_per_track": round(seconds_per_track(model, prepared.labels.paths), 3),
            "size_bytes": size,
            "extra_dependencies": list(method.extras),
        }
        for one in evaluations:
            console.record(**_head(method), **one.row(), **costs)


def _find(arguments: argparse.Namespace, console: Console) -> None:
    from .library import Library
    from .text_search import find, hear_library

    if arguments.k < 1:
        raise UsageError(f"-k {arguments.k}: at least 1")
    with Library.open(arguments.library) as library:
        if arguments.encoder:
            with console.progress() as progress:
                task = progress.add_task("hearing", total=None)
                failed = hear_library(
                    library, arguments.encoder, lambda done, of: progress.update(task, completed=done, total=of)
                )
            for track_id, reason in failed.items():
                console.message(f"left out: {track_id}: {reason}")
        for answer in find(library, arguments.text, arguments.k, encoder=arguments.encoder):
            console.record(**asdict(answer))


def _tag(arguments: argparse.Namespace, console: Console) -> int:
    from ..audio.errors import AudioError
    from .tagging import Change, Journal, default_journal, files_of, namer, read_genre

    journal = Journal(arguments.journal or default_journal())
    if arguments.undo:
        failed = 0
        for change, reason in journal.undo(arguments.places):
            failed += bool(reason)
            console.record(**_change(change), written=not reason, **({"reason": reason} if reason else {}))
        return int(failed > 0)
    if not arguments.places:
        raise UsageError("tag: name files or folders")
    name = namer(arguments.model)
    failed, count = 0, 0
    for path in files_of(arguments.places):
        try:
            genre = name(path)
            before = read_genre(path)
            change = Change(path, before, (genre,) if genre else before)
            if change and arguments.write:
                journal.apply(change)
        except AudioError as error:
            failed += 1
            console.message(f"crossfade: {path}: {error.reason}")
            continue
        count += bool(change)
        extra = {} if genre else {"reason": "not confident"}
        console.record(**_change(change), written=bool(change) and arguments.write, **extra)
    if count:
        console.message(f"{count} written; take it back with --undo" if arguments.write else "shown only: --write")
    return int(failed > 0)


def _change(change: Change) -> dict[str, Any]:
    return {"path": str(change.path), "before": list(change.before), "after": list(change.after)}
