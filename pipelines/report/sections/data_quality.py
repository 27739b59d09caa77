"""The section on data quality: what of tracks and listens is missing, doubtful or there twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ....models.arrays import Floats, l2_normalize
from ...interactions.statistics import SUSPICIOUS_PLAYS_PER_DAY, LogStatistics
from ...search.duplicates import Recordings, likely_pairs
from ..context import ReportData
from ..exhibits import Exhibit, Gap, Table

COMPARED_TRACKS = 200_000
SAME_COSINE = 0.995
"""above it two tracks are one recording in two files, or nearly so"""
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
    if names := data.library.vector_names():
        catalogue = data.library.catalogue(names[0])
        rows = np.flatnonzero(catalogue.has_sound)
        yield _duplicates(data, rows, l2_normalize(catalogue.sound[rows]))
    if data.log is not None and len(data.log.users):
        yield from _suspicious(data.log)


def _of_tracks(data: ReportData) -> Iterator[tuple[str, int, int, str]]:
    """(finding, count, of how many, hint)"""
    tracks, failures = data.tracks, data.library.failure_count()
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


def near_duplicates(vectors: Floats, least: float = SAME_COSINE) -> list[tuple[int, int, float]]:
    """(row, row, cosine) of pairs of unit vectors above `least`, nearest first; each row with its five nearest."""
    import faiss

    unit = np.ascontiguousarray(vectors, np.float32)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    scores, neighbours = index.search(unit, min(6, len(unit)))
    pairs = {}
    for row, column in zip(*np.nonzero(scores >= least), strict=True):
        other = int(neighbours[row, column])
        if other != row:
            pairs[min(int(row), other), max(int(row), other)] = min(1.0, float(scores[row, column]))
    return sorted(((a, b, score) for (a, b), score in pairs.items()), key=lambda pair: (-pair[2], pair[:2]))


def _duplicates(data: ReportData, rows: NDArray[np.intp], vectors: Floats) -> Exhibit:
    """Pairs whose fingerprints are the same, and nearly equal vectors whose fingerprints are not known yet."""
    title = "Near-duplicates"
    if len(rows) > COMPARED_TRACKS:
        return Gap(title, f"comparing every track with every other takes too long above {COMPARED_TRACKS:,} tracks")
    near = {(a, b): score for a, b, score in near_duplicates(vectors)}
    if len(near) > len(rows):
        why = f"the vectors do not tell tracks apart: {len(near):,} pairs are nearer than {SAME_COSINE:g} (cosine)"
        return Gap(title, why)
    tracks = data.tracks[rows.tolist()]
    hashes, seconds = tracks["content_hash"].to_list(), tracks["duration_seconds"].cast(pl.Float64).to_numpy()
    likely = likely_pairs(seconds, vectors) if data.library.fingerprinted() else []
    recordings = Recordings(data.library, files=False)
    found = []
    for (a, b), score in ({(a, b): score for a, b, score in likely} | near).items():
        known = hashes[a] and hashes[b] and recordings.compare((hashes[a], seconds[a]), (hashes[b], seconds[b]))
        if known and known.same:
            found.append((int(rows[a]), int(rows[b]), score, "the same recording"))
        elif not known and (a, b) in near:
            found.append((int(rows[a]), int(rows[b]), score, "not compared"))
    if not found:
        return Gap(title, f"no two tracks are nearer than {SAME_COSINE:g} (cosine)", clear=True)
    schema = {"track_row": pl.Int32, "other_row": pl.Int32, "cosine": pl.Float64, "audio": pl.String}
    frame = pl.DataFrame(found, schema, orient="row").sort("cosine", descending=True, maintain_order=True)
    others = data.names.rename(lambda name: f"other_{name.removeprefix('track_')}")
    frame = data.named(frame).join(others, on="other_row", how="left", maintain_order="left")
    same = int((frame["audio"] == "the same recording").sum())
    note = f"{same:,} pairs are the same recording by their audio fingerprints."
    if same < len(frame):
        note += (
            f" {len(frame) - same:,} are nearer than {SAME_COSINE:g} (cosine) and may be, or only sound so: "
            "`crossfade duplicates` compares their audio."
        )
    return Table(
        name="near_duplicates",
        title=title,
        frame=frame.select("title", "artist", "other_title", "other_artist", "cosine", "audio", "track_id", "other_id"),
        hidden=("track_id", "other_id"),
        note=note,
        rows_shown=15,
    )
