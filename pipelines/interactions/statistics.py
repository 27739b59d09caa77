"""Exploring a listening log: what was played when, by whom, how evenly, and what looks wrong.

The log is read once by streaming, with rows of users and tracks in place of their ids, into a scratch file; then a
block of whole users is in memory at a time, so that a log of any size is counted in the same room. Every figure is
exact.

How much a row counts: `plays` where the source says so; else 1, but nothing for a row that only likes or dislikes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import UsageError
from .schema import listed_ids, with_rows

DAY_SECONDS = 86_400
SESSION_GAP_SECONDS = 30 * 60
"""a pause this long ends a session; the usual cut of web logs (Catledge & Pitkow 1995 found 25.5 minutes)"""
BLOCK_EVENTS = 4_000_000
SUSPICIOUS_PLAYS_PER_DAY = 1_000
"""tracks of 90 seconds, day and night: more than a person listens to"""

Progress = Callable[[str, int, int], None]
"""(what, done, of how many)"""


@dataclass(frozen=True)
class Period:
    """Seconds since 1970, from the first to before the last; None is open."""

    start: int | None = None
    end: int | None = None

    @classmethod
    def of_days(cls, first: str | None, last: str | None) -> Period:
        """From two ISO days, both included.

        >>> Period.of_days("1970-01-02", "1970-01-02")
        Period(start=86400, end=172800)
        """
        start, end = (_midnight(text, option) for text, option in ((first, "--from"), (last, "--to")))
        if end is not None:
            end += DAY_SECONDS
        if start is not None and end is not None and start >= end:
            raise UsageError(f"--from {first} --to {last}: the period ends before it begins")
        return cls(start, end)

    @property
    def whole(self) -> bool:
        return self.start is None and self.end is None


def _midnight(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: not a day such as 2024-03-31") from None
    return int(datetime.combine(day, time(), UTC).timestamp())


def day_of(seconds: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(seconds))).date()


@dataclass(frozen=True)
class Span:
    """The period that is asked for, made definite by the log, and the one of equal length before it."""

    first: int
    """of all listens, seconds"""
    last: int
    start: int
    end: int

    @property
    def before(self) -> int:
        return self.start - (self.end - self.start)

    @property
    def bin(self) -> str:
        """How finely the whole log is drawn over time, as polars says it."""
        days = (self.last - self.first) / DAY_SECONDS
        steps = ((45, "1d"), (400, "1w"), (5 * 366, "1mo"), (15 * 366, "1q"))
        return next((step for limit, step in steps if days <= limit), "1y")


_MINUTES = "minutes"
_SUMS = ("plays", _MINUTES, "liked", "disliked", "finished", "skipped")


class Exploration:
    """All aggregates of a log; tables have `user_row` and `track_row`, which count `user_ids` and `track_ids`.

    Columns that the log has not are nulls in the tables. `plays` may be fractions where a source has such.
    """

    def __init__(
        self,
        log: pl.LazyFrame,
        track_ids: pl.Series,
        scratch: Path,
        *,
        period: Period | None = None,
        duration_seconds: pl.Series | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        """`track_ids` are all tracks of the library; those of the log that are not among them are appended."""
        self.period = period or Period()
        progress("reading the log", 0, 1)
        whole = log.filter(pl.col("user_id").is_not_null() & pl.col("track_id").is_not_null())
        self.user_ids, heard = listed_ids(whole)
        self.library_tracks = len(track_ids)
        unknown = heard.filter(~heard.is_in(track_ids.implode()))
        self.track_ids = pl.concat([track_ids.cast(pl.String), unknown.cast(pl.String)]).alias("track_id")
        row = log.select(
            pl.len(),
            *(pl.col(name).count().alias(name) for name in ("user_id", "track_id", "time", "played_ratio", "liked")),
            *(pl.col(name).count().alias(name) for name in ("plays", "rating", "organic")),
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            future=(pl.col("time") > datetime.now(UTC).timestamp() + DAY_SECONDS).sum(),
            zero=pl.col("time").is_between(0, DAY_SECONDS - 1).sum(),
        ).collect(engine="streaming")
        self.filled: dict[str, int] = row.row(0, named=True)
        """column -> values in it; `len` is the number of events, `future` and `zero` those of tomorrow and of 1970"""
        self.span = self._span()
        self._file = scratch / "coded.parquet"
        _coded(log, self.user_ids, self.track_ids, duration_seconds).sink_parquet(self._file)
        progress("reading the log", 1, 1)
        counted = []
        for number, count, block in self._blocks():
            counted.append(self._counted(block))
            progress("counting", number, count)
        self._tables = _joined(counted)

    def _span(self) -> Span | None:
        if not self.filled["time"]:
            return None
        first, last = self.filled["first"], self.filled["last"]
        start = first if self.period.start is None else self.period.start
        return Span(first, last, start, last + 1 if self.period.end is None else self.period.end)

    def _blocks(self) -> Iterator[tuple[int, int, pl.DataFrame]]:
        rows = pl.scan_parquet(self._file)
        per_user = rows.group_by("user_row").len().collect(engine="streaming")
        events = np.zeros(len(self.user_ids), np.int64)
        events[per_user.get_column("user_row").to_numpy()] = per_user.get_column("len").to_numpy()
        starts = np.flatnonzero(np.diff(np.cumsum(events) // BLOCK_EVENTS, prepend=-1)).tolist()
        for number, (low, high) in enumerate(zip(starts, [*starts[1:], len(events)], strict=True), start=1):
            part = rows if len(starts) == 1 else rows.filter(pl.col("user_row").is_between(low, high - 1))
            yield number, len(starts), part.collect(engine="streaming")

    def _counted(self, block: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Aggregates of whole users."""
        tables = {}
        listened = block
        if self.span is not None:
            span = self.span
            timed = block.filter(pl.col("time").is_not_null()).with_columns(day=pl.col("time") // DAY_SECONDS)
            tables["days"] = _active(timed.with_columns(at=pl.from_epoch("day", time_unit="d")))
            tables["months"] = _active(timed.with_columns(at=pl.from_epoch("day", time_unit="d").dt.truncate("1mo")))
            tables["track_times"] = timed.group_by(
                "track_row", at=pl.from_epoch("day", time_unit="d").dt.truncate(span.bin)
            ).agg(pl.col("plays", _MINUTES).sum())
            earlier = timed.filter(pl.col("time").is_between(span.before, span.start, closed="left"))
            tables["tracks_before"] = earlier.group_by("track_row").agg(pl.col("plays", _MINUTES).sum())
            inside = timed.filter(pl.col("time").is_between(span.start, span.end, closed="left"))
            listened = block.filter(pl.col("time").is_null()) if self.period.whole else block.clear()
            listened = pl.concat([inside, listened.with_columns(day=pl.lit(None, pl.Int64))])
            tables["clock"] = inside.group_by(
                weekday=(pl.col("day") + 3) % 7, hour=pl.col("time") % DAY_SECONDS // 3600
            ).agg(pl.col("plays").sum())
            tables["sessions"] = _sessions(inside)
            busiest = inside.group_by("user_row", "day").agg(pl.col("plays").sum())
            per_day = busiest.group_by("user_row").agg(active_days=pl.len(), busiest_day=pl.col("plays").max())
        sums = [pl.len().alias("events"), *(pl.col(name).sum() for name in _SUMS)]
        tables["pairs"] = listened.group_by("user_row", "track_row").agg(pl.col("plays").sum())
        users = listened.group_by("user_row").agg(
            *sums, first=pl.col("time").min(), last=pl.col("time").max(), tracks=pl.col("track_row").n_unique()
        )
        tables["users"] = users.join(per_day, on="user_row", how="left") if self.span is not None else users
        tables["tracks"] = listened.group_by("track_row").agg(*sums, users=pl.col("user_row").n_unique())
        tables["ratios"] = (
            listened.filter(pl.col("played_ratio").is_not_null())
            .group_by(low=(pl.col("played_ratio").clip(0, 1.5) * 20).floor() / 20)
            .agg(listens=pl.len())
        )
        tables["ratings"] = listened.filter(pl.col("rating").is_not_null()).group_by("rating").agg(listens=pl.len())
        keys = ["user_row", "track_row", *(["time"] if self.span is not None else []), "position"]
        repeated = listened.select(keys).is_duplicated() if self.span is not None else pl.Series([], dtype=pl.Boolean)
        tables["repeats"] = pl.DataFrame({"rows": [int(repeated.sum() or 0)]})
        return tables

    def _table(self, name: str, schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
        return self._tables.get(name, pl.DataFrame(schema=schema))

    # -- over the whole log ----------------------------------------------------------------------------------------

    @cached_property
    def days(self) -> pl.DataFrame:
        """at, plays, users: of every day that has listens."""
        return self._active("days")

    @cached_property
    def months(self) -> pl.DataFrame:
        return self._active("months")

    def _active(self, name: str) -> pl.DataFrame:
        table = self._table(name, {"at": pl.Date, "plays": pl.Float64, "users": pl.UInt32})
        return table.group_by("at").agg(pl.col("plays").sum(), pl.col("users").sum()).sort("at")

    @cached_property
    def track_times(self) -> pl.DataFrame:
        """track_row, at (the beginning of the bin), plays, minutes."""
        schema = {"track_row": pl.Int32, "at": pl.Date, "plays": pl.Float64, _MINUTES: pl.Float64}
        table = self._table("track_times", schema)
        return table.group_by("track_row", "at").agg(pl.col("plays", _MINUTES).sum()).sort("at", "track_row")

    # -- within the period -----------------------------------------------------------------------------------------

    @cached_property
    def users(self) -> pl.DataFrame:
        """One row per listener: events, plays, tracks, minutes, likes, first, last, active_days, busiest_day."""
        return self._tables["users"].sort("plays", "user_row", descending=[True, False])

    @cached_property
    def tracks(self) -> pl.DataFrame:
        """One row per track that was played: events, plays, users, minutes, likes, finished, skipped."""
        table = self._tables["tracks"].group_by("track_row").agg(pl.all().sum())
        return table.sort("plays", "track_row", descending=[True, False])

    @cached_property
    def tracks_before(self) -> pl.DataFrame:
        """track_row, plays, minutes in the period of equal length before this one."""
        schema = {"track_row": pl.Int32, "plays": pl.Float64, _MINUTES: pl.Float64}
        return self._table("tracks_before", schema).group_by("track_row").agg(pl.all().sum())

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """user_row, track_row, plays."""
        return self._tables["pairs"]

    @cached_property
    def clock(self) -> pl.DataFrame:
        """weekday (0 is Monday), hour (UTC), plays: all 168 of them."""
        schema = {"weekday": pl.Int64, "hour": pl.Int64, "plays": pl.Float64}
        every = pl.DataFrame({"weekday": np.repeat(np.arange(7), 24), "hour": np.tile(np.arange(24), 7)})
        counted = self._table("clock", schema).group_by("weekday", "hour").agg(pl.col("plays").sum())
        return every.join(counted, on=["weekday", "hour"], how="left").with_columns(pl.col("plays").fill_null(0))

    @cached_property
    def sessions(self) -> pl.DataFrame:
        """listens, minutes (from first to last), sessions: how many sessions are like that."""
        schema = {"listens": pl.UInt32, "minutes": pl.Int64, "sessions": pl.UInt32}
        table = self._table("sessions", schema)
        return table.group_by("listens", "minutes").agg(pl.col("sessions").sum()).sort("listens", "minutes")

    @cached_property
    def ratios(self) -> pl.DataFrame:
        """low (of a bin of .05; the last one holds all from 1.5), listens."""
        return self._tables["ratios"].group_by("low").agg(pl.col("listens").sum()).sort("low")

    @cached_property
    def ratings(self) -> pl.DataFrame:
        return self._tables["ratings"].group_by("rating").agg(pl.col("listens").sum()).sort("rating")

    @property
    def repeated_rows(self) -> int:
        """Events that share user, track and time with another one."""
        return int(self._tables["repeats"].get_column("rows").sum())

    @property
    def plays(self) -> float:
        return float(self.tracks.get_column("plays").sum())

    @property
    def density(self) -> float:
        """Share of the matrix of active users x played tracks that is filled."""
        cells = len(self.users) * len(self.tracks)
        return len(self.pairs) / cells if cells else 0.0


def share_of_top(counts: pl.Series, share: float = 0.01) -> float:
    """What the first `share` (at least one) of the largest counts add up to, of all.

    >>> share_of_top(pl.Series([97, 1, 1, 1]))
    0.97
    """
    total = float(counts.sum() or 0)
    first = max(1, round(share * len(counts)))
    return float(counts.sort(descending=True).head(first).sum()) / total if total else 0.0


def _coded(
    log: pl.LazyFrame, user_ids: pl.Series, track_ids: pl.Series, duration_seconds: pl.Series | None
) -> pl.LazyFrame:
    plays, ratio, liked = pl.col("plays"), pl.col("played_ratio"), pl.col("liked")
    opinion = plays.is_null() & ratio.is_null() & pl.col("rating").is_null() & liked.is_not_null()
    coded = with_rows(log.drop("organic"), user_ids, track_ids).with_columns(
        plays=pl.when(opinion).then(0.0).otherwise(plays.fill_null(1).cast(pl.Float64)),
        finished=(ratio >= 0.9).cast(pl.Int64),
        skipped=(ratio < 0.2).cast(pl.Int64),
        disliked=(liked == -1).cast(pl.Int64),
        liked=(liked == 1).cast(pl.Int64),
    )
    seconds = np.full(len(track_ids), np.nan)
    if duration_seconds is not None:
        known = duration_seconds.cast(pl.Float64).fill_null(np.nan).to_numpy()
        seconds[: len(known)] = known
    lengths = pl.LazyFrame({"track_row": np.arange(len(track_ids), dtype=np.int32), "seconds": seconds})
    coded = coded.join(lengths.with_columns(pl.col("seconds").fill_nan(None)), on="track_row", how="left")
    minutes = pl.col("seconds") / 60 * pl.col("played_ratio").fill_null(1).cast(pl.Float64) * pl.col("plays")
    return coded.with_columns(minutes.alias(_MINUTES)).drop("seconds")


def _active(timed: pl.DataFrame) -> pl.DataFrame:
    per_user = timed.group_by("at", "user_row").agg(pl.col("plays").sum())
    return per_user.group_by("at").agg(pl.col("plays").sum(), users=pl.len())


def _sessions(timed: pl.DataFrame) -> pl.DataFrame:
    """Sessions by their listens and whole minutes."""
    gap = (pl.col("time").diff() > SESSION_GAP_SECONDS) | (pl.col("user_row").diff() != 0)
    ordered = timed.filter(pl.col("plays") > 0).select("user_row", "time").sort("user_row", "time")
    each = (
        ordered.with_columns(session=gap.fill_null(True).cum_sum())
        .group_by("session")
        .agg(listens=pl.len(), minutes=(pl.col("time").max() - pl.col("time").min()) // 60)
    )
    return each.group_by("listens", "minutes").agg(sessions=pl.len())


def _joined(blocks: list[dict[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    return {name: pl.concat([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}
