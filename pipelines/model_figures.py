"""The chapter on models: how good they are and where, how the crossfade goes, and what it looks like for a listener.

Figures of quality are those of `crossfade evaluate`; this chapter measures nothing anew, so that a test set is read
once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..audio.errors import DataError, LibraryError
from ..models.segments import SegmentOptions, Segments
from .charts import Chart, Exhibit, Gap, Section, Table
from .report_subject import Subject
from .trained import Trained

MAIN = ("ndcg", 10)
SHOWN = (("ndcg", 10), ("recall", 20), ("hit_rate", 10), ("catalogue_coverage", 20), ("novelty", 20))
SAMPLE_LISTENERS = 5
SEGMENTS = 6


def model_section(subject: Subject, evaluation: Path | None) -> Section:
    lead = "How good the recommendations are, for whom, and why they are what they are."
    rows = evaluation_rows(subject, evaluation)
    exhibits: list[Exhibit] = []
    if rows is None:
        cure = "crossfade evaluate --library L --out L/evaluation.jsonl"
        exhibits.append(Gap("Quality of the models", "nothing was evaluated yet", cure))
    else:
        exhibits += _quality(rows)
    try:
        trained = Trained.load(subject.library)
    except LibraryError as error:
        exhibits.append(Gap("The trained version", str(error)))
    except ImportError:
        exhibits.append(Gap("The trained version", "it cannot be loaded here", "pip install 'crossfade[train]'"))
    else:
        exhibits += [*_crossfade(trained), *_importance(subject), *_samples(subject, trained)]
        exhibits += _segments(subject, trained)
    exhibits += _calibration(subject)
    why = "the models of a library are not learned by epochs; those that are keep their curves beside them"
    exhibits.append(
        Gap("Learning curves", why, "crossfade genres train LABELS --model cnn --out M makes M/learning.png")
    )
    return Section("models", "Models", lead, tuple(exhibits))


def evaluation_rows(subject: Subject, evaluation: Path | None) -> pl.DataFrame | None:
    """model, slice, metric, k, value, low, high … of an evaluation; None where there was none."""
    file = evaluation or subject.library.folder / "evaluation.jsonl"
    if not file.is_file():
        return None
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        frame = pl.DataFrame(rows, infer_schema_length=None)
        return frame.select(
            pl.col("model", "slice", "metric").cast(pl.String),
            pl.col("k").cast(pl.Int64),
            pl.col("value", "low", "high").cast(pl.Float64),
        )
    except (ValueError, pl.exceptions.PolarsError) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"{file}: not what `crossfade evaluate --out` writes: {why}") from None


def nearest_k(rows: pl.DataFrame, metric: str, wanted: int) -> int | None:
    """The cut-off that was measured nearest to the wanted one."""
    ks = rows.filter(pl.col("metric") == metric).get_column("k").drop_nulls().unique().to_list()
    return min(ks, key=lambda k: (abs(k - wanted), k), default=None)


def _quality(rows: pl.DataFrame) -> list[Exhibit]:
    metric, k = MAIN[0], nearest_k(rows, *MAIN)
    main = rows.filter((pl.col("metric") == metric) & (pl.col("k") == k) & pl.col("value").is_not_null())
    by_listeners = main.filter(pl.col("slice").str.starts_with("n = "))
    by_slice = main.filter(~pl.col("slice").str.starts_with("n = "))
    exhibits: list[Exhibit] = []
    if len(by_slice):
        order = by_slice.get_column("model").unique(maintain_order=True).to_list()
        exhibits.append(
            Chart(
                name="quality",
                title=f"NDCG@{k} by slice",
                frame=by_slice.select("slice", "model", "value", "low", "high"),
                kind="bar",
                x="slice",
                y="value",
                low="low",
                high="high",
                series="model",
                y_title=f"NDCG@{k}",
                wide=True,
                note="1 is perfect; whiskers are 95 % intervals. Warm: known tracks and listeners. "
                + (_winners(by_slice) if len(order) > 1 else ""),
            )
        )
    if len(by_listeners):
        frame = by_listeners.with_columns(n=pl.col("slice").str.extract(r"(\d+)").cast(pl.Int64)).sort(
            "n", maintain_order=True
        )
        exhibits.append(
            Chart(
                name="quality_over_n",
                title="Quality over the number of listeners",
                frame=frame.select("n", "model", "value", "low", "high"),
                kind="line",
                x="n",
                y="value",
                low="low",
                high="high",
                series="model",
                x_title="listeners that a track has",
                y_title=f"NDCG@{k}",
                note="Well-known tracks of which only n listeners are shown to the models.",
            )
        )
    else:
        exhibits.append(Gap("Quality over the number of listeners", "the trial `listeners` was not evaluated"))
    for name, title, metric_name, y_title in (
        ("coverage", "How much of the catalogue is recommended?", "catalogue_coverage", "share of tracks"),
        ("popularity_bias", "Do models push what is popular?", "popularity_bias", "popularity bias"),
    ):
        frame = rows.filter(
            (pl.col("metric") == metric_name) & (pl.col("slice") == "warm") & pl.col("value").is_not_null()
        )
        if len(frame):
            note = "How much more popular the answers are than what the listeners had played; 0 is even."
            exhibits.append(
                Chart(
                    name=name,
                    title=title,
                    frame=frame.select("model", "k", "value", "low", "high").sort("k", maintain_order=True),
                    kind="line",
                    x="k",
                    y="value",
                    low="low",
                    high="high",
                    series="model",
                    x_title="length of the list",
                    y_title=y_title,
                    log_x=frame.get_column("k").n_unique() > 1,
                    note=note if name == "popularity_bias" else "Different tracks in all lists together.",
                )
            )
    return [*exhibits, _quality_table(rows)]


def _winners(rows: pl.DataFrame) -> str:
    best = rows.sort("value", descending=True).group_by("slice", maintain_order=True).first()
    first = dict(best.select("slice", "model").iter_rows())
    return "Best: " + "; ".join(f"{model} ({name})" for name, model in sorted(first.items())) + "."


def _quality_table(rows: pl.DataFrame) -> Table:
    """One row per slice and model; the file has the intervals, too."""
    frame = rows.filter(pl.col("k").is_not_null()).select("slice", "model").unique(maintain_order=True)
    hidden = []
    for metric, wanted in SHOWN:
        k = nearest_k(rows, metric, wanted)
        if k is None:
            continue
        name = f"{metric}@{k}"
        part = rows.filter(pl.col("metric") == metric, pl.col("k") == k)
        columns = {"value": name, "low": f"{name} low", "high": f"{name} high"}
        part = part.select("slice", "model", *columns).rename(columns)
        frame = frame.join(part, on=["slice", "model"], how="left", maintain_order="left")
        hidden += [f"{name} low", f"{name} high"]
    return Table(
        name="evaluation",
        title="The evaluation in numbers",
        frame=frame,
        hidden=tuple(hidden),
        headings={name: name.replace("_", " ") for name in frame.columns},
        note="The file has the 95 % intervals, too.",
        rows_shown=100,
    )


def _crossfade(trained: Trained) -> list[Exhibit]:
    hybrid = trained.hybrid
    listeners = np.asarray(hybrid.listeners)
    most = max(20, int(5 * hybrid.choices.crossfade.tau))
    n = np.unique(np.geomspace(1, most + 1, 60).round().astype(int) - 1)
    weights = hybrid.choices.crossfade.weights(n)
    frame = pl.DataFrame(
        {
            "n": np.tile(n, 2),
            "voice": ["its listeners"] * len(n) + ["its sound and artist"] * len(n),
            "weight": np.concatenate([weights, 1 - weights]).astype(np.float64),
        }
    )
    cold = int((listeners == 0).sum())
    few = int(((listeners > 0) & (listeners < hybrid.choices.crossfade.tau)).sum())
    note = (
        f"After {hybrid.choices.crossfade.tau:g} listeners both count the same. {cold:,} of {len(listeners):,} tracks "
        f"have no listeners, {few:,} more are still placed mostly by sound and artist."
    )
    return [
        Chart(
            name="crossfade",
            title="Who places a track?",
            frame=frame,
            kind="line",
            x="n",
            y="weight",
            series="voice",
            x_title="listeners of the track",
            y_title="weight",
            percent=True,
            note=note,
        )
    ]


def _importance(subject: Subject) -> list[Exhibit]:
    files = sorted(subject.library.current_version().rglob("ranker.json"))
    if not files:
        return [Gap("What the ranker looks at", "no ranker was trained")]
    header: dict[str, Any] = json.loads(files[0].read_text())
    # The last importance belongs to the genre, which is no number and has no column among the features.
    names = [*header["features"], "genre"][: len(header["importance"])]
    frame = pl.DataFrame({"feature": names, "importance": header["importance"]}).sort("importance", descending=True)
    return [
        Chart(
            name="feature_importance",
            title="What the ranker looks at",
            frame=frame.head(20),
            kind="across",
            x="importance",
            y="feature",
            x_title="share of all changes of the score, in per cent",
        )
    ]


def _samples(subject: Subject, trained: Trained) -> list[Exhibit]:
    """A few listeners between the least and the most active: what they played, what they get, and why."""
    from .recommending import recommend

    log = subject.log
    if log is None or not len(log.users):
        return []
    known = log.users.with_columns(user_id=log.user_ids.gather(log.users.get_column("user_row")))
    known = known.filter(pl.col("user_id").is_in(trained.user_ids) & (pl.col("plays") >= 5))
    if not len(known):
        return [Gap("A few listeners", "nobody in this period is known to the trained version")]
    at = np.unique(np.linspace(0, len(known) - 1, SAMPLE_LISTENERS).round().astype(int))
    chosen = known[at.tolist()]
    found = pl.concat(list(recommend(trained, chosen.get_column("user_id").to_list(), 5)))
    by_id = subject.names.with_columns(
        name=pl.when(pl.col("artist") == "").then(pl.col("title")).otherwise(pl.format("{} · {}", "title", "artist"))
    ).select("track_id", "name")
    named = found.join(by_id, on="track_id", how="left", maintain_order="left").join(
        by_id.rename({"track_id": "because", "name": "reason"}), on="because", how="left", maintain_order="left"
    )
    named = named.with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
    played = (
        log.pairs.join(chosen.select("user_row", "user_id"), on="user_row")
        .sort("plays", "track_row", descending=[True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
        .join(subject.names.select("track_row", "track_id"), on="track_row", how="left", maintain_order="left")
        .join(by_id, on="track_id", how="left", maintain_order="left")
        .select("user_id", "rank", played="name", listens="plays")
    )
    frame = named.join(played, on=["user_id", "rank"], how="left", maintain_order="left")
    return [
        Table(
            name="listeners_sample",
            title="A few listeners: played, recommended, and why",
            frame=frame.select(
                "user_id", "rank", "played", "listens", recommended="name", because="reason", score="score"
            ),
            headings={"user_id": "listener", "played": "played most", "because": "because of"},
            note="From the most to the least active. What was played already is not recommended.",
        )
    ]


def _segments(subject: Subject, trained: Trained) -> list[Exhibit]:
    """The genres of groups of listeners with like taste."""
    log = subject.log
    factors = np.asarray(trained.hybrid.als.user_factors)
    if log is None or not len(subject.genres) or len(factors) < 2 * SEGMENTS:
        return [Gap("Genres of groups of listeners", "that takes genres and more listeners")]
    sample = factors[:: max(1, len(factors) // 5_000)]
    groups = Segments(SegmentOptions(count=SEGMENTS)).fit(sample).assign(factors)
    row_of = {user_id: row for row, user_id in enumerate(trained.user_ids)}
    members = pl.DataFrame({"user_row": np.arange(len(log.user_ids), dtype=np.int32), "user_id": log.user_ids})
    rows = [row_of.get(user_id) for user_id in members.get_column("user_id")]
    named = [None if row is None or groups[row] < 0 else int(groups[row]) for row in rows]
    members = members.with_columns(segment=pl.Series(named, dtype=pl.Int32)).drop_nulls("segment")
    counted = (
        log.pairs.lazy()
        .join(members.lazy().select("user_row", "segment"), on="user_row")
        .group_by("segment", "track_row")
        .agg(pl.col("plays").sum())
        .join(subject.genres.lazy(), on="track_row")
        .group_by("segment", "genre")
        .agg(pl.col("plays").sum())
        .collect(engine="streaming")
    )
    top = counted.group_by("genre").agg(pl.col("plays").sum()).sort("plays", "genre", descending=[True, False]).head(15)
    sizes = members.group_by("segment").agg(listeners=pl.len())
    share = pl.col("plays") / pl.col("plays").sum().over("segment")
    frame = counted.with_columns(share=share).join(top.select("genre", order=pl.int_range(pl.len())), on="genre")
    frame = frame.join(sizes, on="segment").sort("segment", "order")
    label = pl.format("group {}: {} listeners", pl.col("segment") + 1, pl.col("listeners"))
    return [
        Chart(
            name="segment_genres",
            title="What groups of listeners play",
            frame=frame.select(label.alias("group"), "genre", "share", "plays"),
            kind="heat",
            x="genre",
            y="group",
            value="share",
            percent=True,
            note=f"{SEGMENTS} groups of like taste vectors; the share of a genre in what a group plays.",
            wide=True,
        )
    ]


def _calibration(subject: Subject) -> list[Exhibit]:
    """How often a heard genre is what the label says, by how sure the classifier was."""
    names = subject.genre_probabilities[1]
    labels = subject.tracks.select("track_row", label=pl.col("genres").list.first().str.to_lowercase())
    both = labels.drop_nulls().filter(pl.col("label").is_in(names)).join(subject.heard_genres, on="track_row")
    if len(both) < 20:
        return [Gap("How sure is the classifier?", "fewer than 20 tracks have audio and a label that it knows")]
    bins = (
        both.with_columns(low=(pl.col("probability") * 5).floor().clip(0, 4) / 5)
        .group_by("low")
        .agg(
            claimed=pl.col("probability").mean(),
            right=(pl.col("heard") == pl.col("label")).mean(),
            tracks=pl.len(),
        )
        .sort("low")
    )
    line = pl.concat(
        [
            bins.select("claimed", "right", "tracks", what=pl.lit("measured")),
            pl.DataFrame({"claimed": [0.0, 1.0], "right": [0.0, 1.0], "what": ["perfect"] * 2}).select(
                "claimed", "right", pl.lit(None, pl.UInt32).alias("tracks"), "what"
            ),
        ]
    )
    hits = both.filter(pl.col("heard") == pl.col("label")).height / len(both)
    return [
        Chart(
            name="calibration",
            title="How sure is the classifier, and how right?",
            frame=line,
            kind="line",
            x="claimed",
            y="right",
            series="what",
            x_title="probability it claims",
            y_title="share that agrees with the label",
            percent=True,
            note=f"Over {len(both):,} tracks whose label it knows; {hits:.0%} are heard as labelled. Above the line "
            "it is right more often than it claims.",
        )
    ]
