"""The section on models: how good they are and where, how sound and listeners are blended, and what a listener gets.

Figures of quality are those of `crossfade evaluate` (see `report.sections.evaluation`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from ....errors import LibraryError
from ....models.genres.model import read_card
from ...charts.chart import Chart
from ...charts.training import importance_chart
from ...versions.model_version import ModelVersion
from ..context import ReportData
from ..exhibits import Exhibit, Gallery, Gap, Table
from . import evaluation
from .genre_trends import taste_clusters, typical_of_groups

SAMPLE_LISTENERS = 5
SEGMENTS = 6
_LISTENERS, _CONTENT = "its listeners", "its sound and artist"


def exhibits(data: ReportData) -> Iterator[Exhibit]:
    if data.evaluation is None:
        cure = "crossfade evaluate --library L --out L/evaluation.jsonl"
        yield Gap("Quality of the models", "nothing was evaluated yet", cure)
    else:
        yield from evaluation.exhibits(data.evaluation)
    yield from _of_version(data)
    yield _calibration(data)
    if data.options.genre_model is not None:
        yield from genre_model_figures(data.options.genre_model)


def _of_version(data: ReportData) -> Iterator[Exhibit]:
    """Of the trained version, where there is one that can be loaded."""
    try:
        trained = data.trained
    except LibraryError as error:
        what, _, cure = str(error).partition("; ")
        yield Gap("The trained version", what, cure)
        return
    except ImportError:
        yield Gap("The trained version", "it cannot be loaded here", "pip install 'crossfade[train]'")
        return
    yield _blend(trained)
    yield _blend_quality(trained)
    for what, part in (
        ("What the ranker looks at", _ranker),
        ("A few listeners", _samples),
        ("Groups of listeners", _segments),
    ):
        try:
            yield from part(data, trained)
        except LibraryError as error:
            yield Gap(what, str(error))


def _blend(trained: ModelVersion) -> Chart:
    """The weights of the collaborative vector and of the content prior over a track's number of listeners."""
    listeners, crossfade = np.asarray(trained.hybrid.listeners), trained.hybrid.options.crossfade
    n = np.unique(np.geomspace(1, max(20, int(5 * crossfade.tau)) + 1, 60).round().astype(int) - 1)
    weights = np.asarray(crossfade.weights(n), np.float64)
    frame = pl.concat(
        pl.DataFrame({"n": n, "voice": [voice] * len(n), "weight": weight})
        for voice, weight in ((_LISTENERS, weights), (_CONTENT, 1 - weights))
    )
    cold = int((listeners == 0).sum())
    few = int(((listeners > 0) & (listeners < crossfade.tau)).sum())
    return Chart(
        name="crossfade",
        title="Who places a track?",
        frame=frame,
        kind="line",
        x="n",
        y="weight",
        series="voice",
        x_title="listeners of the track",
        percent=True,
        note=f"After {crossfade.tau:g} listeners both count the same. {cold:,} of {len(listeners):,} tracks have no "
        f"listeners, {few:,} more are still placed mostly by sound and artist.",
    )


def _blend_quality(trained: ModelVersion) -> Exhibit:
    """How good each of the two is alone, which is what tau was chosen by."""
    names = {"als": _LISTENERS, "prior": _CONTENT}
    found = [
        (int(measured[2]), names[measured[1]], value)
        for figure, value in trained.hybrid.figures.items()
        if (measured := re.fullmatch(r"recall_(als|prior)_(\d+)_listeners", figure))
    ]
    if not found:
        return Gap("How good the two are alone", "the log is too small to hold tracks out in training")
    schema = {"n": pl.Int64, "voice": pl.String, "recall": pl.Float64}
    return Chart(
        name="crossfade_quality",
        title="How good are the two alone?",
        frame=pl.DataFrame(found, schema=schema, orient="row").sort("voice", "n"),
        kind="line",
        x="n",
        y="recall",
        series="voice",
        x_title="listeners that a track has",
        from_zero=True,
        note="Of tracks of which training was shown only n listeners; the weights are chosen by this.",
    )


def _ranker(data: ReportData, trained: ModelVersion) -> Iterator[Exhibit]:
    """What it looks at, and how it learned."""
    if trained.two_stage is None:
        yield Gap("What the ranker looks at", "no ranker was trained")
        return
    ranker = trained.two_stage.ranker
    yield importance_chart(ranker.importance)
    titles = {"learn": "learned from", "validation": "held out"}
    parts = [
        pl.DataFrame({"part": titles.get(part, part), "trees": range(1, len(losses) + 1), "loss": losses})
        for part, losses in ranker.curve.items()
    ]
    yield Chart(
        name="ranker_curve",
        title="How the ranker learned",
        frame=pl.concat(parts),
        kind="line",
        x="trees",
        y="loss",
        series="part",
        note="Loss on the candidates of the listeners it learned from, and of some that were held out: it keeps as "
        "many trees as are best for those. Held out are all of a listener's candidates, learned from a part of them, "
        "so the two lines differ in height.",
    )


def _samples(data: ReportData, trained: ModelVersion) -> Iterator[Exhibit]:
    """A few listeners between the least and the most active: what they played, what they get, and why."""
    from ...search.recommend import recommend

    log = data.log
    if log is None or not len(log.users):
        return
    known = log.users.filter(pl.col("user_id").is_in(trained.user_ids) & (pl.col("plays") >= 5))
    if not len(known):
        yield Gap("A few listeners", "nobody in this period is known to the trained version")
        return
    chosen = known[np.unique(np.linspace(0, len(known) - 1, SAMPLE_LISTENERS).round().astype(int)).tolist()]
    title = pl.when(pl.col("artist") == "").then("title").otherwise(pl.format("{} · {}", "title", "artist"))
    names = data.names.select("track_row", "track_id", name=title)
    by_id = names.drop("track_row")
    rank = pl.int_range(1, pl.len() + 1).over("user_id")
    recommended = (
        pl.concat(list(recommend(trained, chosen.get_column("user_id").to_list(), 5)))
        .join(by_id, on="track_id", how="left", maintain_order="left")
        .join(by_id.select(because="track_id", reason="name"), on="because", how="left", maintain_order="left")
        .with_columns(rank=rank)
    )
    reasons = recommended.select("user_id", track_id="because", cited=pl.lit(True)).unique()
    played = (
        log.pairs.join(chosen.select("user_row", "user_id"), on="user_row")
        .join(names, on="track_row", how="left")
        .join(reasons, on=["user_id", "track_id"], how="left")
        .sort(pl.col("plays"), pl.col("cited").fill_null(False), -pl.col("track_row"), descending=True)
        .select("user_id", rank=rank, played="name", listens="plays")
    )
    frame = recommended.join(played, on=["user_id", "rank"], how="left", maintain_order="left")
    once = float(log.pairs.get_column("plays").max() or 0) <= 1  # type: ignore[arg-type]
    yield Table(
        name="listeners_sample",
        title="A few listeners: played, recommended, and why",
        frame=frame.select("user_id", "rank", "played", "listens", recommended="name", because="reason", score="score"),
        headings={"played": "some of what they played" if once else "played most", "because": "because of"},
        hidden=("listens",) if once else (),
        note="From the most to the least active. What was played already is not recommended.",
        grouped=True,
    )


def _segments(data: ReportData, trained: ModelVersion) -> Iterator[Exhibit]:
    """Groups of listeners with like taste: what they play, and what sets them apart."""
    log = data.log
    factors = np.asarray(trained.hybrid.als.user_factors)
    if log is None or not len(log.tracks) or not len(data.kinds) or len(factors) < 2 * SEGMENTS:
        yield Gap("Groups of listeners", "that takes genres or artists, and more listeners")
        return
    labels = taste_clusters(factors, SEGMENTS)
    groups = pl.DataFrame({"user_id": trained.user_ids, "group": labels}).filter(pl.col("group") >= 0)
    members = log.users.join(groups, on="user_id", maintain_order="left").select("user_row", "group")
    if not len(members):
        yield Gap("Groups of listeners", "nobody in this period is known to the trained version")
        return
    pairs = log.pairs.lazy().join(members.lazy(), on="user_row").group_by("group", "track_row")
    counted = pairs.agg(count=pl.col("plays").sum()).collect(engine="streaming")
    kind = data.kind
    by_kind = counted.join(data.kinds, on="track_row").group_by("group", kind).agg(pl.col("count").sum())
    table = _segment_table(data, counted, members)
    label = pl.format(
        "{}: {}", pl.col("group") + 1, pl.col("group").replace_strict(typical_of_groups(by_kind, kind), default="")
    )
    top = by_kind.group_by(kind).agg(total=pl.col("count").sum()).sort("total", kind, descending=[True, False])
    drawn = table.select("group", name=label).join(top.head(15), how="cross", maintain_order="left_right")
    shares = by_kind.with_columns(share=pl.col("count") / pl.col("count").sum().over("group"))
    frame = drawn.join(shares, on=["group", kind], how="left", maintain_order="left")
    yield Chart(
        name="segment_genres",
        title="What groups of listeners play",
        frame=frame.select("name", kind, pl.col("share").fill_null(0), listens=pl.col("count").fill_null(0)),
        kind="heat",
        x=kind,
        y="name",
        value="share",
        percent=True,
        note=f"{len(table)} groups of like taste vectors, named by the {kind}s they play more than others do; the "
        f"share of each {kind} in what a group plays.",
        wide=True,
    )
    yield Table(
        name="segments",
        title="Groups of listeners",
        frame=table.with_columns(pl.col("group") + 1),
        headings={"genres": "more than others", "artists": "typical artists", "tracks": "plays most"},
        percents=("share",),
        note="`crossfade segments` finds how many groups there really are, and writes who is in which.",
    )


def _segment_table(data: ReportData, counted: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """group, listeners, share (of listens), genres, artists, tracks; `counted` has group, track_row and count."""
    favourites = (
        data.named(counted.sort("group", "count", "track_row", descending=[False, True, False]))
        .group_by("group", maintain_order=True)
        .agg(tracks=pl.col("title").head(3).str.join(", "), plays=pl.col("count").sum())
    )
    table = members.group_by("group").agg(listeners=pl.len()).join(favourites, on="group").sort("group")
    for what, names, most in (("genre", data.genres, 2), ("artist", data.artists, 3)):
        counts = counted.join(names, on="track_row").group_by("group", what).agg(pl.col("count").sum())
        kinds = typical_of_groups(counts, what, most)
        named = pl.col("group").replace_strict(kinds, default=None, return_dtype=pl.String)
        table = table.with_columns(named.alias(f"{what}s"))
    share = pl.col("plays") / pl.col("plays").sum()
    return table.select("group", "listeners", share.alias("share"), "genres", "artists", "tracks")


def _calibration(data: ReportData) -> Exhibit:
    """How often a predicted genre is what the label says, by how sure the classifier is."""
    known = data.known_labels
    if len(known) < 20:
        return Gap("How sure is the classifier?", "fewer than 20 tracks have audio and a label that it knows")
    bins = known.group_by(low=(pl.col("probability") * 5).floor().clip(0, 4) / 5).agg(
        claimed=pl.col("probability").mean(), right=pl.col("agrees").mean(), tracks=pl.len()
    )
    interval = _wilson(pl.col("right"), pl.col("tracks"))
    measured = bins.sort("low").with_columns(*interval, what=pl.lit("measured")).drop("low")
    agree = int(known.get_column("agrees").sum()) / len(known)
    perfect = pl.DataFrame({"claimed": [0.0, 1.0], "right": [0.0, 1.0], "what": ["perfect"] * 2})
    return Chart(
        name="calibration",
        title="How sure is the classifier, and how right?",
        frame=pl.concat([perfect, measured], how="diagonal"),
        kind="line",
        x="claimed",
        y="right",
        interval=("least", "most"),
        series="what",
        x_title="probability it claims",
        y_title="share that agrees with the label",
        percent=True,
        note=f"Over {len(known):,} tracks whose label it knows; {agree:.0%} are heard as labelled. Above the line it "
        "is right more often than it claims. Whiskers are 95 % intervals.",
    )


def _wilson(share: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % interval of a share (Wilson 1927) as `least` and `most`."""
    z = 1.96
    middle, width = share + z**2 / (2 * count), z * (share * (1 - share) / count + z**2 / (4 * count**2)).sqrt()
    whole = 1 + z**2 / count
    return ((middle - width) / whole).alias("least"), ((middle + width) / whole).alias("most")


def genre_model_figures(folder: Path) -> Iterator[Exhibit]:
    """How well a model of `crossfade genres train` does, and the pictures beside it."""
    card = read_card(folder)
    if card["figures"]:
        shown = ("accuracy", "low", "high", "macro_f1", "ece", "tracks", "roc_auc", "pr_auc")
        figures = [
            # Only models of several labels have areas under curves.
            {"split": split} | {name: one[name] for name in shown if name in one}
            for split, one in card["figures"].items()
        ]
        yield Table(
            name="genre_model",
            title=f"The genre model {folder.resolve().name} ({card['name']})",
            frame=pl.DataFrame(figures, infer_schema_length=None),
            percents=("accuracy", "low", "high"),
            note="Measured on tracks that it was not trained on, with the 95 % interval of the accuracy; ece is how "
            "far probabilities are off.",
        )
        per_class = [
            {"split": split, "genre": genre, **values}
            for split, measured in card["figures"].items()
            for genre, values in measured["per_class"].items()
        ]
        if per_class:
            frame = pl.DataFrame(per_class, infer_schema_length=None)
            yield Table(name="genre_model_classes", title="Genre by genre", frame=frame)
    else:
        yield Gap("Figures of the genre model", "it was trained without a test")
    pictures = {"Learning curves": folder / "learning.png", "Is (row), heard as (column)": folder / "confusion.png"}
    images = [(caption, path.read_bytes()) for caption, path in pictures.items() if path.is_file()]
    if images:
        frame = pl.DataFrame({"picture": [caption for caption, _ in images]})
        yield Gallery(name="genre_model_pictures", title="How it learned", images=images, frame=frame)
