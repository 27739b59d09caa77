"""The chapter on genres in time: which are played, by listens and by minutes, how that changes, and what leads in each.

A track of several genres counts in each of them. A change compares the period with the one of equal length before it;
without a period, the second half of the log with its first half.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ...charts.interactive import Chart, Exhibit, Gap, Section, Table
from ...interactions.statistics import Exploration, day_of
from ..context import Subject

DRAWN = 9
"""genres with a colour of their own; the rest are one"""
REST = "all others"


def genre_section(subject: Subject) -> Section:
    lead = "What is played by genre, what rises and falls, and what leads inside each."
    name, title = "genres", "Genres in time"
    if not len(subject.genres):
        gap = Gap("Genres", "no track has a genre label, and none was heard", "crossfade embed FOLDER --library L")
        return Section(name, title, lead, (gap,))
    exhibits: list[Exhibit] = []
    log = subject.log
    if log is None or not len(log.tracks):
        exhibits += [_by_tracks(subject), Gap("Genres in time", "nothing was played in this period")]
    else:
        table = top_genres(subject, log)
        if len(table) == 1:
            exhibits.append(Gap("Comparisons", "there is only one genre"))
        exhibits += [_most_played(table), _reach(table, log), *_by_minutes(table), *_changes(table, log)]
        exhibits += [*_in_time(subject, log, table), _genre_table(table), _leaders(subject, log)]
        exhibits += _groups(subject, log)
    exhibits += labels_against_sound(subject)
    return Section(name, title, lead, tuple(exhibits))


def top_genres(subject: Subject, log: Exploration) -> pl.DataFrame:
    """genre, plays, share, minutes, listeners, tracks, played_tracks, earlier and later share and their change."""
    genres = subject.genres
    played = genres.join(log.tracks.select("track_row", "plays", "minutes"), on="track_row", how="inner")
    table = played.group_by("genre").agg(pl.col("plays", "minutes").sum(), played_tracks=pl.len())
    have = genres.group_by("genre").agg(tracks=pl.len())
    listeners = (
        log.pairs.lazy()
        .join(genres.lazy(), on="track_row")
        .select("genre", "user_row")
        .unique()
        .group_by("genre")
        .agg(listeners=pl.len())
        .collect(engine="streaming")
    )
    table = have.join(table, on="genre", how="left").join(listeners, on="genre", how="left")
    counted = ("plays", "minutes", "played_tracks", "listeners")
    table = table.with_columns(pl.col(counted).fill_null(0)).with_columns(share=pl.col("plays") / log.plays)
    if not log.tracks.get_column("minutes").sum():
        table = table.with_columns(minutes=pl.lit(None, pl.Float64))
    table = table.join(_shares_before(subject, log), on="genre", how="left")
    change = pl.col("share_later").fill_null(0) - pl.col("share_earlier").fill_null(0)
    return table.with_columns(change=change).sort("plays", "genre", descending=[True, False])


def _shares_before(subject: Subject, log: Exploration) -> pl.DataFrame:
    """genre, share_earlier, share_later: of the listens of either part."""
    if log.span is None:
        schema = {"genre": pl.String, "share_earlier": pl.Float64, "share_later": pl.Float64}
        return pl.DataFrame(schema=schema)
    if log.period.whole:
        middle = log.track_times.get_column("at").unique().sort()
        middle = middle[len(middle) // 2]
        parts = [log.track_times.filter(pl.col("at") < middle), log.track_times.filter(pl.col("at") >= middle)]
    else:
        parts = [log.tracks_before, log.tracks.select("track_row", "plays")]
    shares = []
    for part, name in zip(parts, ("share_earlier", "share_later"), strict=True):
        total = float(part.get_column("plays").sum() or 0)
        counted = part.join(subject.genres, on="track_row").group_by("genre").agg(pl.col("plays").sum())
        share = pl.col("plays") / total if total else pl.lit(None, pl.Float64)
        shares.append(counted.select("genre", share.alias(name)))
    return shares[0].join(shares[1], on="genre", how="full", coalesce=True)


def _most_played(table: pl.DataFrame) -> Chart:
    first = table.row(0, named=True)
    return Chart(
        name="top_genres",
        title="Most played genres",
        frame=table.head(20).select("genre", "share", "plays"),
        kind="across",
        x="share",
        y="genre",
        x_title="share of all listens",
        percent=True,
        note=f"Most of all {first['genre']}: {first['share']:.0%} of all listens. A track of several genres counts in "
        "each.",
    )


def _reach(table: pl.DataFrame, log: Exploration) -> Chart:
    frame = table.filter(pl.col("listeners") > 0).sort("listeners", "plays", descending=True).head(20)
    return Chart(
        name="genre_listeners",
        title="Listeners per genre",
        frame=frame.select("genre", reach=pl.col("listeners") / max(1, len(log.users)), listeners="listeners"),
        kind="across",
        x="reach",
        y="genre",
        x_title="share of all listeners",
        percent=True,
        note="Who played at least one track of it.",
    )


def typical(counts: pl.DataFrame, what: str, most: int = 2) -> dict[int, str]:
    """Of `group`, a column of names and `count`: group -> the names whose share in it is the most above their share
    of all, joined; "a bit of all" where none stands out.
    """
    inside = pl.col("count").sum().over("group", what) / pl.col("count").sum().over("group")
    overall = pl.col("count").sum().over(what) / pl.col("count").sum()
    shares = counts.select("group", what, overall=overall, excess=inside - overall).unique()
    excess = shares.filter(pl.col("excess") > 0.05 * pl.col("overall").max())
    best = excess.sort("group", "excess", what, descending=[False, True, False]).group_by("group", maintain_order=True)
    named = dict(best.agg(pl.col(what).head(most).str.join(", ")).iter_rows())
    return {group: named.get(group, "a bit of all") for group in counts.get_column("group").unique()}


def _by_minutes(table: pl.DataFrame) -> list[Exhibit]:
    if table.get_column("minutes").null_count() == len(table):
        return [Gap("Minutes per genre", "how long tracks last is not known", "crossfade embed brings their lengths")]
    frame = table.filter(pl.col("minutes") > 0).sort("minutes", descending=True).head(20)
    return [
        Chart(
            name="genre_minutes",
            title="Minutes per genre",
            frame=frame.select("genre", hours=pl.col("minutes") / 60),
            kind="across",
            x="hours",
            y="genre",
            x_title="hours listened",
            note="Length of the track times the share that was played; tracks of unknown length do not count.",
        )
    ]


def genre_times(subject: Subject, log: Exploration, drawn: list[str]) -> pl.DataFrame:
    """genre, at, plays, share: over the whole log, genres that are not drawn as one."""
    together = subject.genres.with_columns(
        genre=pl.when(pl.col("genre").is_in(drawn)).then("genre").otherwise(pl.lit(REST))
    )
    counted = log.track_times.join(together, on="track_row").group_by("genre", "at").agg(pl.col("plays").sum())
    times = log.track_times.select(pl.col("at").unique().sort())
    order = [*drawn, REST] if (together.get_column("genre") == REST).any() else drawn
    every = pl.DataFrame({"genre": order}).join(times, how="cross")
    table = every.join(counted, on=["genre", "at"], how="left").with_columns(pl.col("plays").fill_null(0))
    total = pl.col("plays").sum().over("at")
    return table.with_columns(share=pl.when(total > 0).then(pl.col("plays") / total).otherwise(None))


def _in_time(subject: Subject, log: Exploration, table: pl.DataFrame) -> list[Exhibit]:
    if log.span is None:
        return [Gap("Genres over time", "the log has no times")]
    if log.track_times.get_column("at").n_unique() < 2:
        return [Gap("Genres over time", "the log covers too short a time")]
    frame = genre_times(subject, log, table.get_column("genre").head(DRAWN).to_list())
    step = {"1d": "day", "1w": "week", "1mo": "month", "1q": "quarter", "1y": "year"}[log.span.bin]
    return [
        Chart(
            name="genre_mix",
            title=f"The mix of genres, by {step}",
            frame=frame,
            kind="area",
            x="at",
            y="share",
            series="genre",
            y_title="share of genre listens",
            percent=True,
            shade=None,
            wide=True,
        )
    ]


def _changes(table: pl.DataFrame, log: Exploration) -> list[Exhibit]:
    known = table.filter(pl.col("share_earlier").is_not_null() & pl.col("share_later").is_not_null())
    if log.span is None or not len(known):
        return [Gap("Rise and fall", "there is nothing earlier to compare with")]
    shown = known.sort("change", descending=True)
    if len(shown) > 16:
        shown = pl.concat([shown.head(8), shown.tail(8)])
    if log.period.whole:
        what = "the second half of the log against its first half"
    else:
        what = f"this period against {day_of(log.span.before)} to {day_of(log.span.start - 1)}"
    return [
        Chart(
            name="genre_change",
            title="Rise and fall",
            frame=shown.select("genre", "change", "share_earlier", "share_later"),
            kind="across",
            x="change",
            y="genre",
            x_title="change of the share of listens",
            percent=True,
            note=f"In percentage points: {what}.",
        )
    ]


def _genre_table(table: pl.DataFrame) -> Table:
    columns = ["genre", "plays", "share", "minutes", "listeners", "played_tracks", "tracks", "change"]
    kept = [name for name in columns if table.get_column(name).null_count() < len(table)]
    return Table(
        name="genre_table",
        title="Genres in numbers",
        frame=table.select(kept),
        headings={"plays": "listens", "played_tracks": "tracks played", "tracks": "tracks there are"},
        percents=("share", "change"),
    )


def genre_leaders(subject: Subject, log: Exploration) -> pl.DataFrame:
    """genre, rank, title, artist, plays, users: the first `top` tracks inside each genre, genres by their listens."""
    played = subject.genres.join(log.tracks.select("track_row", "plays", "users"), on="track_row")
    size = pl.col("plays").sum().over("genre")
    ranked = (
        played.with_columns(size=size)
        .sort("size", "genre", "plays", "track_row", descending=[True, False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("genre"))
        .filter((pl.col("rank") <= subject.top) & (pl.col("plays") > 0))
    )
    named = ranked.join(subject.names, on="track_row", how="left", maintain_order="left")
    return named.select("genre", "rank", "title", "artist", "plays", "users", "track_id")


def _leaders(subject: Subject, log: Exploration) -> Table:
    return Table(
        name="genre_leaders",
        title=f"The first {subject.top} inside each genre",
        frame=genre_leaders(subject, log),
        headings={"plays": "listens", "users": "listeners"},
        hidden=("track_id",),
        rows_shown=max(50, 5 * subject.top),
    )


def _groups(subject: Subject, log: Exploration) -> list[Exhibit]:
    """Artists and albums."""
    exhibits: list[Exhibit] = []
    for name, title, column in (("top_artists", "Top artists", "artists"), ("top_albums", "Top albums", "album")):
        if column == "artists":
            named = subject.artists.rename({"artist": "name"})
        else:
            named = subject.tracks.select("track_row", name=column).filter(pl.col("name") != "")
        if not len(named):
            exhibits.append(Gap(title, f"no track names its {column.removesuffix('s')}"))
            continue
        plays = log.tracks.join(named, on="track_row").group_by("name").agg(pl.col("plays").sum(), tracks=pl.len())
        people = log.pairs.lazy().join(named.lazy(), on="track_row").select("name", "user_row").unique()
        people_count = people.group_by("name").agg(listeners=pl.len()).collect(engine="streaming")
        table = plays.join(people_count, on="name").sort("plays", "name", descending=[True, False])
        exhibits.append(
            Table(
                name=name,
                title=title,
                frame=table.select(pl.col("name").alias(column.removesuffix("s")), "plays", "listeners", "tracks"),
                headings={"plays": "listens", "tracks": "tracks played"},
                rows_shown=20,
            )
        )
    return exhibits


def _by_tracks(subject: Subject) -> Chart:
    frame = subject.genres.group_by("genre").agg(tracks=pl.len()).sort("tracks", "genre", descending=[True, False])
    return Chart(
        name="genre_tracks",
        title="Tracks per genre",
        frame=frame.head(25),
        kind="across",
        x="tracks",
        y="genre",
        x_title="tracks",
    )


def labels_against_sound(subject: Subject) -> list[Exhibit]:
    """What the catalogue calls a track against what was heard, and the labels that sound most wrong."""
    heard = subject.heard_genres
    if not len(heard):
        return [Gap("Labels against sound", "no audio was heard", "crossfade embed FOLDER --library L")]
    if not subject.has_labels:
        return [Gap("Labels against sound", "the catalogue has no genre labels of its own")]
    labels = subject.tracks.select("track_row", label=pl.col("genres").list.first()).drop_nulls()
    both = labels.join(heard, on="track_row")
    if not len(both):
        return [Gap("Labels against sound", "no track has both a label and audio")]
    exhibits: list[Exhibit] = [
        Chart(
            name="label_confusion",
            title="What the catalogue says, and what was heard",
            frame=_confusion(both),
            kind="heat",
            x="heard",
            y="label",
            value="share",
            x_title="heard as",
            y_title="label",
            percent=True,
            note="Of the tracks with a label (row), the share that was heard as each genre (column).",
        )
    ]
    return [*exhibits, *_mislabelled(subject, both)]


def _confusion(both: pl.DataFrame) -> pl.DataFrame:
    """label, heard, tracks, share (of the label's tracks): every pair, agreement on the diagonal."""
    common = both.group_by("label").len().sort("len", "label", descending=[True, False]).head(20).get_column("label")
    shown = both.filter(pl.col("label").is_in(common.implode()))
    found = shown.get_column("heard").value_counts(sort=True).sort("count", "heard", descending=[True, False])
    lower = [label.lower() for label in common]
    # A classifier's genre stands where the label of that name stands; those without such a label follow.
    columns = sorted(found.get_column("heard"), key=lambda name: lower.index(name) if name in lower else len(lower))
    every = common.to_frame().join(pl.DataFrame({"heard": columns}), how="cross", maintain_order="left_right")
    counts = shown.group_by("label", "heard").agg(tracks=pl.len())
    table = every.join(counts, on=["label", "heard"], how="left", maintain_order="left")
    table = table.with_columns(pl.col("tracks").fill_null(0))
    return table.with_columns(share=pl.col("tracks") / pl.col("tracks").sum().over("label"))


def _mislabelled(subject: Subject, both: pl.DataFrame) -> list[Exhibit]:
    """Tracks whose own genre is the least probable, of those whose label the classifier knows too."""
    probabilities, names = subject.genre_probabilities
    place = {name: column for column, name in enumerate(names)}
    known = both.filter(pl.col("label").str.to_lowercase().is_in(names))
    if not len(known):
        return [Gap("Doubtful labels", "the classifier knows none of the catalogue's genres by name")]
    rows = known.get_column("track_row").to_numpy()
    columns = [place[label.lower()] for label in known.get_column("label")]
    doubt = known.with_columns(
        own=pl.Series(np.asarray(probabilities[rows, columns], np.float64)),
    ).filter(pl.col("label").str.to_lowercase() != pl.col("heard"))
    doubt = doubt.with_columns(margin=pl.col("probability") - pl.col("own")).sort("margin", descending=True)
    named = doubt.join(subject.names, on="track_row", how="left", maintain_order="left")
    return [
        Table(
            name="doubtful_labels",
            title="Labels that sound most wrong",
            frame=named.select("title", "artist", "label", "heard", "own", "probability", "track_id"),
            headings={"own": "probability of the label", "probability": "of what was heard", "heard": "heard as"},
            percents=("own", "probability"),
            hidden=("track_id",),
            note=f"{len(known) - len(doubt):,} of {len(known):,} tracks are heard as what their label says.",
            rows_shown=15,
        )
    ]
