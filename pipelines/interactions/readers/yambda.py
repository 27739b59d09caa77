"""Reader of Yambda (Yandex, 2025; arXiv:2505.22238), the flat layout.

    listens.parquet      uid u32, item_id u32, timestamp u32, is_organic u8, played_ratio_pct u16,
                         track_length_seconds u32
    likes.parquet        uid, item_id, timestamp, is_organic
    dislikes.parquet     the same, as are unlikes.parquet and undislikes.parquet: a like, a dislike taken back
    multi_event.parquet  instead of the five: all columns and event_type: listen, like, dislike, unlike, undislike
    embeddings.parquet           item_id, embed list[f64], normalized_embed list[f64]
    artist_item_mapping.parquet  artist_id, item_id
    album_item_mapping.parquet   album_id, item_id

Every file but one with events may be missing. `timestamp` is seconds since the beginning of the log, in steps of 5;
`played_ratio_pct` is above 100 where parts were replayed, and a track counts as listened (Listen+) from 50 on.
`normalized_embed` of the tracks in the log become the sound vectors `yambda`: they stand in for the encoder. Artists
and albums have numbers for names.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ....errors import DataError
from ..columns import SourceTable, listed
from ..schema import SourceLog, SourceVectors

_LIKED = {"likes": 1, "dislikes": -1, "unlikes": 0, "undislikes": 0}


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder, or in one of its files; the tables beside the events are found also one or two levels up."""
    folder = path if path.is_dir() else path.parent
    events = [SourceTable.parquet(file, "uid", "item_id", "timestamp") for file in _event_files(path)]
    listens = pl.concat([_events(table) for table in events], how="diagonal")
    notes = [note for table in events for note in table.time_note("timestamp")]
    if [table.path.stem for table in events] == ["listens"]:
        notes.append(f"{folder}: no likes and dislikes beside listens.parquet")
    vectors = None
    if embeddings := _beside(folder, "embeddings.parquet"):
        table = SourceTable.parquet(embeddings, "item_id", "normalized_embed")
        vectors = SourceVectors("yambda", table.select(track_id=table.id("item_id"), vector="normalized_embed"))
    return SourceLog(path, listens, _tracks(folder, listens), vectors, tuple(notes))


def _event_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [file for kind in ("listens", *_LIKED) if (file := path / f"{kind}.parquet").is_file()]
    together = path / "multi_event.parquet"
    if not files and not together.is_file():
        names = listed(sorted(entry.name for entry in path.iterdir()))
        raise DataError(f"{path}: neither listens.parquet, likes.parquet … nor multi_event.parquet, but {names}")
    return files or [together]


def _events(table: SourceTable) -> pl.LazyFrame:
    kind = table.path.stem
    if isinstance(table.schema["item_id"], pl.List):
        raise DataError(f"{table.path}: the sequential layout, one row per user; fetch the flat one")
    columns = {"user_id": table.id("uid"), "track_id": table.id("item_id"), "time": table.seconds("timestamp")}
    if "is_organic" in table.schema:
        columns["organic"] = pl.col("is_organic").cast(pl.Boolean)
    if "played_ratio_pct" in table.schema:
        columns["played_ratio"] = table.number("played_ratio_pct") / 100
    if "event_type" in table.schema:
        kinds = pl.col("event_type").cast(pl.String) + "s"
        columns["liked"] = kinds.replace_strict(_LIKED, default=None, return_dtype=pl.Int8)
    elif kind in _LIKED:
        columns["liked"] = pl.lit(_LIKED[kind], pl.Int8)
    elif "played_ratio_pct" not in table.schema:
        table.require("played_ratio_pct or event_type")
    return table.select(**columns)


def _tracks(folder: Path, listens: pl.LazyFrame) -> pl.LazyFrame | None:
    """track_id, and artists and album as far as there are tables of them, of the tracks in the log."""
    played = listens.select(pl.col("track_id").unique())
    tables: list[pl.LazyFrame] = []
    for kind, names in (
        ("artist", pl.col("artist").unique().sort().alias("artists")),
        ("album", pl.col("album").min()),
    ):
        if file := _beside(folder, f"{kind}_item_mapping.parquet"):
            mapping = SourceTable.parquet(file, f"{kind}_id", "item_id")
            pairs = mapping.select(**{"track_id": mapping.id("item_id"), kind: mapping.id(f"{kind}_id")})
            tables.append(pairs.join(played, on="track_id", how="semi").group_by("track_id").agg(names))
    return pl.concat(tables, how="align_full") if tables else None


def _beside(folder: Path, name: str) -> Path | None:
    """The file in the folder, or where the published tree has it: two levels above flat/50m."""
    places = [folder, folder.parent, folder.parent.parent] if folder.parent.name == "flat" else [folder]
    return next((place / name for place in places if (place / name).is_file()), None)
