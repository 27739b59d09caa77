"""The command that learns a single neural recommender, and asks it: `neural train` and `neural recommend`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import UsageError
from .console import Console
from .main import AddCommand, positive

NAMES = ("mf", "vae", "dae", "sasrec", "two-tower")


def add_commands(add_command: AddCommand) -> None:
    neural = add_command("neural", "learn one neural recommender, with its embeddings in files, and ask it")
    actions = neural.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")

    def add_action(name: str, help: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
        parser.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="JSON lines also on a terminal"
        )
        return parser

    train = add_action("train", "learn the library's listens")
    train.add_argument("model", choices=NAMES, metavar="MODEL", help=", ".join(NAMES))
    train.add_argument("--library", required=True, type=Path, metavar="L")
    train.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for model, embeddings and curve")
    train.add_argument("--objective", choices=("softmax", "bpr", "ratings"), help="of mf (softmax)")
    train.add_argument("--epochs", type=positive, metavar="N", help="at most")
    train.add_argument(
        "--refit",
        action="store_true",
        help="then learn all listens, held out ones too, for as many epochs as were best",
    )
    train.add_argument("--sound", metavar="NAME", help="imported vectors to use as sound, where there are several")
    train.add_argument("--seed", type=int, default=0, metavar="N")
    train.set_defaults(run=_train)

    recommend = add_action("recommend", "what a model recommends to somebody it never met")
    recommend.add_argument("model", type=Path, metavar="DIR", help="as neural train wrote it")
    recommend.add_argument(
        "--heard",
        required=True,
        metavar="ID[=VALUE],…",
        help="tracks, oldest first; with ratings where mf learned such",
    )
    recommend.add_argument("-k", type=positive, default=10, metavar="K")
    recommend.add_argument("--embedding", action="store_true", help="print the user's embedding instead")
    recommend.set_defaults(run=_recommend)


def _train(arguments: argparse.Namespace, console: Console) -> None:
    from ..library.store import Library
    from ..training.neural import learn

    with Library.open(arguments.library) as library:
        summary = learn(
            library,
            arguments.model,
            arguments.out,
            objective=arguments.objective,
            epochs=arguments.epochs,
            refit=arguments.refit,
            seed=arguments.seed,
            sound=arguments.sound,
            watch=lambda point: console.record(**point.record()),
        )
    console.close()
    console.record(**summary)


def _recommend(arguments: argparse.Namespace, console: Console) -> None:
    from ..training.neural import Learned

    heard = [_heard(part) for part in arguments.heard.split(",") if part.strip()]
    learned = Learned.load(arguments.model)
    if arguments.embedding:
        console.record(embedding=[round(float(value), 6) for value in learned.embedding(heard)])
        return
    for row, score in zip(*learned.recommend(heard, arguments.k), strict=True):
        if row >= 0:
            console.record(track_id=learned.track_ids[row], score=round(float(score), 4))


def _heard(text: str) -> tuple[str, float]:
    name, equals, value = text.strip().rpartition("=")
    if not equals:
        return text.strip(), 1.0
    try:
        return name, float(value)
    except ValueError:
        raise UsageError(f"--heard {text}: {value} is not a number") from None
