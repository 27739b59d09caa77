"""The commands that bring listening logs in: `listens` and `fetch`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from ..interactions.options import ImportOptions
from .options import LibraryFolder, Screen, open_library, option


def listens(
    path: Annotated[Path, option("folder or file of the log")],
    /,
    *,
    options: ImportOptions,
    library: LibraryFolder,
    console: Screen,
) -> None:
    """Read a listening log into a library, which is made if there is none.

    Example: crossfade listens plays.csv --format csv --library L
    """
    from ..interactions.importer import check, import_log

    # Before the library, which is not made for a log that is not there.
    check(path, options)
    with open_library(library, create=True) as opened:
        summary = import_log(opened, path, options)
    for note in summary.notes:
        console.message(note)
    console.record(**summary.record())


def fetch(
    source: Annotated[str, option("yambda, movielens, yandex, … or an http(s) URL")],
    /,
    *,
    out: Annotated[Path, option("folder for the files")],
    sha256: Annotated[str | None, option("the hash that the file must have")] = None,
    console: Screen,
) -> None:
    """Download a public data set, or any file by its URL.

    Example: crossfade fetch movielens --out data
    """
    from ..interactions.download import fetch as download

    with console.bar("fetch") as progress:
        for fetched in download(source, out, sha256=sha256, progress=progress):
            console.record(**asdict(fetched))
