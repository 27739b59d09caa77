"""The section on listening: activity, popularity, hours, sessions and how much is played."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from ...charts.chart import Chart
from ...interactions.statistics import LogStatistics, Span, day_of, share_of_top
from ..context import ReportData
from ..exhibits import Exhibit, Gap, Table

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LONGEST_SESSION = 40
"""listens; longer sessions share a bar"""


def exhibits(data: ReportData) -> Iterator[Exhibit]:
    log = data.log
    if log is None:
        cure = "crossfade listens PATH --format FORMAT --library L"
        yield Gap("Listening", "the library has no listening log", cure)
        return
    if log.span is None:
        yield Gap("Listening over time", "the log has no times, so a period cannot be chosen either")
    else:
        yield from _over_time(log, log.span)
    if not len(log.tracks):
        days = f"{day_of(log.span.first)} to {day_of(log.span.last)}" if log.span else "an unknown time"
        yield Gap("This period", "nothing was played between the days that were asked for", f"the log runs from {days}")
        return
    yield _ranks(log)
    yield from _distributions(log)
    if log.span is not None:
        yield from _hours_and_sessions(log)
    yield _played_ratio(log)
    yield _opinions(log)
    yield _top_tracks(data, log)
    yield _top_listeners(log)
    yield _not_played(data, log)


def _over_time(log: LogStatistics, span: Span) -> Iterator[Chart]:
    shade = None if log.period.whole else (day_of(span.start), day_of(span.end - 1))
    period = "The shaded part is the period of this report." if shade else ""
    for step, interval, counted in (("day", "1d", log.days), ("month", "1mo", log.months)):
        if step == "month" and len(counted) < 2:
            return
        users = f"Different users with at least one event {'on' if step == 'day' else 'in'} that {step}."
        for name, title, y, note in (
            ("listens", "Listens", "plays", period),
            ("listeners", "Active listeners", "users", users),
        ):
            yield Chart(
                name=f"{name}_per_{step}",
                title=f"{title} per {step}",
                frame=counted.select("at", y),
                filled=_with_silence(counted, interval),
                kind="line" if step == "day" else "bar",
                x="at",
                y=y,
                from_zero=True,
                shade=shade,
                note=note,
            )


def _with_silence(counted: pl.DataFrame, interval: str) -> pl.DataFrame:
    """Days (months) without events have 0; only those that mark an end of silence, where the log is mostly silent."""
    first, last = counted.get_column("at").min(), counted.get_column("at").max()
    every = pl.DataFrame({"at": pl.date_range(first, last, interval, eager=True)})  # type: ignore[arg-type]
    filled = every.join(counted, on="at", how="left", maintain_order="left").with_columns(
        pl.col("plays", "users").fill_null(0)
    )
    users = pl.col("users")
    return filled.filter((users > 0) | (users.shift(1, fill_value=1) > 0) | (users.shift(-1, fill_value=1) > 0))


def _ranks(log: LogStatistics) -> Chart:
    """Rank against count, both on logarithmic axes, thinned to what can be seen."""
    parts = []
    for name, counts in (("tracks", log.tracks), ("listeners", log.users)):
        plays = counts.get_column("plays").sort(descending=True)
        rank = np.unique(np.geomspace(1, len(plays), 150).round().astype(int))
        parts.append(pl.DataFrame({"what": [name] * len(rank), "rank": rank, "plays": plays.gather(rank - 1)}))
    tracks, users = (f"{share_of_top(table.get_column('plays')):.0%}" for table in (log.tracks, log.users))
    return Chart(
        name="ranks",
        title="How steep is fame?",
        frame=pl.concat(parts).filter(pl.col("plays") > 0),
        kind="line",
        x="rank",
        y="plays",
        series="what",
        x_title="rank (1 = most)",
        log_x=True,
        log_y=True,
        note=f"The top 1 % of tracks get {tracks} of all listens; the top 1 % of listeners make {users}.",
    )


def _distributions(log: LogStatistics) -> Iterator[Chart]:
    """How many listeners (tracks) have 1, 2 to 3, 4 to 7, … listens (listeners)."""
    active, plays, users = log.users["plays"], log.tracks["plays"], log.tracks["users"]
    lonely = int((users == 1).sum())
    half_active = f"Half of the {len(active):,} listeners have at most {_median(active):,.0f} listens."
    half_played = (
        f"Half of the {len(plays):,} tracks that were played have at most {_median(plays):,.0f} listens. "
        f"{log.density:.2%} of all pairs of a listener and a track are filled."
    )
    single = f"{lonely:,} tracks ({lonely / len(users):.0%} of those played) have a single listener."
    for name, title, counts, x, y, note in (
        ("activity", "How active are listeners?", active, "listens", "listeners", half_active),
        ("popularity", "How popular are tracks?", plays, "listens", "tracks", half_played),
        ("listeners_per_track", "How many people know a track?", users, "listeners", "tracks", single),
    ):
        low = (2 ** counts.filter(counts > 0).log(2).floor()).cast(pl.Float64).alias("from")
        frame = low.value_counts(name="number").sort("from")
        bins = pl.Series(x, [_bin_label(low) for low in frame.get_column("from")], pl.String)
        yield Chart(
            name=name,
            title=title,
            frame=frame.with_columns(bins),
            kind="bar",
            x=x,
            y="number",
            x_title=x,
            y_title=y,
            note=note,
        )


def _bin_label(low: float) -> str:
    if low < 1:
        return f"{low:g}+"
    return f"{low:,.0f}" if low == 1 else f"{low:,.0f}–{2 * low - 1:,.0f}"


def _median(counts: pl.Series) -> float:
    return float(str(counts.median() or 0))


def _hours_and_sessions(log: LogStatistics) -> Iterator[Exhibit]:
    days = pl.col("weekday").replace_strict(dict(enumerate(WEEKDAYS)), return_dtype=pl.String)
    clock = log.clock.select("weekday", "hour", "plays", day=days)
    only_days = float(clock.filter(pl.col("hour") > 0).get_column("plays").sum()) == 0
    busiest = clock.row(int(clock.get_column("plays").arg_max() or 0), named=True)
    midnight = "All times are midnight: the source knows only days." if only_days else ""
    yield Chart(
        name="hours",
        title="When do people listen?",
        frame=clock.select("day", "weekday", "hour", "plays"),
        kind="heat",
        x="hour",
        y="day",
        value="plays",
        x_title="hour of the day (UTC)",
        note=f"Most listens fall on {busiest['day']} at {busiest['hour']}:00. {midnight}",
    )
    sessions = log.sessions
    if not len(sessions) or only_days:
        yield Gap("Sessions", "the log knows days but not hours")
        return
    total = int(sessions.get_column("sessions").sum())
    lengths = sessions.select(pl.col("minutes").repeat_by("sessions").explode(empty_as_null=True)).get_column("minutes")
    mean = (sessions.get_column("listens") * sessions.get_column("sessions")).sum() / total
    median = _median(lengths)
    half = f"at most {median:,.0f} minutes long" if median >= 1 else "over within a minute"
    longer = sessions.get_column("listens")[-1] > LONGEST_SESSION
    shown = sessions.group_by(pl.col("listens").clip(upper_bound=LONGEST_SESSION).cast(pl.Int64))
    yield Chart(
        name="sessions",
        title="How long are sessions?",
        frame=shown.agg(pl.col("sessions").sum()).sort("listens"),
        kind="bar",
        x="listens",
        y="sessions",
        x_title="listens in a session",
        note=f"{total:,} sessions, parted by pauses of 30 minutes; {mean:.1f} listens each on average, half of them "
        f"{half}. {f'The last bar is {LONGEST_SESSION} or more.' if longer else ''}",
    )


def _played_ratio(log: LogStatistics) -> Exhibit:
    if not len(log.ratios):
        return Gap("How much of a track is played", "the log does not say how much was played")
    listens = int(log.ratios.get_column("listens").sum())
    finished, skipped = (f"{int(log.users.get_column(name).sum()) / listens:.0%}" for name in ("finished", "skipped"))
    return Chart(
        name="played_ratio",
        title="How much of a track is played?",
        frame=log.ratios.with_columns(middle=pl.col("low") + 0.025),
        kind="bar",
        x="middle",
        y="listens",
        x_title="share of the track that was played",
        note=f"{finished} of listens run to the end (.9 or more), {skipped} are skipped before a fifth. Above 1 parts "
        "were replayed.",
    )


def _opinions(log: LogStatistics) -> Exhibit:
    liked, disliked = (int(log.users.get_column(name).sum()) for name in ("liked", "disliked"))
    if liked or disliked:
        frame = pl.DataFrame({"what": ["likes", "dislikes"], "events": [liked, disliked]})
        note = f"One like in {log.plays / liked:,.0f} listens." if liked else "Nobody likes anything."
        return Chart(name="likes", title="Likes and dislikes", frame=frame, kind="bar", x="what", y="events", note=note)
    if len(log.ratings):
        return Chart(
            name="ratings", title="Ratings", frame=log.ratings, kind="bar", x="rating", y="listens", y_title="ratings"
        )
    return Gap("Likes and dislikes", "the log has neither likes nor ratings")


def _top_tracks(data: ReportData, log: LogStatistics) -> Table:
    frame = data.named(log.tracks).with_row_index("rank", 1)
    shown = ["rank", "title", "artist", "plays", "users", *(["liked"] if log.filled["liked"] else [])]
    if log.filled["played_ratio"]:
        frame = frame.with_columns(finished=pl.col("finished") / pl.col("events"))
        shown.append("finished")
    return Table(
        name="top_tracks",
        title="Most played tracks",
        frame=frame.select(*shown, "track_id"),
        headings={"finished": "played to the end"},
        percents=("finished",),
        hidden=("track_id",),
    )


def _top_listeners(log: LogStatistics) -> Table:
    columns = ["user_id", "plays", "tracks"]
    days = [pl.from_epoch(name, time_unit="s").dt.date().alias(f"{name}_day") for name in ("first", "last")]
    if log.span is not None:
        columns += ["active_days", "first_day", "last_day"]
    return Table(
        name="user_activity",
        title="Most active listeners",
        frame=log.users.with_columns(days).select(columns),
        headings={"tracks": "different tracks", "active_days": "days", "first_day": "first", "last_day": "last"},
        rows_shown=20,
    )


def _not_played(data: ReportData, log: LogStatistics) -> Exhibit:
    played = log.tracks.filter(pl.col("plays") > 0)
    silent = data.tracks.join(played, on="track_row", how="anti", maintain_order="left")
    if not len(silent):
        return Gap("Tracks that nobody played", "every track of the library was played", clear=True)
    artist = data.names.select("track_row", "artist")
    frame = silent.join(artist, on="track_row", how="left", maintain_order="left")
    return Table(
        name="not_played",
        title="Tracks that nobody played",
        frame=frame.select("track_id", "title", "artist", "album"),
        note=f"{len(silent):,} of the library's {len(data.tracks):,} tracks, in this period.",
        rows_shown=10,
    )
