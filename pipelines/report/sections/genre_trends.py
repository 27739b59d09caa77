"""The section on genres in time: which are played, by listens and by minutes, how that changes, and what leads in each.

A track of several genres counts in each of them. A change compares the period with the one of equal length before it;
without a period, the second half of the log with its first half.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ....models.analysis.listener_clusters import SegmentOptions, Segments
from ....models.arrays import Floats
from ...analysis.segments import typical
from ...charts.chart import Chart
from ...interactions.statistics import LogStatistics, day_of
from ..context import ReportData
from ..exhibits import Exhibit, Gap, Table

DRAWN = 9
"""genres with a colour of their own; the rest are one"""
REST = "all others"


def exhibits(data: ReportData) -> Iterator[Exhibit]:
    log = data.log
    if not len(data.genres):
        yield Gap("Genres", "no track has a genre label, and none was heard", "crossfade embed FOLDER --library L")
        return
    if log is None or not len(log.tracks):
        counts = data.genres.group_by("genre").agg(tracks=pl.len())
        counts = counts.sort("tracks", "genre", descending=[True, False]).head(25)
        yield Chart(name="genre_tracks", title="Tracks per genre", frame=counts, kind="across", x="tracks", y="genre")
        yield Gap("Genres in time", "nothing was played in this period")
    else:
        table = played_genres(data, log)
        if len(table) == 1:
            yield Gap("Comparisons", "there is only one genre")
        yield from _most_played(table, log)
        yield _change(table, log)
        yield _in_time(data, log, table)
        columns = ["genre", "plays", "share", "minutes", "listeners", "played_tracks", "tracks", "change"]
        yield Table(
            name="genre_table",
            title="Genres in numbers",
            frame=table.select(name for name in columns if table.get_column(name).null_count() < len(table)),
            headings={"played_tracks": "tracks played", "tracks": "tracks there are"},
            percents=("share", "change"),
        )
        yield Table(
            name="genre_leaders",
            title=f"The first {data.options.top} inside each genre",
            frame=_leaders(data, log),
            hidden=("track_id",),
            rows_shown=max(50, 5 * data.options.top),
        )
        albums = data.tracks.select("track_row", "album").filter(pl.col("album") != "")
        for group, groups in (("artist", data.artists), ("album", albums)):
            yield _top_groups(log, group, groups)
    yield from _labels_against_sound(data)


def _counted(log: LogStatistics, groups: pl.DataFrame, group: str) -> pl.DataFrame:
    """group, plays, minutes, listeners, tracks (that were played), by plays; `groups` has track_row and group."""
    played = groups.join(log.tracks.select("track_row", "plays", "minutes"), on="track_row")
    table = played.group_by(group).agg(pl.col("plays", "minutes").sum(), tracks=pl.len())
    pairs = log.pairs.lazy().join(groups.lazy(), on="track_row").select(group, "user_row").unique()
    listeners = pairs.group_by(group).agg(listeners=pl.len()).collect(engine="streaming")
    return table.join(listeners, on=group).sort("plays", group, descending=[True, False])


def played_genres(data: ReportData, log: LogStatistics) -> pl.DataFrame:
    """genre, plays, share, minutes, listeners, tracks, played_tracks, earlier and later share and their change."""
    counted = _counted(log, data.genres, "genre").rename({"tracks": "played_tracks"})
    table = data.genres.group_by("genre").agg(tracks=pl.len()).join(counted, on="genre", how="left")
    table = table.with_columns(pl.col("plays", "minutes", "played_tracks", "listeners").fill_null(0))
    if not table.get_column("minutes").sum():
        table = table.with_columns(minutes=pl.lit(None, pl.Float64))
    table = table.join(_earlier_and_later(data, log), on="genre", how="left")
    change = pl.col("share_later").fill_null(0) - pl.col("share_earlier").fill_null(0)
    table = table.with_columns(share=pl.col("plays") / log.plays, change=change)
    return table.sort("plays", "genre", descending=[True, False])


def _earlier_and_later(data: ReportData, log: LogStatistics) -> pl.DataFrame:
    """genre, share_earlier, share_later: of the listens of either part."""
    if log.period.whole or log.span is None:
        times = log.track_times.get_column("at").unique().sort()
        later = pl.col("at") >= pl.lit(times[len(times) // 2] if len(times) else None, pl.Date)
        parts = [log.track_times.filter(~later), log.track_times.filter(later)]
    else:
        parts = [log.tracks_before, log.tracks]
    shares = []
    for part, name in zip(parts, ("share_earlier", "share_later"), strict=True):
        total = float(part.get_column("plays").sum() or 0)
        counted = part.join(data.genres, on="track_row").group_by("genre").agg(pl.col("plays").sum())
        share = pl.col("plays") / total if total else pl.lit(None, pl.Float64)
        shares.append(counted.select("genre", share.alias(name)))
    return shares[0].join(shares[1], on="genre", how="full", coalesce=True)


def _most_played(table: pl.DataFrame, log: LogStatistics) -> Iterator[Exhibit]:
    """The most played genres by listens, by listeners and by minutes."""
    first = table.row(0, named=True)
    by_listeners = table.filter(pl.col("listeners") > 0).sort("listeners", descending=True, maintain_order=True)
    by_minutes = table.filter(pl.col("minutes") > 0).sort("minutes", descending=True, maintain_order=True)
    plays = table.select("genre", "share", "plays")
    reach = by_listeners.select("genre", reach=pl.col("listeners") / max(1, len(log.users)), listeners="listeners")
    hours = by_minutes.select("genre", hours=pl.col("minutes") / 60)
    most = f"Most of all {first['genre']}: {first['share']:.0%} of all listens. A track counts in each of its genres."
    anyone = "Who played at least one track of it."
    length = "Length of the track times the share that was played; tracks of unknown length do not count."
    for name, title, frame, x, x_title, note in (
        ("top_genres", "Most played genres", plays, "share", "share of all listens", most),
        ("genre_listeners", "Listeners per genre", reach, "reach", "share of all listeners", anyone),
        ("genre_minutes", "Minutes per genre", hours, "hours", "hours listened", length),
    ):
        if frame is hours and not len(hours):
            yield Gap(title, "how long tracks last is not known", "crossfade embed brings their lengths")
            return
        yield Chart(
            name=name,
            title=title,
            frame=frame.head(20),
            kind="across",
            x=x,
            y="genre",
            x_title=x_title,
            percent=frame is not hours,
            note=note,
        )


def _change(table: pl.DataFrame, log: LogStatistics) -> Exhibit:
    known = table.drop_nulls(["share_earlier", "share_later"]).sort("change", descending=True, maintain_order=True)
    if log.span is None or not len(known):
        return Gap("Rise and fall", "there is nothing earlier to compare with")
    if log.period.whole:
        compared = "the second half of the log against its first half"
    else:
        compared = f"this period against {day_of(log.span.before)} to {day_of(log.span.start - 1)}"
    extremes = known if len(known) <= 16 else pl.concat([known.head(8), known.tail(8)])
    return Chart(
        name="genre_change",
        title="Rise and fall",
        frame=extremes.select("genre", "change", "share_earlier", "share_later"),
        kind="across",
        x="change",
        y="genre",
        x_title="change of the share of listens",
        percent=True,
        note=f"In percentage points: {compared}.",
    )


def _in_time(data: ReportData, log: LogStatistics, table: pl.DataFrame) -> Exhibit:
    """The share of each genre in each part of the whole log; genres that are not drawn are one."""
    if log.span is None:
        return Gap("Genres over time", "the log has no times")
    times = log.track_times.select(pl.col("at").unique().sort())
    if len(times) < 2:
        return Gap("Genres over time", "the log covers too short a time")
    drawn = table.get_column("genre").head(DRAWN).to_list()
    together = data.genres.with_columns(
        genre=pl.when(pl.col("genre").is_in(drawn)).then("genre").otherwise(pl.lit(REST))
    )
    counted = log.track_times.join(together, on="track_row").group_by("genre", "at").agg(pl.col("plays").sum())
    order = [*drawn, REST] if (together.get_column("genre") == REST).any() else drawn
    every = pl.DataFrame({"genre": order}).join(times, how="cross", maintain_order="left_right")
    frame = every.join(counted, on=["genre", "at"], how="left", maintain_order="left")
    frame = frame.with_columns(pl.col("plays").fill_null(0))
    total = pl.col("plays").sum().over("at")
    step = {"1d": "day", "1w": "week", "1mo": "month", "1q": "quarter", "1y": "year"}[log.span.bin]
    return Chart(
        name="genre_mix",
        title=f"The mix of genres, by {step}",
        frame=frame.with_columns(share=pl.when(total > 0).then(pl.col("plays") / total)),
        kind="area",
        x="at",
        y="share",
        series="genre",
        y_title="share of genre listens",
        percent=True,
        wide=True,
    )


def _leaders(data: ReportData, log: LogStatistics) -> pl.DataFrame:
    """genre, rank, title, artist, plays, users: the first `top` tracks inside each genre, genres by their listens."""
    played = data.genres.join(log.tracks.select("track_row", "plays", "users"), on="track_row")
    ranked = (
        played.with_columns(size=pl.col("plays").sum().over("genre"))
        .sort("size", "genre", "plays", "track_row", descending=[True, False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("genre"))
        .filter((pl.col("rank") <= data.options.top) & (pl.col("plays") > 0))
    )
    return data.named(ranked).select("genre", "rank", "title", "artist", "plays", "users", "track_id")


def _top_groups(log: LogStatistics, group: str, groups: pl.DataFrame) -> Exhibit:
    """The most played artists or albums."""
    if not len(groups):
        return Gap(f"Top {group}s", f"no track names its {group}")
    return Table(
        name=f"top_{group}s",
        title=f"Top {group}s",
        frame=_counted(log, groups, group).select(group, "plays", "listeners", "tracks"),
        headings={"tracks": "tracks played"},
        rows_shown=20,
    )


def taste_clusters(vectors: Floats, count: int) -> NDArray[np.int32]:
    """[N, D] -> [N] the cluster of each, found among 5,000 to 10,000 of them where there are more."""
    return Segments(SegmentOptions(count=count)).fit(vectors[:: max(1, len(vectors) // 5_000)]).assign(vectors)


def typical_of_groups(counts: pl.DataFrame, what: str, most: int = 2) -> dict[int, str]:
    """Of `group`, a column of names and `count`: group -> its typical names, joined; "a bit of all" without any."""
    groups, rows = np.unique(counts.get_column("group").to_numpy(), return_inverse=True)
    names, columns = np.unique(counts.get_column(what).to_list(), return_inverse=True)
    table = np.zeros((len(groups), len(names)))
    np.add.at(table, (rows, columns), counts.get_column("count").to_numpy())
    parts = zip(groups.tolist(), table, strict=True)
    return {group: ", ".join(typical(names, part, table.sum(axis=0), most)) or "a bit of all" for group, part in parts}


def _labels_against_sound(data: ReportData) -> Iterator[Exhibit]:
    """What the catalogue calls a track against the predicted genre, and the labels that sound most wrong."""
    if not len(data.predicted_genres):
        yield Gap("Labels against sound", "no audio was heard", "crossfade embed FOLDER --library L")
    elif not data.tracks.get_column("genres").list.len().sum():
        yield Gap("Labels against sound", "the catalogue has no genre labels of its own")
    elif not len(data.labels):
        yield Gap("Labels against sound", "no track has both a label and audio")
    else:
        yield Chart(
            name="label_confusion",
            title="What the catalogue says, and what was heard",
            frame=_confusion(data.labels),
            kind="heat",
            x="heard",
            y="label",
            value="share",
            x_title="heard as",
            y_title="label",
            percent=True,
            note="Of the tracks with a label (row), the share that was heard as each genre (column).",
        )
        yield _doubtful_labels(data)


def _confusion(labels: pl.DataFrame) -> pl.DataFrame:
    """label, heard, tracks, share (of the label's tracks): every pair, agreement on the diagonal."""
    common = labels.group_by("label").len().sort("len", "label", descending=[True, False]).head(20).get_column("label")
    shown = labels.filter(pl.col("label").is_in(common.implode()))
    found = shown.group_by("heard").len().sort("len", "heard", descending=[True, False])
    lower = [label.lower() for label in common]
    # A classifier's genre stands where the label of that name stands; those without such a label follow.
    columns = sorted(found.get_column("heard"), key=lambda name: lower.index(name) if name in lower else len(lower))
    every = common.to_frame().join(pl.DataFrame({"heard": columns}), how="cross", maintain_order="left_right")
    counts = shown.group_by("label", "heard").agg(tracks=pl.len())
    table = every.join(counts, on=["label", "heard"], how="left", maintain_order="left")
    table = table.with_columns(pl.col("tracks").fill_null(0))
    return table.with_columns(share=pl.col("tracks") / pl.col("tracks").sum().over("label"))


def _doubtful_labels(data: ReportData) -> Exhibit:
    """Tracks whose own genre is the least probable, of those whose label the classifier knows too."""
    known = data.known_labels
    if not len(known):
        return Gap("Doubtful labels", "the classifier knows none of the catalogue's genres by name")
    probabilities, names = data.genre_probabilities
    columns = [names.index(label.lower()) for label in known.get_column("label")]
    own = np.asarray(probabilities[known.get_column("track_row").to_numpy(), columns], np.float64)
    doubtful = known.with_columns(own=own).filter(~pl.col("agrees"))
    doubtful = doubtful.sort(pl.col("probability") - pl.col("own"), descending=True, maintain_order=True)
    return Table(
        name="doubtful_labels",
        title="Labels that sound most wrong",
        frame=data.named(doubtful).select("title", "artist", "label", "heard", "own", "probability", "track_id"),
        headings={"own": "probability of the label", "probability": "of what was heard", "heard": "heard as"},
        percents=("own", "probability"),
        hidden=("track_id",),
        note=f"{known.get_column('agrees').sum():,} of {len(known):,} tracks are heard as what their label says.",
        rows_shown=15,
    )
