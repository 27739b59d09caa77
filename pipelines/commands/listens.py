"""The commands that bring listening logs in: `listens` and `fetch`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console
from .main import AddCommand

FORMATS = ("yandex", "yambda", "movielens", "lastfm", "mpd", "csv")


def add_commands(add_command: AddCommand) -> None:
    listens = add_command("listens", "read a listening log into a library")
    listens.add_argument("path", type=Path, metavar="PATH", help="folder or file of the log")
    listens.add_argument("--format", required=True, choices=FORMATS, help="what kind of log it is")
    listens.add_argument(
        "--library", required=True, type=Path, metavar="L", help="library folder; made if there is none"
    )
    listens.add_argument(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="csv: which column is user_id, track_id, time, position, plays, played_ratio, played_percent, rating, "
        "liked, organic, title, artist, album, genre; those not named are recognised",
    )
    listens.add_argument(
        "--match", choices=("artist,title",), help="join with the library's tracks by artist and title, not only by id"
    )
    listens.add_argument(
        "--known-only", action="store_true", help="drop listens of tracks that nothing else is known of"
    )
    listens.add_argument("--source", metavar="NAME", help="name of this part of the log; the same name replaces it")
    listens.add_argument(
        "--out", type=Path, metavar="D", help="yandex: where items.parquet and events.parquet go (default L/yandex)"
    )
    listens.set_defaults(run=_listens)

    fetch = add_command("fetch", "download a public data set, or any file by its URL")
    fetch.add_argument("what", metavar="NAME_OR_URL", help="yambda, movielens, yandex, … or an http(s) URL")
    fetch.add_argument("--out", required=True, type=Path, metavar="D", help="folder for the files")
    fetch.add_argument("--sha256", metavar="HEX", help="the hash that the file must have")
    fetch.set_defaults(run=_fetch)


def _listens(arguments: argparse.Namespace, console: Console) -> None:
    from ..interactions.importer import ImportOptions, import_log
    from ..library.store import Library

    options = ImportOptions(
        format=arguments.format,
        columns=_columns(arguments.columns),
        match=arguments.match is not None,
        known_only=arguments.known_only,
        source=arguments.source,
        out=arguments.out,
    )
    with Library.open(arguments.library, create=True) as library:
        summary = import_log(library, arguments.path, options)
    for note in summary.notes:
        console.message(note)
    console.record(**summary.record())


def _fetch(arguments: argparse.Namespace, console: Console) -> None:
    from ..interactions.download import fetch

    with console.progress() as bar:
        task = bar.add_task("fetch", total=None)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        for fetched in fetch(arguments.what, arguments.out, sha256=arguments.sha256, progress=show):
            console.record(**fetched.record())


def _columns(text: str | None) -> dict[str, str]:
    from ...errors import UsageError

    columns = {}
    for pair in (text or "").split(","):
        if pair.strip():
            ours, equals, theirs = pair.partition("=")
            if not equals:
                raise UsageError(f"--columns {text}: {pair!r} is not of the form OURS=THEIRS")
            columns[ours.strip()] = theirs.strip()
    return columns
