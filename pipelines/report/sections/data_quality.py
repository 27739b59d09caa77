"""The section on data quality: what of tracks and listens is missing, doubtful or there twice."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ...interactions.statistics import SUSPICIOUS_PLAYS_PER_DAY, LogStatistics
from ..context import ReportData
from ..exhibits import Exhibit, Gap, Table

BUSY = pl.col("busiest_day") > SUSPICIOUS_PLAYS_PER_DAY
IMPATIENT = (pl.col("events") >= 20) & (pl.col("skipped") > 0.95 * pl.col("events"))


def exhibits(data: ReportData) -> Iterator[Exhibit]:
    findings = [*_of_tracks(data), *([] if data.log is None else _of_listens(data.log))]
    share = pl.when(pl.col("of") > 0).then(pl.col("count") / pl.col("of")).otherwise(0.0)
    frame = pl.DataFrame(findings, schema=["finding", "count", "of", "hint"], orient="row").with_columns(share=share)
    yield Table(
        name="data_quality",
        title="Findings",
        frame=frame.select("finding", "count", "of", "share", "hint").sort(
            "count", descending=True, maintain_order=True
        ),
        percents=("share",),
        headings={"hint": ""},
        note="A count of 0 means that it was looked for and not found.",
    )
    if data.log is not None and len(data.log.users):
        yield from _suspicious(data.log)


def _of_tracks(data: ReportData) -> Iterator[tuple[str, int, int, str]]:
    """(finding, count, of how many, hint)"""
    tracks, failures = data.tracks, len(data.library.failures())
    if count := len(tracks):
        artists, hashes = tracks.get_column("artists"), tracks.get_column("content_hash")
        yield "tracks without a title", tracks.get_column("title").null_count(), count, "shown by their ids"
        nobody = int((artists.list.len() == 0).sum())
        yield "tracks without an artist", nobody, count, "a new track cannot borrow from its artist"
        unlabelled = int((tracks.get_column("genres").list.len() == 0).sum())
        yield "tracks without a genre label", unlabelled, count, "what was heard stands in, where it was"
        yield "tracks without audio", hashes.null_count(), count, "crossfade embed brings it in"
        copies = hashes.count() - hashes.drop_nulls().n_unique()
        yield "files that are copies of another", copies, count, "same bytes"
        named = tracks.filter(pl.col("title").is_not_null() & (pl.col("artists").list.len() > 0))
        same = named.select(pl.col("title").str.to_lowercase(), pl.col("artists").list.join("\n").str.to_lowercase())
        yield "tracks with title and artist of another", len(same) - same.n_unique(), count, "several editions?"
    yield "files that could not be read", failures, failures + len(tracks), "crossfade failures lists them"


def _of_listens(log: LogStatistics) -> Iterator[tuple[str, int, int, str]]:
    events, users, tracks = log.filled["len"], log.users, len(log.track_ids)
    missing = 2 * events - log.filled["user_id"] - log.filled["track_id"]
    yield "events without a user or a track", missing, events, ""
    yield "tracks in the log that the library does not know", tracks - log.library_tracks, tracks, ""
    if log.span is not None:
        yield "events without a time", events - log.filled["time"], events, "not in any chart over time"
        yield "events dated in the future", log.filled["future"], events, "a clock or a format that is wrong?"
        yield "events dated 1970-01-01", log.filled["zero"], events, "a time that is missing?"
        yield "events of the same listener, track and second", log.repeated_rows, events, "counted as they are"
        busy = f"listeners with over {SUSPICIOUS_PLAYS_PER_DAY:,} listens on a day"
        yield busy, len(users.filter(BUSY)), len(users), "not a person?"
    single = int((users.get_column("tracks") == 1).sum())
    yield "listeners of a single track", single, len(users), "little to learn a taste from"
    if log.filled["played_ratio"]:
        impatient = len(users.filter(IMPATIENT))
        yield "listeners who skip nearly everything", impatient, len(users), "of those with 20 events or more"


def _suspicious(log: LogStatistics) -> Iterator[Exhibit]:
    """Who does what people do not do."""
    listens = pl.format("{} listens on a day", pl.col("busiest_day").round().cast(pl.Int64, strict=False))
    skips = pl.format("skips {} of {} events", pl.col("skipped"), pl.col("events"))
    looked_at = [
        *([(BUSY, listens)] if log.span is not None else []),
        *([(IMPATIENT, skips)] if log.filled["played_ratio"] else []),
    ]
    parts = [log.users.filter(odd).select("user_row", "user_id", "events", "tracks", why=why) for odd, why in looked_at]
    if not parts:
        return
    found = pl.concat(parts).sort("events", "user_row", descending=[True, False], maintain_order=True)
    if not len(found):
        yield Gap("Suspicious listeners", "nobody listens as no person does", clear=True)
        return
    yield Table(
        name="suspicious_listeners",
        title="Suspicious listeners",
        frame=found.drop("user_row"),
        headings={"tracks": "different tracks"},
        rows_shown=20,
    )
