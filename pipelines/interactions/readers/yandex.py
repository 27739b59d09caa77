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
from ..columns import SourceTable, find, reading
from ..schema import SourceLog

ITEM_COLUMNS = ("item_id", "albums", "artists", "genres", "name", "num_users", "num_users_norm")
EVENT_COLUMNS = ("user_id", "item_id", "track_seq", "started_at", "num_users_norm", "listened")

_KINDS = {"albums": "album", "artists": "artist", "genres": "genre"}


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder."""
    plays = SourceTable.parquet(find(path, "interactions.parquet"), "user_id", "track_id", "track_seq", "started_at")
    listens = plays.select(
        user_id=plays.id("user_id"),
        track_id=plays.id("track_id"),
        time=plays.seconds("started_at"),
        position=pl.col("track_seq").cast(pl.Int64),
    )
    items = SourceTable(plays.path.with_name("tracks.parquet"), named_items(path).lazy())
    tracks = items.select(
        track_id=items.id("item_id"),
        title="name",
        artists="artists",
        album=pl.col("albums").list.first(),
        genres="genres",
    )
    return SourceLog(path, listens, tracks, notes=plays.time_note("started_at"))


def named_items(path: Path) -> pl.DataFrame:
    """The tracks with names instead of numbers: item_id, albums, artists, genres, name."""
    tracks = SourceTable.parquet(find(path, "tracks.parquet"), "track_id", *_KINDS)
    names = SourceTable.parquet(find(path, "catalog_names.parquet"), "id", "type", "name")
    for column in _KINDS:
        if not isinstance(tracks.schema[column], pl.List):
            raise DataError(f"{tracks.path}: column {column} is not a list")
    with reading(tracks.path):
        table = tracks.frame.select(pl.col("track_id").alias("item_id"), *_KINDS).collect(engine="streaming")
    with reading(names.path):
        known = names.frame.select("id", pl.col("type", "name").cast(pl.String)).collect(engine="streaming")
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


def write_tables(path: Path, out: Path) -> None:
    """Writes items.parquet and events.parquet of the log in a folder; each appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    plays_path = find(path, "interactions.parquet")
    plays = SourceTable.parquet(plays_path).frame.drop_nulls(["user_id", "track_id"]).rename({"track_id": "item_id"})
    items = named_items(path)
    dtype = items.schema["item_id"]
    with reading(plays_path):
        users = plays.group_by("item_id").agg(num_users=pl.col("user_id").n_unique()).collect(engine="streaming")
    users = users.with_columns(num_users_norm=pl.col("num_users") / pl.col("num_users").max())
    items = items.join(users.cast({"item_id": dtype}), on="item_id", how="left", maintain_order="left")
    items = items.with_columns(pl.col("num_users").fill_null(0), pl.col("num_users_norm").fill_null(0.0))
    events = plays.join(users.lazy().drop("num_users"), on="item_id", how="left", maintain_order="left")
    events = events.with_columns(pl.col("item_id").cast(dtype), listened=pl.lit(1, pl.Int8))
    for name, frame in (("items", items.lazy().select(ITEM_COLUMNS)), ("events", events.select(EVENT_COLUMNS))):
        with replacing(out / f"{name}.parquet") as part, reading(plays_path):
            frame.sink_parquet(part)
