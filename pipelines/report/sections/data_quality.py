"""The chapter on data quality: what of tracks and listens is missing, doubtful or there twice."""

from __future__ import annotations

import polars as pl

from ...charts.interactive import Exhibit, Gap, Section, Table
from ...interactions.statistics import SUSPICIOUS_PLAYS_PER_DAY, Exploration
from ..context import Subject


def quality_section(subject: Subject) -> Section:
    """What is missing, doubtful or twice there, with counts."""
    tracks, log = subject.tracks, subject.log
    findings: list[tuple[str, int, int, str]] = []

    def add(finding: str, count: int, of: int, hint: str) -> None:
        findings.append((finding, count, of, hint))

    if len(tracks):
        add("tracks without a title", tracks.get_column("title").null_count(), len(tracks), "shown by their ids")
        nobody = int((tracks.get_column("artists").list.len() == 0).sum())
        add("tracks without an artist", nobody, len(tracks), "a new track cannot borrow from its artist")
        unlabelled = int((tracks.get_column("genres").list.len() == 0).sum())
        add("tracks without a genre label", unlabelled, len(tracks), "what was heard stands in, where it was")
        unheard = tracks.get_column("content_hash").null_count()
        add("tracks without audio", unheard, len(tracks), "crossfade embed brings it in")
        copies = tracks.get_column("content_hash").drop_nulls()
        add("files that are copies of another", len(copies) - copies.n_unique(), len(tracks), "same bytes")
        named = tracks.filter(pl.col("title").is_not_null() & (pl.col("artists").list.len() > 0))
        same = named.select(pl.col("title").str.to_lowercase(), pl.col("artists").list.join("\n").str.to_lowercase())
        add("tracks with title and artist of another", len(same) - same.n_unique(), len(tracks), "several editions?")
    failures = len(subject.library.failures())
    add("files that could not be read", failures, failures + len(tracks), "crossfade failures lists them")
    if log is not None:
        events = log.filled["len"]
        add("events without a user or a track", 2 * events - log.filled["user_id"] - log.filled["track_id"], events, "")
        add(
            "tracks in the log that the library does not know",
            len(log.track_ids) - log.library_tracks,
            len(log.track_ids),
            "",
        )
        if log.span is not None:
            add("events without a time", events - log.filled["time"], events, "not in any chart over time")
            add("events dated in the future", log.filled["future"], events, "a clock or a format that is wrong?")
            add("events dated 1970-01-01", log.filled["zero"], events, "a time that is missing?")
            add("events of the same listener, track and second", log.repeated_rows, events, "counted as they are")
            add(
                f"listeners with over {SUSPICIOUS_PLAYS_PER_DAY:,} listens on a day",
                len(_busy(log)),
                len(log.users),
                "not a person?",
            )
        lonely = int((log.users.get_column("tracks") == 1).sum())
        add("listeners of a single track", lonely, len(log.users), "little to learn a taste from")
        if log.filled["played_ratio"]:
            add(
                "listeners who skip nearly everything",
                len(_impatient(log)),
                len(log.users),
                "of those with 20 events or more",
            )
    frame = pl.DataFrame(findings, schema=["finding", "count", "of", "hint"], orient="row").with_columns(
        share=pl.when(pl.col("of") > 0).then(pl.col("count") / pl.col("of")).otherwise(0.0)
    )
    table = Table(
        name="data_quality",
        title="Findings",
        frame=frame.select("finding", "count", "of", "share", "hint").sort("count", descending=True),
        percents=("share",),
        headings={"hint": ""},
        note="A count of 0 means that it was looked for and not found.",
    )
    exhibits = (table, *_suspicious(log))
    return Section("quality", "Data quality", "What is missing, doubtful or there twice.", exhibits)


def _busy(log: Exploration) -> pl.DataFrame:
    return log.users.filter(pl.col("busiest_day") > SUSPICIOUS_PLAYS_PER_DAY)


def _impatient(log: Exploration) -> pl.DataFrame:
    return log.users.filter((pl.col("events") >= 20) & (pl.col("skipped") > 0.95 * pl.col("events")))


def _suspicious(log: Exploration | None) -> list[Exhibit]:
    """Who does what people do not do."""
    if log is None or not len(log.users):
        return []
    found = []
    if log.span is not None:
        why = pl.format("{} listens on a day", pl.col("busiest_day").round().cast(pl.Int64))
        found.append(_busy(log).select("user_row", "events", "tracks", why=why))
    if log.filled["played_ratio"]:
        why = pl.format("skips {} of {} events", pl.col("skipped"), pl.col("events"))
        found.append(_impatient(log).select("user_row", "events", "tracks", why=why))
    both = pl.concat(found) if found else pl.DataFrame()
    if not len(both):
        return [Gap("Suspicious listeners", "nobody listens as no person does", clear=True)] if found else []
    both = both.sort("events", "user_row", descending=[True, False])
    named = both.with_columns(user_id=log.user_ids.gather(both.get_column("user_row")))
    return [
        Table(
            name="suspicious_listeners",
            title="Suspicious listeners",
            frame=named.select("user_id", "events", "tracks", "why"),
            headings={"user_id": "listener", "tracks": "different tracks"},
            rows_shown=20,
        )
    ]
