"""What a listening log looks like in numbers: its sizes, and what was played when, by whom and how evenly.

`LogFigures` are the sizes of any log. `LogStatistics` read a log once by streaming, with rows of users and tracks in
place of their ids, into a scratch file; then a block of whole users is in memory at a time, so that a log of any size
is counted in the same room. Every figure is exact.

How much a row counts: `plays` where the source says so; else 1, but nothing for a row that only likes or dislikes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import UsageError
from ..library.progress import Progress, silent
from .schema import SCHEMA, distinct_pairs, listed_ids, user_blocks, with_rows

DAY_SECONDS = 86_400
SESSION_GAP_SECONDS = 30 * 60
"""a pause this long ends a session; the usual cut of web logs (Catledge & Pitkow 1995 found 25.5 minutes)"""
BLOCK_EVENTS = 4_000_000
SUSPICIOUS_PLAYS_PER_DAY = 1_000
"""tracks of 90 seconds, day and night: more than a person listens to"""


@dataclass(frozen=True, kw_only=True)
class LogFigures:
    """Sizes and sparsity of a log."""

    users: int
    tracks: int
    listens: int
    pairs: int
    """different (user, track)"""
    density: float
    """share of the user x track matrix that is filled"""
    track_zero_share: dict[str, float]
    """of the user x track matrix: share of zero cells per column (a track); the least, median and most of them"""
    zero_share: dict[str, float]
    """column of the log -> share of its cells that are zero or missing"""


def log_figures(log: pl.LazyFrame) -> LogFigures:
    """The figures of a log as `schema.conform` gives it."""
    empty = [
        (pl.col(name).is_null() if dtype == pl.String() else pl.col(name).cast(pl.Float64).fill_null(0) == 0).mean()
        for name, dtype in SCHEMA.items()
    ]
    columns = [share.fill_null(1.0).alias(name) for share, name in zip(empty, SCHEMA, strict=True)]
    row = log.select(pl.len(), *columns).collect(engine="streaming").row(0, named=True)
    listens = row.pop("len")
    user_ids, track_ids = listed_ids(log)
    coded = with_rows(log.select("user_id", "track_id"), user_ids, track_ids).collect(engine="streaming")
    user_rows, track_rows = (coded.get_column(name).to_numpy() for name in ("user_row", "track_row"))
    _, tracks = distinct_pairs(user_rows, track_rows, len(user_ids))
    return figures_of(row, listens, len(user_ids), np.bincount(tracks, minlength=len(track_ids)))


def figures_of(
    zero_share: dict[str, float], listens: int, user_count: int, listeners: NDArray[np.integer]
) -> LogFigures:
    """From the counts: `listeners` [T] are the different users of each of the log's tracks."""
    pairs, filled = int(listeners.sum()), listeners / max(1, user_count)
    spread = {"least": filled.max(), "median": np.median(filled), "most": filled.min()} if len(filled) else {}
    return LogFigures(
        users=user_count,
        tracks=len(listeners),
        listens=listens,
        pairs=pairs,
        density=pairs / max(1, user_count * len(listeners)),
        track_zero_share={name: 1 - float(share) for name, share in spread.items()},
        zero_share=zero_share,
    )


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
        start, end = (day_start(text, option) for text, option in ((first, "--from"), (last, "--to")))
        if end is not None:
            end += DAY_SECONDS
        if start is not None and end is not None and start >= end:
            raise UsageError(f"--from {first} --to {last}: the period ends before it begins")
        return cls(start, end)

    @property
    def whole(self) -> bool:
        return self.start is None and self.end is None


def day_start(text: str | None, option: str) -> int | None:
    """Seconds since 1970 of an ISO day; UsageError that names the option where it is none."""
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

    first: int = 0
    """of all listens, seconds"""
    last: int = 0
    start: int = 0
    end: int = 0

    @property
    def before(self) -> int:
        return self.start - (self.end - self.start)

    @property
    def bin(self) -> str:
        """How finely the whole log is drawn over time, as polars says it."""
        days = (self.last - self.first) / DAY_SECONDS
        steps = ((45, "1d"), (400, "1w"), (5 * 366, "1mo"), (15 * 366, "1q"))
        return next((step for limit, step in steps if days <= limit), "1y")


_KEYS = {
    "days": ["at"],
    "months": ["at"],
    "track_times": ["at", "track_row"],
    "tracks_before": ["track_row"],
    "tracks": ["track_row"],
    "clock": ["weekday", "hour"],
    "sessions": ["listens", "minutes"],
    "ratios": ["low"],
    "ratings": ["rating"],
}
"""table -> what its rows are counted by; the other columns are sums"""


class LogStatistics:
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
        progress: Progress = silent,
    ) -> None:
        """`track_ids` are all tracks of the library; those of the log that are not among them are appended."""
        self.period = period or Period()
        progress(0, 1, "reading the log")
        whole = log.filter(pl.col("user_id").is_not_null() & pl.col("track_id").is_not_null())
        self.user_ids, played_ids = listed_ids(whole)
        self.library_tracks = len(track_ids)
        unknown = played_ids.filter(~played_ids.is_in(track_ids.implode()))
        self.track_ids = pl.concat([track_ids.cast(pl.String), unknown.cast(pl.String)]).alias("track_id")
        counts = log.select(
            pl.len(),
            pl.col("user_id", "track_id", "time", "played_ratio", "liked").count(),
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            future=(pl.col("time") > datetime.now(UTC).timestamp() + DAY_SECONDS).sum(),
            zero=pl.col("time").is_between(0, DAY_SECONDS - 1).sum(),
        ).collect(engine="streaming")
        self.filled: dict[str, int] = counts.row(0, named=True)
        """column -> values in it; `len` is the number of events, `future` and `zero` those of tomorrow and of 1970"""
        self.span: Span | None = None
        """None where the log has no times"""
        if self.filled["time"]:
            first, last, start, end = self.filled["first"], self.filled["last"], self.period.start, self.period.end
            self.span = Span(first, last, first if start is None else start, last + 1 if end is None else end)
        file = scratch / "coded.parquet"
        _coded(log, self.user_ids, self.track_ids, duration_seconds).sink_parquet(file)
        progress(1, 1, "reading the log")
        blocks = []
        for number, count, block in self._blocks(file):
            blocks.append(self._counted(block))
            progress(number, count, "counting")
        tables = {name: pl.concat([block[name] for block in blocks]) for name in blocks[0]}
        tables |= {name: tables[name].group_by(keys).agg(pl.all().sum()).sort(keys) for name, keys in _KEYS.items()}
        # Over the whole log:
        self.days, self.months = tables["days"], tables["months"]
        """at, plays, users: of every day (month) that has listens"""
        self.track_times = tables["track_times"]
        """at (the beginning of the bin), track_row, plays, minutes"""
        # Within the period:
        users = tables["users"].with_columns(user_id=self.user_ids.gather(tables["users"].get_column("user_row")))
        self.users = users.sort("plays", "user_row", descending=[True, False])
        """user_id, events, plays, tracks, minutes, likes, first, last, active_days, busiest_day of each listener"""
        self.tracks = tables["tracks"].sort("plays", "track_row", descending=[True, False])
        """events, plays, users, minutes, likes, finished, skipped of each track that was played"""
        self.tracks_before = tables["tracks_before"]
        """track_row, plays, minutes in the period of equal length before this one"""
        self.pairs = tables["pairs"]
        """user_row, track_row, plays"""
        hours = pl.DataFrame({"weekday": np.repeat(np.arange(7), 24), "hour": np.tile(np.arange(24), 7)})
        clock = hours.join(tables["clock"], on=["weekday", "hour"], how="left", maintain_order="left")
        self.clock = clock.with_columns(pl.col("plays").fill_null(0))
        """weekday (0 is Monday), hour (UTC), plays: all 168 of them"""
        self.sessions = tables["sessions"]
        """listens, minutes (from first to last), sessions: how many sessions are like that"""
        self.ratios, self.ratings = tables["ratios"], tables["ratings"]
        """low (of a bin of .05; the last one holds all from 1.5) or rating, listens"""
        self.repeated_rows = int(tables["repeats"].get_column("rows").sum())
        """events that share user, track and time with another one"""

    def _blocks(self, file: Path) -> Iterator[tuple[int, int, pl.DataFrame]]:
        """(number from 1, of how many, the events of whole users); one empty block for an empty log."""
        rows = pl.scan_parquet(file, glob=False)
        per_user = rows.group_by("user_row").len().collect(engine="streaming")
        events = np.zeros(len(self.user_ids), np.int64)
        events[per_user.get_column("user_row").to_numpy()] = per_user.get_column("len").to_numpy()
        blocks = list(user_blocks(events, BLOCK_EVENTS))
        for number, (first, end) in enumerate(blocks, start=1):
            part = rows if len(blocks) == 1 else rows.filter(pl.col("user_row").is_between(first, end - 1))
            yield number, len(blocks), part.collect(engine="streaming")

    def _counted(self, block: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """Aggregates of whole users."""
        span = self.span or Span()
        timed = block.filter(pl.col("time").is_not_null()).with_columns(day=pl.col("time") // DAY_SECONDS)
        day = pl.from_epoch("day", time_unit="d")
        earlier = timed.filter(pl.col("time").is_between(span.before, span.start, closed="left"))
        inside = timed.filter(pl.col("time").is_between(span.start, span.end, closed="left"))
        untimed = block.filter(pl.col("time").is_null() & (self.period.whole or self.span is None))
        listened = pl.concat([inside, untimed.with_columns(day=pl.lit(None, pl.Int64))])
        per_day = inside.group_by("user_row", "day").agg(pl.col("plays").sum())
        active = per_day.group_by("user_row").agg(active_days=pl.len(), busiest_day=pl.col("plays").max())
        names = ("plays", "minutes", "liked", "disliked", "finished", "skipped")
        sums = [pl.len().alias("events"), *(pl.col(name).sum() for name in names)]
        users = listened.group_by("user_row").agg(
            *sums, first=pl.col("time").min(), last=pl.col("time").max(), tracks=pl.col("track_row").n_unique()
        )
        low = (pl.col("played_ratio").clip(0, 1.5) * 20).floor() / 20
        weekday, hour = (pl.col("day") + 3) % 7, pl.col("time") % DAY_SECONDS // 3600
        repeated = listened.select("user_row", "track_row", "time", "position").is_duplicated()
        return {
            "days": _active(timed.with_columns(at=day)),
            "months": _active(timed.with_columns(at=day.dt.truncate("1mo"))),
            "track_times": timed.group_by("track_row", at=day.dt.truncate(span.bin)).agg(
                pl.col("plays", "minutes").sum()
            ),
            "tracks_before": earlier.group_by("track_row").agg(pl.col("plays", "minutes").sum()),
            "clock": inside.group_by(weekday=weekday, hour=hour).agg(pl.col("plays").sum()),
            "sessions": _sessions(inside),
            "pairs": listened.group_by("user_row", "track_row").agg(pl.col("plays").sum()),
            "users": users.join(active, on="user_row", how="left"),
            "tracks": listened.group_by("track_row").agg(*sums, users=pl.col("user_row").n_unique()),
            "ratios": listened.drop_nulls("played_ratio").group_by(low=low).agg(listens=pl.len()),
            "ratings": listened.drop_nulls("rating").group_by("rating").agg(listens=pl.len()),
            "repeats": pl.DataFrame({"rows": [int(repeated.sum() or 0)]}),
        }

    @property
    def plays(self) -> float:
        return float(self.tracks.get_column("plays").sum())

    @property
    def density(self) -> float:
        """Share of the matrix of active users x played tracks that is filled."""
        return len(self.pairs) / max(1, len(self.users) * len(self.tracks))


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
    seconds = pl.Series([], dtype=pl.Float64) if duration_seconds is None else duration_seconds.cast(pl.Float64)
    lengths = pl.LazyFrame({"seconds": seconds}).with_row_index("track_row").cast({"track_row": pl.Int32})
    coded = coded.join(lengths, on="track_row", how="left")
    minutes = pl.col("seconds") / 60 * pl.col("played_ratio").fill_null(1).cast(pl.Float64) * pl.col("plays")
    return coded.with_columns(minutes=minutes).drop("seconds")


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
