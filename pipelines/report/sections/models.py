"""The chapter on models: how good they are and where, how the crossfade goes, and what it looks like for a listener.

Figures of quality are those of `crossfade evaluate` (see `report.sections.quality`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from ....errors import LibraryError
from ....models.analysis.segments import SegmentOptions, Segments
from ....models.genres.model import read_card
from ....models.ranking.ranker import Ranker
from ...charts.interactive import Chart, Exhibit, Gallery, Gap, Section, Table
from ...versions.model_version import ModelVersion
from ..context import Subject
from .genre_trends import typical
from .quality import evaluation_rows, quality

SAMPLE_LISTENERS = 5
SEGMENTS = 6


def model_section(subject: Subject, evaluation: Path | None, genre_model: Path | None = None) -> Section:
    lead = "How good the recommendations are, for whom, and why they are what they are."
    rows = evaluation_rows(subject, evaluation)
    exhibits: list[Exhibit] = []
    if rows is None:
        cure = "crossfade evaluate --library L --out L/evaluation.jsonl"
        exhibits.append(Gap("Quality of the models", "nothing was evaluated yet", cure))
    else:
        exhibits += quality(rows)
    exhibits += _of_version(subject)
    exhibits += _calibration(subject)
    if genre_model is not None:
        exhibits += genre_model_figures(genre_model)
    return Section("models", "Models", lead, tuple(exhibits))


def _of_version(subject: Subject) -> list[Exhibit]:
    """Of the trained version, where there is one that can be loaded."""
    try:
        trained = ModelVersion.load(subject.library)
    except LibraryError as error:
        what, _, cure = str(error).partition("; ")
        return [Gap("The trained version", what, cure)]
    except ImportError:
        return [Gap("The trained version", "it cannot be loaded here", "pip install 'crossfade[train]'")]
    exhibits = [_crossfade(trained), *_two_voices(trained)]
    makers: dict[str, Callable[[], list[Exhibit]]] = {
        "What the ranker looks at": lambda: _ranker(subject),
        "A few listeners": lambda: _samples(subject, trained),
        "Groups of listeners": lambda: _segments(subject, trained),
    }
    for what, make in makers.items():
        try:
            exhibits += make()
        except LibraryError as error:
            exhibits.append(Gap(what, str(error)))
    return exhibits


def _crossfade(trained: ModelVersion) -> Chart:
    hybrid = trained.hybrid
    listeners = np.asarray(hybrid.listeners)
    most = max(20, int(5 * hybrid.options.crossfade.tau))
    n = np.unique(np.geomspace(1, most + 1, 60).round().astype(int) - 1)
    weights = hybrid.options.crossfade.weights(n)
    frame = pl.DataFrame(
        {
            "n": np.tile(n, 2),
            "voice": ["its listeners"] * len(n) + ["its sound and artist"] * len(n),
            "weight": np.concatenate([weights, 1 - weights]).astype(np.float64),
        }
    )
    cold = int((listeners == 0).sum())
    few = int(((listeners > 0) & (listeners < hybrid.options.crossfade.tau)).sum())
    note = (
        f"After {hybrid.options.crossfade.tau:g} listeners both count the same. {cold:,} of {len(listeners):,} tracks "
        f"have no listeners, {few:,} more are still placed mostly by sound and artist."
    )
    return Chart(
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


def _two_voices(trained: ModelVersion) -> list[Exhibit]:
    """How good each of the two was alone, which is what tau was chosen by."""
    names = {"als": "its listeners", "prior": "its sound and artist"}
    found = []
    for figure, value in trained.hybrid.figures.items():
        if measured := re.fullmatch(r"recall_(als|prior)_(\d+)_listeners", figure):
            found.append((int(measured[2]), names[measured[1]], value))
    if not found:
        return [Gap("How good the two are alone", "the log is too small to hold tracks out in training")]
    schema = {"n": pl.Int64, "voice": pl.String, "recall": pl.Float64}
    frame = pl.DataFrame(found, schema=schema, orient="row").sort("voice", "n")
    return [
        Chart(
            name="crossfade_quality",
            title="How good are the two alone?",
            frame=frame,
            kind="line",
            x="n",
            y="recall",
            series="voice",
            x_title="listeners that a track has",
            y_title="recall",
            from_zero=True,
            note="Of tracks of which training was shown only n listeners; the weights are chosen by this.",
        )
    ]


def _ranker(subject: Subject) -> list[Exhibit]:
    """What it looks at, and how it learned."""
    version = subject.library.current_version()
    if not (version / "ranker.json").exists():
        return [Gap("What the ranker looks at", "no ranker was trained")]
    ranker = Ranker.load(version)
    frame = pl.DataFrame({"feature": [*ranker.importance], "importance": [*ranker.importance.values()]})
    exhibits: list[Exhibit] = [
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
    words = {"learn": "learned from", "validation": "held out"}
    parts = [
        pl.DataFrame({"part": words.get(part, part), "trees": range(1, len(losses) + 1), "loss": losses})
        for part, losses in ranker.curve.items()
    ]
    return [
        *exhibits,
        Chart(
            name="ranker_curve",
            title="How the ranker learned",
            frame=pl.concat(parts),
            kind="line",
            x="trees",
            y="loss",
            series="part",
            x_title="trees",
            y_title="loss",
            note="Loss on the candidates of the listeners it learned from, and of some that were held out: it keeps "
            "as many trees as are best for those. Held out are all of a listener's candidates, learned from a part of "
            "them, so the two lines differ in height.",
        ),
    ]


def _samples(subject: Subject, trained: ModelVersion) -> list[Exhibit]:
    """A few listeners between the least and the most active: what they played, what they get, and why."""
    from ...search.recommend import recommend

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
    reasons = named.select("user_id", track_id="because", cited=pl.lit(True)).unique()
    played = (
        log.pairs.join(chosen.select("user_row", "user_id"), on="user_row")
        .join(subject.names.select("track_row", "track_id"), on="track_row", how="left", maintain_order="left")
        .join(reasons, on=["user_id", "track_id"], how="left", maintain_order="left")
        .sort(pl.col("plays"), pl.col("cited").fill_null(False), -pl.col("track_row"), descending=True)
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
        .join(by_id, on="track_id", how="left", maintain_order="left")
        .select("user_id", "rank", played="name", listens="plays")
    )
    frame = named.join(played, on=["user_id", "rank"], how="left", maintain_order="left")
    once = float(log.pairs.get_column("plays").max() or 0) <= 1  # type: ignore[arg-type]
    return [
        Table(
            name="listeners_sample",
            title="A few listeners: played, recommended, and why",
            frame=frame.select(
                "user_id", "rank", "played", "listens", recommended="name", because="reason", score="score"
            ),
            headings={
                "user_id": "listener",
                "played": "some of what they played" if once else "played most",
                "because": "because of",
            },
            hidden=("listens",) if once else (),
            note="From the most to the least active. What was played already is not recommended.",
            grouped=True,
        )
    ]


def _segments(subject: Subject, trained: ModelVersion) -> list[Exhibit]:
    """Groups of listeners with like taste: what they play, and what sets them apart."""
    log = subject.log
    factors = np.asarray(trained.hybrid.als.user_factors)
    if log is None or not len(log.tracks) or not len(subject.kinds) or len(factors) < 2 * SEGMENTS:
        return [Gap("Groups of listeners", "that takes genres or artists, and more listeners")]
    sample = factors[:: max(1, len(factors) // 5_000)]
    groups = Segments(SegmentOptions(count=SEGMENTS)).fit(sample).assign(factors)
    numbered = pl.DataFrame({"user_id": trained.user_ids, "group": groups}).filter(pl.col("group") >= 0)
    users = log.users.select("user_row", user_id=log.user_ids.gather(log.users.get_column("user_row")))
    members = users.join(numbered, on="user_id", maintain_order="left").select("user_row", "group")
    if not len(members):
        return [Gap("Groups of listeners", "nobody in this period is known to the trained version")]
    counted = (
        log.pairs.lazy()
        .join(members.lazy(), on="user_row")
        .group_by("group", "track_row")
        .agg(count=pl.col("plays").sum())
        .collect(engine="streaming")
    )
    kind = subject.kind
    by_kind = counted.join(subject.kinds, on="track_row").group_by("group", kind).agg(pl.col("count").sum())
    about = segment_table(subject, counted, members)
    names = typical(by_kind, kind)
    label = pl.format("{}: {}", pl.col("group") + 1, pl.col("group").replace_strict(names, default=""))
    share = pl.col("count") / pl.col("count").sum().over("group")
    top = by_kind.group_by(kind).agg(total=pl.col("count").sum()).sort("total", kind, descending=[True, False])
    drawn = about.select("group", name=label).join(top.head(15), how="cross", maintain_order="left_right")
    frame = drawn.join(by_kind.with_columns(share=share), on=["group", kind], how="left", maintain_order="left")
    frame = frame.select("name", kind, pl.col("share").fill_null(0), listens=pl.col("count").fill_null(0))
    return [
        Chart(
            name="segment_genres",
            title="What groups of listeners play",
            frame=frame,
            kind="heat",
            x=kind,
            y="name",
            value="share",
            percent=True,
            note=f"{len(about)} groups of like taste vectors, named by the {kind}s they play more than others do; the "
            f"share of each {kind} in what a group plays.",
            wide=True,
        ),
        Table(
            name="segments",
            title="Groups of listeners",
            frame=about.with_columns(pl.col("group") + 1),
            headings={"genres": "more than others", "artists": "typical artists", "tracks": "plays most"},
            percents=("share",),
            note="`crossfade segments` finds how many groups there really are, and writes who is in which.",
        ),
    ]


def segment_table(subject: Subject, counted: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """group, listeners, share (of listens), genres, artists, tracks; `counted` has group, track_row and count."""
    favourites = (
        counted.sort("group", "count", "track_row", descending=[False, True, False])
        .join(subject.names, on="track_row", maintain_order="left")
        .group_by("group", maintain_order=True)
        .agg(tracks=pl.col("title").head(3).str.join(", "), plays=pl.col("count").sum())
    )
    table = members.group_by("group").agg(listeners=pl.len()).join(favourites, on="group").sort("group")
    for what, names, most in (("genre", subject.genres, 2), ("artist", subject.artists, 3)):
        counts = counted.join(names, on="track_row").group_by("group", what).agg(pl.col("count").sum())
        kinds = typical(counts, what, most)
        named = pl.col("group").replace_strict(kinds, default=None, return_dtype=pl.String)
        table = table.with_columns(named.alias(f"{what}s"))
    share = pl.col("plays") / pl.col("plays").sum()
    return table.select("group", "listeners", share.alias("share"), "genres", "artists", "tracks")


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
        .with_columns(*_wilson(pl.col("right"), pl.col("tracks")), what=pl.lit("measured"))
    )
    ideal = pl.DataFrame({"claimed": [0.0, 1.0], "right": [0.0, 1.0], "what": ["perfect"] * 2})
    line = pl.concat([ideal, bins.drop("low")], how="diagonal")
    hits = both.filter(pl.col("heard") == pl.col("label")).height / len(both)
    return [
        Chart(
            name="calibration",
            title="How sure is the classifier, and how right?",
            frame=line,
            kind="line",
            x="claimed",
            y="right",
            low="least",
            high="most",
            series="what",
            x_title="probability it claims",
            y_title="share that agrees with the label",
            percent=True,
            note=f"Over {len(both):,} tracks whose label it knows; {hits:.0%} are heard as labelled. Above the line "
            "it is right more often than it claims. Whiskers are 95 % intervals.",
        )
    ]


def _wilson(share: pl.Expr, count: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The 95 % interval of a share (Wilson 1927) as `least` and `most`."""
    z = 1.96
    middle, width = share + z**2 / (2 * count), z * (share * (1 - share) / count + z**2 / (4 * count**2)).sqrt()
    whole = 1 + z**2 / count
    return ((middle - width) / whole).alias("least"), ((middle + width) / whole).alias("most")


def genre_model_figures(folder: Path) -> list[Exhibit]:
    """How well a model of `crossfade genres train` does, and the pictures beside it."""
    card = read_card(folder)
    exhibits: list[Exhibit] = []
    figures = [{"split": split, **values} for split, values in card["figures"].items()]
    shown = ("split", "accuracy", "low", "high", "macro_f1", "ece", "tracks")
    if figures:
        rows = [{name: one[name] for name in shown} for one in figures]
        per_class = [
            {"split": one["split"], "genre": genre, **values}
            for one in figures
            for genre, values in one["per_class"].items()
        ]
        exhibits.append(
            Table(
                name="genre_model",
                title=f"The genre model {folder.resolve().name} ({card['name']})",
                frame=pl.DataFrame(rows, infer_schema_length=None),
                headings={"low": "from", "high": "to"},
                percents=("accuracy", "low", "high"),
                note="Measured on tracks that it was not trained on, with the 95 % interval of the accuracy; ece is "
                "how far probabilities are off.",
            )
        )
        if per_class:
            frame = pl.DataFrame(per_class, infer_schema_length=None)
            exhibits.append(Table(name="genre_model_classes", title="Genre by genre", frame=frame))
    else:
        exhibits.append(Gap("Figures of the genre model", "it was trained without a test"))
    pictures = [
        (words, folder / f"{name}.png")
        for name, words in (("learning", "Learning curves"), ("confusion", "Is (row), heard as (column)"))
    ]
    images = [(words, path.read_bytes()) for words, path in pictures if path.is_file()]
    if images:
        frame = pl.DataFrame({"picture": [words for words, _ in images]})
        exhibits.append(Gallery(name="genre_model_pictures", title="How it learned", images=images, frame=frame))
    return exhibits
