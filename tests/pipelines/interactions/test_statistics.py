"""Exploring a log: every figure is that of a direct query, however the log is cut into blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crossfade.errors import UsageError
from crossfade.pipelines.interactions import statistics as exploring
from crossfade.pipelines.interactions.schema import conform
from crossfade.pipelines.interactions.statistics import (
    DAY_SECONDS,
    SESSION_GAP_SECONDS,
    LogStatistics,
    Period,
    share_of_top,
)
from crossfade.pipelines.simulation.world import World, WorldOptions


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldOptions(users=80, tracks=120, artists=20, listens_per_user=30, days=90, seed=3))


@pytest.fixture(scope="module")
def events(world: World) -> pl.DataFrame:
    return conform(world.event_table().lazy()).collect()


def explore(events: pl.DataFrame, world: World, folder: Path, period: Period | None = None) -> LogStatistics:
    lengths = pl.Series(world.tracks.duration_seconds)
    ids = pl.Series("track_id", list(world.tracks.track_ids))
    return LogStatistics(events.lazy(), ids, folder, period=period, duration_seconds=lengths)


@pytest.mark.parametrize("block", [100, 10**9])
def test_figures_are_those_of_direct_queries(
    events: pl.DataFrame, world: World, tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "BLOCK_EVENTS", block)
    start = int(events["time"].quantile(0.3) or 0) // DAY_SECONDS * DAY_SECONDS
    end = start + 30 * DAY_SECONDS
    found = explore(events, world, tmp_path, Period(start, end))
    inside = events.filter(pl.col("time").is_between(start, end, closed="left"))
    assert found.plays == len(inside)
    assert len(found.users) == inside["user_id"].n_unique()
    assert len(found.tracks) == inside["track_id"].n_unique()
    pairs = len(inside.select("user_id", "track_id").unique())
    assert len(found.pairs) == pairs
    assert found.density == pairs / (inside["user_id"].n_unique() * inside["track_id"].n_unique())

    users = found.users
    direct = inside.group_by("user_id").agg(
        plays=pl.len().cast(pl.Float64),
        tracks=pl.col("track_id").n_unique(),
        active_days=(pl.col("time") // DAY_SECONDS).n_unique(),
        liked=(pl.col("liked") == 1).sum().cast(pl.Int64),
        finished=(pl.col("played_ratio") >= 0.9).sum().cast(pl.Int64),
    )
    assert_frame_equal(
        users.select(direct.columns).sort("user_id"), direct.sort("user_id"), check_dtypes=False, check_exact=False
    )

    seconds = dict(zip(world.tracks.track_ids, world.tracks.duration_seconds.tolist(), strict=True))
    played = inside.with_columns(
        minutes=pl.col("track_id").replace_strict(seconds) / 60 * pl.col("played_ratio").cast(pl.Float64)
    )
    direct = played.group_by("track_id").agg(
        plays=pl.len(), users=pl.col("user_id").n_unique(), minutes=pl.col("minutes").sum()
    )
    tracks = found.tracks.with_columns(track_id=found.track_ids.gather(found.tracks["track_row"]))
    assert_frame_equal(
        tracks.select(direct.columns).sort("track_id"), direct.sort("track_id"), check_dtypes=False, check_exact=False
    )

    before = events.filter(pl.col("time").is_between(2 * start - end, start, closed="left"))
    assert found.tracks_before["plays"].sum() == len(before)
    assert found.clock["plays"].sum() == len(inside)
    at = pl.from_epoch("time", time_unit="s")
    direct = inside.group_by(weekday=at.dt.weekday() - 1, hour=at.dt.hour()).agg(plays=pl.len())
    assert_frame_equal(
        found.clock.filter(pl.col("plays") > 0).sort("weekday", "hour"),
        direct.sort("weekday", "hour"),
        check_dtypes=False,
    )
    assert found.ratios["listens"].sum() == len(inside)

    days = events.group_by(at=at.dt.date()).agg(plays=pl.len(), users=pl.col("user_id").n_unique()).sort("at")
    assert_frame_equal(found.days, days, check_dtypes=False)
    months = events.group_by(at=at.dt.date().dt.truncate("1mo")).agg(plays=pl.len(), users=pl.col("user_id").n_unique())
    assert_frame_equal(found.months, months.sort("at"), check_dtypes=False)
    assert found.track_times["plays"].sum() == len(events)


def test_sessions_are_parted_by_pauses(events: pl.DataFrame, world: World, tmp_path: Path) -> None:
    found = explore(events, world, tmp_path)
    count = 0
    for (_,), own in events.sort("user_id", "time").group_by("user_id"):
        count += 1 + int(np.count_nonzero(np.diff(own["time"].to_numpy()) > SESSION_GAP_SECONDS))
    assert found.sessions["sessions"].sum() == count
    assert (found.sessions["sessions"] * found.sessions["listens"]).sum() == len(events)


def test_order_of_rows_does_not_matter(events: pl.DataFrame, world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = explore(events, world, tmp_path)
    other = explore(events.sample(fraction=1, shuffle=True, seed=1), world, tmp_path / "other")
    for name in ("users", "days", "clock", "sessions", "ratios"):
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=False)


def test_what_counts_as_a_listen(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "user_id": ["a", "a", "b", "b"],
            "track_id": ["x", "y", "x", "unknown"],
            "plays": [3.0, None, None, None],
            "liked": [None, 1, None, None],
        }
    )
    found = LogStatistics(conform(rows.lazy()), pl.Series("track_id", ["x", "y"]), tmp_path)
    assert found.plays == 3 + 0 + 1 + 1
    assert found.span is None
    assert found.track_ids.to_list() == ["x", "y", "unknown"]
    assert found.users["liked"].sum() == 1


def test_periods() -> None:
    assert Period.of_days("2024-02-28", "2024-02-29") == Period(1709078400, 1709251200)
    assert Period.of_days(None, None).whole
    with pytest.raises(UsageError, match="not a day"):
        Period.of_days("yesterday", None)
    with pytest.raises(UsageError, match="ends before"):
        Period.of_days("2024-02-02", "2024-02-01")


def test_share_of_the_top() -> None:
    assert share_of_top(pl.Series([1] * 100)) == 0.01
    assert share_of_top(pl.Series([], dtype=pl.Float64)) == 0.0
