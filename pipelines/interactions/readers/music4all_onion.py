"""Reader of Music4All-Onion (Moscati et al., CIKM 2022): Last.fm listens of tracks whose sound features are published.

    userid_trackid_timestamp.tsv.bz2   user_id, track_id, timestamp ("2020-01-31 14:05:00"): a row per listen
    userid_trackid_count.tsv.bz2       user_id, track_id, count: a row per user and track; read without the first

Names, albums and years come with Music4All itself (Santana et al., 2020), which its authors give out on request; as far
as these tables are there, they are read, too (all of them tab-separated):

    id_information.csv   id, artist, song, album_name
    id_genres.csv        id, genres ("rock,pop"): the catalogue's genres
    id_metadata.csv      id, release (the year), and more that is not read

Any file may be unpacked (without .bz2). The sound features, `id_*.tsv.bz2` with an `id` and a number in each further
column, are many gigabytes, and which one is wanted differs: `crossfade vectors id_musicnn.tsv.bz2 --name musicnn
--library L` imports one.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ....errors import DataError
from ...library.table_blocks import table_blocks
from ..columns import SourceTable, listed
from ..schema import SourceLog

LISTENS, COUNTS = "userid_trackid_timestamp.tsv", "userid_trackid_count.tsv"


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder, or in one of its two files; it is unpacked into `scratch`, as Parquet."""
    folder = path.parent if path.is_file() else path
    file = path if path.is_file() else _file(folder, LISTENS) or _file(folder, COUNTS)
    if file is None:
        names = listed(sorted(entry.name for entry in folder.iterdir()))
        raise DataError(f"{folder}: neither {LISTENS}.bz2 nor {COUNTS}.bz2 in it, but {names}")
    for number, block in enumerate(table_blocks(file)):
        missing = {"user_id", "track_id"} - set(block.columns)
        if missing or not {"timestamp", "count"} & set(block.columns):
            needed = ", ".join(sorted(missing)) or "timestamp or count"
            raise DataError(f"{file}: no column {needed} among {listed(block.columns)}")
        block.write_parquet(scratch / f"listens-{number:05}.parquet")
    table = SourceTable(file, pl.scan_parquet(sorted(scratch.glob("listens-*.parquet")), glob=False))
    columns = {"user_id": table.id("user_id"), "track_id": table.id("track_id")}
    if "timestamp" in table.schema:
        columns["time"] = table.seconds("timestamp")
    else:
        columns["plays"] = table.number("count").fill_null(float("nan"))
    tracks = _tracks(folder)
    notes: tuple[str, ...] = ()
    if tracks is None:
        notes = (f"{folder}: no id_information.csv; artists and titles are unknown, and so is who made a new track",)
    return SourceLog(file, table.select(**columns), tracks, notes=notes)


def _tracks(folder: Path) -> pl.LazyFrame | None:
    """track_id, and of title, artists, album, genres and released_at what there are tables of."""
    tables: list[pl.LazyFrame] = []
    if file := _file(folder, "id_information.csv"):
        table = SourceTable.csv(file, "id", "artist", "song", "album_name", separator="\t")
        artist, title, album = (_text(name) for name in ("artist", "song", "album_name"))
        artists = pl.concat_list(artist).list.drop_nulls()
        tables.append(table.select(track_id=table.id("id"), title=title, artists=artists, album=album))
    if file := _file(folder, "id_genres.csv"):
        table = SourceTable.csv(file, "id", "genres", separator="\t")
        genres = pl.col("genres").str.split(",").list.eval(pl.element().str.strip_chars())
        tables.append(table.select(track_id=table.id("id"), genres=genres.list.filter(pl.element() != "")))
    if file := _file(folder, "id_metadata.csv"):
        table = SourceTable.csv(file, "id", "release", separator="\t")
        year = pl.col("release").str.extract(r"^\s*(\d{4})").cast(pl.Int32, strict=False)
        tables.append(table.select(track_id=table.id("id"), released_at=pl.datetime(year, 1, 1).dt.epoch("s")))
    if not tables:
        return None
    return pl.concat([table.unique("track_id") for table in tables], how="align_full")


def _text(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return pl.when(text != "").then(text)


def _file(folder: Path, name: str) -> Path | None:
    """The file of this name, or with .bz2 behind it."""
    return next((file for file in (folder / name, folder / f"{name}.bz2") if file.is_file()), None)
