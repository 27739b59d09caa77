"""The listening log: one schema for all sources, kept in the library as Parquet, one file per source.

One row is one event of a user and a track (or, where a source only counts, one row per pair):

    user_id        text
    track_id       text    joins with the library's tracks
    time           i64     seconds since 1970 (or since the source's own beginning), null where unknown
    position       i64     the order of a user's events where there is no time, and among equal times
    played_ratio   f32     share of the track that was played, 0 …, above 1 when parts were replayed
    plays          f32     how many plays the row stands for
    rating         f32     an explicit rating, on the source's own scale
    liked          i8      1 liked, -1 disliked, 0 took either back, null where there is no reaction
    organic        bool    found by the user, not recommended

A row with none of plays, played_ratio, rating and liked is one whole play. Everything is lazy and streams: 222 million
events fit in 24 GiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError
from ...models.catalogue import Catalogue
from ...models.confidence_weights import ConfidenceOptions, States
from ...models.interactions import Clock, Interactions
from ..library.store import Library
from .columns import UNREADABLE_TIME, reading

if TYPE_CHECKING:
    from polars._typing import MaintainOrderJoin

SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "track_id": pl.String(),
        "time": pl.Int64(),
        "position": pl.Int64(),
        "played_ratio": pl.Float32(),
        "plays": pl.Float32(),
        "rating": pl.Float32(),
        "liked": pl.Int8(),
        "organic": pl.Boolean(),
    }
)

_DTYPES: dict[str, type[np.integer[Any]]] = {
    "user_row": np.int32,
    "track_row": np.int32,
    "time": np.int64,
    "position": np.int64,
    "organic": np.int8,
}
_BLOCK_EVENTS = 8_000_000


@dataclass(frozen=True)
class SourceVectors:
    """A table of precomputed sound vectors."""

    name: str
    table: pl.LazyFrame
    """track_id, and the vector's components as further columns or as one list column"""

    @property
    def features(self) -> bool:
        """Whether the columns have units of their own and need a common scale, as an embedding's have not."""
        return len(self.table.collect_schema()) > 2

    def batches(self, tracks: pl.DataFrame, rows: int = 100_000) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """(track ids, [n, D] vectors) of these tracks; rows with a gap in them are left out."""
        columns = [name for name in self.table.collect_schema().names() if name != "track_id"]
        for start in range(0, self.table.select(pl.len()).collect(engine="streaming").item(), rows):
            part = self.table.slice(start, rows).collect(engine="streaming")
            part = part.drop_nulls().join(tracks.select("track_id"), on="track_id", how="semi").unique("track_id")
            if part.is_empty():
                continue
            if isinstance(part.schema[columns[0]], pl.List):
                part = part.with_columns(pl.col(columns[0]).list.to_array(part.item(0, columns[0]).len()))
            table = part.get_column(columns[0]) if len(columns) == 1 else part.select(columns)
            vectors = np.asarray(table.to_numpy(), np.float32)
            complete = np.isfinite(vectors).all(axis=1)
            yield part.get_column("track_id").filter(pl.Series(complete)).to_list(), vectors[complete]


@dataclass(frozen=True)
class SourceLog:
    """What a reader found in a source; nothing of the listens is read until they are written."""

    path: Path
    listens: pl.LazyFrame
    """columns of SCHEMA, any but the ids may be missing; NaN marks a value that is not what it should be"""
    tracks: pl.LazyFrame | None = None
    """track_id, and as far as the source has them title, artists, album, genres and released_at (seconds)"""
    vectors: SourceVectors | None = None
    notes: tuple[str, ...] = ()
    """for a person: what was taken for what"""


def conform(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Exactly the columns of SCHEMA, those that are missing as nulls."""
    present = frame.collect_schema()
    return frame.select(
        **{name: (pl.col(name) if name in present else pl.lit(None)).cast(dtype) for name, dtype in SCHEMA.items()}
    )


def parts_of(library: Library) -> list[Path]:
    """The log's files, one for each source."""
    return sorted(library.listens_folder.glob("*.parquet"))


def read_listens(library: Library) -> pl.LazyFrame:
    """The log of all sources, lazily; DataError where there is none yet."""
    parts = parts_of(library)
    if not parts:
        raise DataError(
            f"{library.folder}: no listens yet; crossfade listens PATH --format FORMAT --library {library.folder}"
        )
    for part in parts:
        with reading(part):
            # Not `read_parquet_schema`, which takes [ in a path for a pattern.
            schema = pl.scan_parquet(part, glob=False).collect_schema()
        if wrong := [name for name in SCHEMA if schema.get(name) != SCHEMA[name]]:
            found = ", ".join(f"{name} {schema.get(name, 'missing')}" for name in wrong)
            raise DataError(f"{part}: not a listening log of this program ({found}); import its source again")
    return pl.scan_parquet(parts, glob=False)


def mixed_clocks(library: Library) -> str | None:
    """A message where some sources have times, or an order, and others do not; else None."""
    sources: dict[Clock, list[str]] = {}
    ordered = True
    for part in parts_of(library):
        counted = pl.scan_parquet(part, glob=False).select(pl.len(), pl.col("time", "position").count()).collect()
        count, times, positions = counted.row(0)
        clock = Clock.TIME if times == count else Clock.ORDER if positions == count else Clock.NONE
        sources.setdefault(clock, []).append(part.stem)
        ordered &= positions == count
    if len(sources) < 2 or ordered:
        return None
    kinds = {Clock.TIME: "times", Clock.ORDER: "only an order", Clock.NONE: "neither times nor an order"}
    named = "; ".join(f"{', '.join(sources[clock])} with {kind}" for clock, kind in kinds.items() if clock in sources)
    return (
        f"listens: sources of different kinds ({named}), so the log as a whole has no common clock: nothing counts "
        "as recent, and splits are not by time; a library for each source keeps its clock"
    )


@contextmanager
def writing(library: Library, source: str) -> Iterator[tuple[Path, Path]]:
    """(a file to write, a scratch folder): the file becomes the source's part of the log when the block ends well."""
    library.listens_folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".reading-", dir=library.listens_folder) as scratch:
        part = Path(scratch) / "part"
        yield part, Path(scratch)
        with library.rewriting():
            part.replace(library.listens_folder / f"{source}.parquet")


def sink(log: SourceLog, part: Path, *, known: pl.DataFrame | None = None) -> dict[str, int]:
    """Writes the log's good rows into a Parquet file; returns reason -> number of the other rows.

    With `known`, a table of track ids, rows of other tracks are left out, too.
    """
    rows = conform(log.listens)
    problems = _PROBLEMS
    if known is not None:
        rows = rows.join(known.lazy().select("track_id", known=True), on="track_id", how="left")
        problems = {**problems, "unknown track": pl.col("known").is_null()}
    with reading(log.path):
        # In a source that has times, rows without one are left out: a single gap would leave the log without a clock.
        good = rows.filter(~pl.any_horizontal(*problems.values()).fill_null(False))
        if good.select(pl.col("time").count()).collect(engine="streaming").item():
            problems = {**problems, "no time": pl.col("time").is_null()}
        problem = pl.coalesce(*(pl.when(is_bad).then(pl.lit(reason)) for reason, is_bad in problems.items()))
        rows = rows.with_columns(problem=problem)
        dropped = dict(rows.group_by("problem").len().collect(engine="streaming").sort("problem").iter_rows())
        if not dropped.pop(None, 0):
            why = ", ".join(f"{reason}: {count:,}" for reason, count in dropped.items())
            raise DataError(f"{log.path}: no listens in it{f'; dropped ({why})' if why else ''}")
        rows.filter(pl.col("problem").is_null()).select(SCHEMA.names()).sink_parquet(part)
    return dropped


_PROBLEMS = {
    "no user": pl.col("user_id").is_null(),
    "no track": pl.col("track_id").is_null(),
    "time cannot be read": pl.col("time") == UNREADABLE_TIME,
    "rating is not a number": ~pl.col("rating").is_finite(),
    "plays is not a number of plays": ~pl.col("plays").is_finite() | (pl.col("plays") < 0),
    "played_ratio is not a share": ~pl.col("played_ratio").is_finite() | (pl.col("played_ratio") < 0),
}
"""why a row is left out -> whether it is; the first that holds counts"""


def listed_ids(frame: pl.LazyFrame) -> tuple[pl.Series, pl.Series]:
    """(user ids, track ids) in the log, sorted."""
    users, tracks = (
        frame.select(pl.col(name).unique()).collect(engine="streaming").to_series().sort()
        for name in ("user_id", "track_id")
    )
    return users, tracks


def with_rows(
    frame: pl.LazyFrame,
    user_ids: Sequence[str] | pl.Series,
    track_ids: Sequence[str] | pl.Series,
    *,
    ordered: bool = False,
) -> pl.LazyFrame:
    """The log with `user_row` and `track_row` (int32) instead of its ids; other users and tracks are left out.

    `ordered` keeps the order of the rows, which takes longer.
    """
    order: MaintainOrderJoin = "left" if ordered else "none"
    for name, ids in (("user", user_ids), ("track", track_ids)):
        columns = {"id": pl.Series(ids, dtype=pl.String), "row": np.arange(len(ids), dtype=np.int32)}
        rows = pl.LazyFrame({f"{name}_{kind}": column for kind, column in columns.items()})
        frame = frame.join(rows, on=f"{name}_id", how="inner", maintain_order=order).drop(f"{name}_id")
    return frame


def user_blocks(events: NDArray[np.integer], size: int) -> Iterator[tuple[int, int]]:
    """(first, end) of blocks of consecutive users with about `size` of the [U] events each; at least one block.

    >>> list(user_blocks(np.array([3, 3, 1, 5]), 5))
    [(0, 1), (1, 3), (3, 4)]
    """
    starts = np.flatnonzero(np.diff(np.cumsum(events) // size, prepend=-1)).tolist() or [0]
    return pairwise([*starts, len(events)])


def distinct_pairs(
    user_rows: NDArray[np.int32], track_rows: NDArray[np.int32], user_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(user rows, track rows) of the different pairs, sorted by track.

    >>> distinct_pairs(np.array([1, 0, 1], np.int32), np.array([2, 2, 2], np.int32), 2)
    (array([0, 1]), array([2, 2]))
    """
    # A sort and a comparison: np.unique takes a hundred times as long on 20 million integers.
    keys = track_rows.astype(np.int64)
    keys *= user_count
    keys += user_rows
    keys.sort()
    new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    keys = keys[new]
    tracks = keys // user_count
    keys -= tracks * user_count
    return keys, tracks


def to_listens(
    frame: pl.LazyFrame,
    user_ids: Sequence[str] | pl.Series,
    track_ids: Sequence[str] | pl.Series,
    options: ConfidenceOptions | None = None,
    *,
    organic: bool = False,
) -> Interactions:
    """The log as arrays: rows count positions in `user_ids` and `track_ids`, sorted by user, track and time.

    One row per event, so that it can be split by time: `Interactions.matrix` of a part holds the confidences that were
    known from this part alone. `organic` asks for `Interactions.organic`, which only an evaluation needs.
    """
    counts = frame.select(pl.len(), pl.all().exclude("user_id", "track_id").count()).collect(engine="streaming")
    columns = FilledColumns.of(counts.row(0, named=True), organic=organic)
    rows = with_rows(frame.select("user_id", "track_id", *columns.names), user_ids, track_ids)
    return listens_of(rows.collect(engine="streaming"), columns, len(user_ids), len(track_ids), options)


@dataclass(frozen=True)
class FilledColumns:
    """The columns of a log that have values in them, by what they are for; `Interactions` are made of these."""

    clock: Clock
    ticks: list[str]
    """what the clock counts, if anything"""
    order: list[str]
    values: list[str]
    told: list[str]
    """whether the user came to it, where that is asked for"""

    @classmethod
    def of(cls, counts: Mapping[str, int], *, organic: bool = False) -> Self:
        """From the number of rows, `len`, and of those with a value in each column."""
        filled = [name for name in SCHEMA if counts.get(name)]
        ticks = [name for name in ("time", "position") if counts.get(name) == counts["len"]][:1]
        return cls(
            clock={"time": Clock.TIME, "position": Clock.ORDER}[ticks[0]] if ticks else Clock.NONE,
            ticks=ticks,
            order=[name for name in ("time", "position") if name in filled],
            values=[name for name in ("plays", "played_ratio", "rating", "liked") if name in filled],
            told=["organic"] if organic and "organic" in filled else [],
        )

    @property
    def names(self) -> list[str]:
        return [*self.order, *self.values, *self.told]


def listens_of(
    table: pl.DataFrame,
    columns: FilledColumns,
    user_count: int,
    track_count: int,
    options: ConfidenceOptions | None = None,
) -> Interactions:
    """Of a table of `user_row`, `track_row` and these columns, in any order."""
    table = table.with_columns(pl.col(columns.told).cast(pl.Int8).fill_null(-1))
    arrays = _sorted_columns(
        table,
        ["user_row", "track_row", *columns.order],
        ["user_row", "track_row", *columns.ticks, *columns.values, *columns.told],
        user_count,
    )
    users, tracks = arrays["user_row"], arrays["track_row"]
    times = arrays[columns.ticks[0]] if columns.ticks else None
    options = options or ConfidenceOptions()
    states = States.of(len(users), options, **{name: arrays[name] for name in columns.values})
    ratings = arrays.get("rating")
    if ratings is not None and np.isnan(ratings).any():
        ratings = None
    weights, size = states.confidences(options), (user_count, track_count)
    return Interactions(
        users, tracks, weights, *size, times, columns.clock, ratings, states, options, organic=arrays.get("organic")
    )


def read_interactions(library: Library, catalogue: Catalogue) -> tuple[pl.Series, Interactions]:
    """(user ids, the whole log over them and the tracks of the catalogue)"""
    log = read_listens(library)
    users, _ = listed_ids(log)
    return users, to_listens(log, users, catalogue.track_ids)


def _sorted_columns(
    table: pl.DataFrame, order: Sequence[str], names: Iterable[str], user_count: int
) -> dict[str, NDArray[Any]]:
    """Columns sorted by `order`, a block of users at a time: sorting all rows at once takes three times the memory."""
    columns = {name: np.empty(len(table), _DTYPES.get(name, np.float32)) for name in names}
    events = np.bincount(table.get_column("user_row").to_numpy(), minlength=user_count)
    start = 0
    for first, end in user_blocks(events, _BLOCK_EVENTS):
        whole = (first, end) == (0, user_count)
        block = (table if whole else table.filter(pl.col("user_row").is_between(first, end - 1))).sort(order)
        for name, column in columns.items():
            column[start : start + len(block)] = block.get_column(name).to_numpy()
        start += len(block)
    return columns
