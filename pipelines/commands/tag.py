"""The command `tag`: genres into files' own tags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from .console import Console
from .main import AddCommand

if TYPE_CHECKING:
    from ..genres.tag_writer import Change


def add_commands(add_command: AddCommand) -> None:
    tag = add_command("tag", "genres into the files' own tags; only shown, unless --write")
    tag.add_argument("places", nargs="*", type=Path, metavar="FILE_OR_FOLDER")
    tag.add_argument("--model", type=Path, metavar="M", help="a genre model; the built-in genres otherwise")
    tag.add_argument("--write", action="store_true", help="do it")
    tag.add_argument("--undo", action="store_true", help="put back what the files said before")
    tag.add_argument("--journal", type=Path, metavar="FILE", help="where changes are noted, for --undo")
    tag.set_defaults(run=_tag)


def _tag(arguments: argparse.Namespace, console: Console) -> int:
    from ...errors import AudioError
    from ...models.genres.model import PARENT_SEPARATOR
    from ..genres.tag_writer import Change, Journal, default_journal, files_of, namer, read_genre

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
            change = Change(path, before, tuple(genre.split(PARENT_SEPARATOR)) if genre else before)
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
