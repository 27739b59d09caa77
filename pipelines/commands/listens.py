"""The commands that bring listening logs in: `listens` and `fetch`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from .options import Flag, LibraryFolder, Screen, open_library, option

_COLUMNS = """csv: NAME=COLUMN,… names the columns of user_id, track_id, time, position, plays, played_ratio,
played_percent, rating, liked, organic, title, artist, album, genre; those not named are recognised"""

Format = Literal["yandex", "yambda", "movielens", "lastfm", "mpd", "music4all-onion", "csv"]


def listens(
    path: Annotated[Path, option("folder or file of the log")],
    /,
    *,
    format: Annotated[Format, option("kind of log")],
    library: LibraryFolder,
    columns: Annotated[str, option(_COLUMNS)] = "",
    match: Annotated[Literal["artist,title"] | None, option("join by artist and title, not only by id")] = None,
    known_only: Annotated[Flag, option("drop listens of tracks that nothing else is known of")] = False,
    source: Annotated[str | None, option("name of this part of the log; the same name replaces it")] = None,
    out: Annotated[Path | None, option("yandex: where items.parquet and events.parquet go (default L/yandex)")] = None,
    console: Screen,
) -> None:
    """Read a listening log into a library, which is made if there is none.

    Example: crossfade listens plays.csv --format csv --library L
    """
    from ...errors import UsageError
    from ..interactions.importer import ImportOptions, import_log

    pairs = {}
    for pair in filter(str.strip, columns.split(",")):
        name, equals, column = pair.partition("=")
        if not equals:
            raise UsageError(f"--columns {columns}: {pair!r} is not of the form NAME=COLUMN")
        pairs[name.strip()] = column.strip()
    options = ImportOptions(
        format=format, columns=pairs, match=match is not None, known_only=known_only, source=source, out=out
    )
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
