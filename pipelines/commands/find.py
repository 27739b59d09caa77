"""The command `find`: tracks by a description."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ...errors import UsageError
from .console import Console
from .main import AddCommand


def add_commands(add_command: AddCommand) -> None:
    find = add_command("find", "tracks that sound like a description, by a model of sound and text (CLAP)")
    find.add_argument("text", help="such as: a slow acoustic ballad with a female voice")
    find.add_argument("--library", type=Path, required=True, metavar="L", help="the library's folder")
    find.add_argument("--encoder", metavar="NAME", help="a CLAP model by name or folder; embeds what is new to it")
    find.add_argument("-k", type=int, default=10, help="how many (10)")
    find.set_defaults(run=_find)


def _find(arguments: argparse.Namespace, console: Console) -> None:
    from ..library.store import Library
    from ..search.text import embed_library, find

    if arguments.k < 1:
        raise UsageError(f"-k {arguments.k}: at least 1")
    with Library.open(arguments.library) as library:
        if arguments.encoder:
            with console.progress() as progress:
                task = progress.add_task("hearing", total=None)
                failed = embed_library(
                    library, arguments.encoder, lambda done, of: progress.update(task, completed=done, total=of)
                )
            for track_id, reason in failed.items():
                console.message(f"left out: {track_id}: {reason}")
        for answer in find(library, arguments.text, arguments.k, encoder=arguments.encoder):
            console.record(**asdict(answer))
