"""Reader of any other table: CSV, TSV (gzipped or not) or Parquet, a row per event, columns named or recognised.

user_id, track_id                       required
time                                    seconds, milli-, micro- or nanoseconds since 1970, or an ISO date;
                                        where a log has times, rows without one are dropped
position, plays, rating                 numbers
played_ratio                            a share (0 …) or, as `played_percent`, a percentage
liked                                   1, 0, -1
organic                                 1, 0, true, false
title, artist, album, genre             of the track; several artists or genres in a cell with | between them
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from ....errors import DataError, UsageError
from ..columns import SourceTable, listed, reading
from ..schema import SourceLog

NAMES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user", "userid", "uid", "username", "listener", "listener_id", "session_id"),
    "track_id": (
        *("track_id", "track", "trackid", "item_id", "item", "itemid"),
        *("song_id", "song", "songid", "recording_mbid"),
    ),
    "time": ("time", "timestamp", "ts", "listened_at", "started_at", "played_at", "datetime", "date"),
    "position": ("position", "pos", "track_seq", "sequence", "order"),
    "plays": ("plays", "play_count", "playcount", "count", "listens", "weight"),
    "played_ratio": ("played_ratio", "play_ratio", "ratio"),
    "played_percent": ("played_percent", "played_ratio_pct", "play_percent"),
    "rating": ("rating", "score", "stars"),
    "liked": ("liked", "like"),
    "organic": ("organic", "is_organic"),
    "title": ("title", "track_name", "song_title", "trackname"),
    "artist": ("artist", "artists", "artist_name", "artistname"),
    "album": ("album", "album_name", "release"),
    "genre": ("genre", "genres"),
}
"""our column -> names it is recognised by, in any case"""
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
"""what is taken for the log in a folder"""


def read(path: Path, scratch: Path, columns: Mapping[str, str] | None = None) -> SourceLog:
    """The log in one file; `columns` maps ours (above) to the file's, the others are recognised by their names."""
    table = _table(path)
    names = _columns(table, columns or {})
    notes = table.time_note(names["time"]) if "time" in names else ()
    tracks = None
    if {"title", "artist", "album", "genre"} & names.keys():
        tracks = table.select(**_described(table, names)).drop_nulls("track_id")
        tracks = tracks.group_by("track_id").agg(pl.all().drop_nulls().first())
    return SourceLog(path, table.select(**_events(table, names)), tracks, notes=notes)


def _table(path: Path) -> SourceTable:
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(TABLES)]
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise DataError(f"{path}: which file? the csv format reads one table, here are: {names}")
        path = files[0]
    if path.suffix.lower() == ".parquet":
        return SourceTable.parquet(path)
    with reading(path), (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        header = file.readline()
    return SourceTable.csv(path, separator=max((b",", b"\t", b";", b"|"), key=header.count).decode())


def _columns(table: SourceTable, given: Mapping[str, str]) -> dict[str, str]:
    """Our name -> the file's for each column that is given or recognised."""
    for name in given:
        if name not in NAMES:
            raise UsageError(f"{name}: no such column of a listening log; there are: {', '.join(NAMES)}")
    table.require(*given.values())
    in_file = table.schema.names()
    by_name = {column.strip().lower(): column for column in reversed(in_file) if column not in given.values()}
    recognised = {
        name: by_name[alias] for name, aliases in NAMES.items() for alias in reversed(aliases) if alias in by_name
    }
    names = {**recognised, **given}
    for name in ("user_id", "track_id"):
        if name not in names:
            among = f"among {listed(in_file)}; say which with --columns {name}=COLUMN"
            raise DataError(f"{table.path}: no column {name} {among}")
    return names


def _events(table: SourceTable, names: Mapping[str, str]) -> dict[str, pl.Expr]:
    columns = {name: table.id(names[name]) for name in ("user_id", "track_id")}
    if "time" in names:
        columns["time"] = table.seconds(names["time"])
    columns |= {name: table.number(names[name]) for name in ("plays", "rating", "played_ratio") if name in names}
    if "played_percent" in names and "played_ratio" not in names:
        columns["played_ratio"] = table.number(names["played_percent"]) / 100
    if "rating" in names and not names.keys() & {"plays", "played_ratio", "played_percent", "liked"}:
        columns["rating"] = columns["rating"].fill_null(float("nan"))
    if "position" in names:
        columns["position"] = _finite(table.number(names["position"])).cast(pl.Int64)
    if "liked" in names:
        columns["liked"] = _finite(table.number(names["liked"])).clip(-1, 1).cast(pl.Int8)
    if "organic" in names:
        text = pl.col(names["organic"]).cast(pl.String).str.strip_chars().str.to_lowercase()
        truth = pl.when(text.is_in(["1", "1.0", "true", "yes"])).then(True)
        columns["organic"] = truth.when(text.is_in(["0", "0.0", "false", "no"])).then(False)
    return columns


def _finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)


def _described(table: SourceTable, names: Mapping[str, str]) -> dict[str, pl.Expr]:
    columns = {"track_id": table.id(names["track_id"])}
    columns |= {
        name: pl.col(names[name]).cast(pl.String).str.strip_chars() for name in ("title", "album") if name in names
    }
    for name in ("artist", "genre"):
        if name in names:
            column = pl.col(names[name])
            if not isinstance(table.schema[names[name]], pl.List):
                column = column.cast(pl.String).str.split("|").list.eval(pl.element().str.strip_chars())
            columns[f"{name}s"] = column.list.filter(pl.element() != "")
    return columns
