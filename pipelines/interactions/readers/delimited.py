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
from ..columns import id_text, listed, naming, number, scan_csv, scan_parquet, seconds, time_note
from ..schema import SourceLog

NAMES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user", "userid", "uid", "username", "listener", "listener_id", "session_id"),
    "track_id": (
        "track_id",
        "track",
        "trackid",
        "item_id",
        "item",
        "itemid",
        "song_id",
        "song",
        "songid",
        "recording_mbid",
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
    frame = _scan(path)
    names = _columns(frame, path, columns or {})
    listens = frame.select(_listens(frame, path, names))
    notes = time_note(frame, path, names["time"]) if "time" in names else ()
    described = {"title", "artist", "album", "genre"} & names.keys()
    tracks = frame.select(_tracks(frame, path, names)) if described else None
    if tracks is not None:
        tracks = tracks.filter(pl.col("track_id").is_not_null()).group_by("track_id").agg(pl.all().drop_nulls().first())
    return SourceLog(path, listens, tracks, notes=notes)


def _scan(path: Path) -> pl.LazyFrame:
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if file.name.lower().endswith(TABLES)]
        if len(found) != 1:
            names = listed([file.name for file in found]) or "none"
            raise DataError(f"{path}: which file? the csv format reads one table, here are: {names}")
        path = found[0]
    if path.suffix.lower() == ".parquet":
        return scan_parquet(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with naming(path), (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        header = file.readline()
    separator = max((b",", b"\t", b";", b"|"), key=header.count).decode()
    return scan_csv(path, separator=separator)


def _columns(frame: pl.LazyFrame, path: Path, asked: Mapping[str, str]) -> dict[str, str]:
    found = frame.collect_schema().names()
    for name, column in asked.items():
        if name not in NAMES:
            raise UsageError(f"{name}: no such column of a listening log; there are: {', '.join(NAMES)}")
        if column not in found:
            raise DataError(f"{path}: no column {column} among {listed(found)}")
    by_name = {column.strip().lower(): column for column in reversed(found) if column not in asked.values()}
    names = {
        name: asked.get(name) or next((by_name[known] for known in recognised if known in by_name), None)
        for name, recognised in NAMES.items()
    }
    for name in ("user_id", "track_id"):
        if names[name] is None:
            raise DataError(f"{path}: no column {name} among {listed(found)}; say which with --columns {name}=COLUMN")
    return {name: column for name, column in names.items() if column is not None}


def _listens(frame: pl.LazyFrame, path: Path, names: Mapping[str, str]) -> list[pl.Expr]:
    columns = [id_text(frame, path, names[name]).alias(name) for name in ("user_id", "track_id")]
    if "time" in names:
        columns.append(seconds(frame, path, names["time"]).alias("time"))
    if "position" in names:
        columns.append(_whole(number(frame, path, names["position"])).cast(pl.Int64).alias("position"))
    columns += [number(frame, path, names[name]).alias(name) for name in ("plays", "rating") if name in names]
    if "played_ratio" in names:
        columns.append(number(frame, path, names["played_ratio"]).alias("played_ratio"))
    elif "played_percent" in names:
        columns.append((number(frame, path, names["played_percent"]) / 100).alias("played_ratio"))
    if "rating" in names and len(names.keys() & {"plays", "played_ratio", "played_percent", "liked"}) == 0:
        columns[-1] = columns[-1].fill_null(float("nan"))
    if "liked" in names:
        columns.append(_whole(number(frame, path, names["liked"])).clip(-1, 1).cast(pl.Int8).alias("liked"))
    if "organic" in names:
        text = pl.col(names["organic"]).cast(pl.String).str.strip_chars().str.to_lowercase()
        truth = pl.when(text.is_in(["1", "1.0", "true", "yes"])).then(True)
        columns.append(truth.when(text.is_in(["0", "0.0", "false", "no"])).then(False).alias("organic"))
    return columns


def _whole(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)


def _tracks(frame: pl.LazyFrame, path: Path, names: Mapping[str, str]) -> list[pl.Expr]:
    columns = [id_text(frame, path, names["track_id"]).alias("track_id")]
    for ours, name in (("title", "title"), ("album", "album")):
        if name in names:
            columns.append(pl.col(names[name]).cast(pl.String).str.strip_chars().alias(ours))
    for ours, name in (("artists", "artist"), ("genres", "genre")):
        if name in names:
            column = pl.col(names[name])
            if not isinstance(frame.collect_schema()[names[name]], pl.List):
                column = column.cast(pl.String).str.split("|").list.eval(pl.element().str.strip_chars())
            columns.append(column.list.filter(pl.element() != "").alias(ours))
    return columns
