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
from ..columns import id_text, listed, need, number, scan_parquet, seconds, time_note
from ..schema import SourceLog, SourceVectors

_LIKED = {"likes": 1, "dislikes": -1, "unlikes": 0, "undislikes": 0}


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder, or in one of its files; the tables beside the events are found also one or two levels up."""
    folder = path if path.is_dir() else path.parent
    files = _event_files(path)
    parts: list[pl.LazyFrame] = []
    notes: list[str] = []
    for file in files:
        frame = scan_parquet(file)
        parts.append(_events(frame, file))
        notes += time_note(frame, file, "timestamp")
    listens = pl.concat(parts, how="diagonal")
    if len(files) == 1 and files[0].stem == "listens":
        notes.append(f"{folder}: no likes and dislikes beside listens.parquet")
    tracks = _tracks(folder, listens)
    vectors = None
    if embeddings := _beside(folder, "embeddings.parquet"):
        table = scan_parquet(embeddings)
        need(table, embeddings, ["item_id", "normalized_embed"])
        track_id = id_text(table, embeddings, "item_id").alias("track_id")
        vectors = SourceVectors("yambda", table.select(track_id, "normalized_embed"))
    return SourceLog(path, listens, tracks, vectors, tuple(notes))


def _event_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [path / f"{kind}.parquet" for kind in ("listens", *_LIKED) if (path / f"{kind}.parquet").is_file()]
    together = path / "multi_event.parquet"
    if not files and not together.is_file():
        there = listed(sorted(entry.name for entry in path.iterdir()))
        raise DataError(
            f"{path}: neither listens.parquet, likes.parquet … nor multi_event.parquet, but {there or 'nothing'}"
        )
    return files or [together]


def _events(frame: pl.LazyFrame, file: Path) -> pl.LazyFrame:
    need(frame, file, ["uid", "item_id", "timestamp"])
    there = frame.collect_schema()
    if isinstance(there["item_id"], pl.List):
        raise DataError(f"{file}: the sequential layout, one row per user; fetch the flat one")
    columns = [
        id_text(frame, file, "uid").alias("user_id"),
        id_text(frame, file, "item_id").alias("track_id"),
        seconds(frame, file, "timestamp").alias("time"),
    ]
    if "is_organic" in there:
        columns.append(pl.col("is_organic").cast(pl.Boolean).alias("organic"))
    if "played_ratio_pct" in there:
        columns.append((number(frame, file, "played_ratio_pct") / 100).alias("played_ratio"))
    if "event_type" in there:
        kind = pl.col("event_type").cast(pl.String) + "s"
        columns.append(kind.replace_strict(_LIKED, default=None, return_dtype=pl.Int8).alias("liked"))
    elif file.stem in _LIKED:
        columns.append(pl.lit(_LIKED[file.stem], pl.Int8).alias("liked"))
    elif "played_ratio_pct" not in there:
        raise DataError(f"{file}: no column played_ratio_pct or event_type among {listed(there.names())}")
    return frame.select(columns)


def _tracks(folder: Path, listens: pl.LazyFrame) -> pl.LazyFrame | None:
    heard = listens.select(pl.col("track_id").unique())
    artists, albums = (_mapping(folder, kind, heard) for kind in ("artist", "album"))
    if artists is not None:
        artists = artists.group_by("track_id").agg(pl.col("artist").unique().sort().alias("artists"))
    if albums is not None:
        albums = albums.group_by("track_id").agg(pl.col("album").min())
    if artists is None or albums is None:
        return albums if artists is None else artists
    return artists.join(albums, on="track_id", how="full", coalesce=True)


def _mapping(folder: Path, kind: str, heard: pl.LazyFrame) -> pl.LazyFrame | None:
    """(track_id, artist or album) of the tracks in the log, or None where there is no such file."""
    file = _beside(folder, f"{kind}_item_mapping.parquet")
    if file is None:
        return None
    mapping = scan_parquet(file)
    need(mapping, file, [f"{kind}_id", "item_id"])
    columns = [id_text(mapping, file, "item_id").alias("track_id"), id_text(mapping, file, f"{kind}_id").alias(kind)]
    return mapping.select(columns).join(heard, on="track_id", how="semi")


def _beside(folder: Path, name: str) -> Path | None:
    """The file in the folder, or where the published tree has it: two levels above flat/50m."""
    places = [folder, folder.parent, folder.parent.parent] if folder.parent.name == "flat" else [folder]
    return next((place / name for place in places if (place / name).is_file()), None)
