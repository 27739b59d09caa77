"""The figures of `crossfade evaluate` for the section on models: quality by slice and by group, winners, exposure,
learning curves.

Nothing is measured anew here, so that a test set is read once. Rows are those of `ReportData.evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from ....models.evaluation import metrics
from ....models.evaluation.user_groups import MAINSTREAM_GROUPS
from ...charts.chart import Chart
from ...evaluation.slices import TARGET_GROUPS, USER_GROUPS
from ..exhibits import Exhibit, Gap, Table

MAIN = ("ndcg", 10)
SHOWN = (("ndcg", 10), ("recall", 20), ("hit_rate", 10), ("catalogue_coverage", 20), ("novelty", 20))
EXPOSURE = ("catalogue_coverage", "gini", "tail_share", "popularity_shift", "popularity_kl", "popularity_js")
_INTERVAL = ("low", "high")
_WHOLE = pl.col("group").is_null()
"""rows of the slices of a protocol, not of groups within them"""
_OF_N_LISTENERS = pl.col("slice").str.starts_with("n = ")


def nearest_k(rows: pl.DataFrame, metric: str, target: int) -> int | None:
    """The cut-off that was measured nearest to the target one."""
    ks = rows.filter(pl.col("metric") == metric).get_column("k").drop_nulls().unique().to_list()
    return metrics.nearest_k(ks, target) if ks else None


def winners(rows: pl.DataFrame) -> pl.DataFrame:
    """slice, model (the one with the highest NDCG), value, low, high, rivals: the models it is not clearly better than.

    Slices that no model gets anything right in are left out.
    """
    rows = rows.filter(_WHOLE)
    metric, k = MAIN[0], nearest_k(rows, *MAIN)
    main = rows.filter((pl.col("metric") == metric) & (pl.col("k") == k) & (pl.col("value") > 0))
    gains = rows.filter((pl.col("metric") == f"{metric}_gain") & (pl.col("k") == k))
    found = []
    for (name,), models in main.group_by("slice", maintain_order=True):
        best = models.sort("value", descending=True, maintain_order=True).row(0, named=True)
        here = gains.filter(pl.col("slice") == name)
        beaten = [
            *here.filter((pl.col("model") == best["model"]) & pl.col("better")).get_column("against"),
            *here.filter((pl.col("against") == best["model"]) & pl.col("worse")).get_column("model"),
        ]
        rivals = [model for model in models.get_column("model") if model not in (best["model"], *beaten)]
        found.append({**best, "rivals": rivals if len(here) else None})
    schema = {column: rows.schema[column] for column in ("slice", "model", "value", "low", "high")}
    return pl.DataFrame(found, schema={**schema, "rivals": pl.List(pl.String)})


def exhibits(rows: pl.DataFrame) -> Iterator[Exhibit]:
    """All exhibits of an evaluation."""
    grouped, rows = rows.filter(~_WHOLE), rows.filter(_WHOLE)
    divided = pl.col("slice") == _divided(grouped)
    metric, k = MAIN[0], nearest_k(rows, *MAIN)
    main = rows.filter((pl.col("metric") == metric) & (pl.col("k") == k) & pl.col("value").is_not_null())
    if len(by_slice := main.filter(~_OF_N_LISTENERS)):
        yield Chart(
            name="quality",
            title=f"NDCG@{k} by slice",
            frame=by_slice.select("slice", "model", "value", "low", "high"),
            kind="bar",
            x="slice",
            y="value",
            interval=_INTERVAL,
            series="model",
            y_title=f"NDCG@{k}",
            wide=True,
            note="1 is perfect; whiskers are 95 % intervals. Warm: known tracks and listeners. Cold: nobody has played "
            "the track, or the listener has played nothing.",
        )
        if len(found := winners(rows).filter(~_OF_N_LISTENERS)):
            yield Table(
                name="winners",
                title="Which model to take",
                frame=found.with_columns(pl.col("rivals").list.join(", ")),
                headings={"model": "best", "value": f"NDCG@{k}", "rivals": "as good"},
                note="As good: no difference to the best is shown on the same listeners, at 5 % for all pairs "
                "of models together (Holm).",
            )
    yield _over_listeners(main.filter(_OF_N_LISTENERS), k)
    yield from _groups(rows.filter(divided), grouped)
    coverage = "Different tracks in all lists together."
    bias = "How much more popular the answers are than what the listeners had played; 0 is even."
    for name, title, metric, y_title, note in (
        ("coverage", "How much of the catalogue is recommended?", "catalogue_coverage", "share of tracks", coverage),
        ("popularity_bias", "Do models push what is popular?", "popularity_bias", "popularity bias", bias),
    ):
        measured = divided & (pl.col("metric") == metric) & pl.col("value").is_not_null()
        if len(frame := rows.filter(measured).select("model", "k", "value", "low", "high")):
            yield _over_k(name, title, frame, y_title, note)
    yield from _exposure(rows.filter(divided))
    yield from learning_curves(rows)
    yield _table(rows)


def _divided(grouped: pl.DataFrame) -> str:
    """The slice that the groups are of."""
    if not len(grouped):
        return "warm"
    name, group = grouped.select("slice", "group").row(0)
    return str(name).removesuffix(f", {group}")


def _over_listeners(frame: pl.DataFrame, k: int | None) -> Exhibit:
    if not len(frame):
        return Gap("Quality over the number of listeners", "the scenario `listeners` was not evaluated")
    numbered = frame.with_columns(n=pl.col("slice").str.extract(r"(\d+)").cast(pl.Int64))
    return Chart(
        name="quality_over_n",
        title="Quality over the number of listeners",
        frame=numbered.sort("n", maintain_order=True).select("n", "model", "value", "low", "high"),
        kind="line",
        x="n",
        y="value",
        interval=_INTERVAL,
        series="model",
        x_title="listeners that a track has",
        y_title=f"NDCG@{k}",
        note="Well-known tracks of which only n listeners are shown to the models.",
    )


def _groups(whole: pl.DataFrame, grouped: pl.DataFrame) -> Iterator[Exhibit]:
    """Quality by group of listeners and of tracks to find; how much more popular than their profiles lists are."""
    if not len(grouped):
        cure = "crossfade evaluate --library L --out L/evaluation.jsonl"
        yield Gap("Who and what is served well", "the evaluation has no groups of listeners and tracks", cure)
        return
    whole = whole.with_columns(group=pl.lit("all"))
    thirds = "Thirds of the listeners: by how much they listen, and by how popular what they listen to is."
    parts = (
        "What is found of it, out of all tracks. Head and tail: the most and the least popular tracks (artists) with a "
        "fifth of all listeners each; middle: the rest. Organic: what the listener first came to, not by a "
        "recommendation."
    )
    shift = "1: the median answer has twice the listeners of the median track that the listener had played; 0 is even."
    for name, title, metric, target, groups, note in (
        ("quality_by_listeners", "Whom do models serve?", "ndcg", 10, USER_GROUPS, thirds),
        ("quality_by_tracks", "What do models find?", "recall", 20, TARGET_GROUPS, parts),
        (
            "popularity_shift",
            "Whom do models pull to what is popular?",
            "popularity_shift",
            20,
            MAINSTREAM_GROUPS,
            shift,
        ),
    ):
        k = nearest_k(grouped, metric, target)
        shown = pl.concat([whole, grouped]).filter(
            (pl.col("metric") == metric) & (pl.col("k") == k) & pl.col("value").is_not_null(),
            pl.col("group").is_in(["all", *groups]),
        )
        yield Chart(
            name=name,
            title=title,
            frame=shown.sort(
                pl.col("group").replace_strict(["all", *groups], range(len(groups) + 1)), maintain_order=True
            ).select("group", "model", "value", "low", "high"),
            kind="bar",
            x="group",
            y="value",
            interval=_INTERVAL,
            series="model",
            y_title=f"{metric.replace('_', ' ').replace('ndcg', 'NDCG')}@{k}",
            wide=len(groups) > len(MAINSTREAM_GROUPS),
            note=note,
        )


def _exposure(rows: pl.DataFrame) -> Iterator[Table]:
    """How lists share out what is heard of, per model."""
    if (k := nearest_k(rows, "gini", 20)) is None:
        return
    yield Table(
        name="exposure",
        title=f"How lists of {k} spread exposure",
        frame=_figures(rows.select("model").unique(maintain_order=True), rows, [(name, k) for name in EXPOSURE]),
        headings={f"{name}@{k}": name.replace("_", " ") for name in EXPOSURE},
        hidden=tuple(f"{name}@{k} {end}" for name in EXPOSURE for end in _INTERVAL),
        note="Gini: 0 where each track is recommended equally often, near 1 where few have it all. Tail: share of "
        "answers among the least popular tracks, with a fifth of all listeners. Shift and divergences (KL, JS): from "
        "what the listener had played to the answers, 0 is even.",
    )


def _over_k(name: str, title: str, frame: pl.DataFrame, y_title: str, note: str) -> Chart:
    """A curve over the length of the list; bars where only one length was evaluated."""
    single = frame.get_column("k").n_unique() == 1
    return Chart(
        name=name,
        title=title,
        frame=frame.sort("k", maintain_order=True),
        kind="across" if single else "line",
        x="value" if single else "k",
        y="model" if single else "value",
        interval=_INTERVAL,
        series=None if single else "model",
        x_title=f"{y_title}, lists of {frame.item(0, 'k')}" if single else "length of the list",
        y_title=None if single else y_title,
        log_x=not single,
        note=note,
    )


def learning_curves(rows: pl.DataFrame) -> Iterator[Exhibit]:
    """Loss by epoch of the models that learn by epochs, each as a share of its first epoch's: losses differ in kind."""
    points = rows.filter((pl.col("slice") == "learning") & pl.col("epoch").is_not_null())
    if not len(points):
        cure = "crossfade evaluate --library L --models mf,vae --out L/evaluation.jsonl"
        yield Gap("Learning curves", "no model that learns by epochs was evaluated", cure)
    training = "The loss on what is learned from, as a share of the first epoch's."
    held_out = (
        "Quality on listens that are held out, as a share of the best epoch's; training stops when it no longer grows."
    )
    shown = ("training", "loss, of the first epoch's", training), ("held out", "of its best", held_out)
    for metric, (part, y_title, note) in zip(("train_loss", "validation_loss"), shown, strict=True):
        curves = points.filter(pl.col("metric") == metric).sort("model", "epoch", maintain_order=True)
        # A loss below 0 is a negated measure of quality, -NDCG@20: its share of the best is shown.
        value = pl.col("value")
        relative = pl.when(value.max().over("model") <= 0).then(value / value.min().over("model"))
        frame = curves.with_columns(relative=relative.otherwise(value / value.first().over("model")))
        if len(frame):
            yield Chart(
                name=metric.replace("loss", "curves"),
                title=f"Learning curves: {part}",
                frame=frame.select("model", "epoch", "relative", loss="value"),
                kind="line",
                x="epoch",
                y="relative",
                series="model",
                y_title=y_title,
                percent=True,
                note=note,
            )


def _table(rows: pl.DataFrame) -> Table:
    """One row per slice and model; the file has the intervals, too."""
    shown = [(metric, k) for metric, target in SHOWN if (k := nearest_k(rows, metric, target)) is not None]
    frame = rows.filter(pl.col("k").is_not_null()).select("slice", "model").unique(maintain_order=True)
    frame = _figures(frame, rows, shown)
    return Table(
        name="evaluation",
        title="The evaluation in numbers",
        frame=frame,
        hidden=tuple(name for name in frame.columns if name.endswith((" low", " high"))),
        note="The file has the 95 % intervals, too.",
        rows_shown=100,
    )


def _figures(frame: pl.DataFrame, rows: pl.DataFrame, shown: Sequence[tuple[str, int]]) -> pl.DataFrame:
    """The table with a column for each (metric, k), and the ends of its interval."""
    keys = frame.columns
    for metric, k in shown:
        name = f"{metric}@{k}"
        part = rows.filter(pl.col("metric") == metric, pl.col("k") == k)
        figures = part.select(*keys, pl.col("value").alias(name), "low", "high")
        figures = figures.rename({end: f"{name} {end}" for end in _INTERVAL})
        frame = frame.join(figures, on=keys, how="left", maintain_order="left")
    return frame
