"""Reader of the Yandex Music log: three Parquet files in a folder.

    tracks.parquet         track_id i64, albums list[i64], artists list[i64], genres list[i64]
    catalog_names.parquet  id i64, type str (track, album, artist, genre), name str; an id has another meaning per type
    interactions.parquet   user_id i32, track_id i32, track_seq i16 (1, 2, … per user), started_at datetime (the day)

Names are joined by (id, type), lists are deduplicated by name, and a genre without a name is called
`other_genre_{id}`. Two tables are written beside the log:

    items.parquet   item_id, albums, artists, genres (lists of names), name, num_users, num_users_norm
    events.parquet  user_id, item_id, track_seq, started_at, num_users_norm, listened

`num_users` counts the different listeners of a track (0 where there is none), `num_users_norm` is its share of the
largest such count (0 … 1), and `listened` is 1: every interaction is a play.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ....errors import DataError
from ....models.storage import replacing
from ..columns import find, id_text, naming, need, scan_parquet, seconds, time_note
from ..schema import SourceLog

ITEM_COLUMNS = ("item_id", "albums", "artists", "genres", "name", "num_users", "num_users_norm")
EVENT_COLUMNS = ("user_id", "item_id", "track_seq", "started_at", "num_users_norm", "listened")

_KINDS = {"albums": "album", "artists": "artist", "genres": "genre"}


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder."""
    folder = path.parent if path.is_file() else path
    plays_path = find(folder, "interactions.parquet")
    plays = scan_parquet(plays_path)
    need(plays, plays_path, ["user_id", "track_id", "track_seq", "started_at"])
    listens = plays.select(
        id_text(plays, plays_path, "user_id").alias("user_id"),
        id_text(plays, plays_path, "track_id").alias("track_id"),
        seconds(plays, plays_path, "started_at").alias("time"),
        pl.col("track_seq").cast(pl.Int64).alias("position"),
    )
    items = named_items(folder).lazy()
    tracks = items.select(
        id_text(items, folder / "tracks.parquet", "item_id").alias("track_id"),
        pl.col("name").alias("title"),
        "artists",
        pl.col("albums").list.first().alias("album"),
        "genres",
    )
    return SourceLog(folder, listens, tracks, notes=time_note(plays, plays_path, "started_at"))


def named_items(folder: Path) -> pl.DataFrame:
    """The tracks with names instead of numbers: item_id, albums, artists, genres, name."""
    tracks_path, names_path = find(folder, "tracks.parquet"), find(folder, "catalog_names.parquet")
    tracks, names = scan_parquet(tracks_path), scan_parquet(names_path)
    need(tracks, tracks_path, ["track_id", *_KINDS])
    need(names, names_path, ["id", "type", "name"])
    for column in _KINDS:
        if not isinstance(tracks.collect_schema()[column], pl.List):
            raise DataError(f"{tracks_path}: column {column} is not a list")
    with naming(tracks_path):
        table = tracks.rename({"track_id": "item_id"}).select("item_id", *_KINDS).collect(engine="streaming")
    with naming(names_path):
        known = names.select("id", pl.col("type").cast(pl.String), pl.col("name").cast(pl.String)).collect(
            engine="streaming"
        )
    table = table.filter(pl.col("item_id").is_not_null()).unique("item_id", keep="first", maintain_order=True)
    known = known.unique(["id", "type"], keep="first", maintain_order=True)
    items = table.select("item_id")
    for column, kind in _KINDS.items():
        of_kind = known.filter(pl.col("type") == kind).select(pl.col("id").cast(pl.Int64).alias(column), "name")
        pairs = table.select("item_id", pl.col(column).cast(pl.List(pl.Int64))).explode(column).drop_nulls()
        pairs = pairs.join(of_kind, on=column, how="left", maintain_order="left")
        if kind == "genre":
            pairs = pairs.with_columns(pl.col("name").fill_null("other_genre_" + pl.col(column).cast(pl.String)))
        lists = pairs.drop_nulls("name").group_by("item_id", maintain_order=True)
        items = items.join(
            lists.agg(pl.col("name").unique(maintain_order=True).alias(column)), on="item_id", how="left"
        )
    titles = known.filter(pl.col("type") == "track").select(pl.col("id").alias("item_id"), "name")
    titles = titles.cast({"item_id": items.schema["item_id"]})
    empty = pl.lit([], pl.List(pl.String))
    return items.with_columns(pl.col(*_KINDS).fill_null(empty)).join(
        titles, on="item_id", how="left", maintain_order="left"
    )


def write_tables(folder: Path, out: Path) -> None:
    """Writes items.parquet and events.parquet of the log in `folder`; each appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    plays_path = find(folder, "interactions.parquet")
    plays = scan_parquet(plays_path).filter(pl.col("user_id").is_not_null() & pl.col("track_id").is_not_null())
    plays = plays.rename({"track_id": "item_id"})
    with naming(plays_path):
        users = (
            plays.group_by("item_id").agg(pl.col("user_id").n_unique().alias("num_users")).collect(engine="streaming")
        )
    users = users.with_columns((pl.col("num_users") / pl.col("num_users").max()).alias("num_users_norm"))
    items = named_items(folder)
    counts = users.cast({"item_id": items.schema["item_id"]})
    items = items.join(counts, on="item_id", how="left", maintain_order="left")
    items = items.with_columns(pl.col("num_users").fill_null(0), pl.col("num_users_norm").fill_null(0.0))
    _replace(items.select(ITEM_COLUMNS).lazy(), out / "items.parquet", plays_path)
    events = plays.join(users.lazy().drop("num_users"), on="item_id", how="left", maintain_order="left")
    events = events.with_columns(pl.col("item_id").cast(items.schema["item_id"]), pl.lit(1, pl.Int8).alias("listened"))
    _replace(events.select(EVENT_COLUMNS), out / "events.parquet", plays_path)


def _replace(frame: pl.LazyFrame, file: Path, source: Path) -> None:
    with replacing(file) as part, naming(source):
        frame.sink_parquet(part)
