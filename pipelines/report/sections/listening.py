"""The chapter on listening: activity, popularity, hours, sessions and how much is played."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from ...charts.interactive import Chart, Exhibit, Gap, Section, Table
from ...interactions.statistics import Exploration, day_of, share_of_top
from ..context import Subject

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def listening_section(subject: Subject) -> Section:
    log = subject.log
    lead = "Who listens, when, and how evenly attention is spread over listeners and tracks."
    if log is None:
        gap = Gap("Listening", "the library has no listening log", "crossfade listens PATH --format FORMAT --library L")
        return Section("listening", "Listening", lead, (gap,))
    exhibits: list[Exhibit] = []
    if log.span is None:
        exhibits.append(Gap("Listening over time", "the log has no times, so a period cannot be chosen either"))
    else:
        exhibits += _over_time(log)
    if not len(log.tracks):
        why = "nothing was played between the days that were asked for"
        exhibits.append(Gap("This period", why, f"the log runs from {_range(log)}"))
        return Section("listening", "Listening", lead, tuple(exhibits))
    exhibits += [_ranks(log), _activity(log), _popularity(log), _audiences(log)]
    if log.span is not None:
        exhibits += [_clock(log), *_sessions(log)]
    exhibits += _how_much(log)
    exhibits += [_top_tracks(subject, log), _top_listeners(log), _not_played(subject, log)]
    return Section("listening", "Listening", lead, tuple(exhibits))


def _range(log: Exploration) -> str:
    return f"{day_of(log.span.first)} to {day_of(log.span.last)}" if log.span else "an unknown time"


def _over_time(log: Exploration) -> list[Exhibit]:
    if log.span is None:
        return []
    shade = None if log.period.whole else (day_of(log.span.start), day_of(log.span.end - 1))
    note = "The shaded part is the period of this report." if shade else ""
    charts: list[Exhibit] = []
    steps = {"day": (log.days, "1d"), "month": (log.months, "1mo")}
    for name, (counted, step) in steps.items():
        if name == "month" and len(counted) < 2:
            continue
        every = _with_silence(counted, step)
        charts += [
            Chart(
                name=f"listens_per_{name}",
                title=f"Listens per {name}",
                frame=counted.select("at", "plays"),
                filled=every,
                kind="line" if name == "day" else "bar",
                x="at",
                y="plays",
                y_title="listens",
                from_zero=True,
                shade=shade,
                note=note,
            ),
            Chart(
                name=f"listeners_per_{name}",
                title=f"Active listeners per {name}",
                frame=counted.select("at", "users"),
                filled=every,
                kind="line" if name == "day" else "bar",
                x="at",
                y="users",
                y_title="listeners",
                from_zero=True,
                shade=shade,
                note=f"Different users with at least one event {'on' if name == 'day' else 'in'} that {name}.",
            ),
        ]
    return charts


def _with_silence(counted: pl.DataFrame, step: str) -> pl.DataFrame:
    """Days (months) without events have 0; only those that mark an end of silence, where the log is mostly silent."""
    first, last = counted.get_column("at").min(), counted.get_column("at").max()
    every = pl.DataFrame({"at": pl.date_range(first, last, step, eager=True)})  # type: ignore[arg-type]
    filled = every.join(counted, on="at", how="left").with_columns(pl.col("plays", "users").fill_null(0))
    before, after = pl.col("users").shift(1).fill_null(1), pl.col("users").shift(-1).fill_null(1)
    return filled.filter((pl.col("users") > 0) | (before > 0) | (after > 0))


def _ranks(log: Exploration) -> Chart:
    """Rank against count, both on logarithmic axes, thinned to what can be seen."""
    parts = []
    for name, counts in (("tracks", log.tracks), ("listeners", log.users)):
        plays = counts.get_column("plays").sort(descending=True)
        rank = np.unique(np.geomspace(1, len(plays), 150).round().astype(int))
        parts.append(pl.DataFrame({"what": [name] * len(rank), "rank": rank, "plays": plays.gather(rank - 1)}))
    frame = pl.concat(parts).filter(pl.col("plays") > 0)
    shares = [f"{share_of_top(table.get_column('plays')):.0%}" for table in (log.tracks, log.users)]
    return Chart(
        name="ranks",
        title="How steep is fame?",
        frame=frame,
        kind="line",
        x="rank",
        y="plays",
        series="what",
        x_title="rank (1 = most)",
        y_title="listens",
        log_x=True,
        log_y=True,
        note=f"The top 1 % of tracks get {shares[0]} of all listens; the top 1 % of listeners make {shares[1]}.",
    )


def _counts(counts: pl.Series) -> pl.DataFrame:
    """Powers of two and how many lie in each; from (included), share, number."""
    positive = counts.filter(counts > 0)
    low = (2 ** positive.log(2).floor()).cast(pl.Float64)
    return low.alias("from").to_frame().group_by("from").agg(number=pl.len()).sort("from")


def _distribution(name: str, title: str, counts: pl.Series, what: str, note: str) -> Chart:
    frame = _counts(counts)
    labels = [_span_label(low) for low in frame.get_column("from")]
    return Chart(
        name=name,
        title=title,
        frame=frame.with_columns(listens=pl.Series(labels, dtype=pl.String)),
        kind="bar",
        x="listens",
        y="number",
        x_title="listens",
        y_title=what,
        note=note,
    )


def _span_label(low: float) -> str:
    if low < 1:
        return f"{low:g}+"
    return f"{low:,.0f}" if low == 1 else f"{low:,.0f}–{2 * low - 1:,.0f}"


def _median(counts: pl.Series) -> float:
    return float(str(counts.median() or 0))


def _activity(log: Exploration) -> Chart:
    plays = log.users.get_column("plays")
    note = f"Half of the {len(plays):,} listeners have at most {_median(plays):,.0f} listens."
    return _distribution("activity", "How active are listeners?", plays, "listeners", note)


def _popularity(log: Exploration) -> Chart:
    plays = log.tracks.get_column("plays")
    note = (
        f"Half of the {len(plays):,} tracks that were played have at most {_median(plays):,.0f} listens. "
        f"{log.density:.2%} of all pairs of a listener and a track are filled."
    )
    return _distribution("popularity", "How popular are tracks?", plays, "tracks", note)


def _audiences(log: Exploration) -> Chart:
    users = log.tracks.get_column("users")
    lonely = int((users == 1).sum())
    note = f"{lonely:,} tracks ({lonely / len(users):.0%} of those played) have a single listener."
    chart = _distribution("listeners_per_track", "How many people know a track?", users, "tracks", note)
    return replace(chart, x_title="listeners", frame=chart.frame.rename({"listens": "listeners"}), x="listeners")


def _clock(log: Exploration) -> Chart:
    frame = log.clock.with_columns(
        day=pl.col("weekday").replace_strict(dict(enumerate(WEEKDAYS)), return_dtype=pl.String)
    )
    busiest = frame.row(int(frame.get_column("plays").arg_max() or 0), named=True)
    return Chart(
        name="hours",
        title="When do people listen?",
        frame=frame.select("day", "weekday", "hour", "plays"),
        kind="heat",
        x="hour",
        y="day",
        value="plays",
        x_title="hour of the day (UTC)",
        note=f"Most listens fall on {busiest['day']} at {busiest['hour']}:00. "
        + ("All times are midnight: the source knows only days." if _only_days(frame) else ""),
    )


def _only_days(frame: pl.DataFrame) -> bool:
    return float(frame.filter(pl.col("hour") > 0).get_column("plays").sum()) == 0


def _sessions(log: Exploration) -> list[Exhibit]:
    sessions = log.sessions
    if not len(sessions) or _only_days(log.clock):
        return [Gap("Sessions", "the log knows days but not hours")]
    by_length = sessions.group_by("listens").agg(pl.col("sessions").sum()).sort("listens")
    total = int(by_length.get_column("sessions").sum())
    longest = 40
    shown = by_length.with_columns(listens=pl.col("listens").clip(upper_bound=longest).cast(pl.Int64))
    shown = shown.group_by("listens").agg(pl.col("sessions").sum()).sort("listens")
    lengths = sessions.select(pl.col("minutes").repeat_by("sessions").explode(empty_as_null=True)).get_column("minutes")
    mean = (by_length.get_column("listens") * by_length.get_column("sessions")).sum() / total
    middle = _median(lengths)
    half = f"at most {middle:,.0f} minutes long" if middle >= 1 else "over within a minute"
    note = (
        f"{total:,} sessions, parted by pauses of 30 minutes; {mean:.1f} listens each on average, half of them {half}. "
        + (f"The last bar is {longest} or more." if by_length.get_column("listens")[-1] > longest else "")
    )
    return [
        Chart(
            name="sessions",
            title="How long are sessions?",
            frame=shown,
            kind="bar",
            x="listens",
            y="sessions",
            x_title="listens in a session",
            y_title="sessions",
            note=note,
        )
    ]


def _how_much(log: Exploration) -> list[Exhibit]:
    exhibits: list[Exhibit] = []
    if len(log.ratios):
        whole = log.ratios.get_column("listens").sum()
        finished, skipped = (int(log.users.get_column(name).sum()) for name in ("finished", "skipped"))
        exhibits.append(
            Chart(
                name="played_ratio",
                title="How much of a track is played?",
                frame=log.ratios.with_columns(middle=pl.col("low") + 0.025),
                kind="bar",
                x="middle",
                y="listens",
                x_title="share of the track that was played",
                y_title="listens",
                note=f"{finished / whole:.0%} of listens run to the end (.9 or more), {skipped / whole:.0%} are "
                "skipped before a fifth. Above 1 parts were replayed.",
            )
        )
    else:
        exhibits.append(Gap("How much of a track is played", "the log does not say how much was played"))
    liked, disliked = (int(log.users.get_column(name).sum()) for name in ("liked", "disliked"))
    if liked or disliked:
        frame = pl.DataFrame({"what": ["likes", "dislikes"], "events": [liked, disliked]})
        exhibits.append(
            Chart(
                name="likes",
                title="Likes and dislikes",
                frame=frame,
                kind="bar",
                x="what",
                y="events",
                y_title="events",
                note=f"One like in {log.plays / liked:,.0f} listens." if liked else "Nobody likes anything.",
            )
        )
    elif len(log.ratings):
        exhibits.append(
            Chart(
                name="ratings",
                title="Ratings",
                frame=log.ratings,
                kind="bar",
                x="rating",
                y="listens",
                x_title="rating",
                y_title="ratings",
            )
        )
    else:
        exhibits.append(Gap("Likes and dislikes", "the log has neither likes nor ratings"))
    return exhibits


def _top_tracks(subject: Subject, log: Exploration) -> Table:
    frame = log.tracks.join(subject.names, on="track_row", how="left", maintain_order="left").with_row_index("rank", 1)
    shown = ["rank", "title", "artist", "plays", "users", *(["liked"] if log.filled["liked"] else [])]
    if log.filled["played_ratio"]:
        frame = frame.with_columns(finished=pl.col("finished") / pl.col("events"))
        shown.append("finished")
    return Table(
        name="top_tracks",
        title="Most played tracks",
        frame=frame.select(*shown, "track_id"),
        headings={"plays": "listens", "users": "listeners", "liked": "likes", "finished": "played to the end"},
        percents=("finished",),
        hidden=("track_id",),
    )


def _top_listeners(log: Exploration) -> Table:
    frame = log.users.with_columns(user_id=log.user_ids.gather(log.users.get_column("user_row")))
    columns = ["user_id", "plays", "tracks"]
    if log.span is not None:
        moments = [pl.from_epoch(name, time_unit="s").dt.date().alias(f"{name}_day") for name in ("first", "last")]
        frame = frame.with_columns(moments)
        columns += ["active_days", "first_day", "last_day"]
    return Table(
        name="user_activity",
        title="Most active listeners",
        frame=frame.select(columns),
        headings={
            "user_id": "listener",
            "plays": "listens",
            "tracks": "different tracks",
            "active_days": "days",
            "first_day": "first",
            "last_day": "last",
        },
        rows_shown=20,
    )


def _not_played(subject: Subject, log: Exploration) -> Exhibit:
    silent = subject.tracks.join(
        log.tracks.filter(pl.col("plays") > 0), on="track_row", how="anti", maintain_order="left"
    )
    if not len(silent):
        return Gap("Tracks that nobody played", "every track of the library was played", clear=True)
    frame = silent.join(subject.names.select("track_row", "artist"), on="track_row", how="left", maintain_order="left")
    return Table(
        name="not_played",
        title="Tracks that nobody played",
        frame=frame.select("track_id", "title", "artist", "album"),
        note=f"{len(silent):,} of the library's {len(subject.tracks):,} tracks, in this period.",
        rows_shown=10,
    )
