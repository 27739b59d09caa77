"""The figures of `crossfade evaluate` for the section on models: quality by slice, winners, coverage, learning curves.

Nothing is measured anew here, so that a test set is read once. Rows are those of `ReportData.evaluation`.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ....models.evaluation import metrics
from ...charts.chart import Chart
from ..exhibits import Exhibit, Gap, Table

MAIN = ("ndcg", 10)
SHOWN = (("ndcg", 10), ("recall", 20), ("hit_rate", 10), ("catalogue_coverage", 20), ("novelty", 20))
_INTERVAL = ("low", "high")
_OF_N_LISTENERS = pl.col("slice").str.starts_with("n = ")


def nearest_k(rows: pl.DataFrame, metric: str, target: int) -> int | None:
    """The cut-off that was measured nearest to the target one."""
    ks = rows.filter(pl.col("metric") == metric).get_column("k").drop_nulls().unique().to_list()
    return metrics.nearest_k(ks, target) if ks else None


def winners(rows: pl.DataFrame) -> pl.DataFrame:
    """slice, model (the one with the highest NDCG), value, low, high, rivals: the models it is not clearly better than.

    Slices that no model gets anything right in are left out.
    """
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
                note="As good: the 95 % interval of the difference to the best, on the same listeners, holds 0.",
            )
    yield _over_listeners(main.filter(_OF_N_LISTENERS), k)
    coverage = "Different tracks in all lists together."
    bias = "How much more popular the answers are than what the listeners had played; 0 is even."
    for name, title, metric, y_title, note in (
        ("coverage", "How much of the catalogue is recommended?", "catalogue_coverage", "share of tracks", coverage),
        ("popularity_bias", "Do models push what is popular?", "popularity_bias", "popularity bias", bias),
    ):
        warm = (pl.col("metric") == metric) & (pl.col("slice") == "warm") & pl.col("value").is_not_null()
        if len(frame := rows.filter(warm).select("model", "k", "value", "low", "high")):
            # A curve over the length of the list; bars where only one length was evaluated.
            single = frame.get_column("k").n_unique() == 1
            yield Chart(
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
    yield from learning_curves(rows)
    yield _table(rows)


def _over_listeners(frame: pl.DataFrame, k: int | None) -> Exhibit:
    if not len(frame):
        return Gap("Quality over the number of listeners", "the trial `listeners` was not evaluated")
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
    frame = rows.filter(pl.col("k").is_not_null()).select("slice", "model").unique(maintain_order=True)
    for metric, target in SHOWN:
        if (k := nearest_k(rows, metric, target)) is not None:
            name = f"{metric}@{k}"
            part = rows.filter(pl.col("metric") == metric, pl.col("k") == k)
            figures = part.select("slice", "model", pl.col("value").alias(name), "low", "high")
            figures = figures.rename({"low": f"{name} low", "high": f"{name} high"})
            frame = frame.join(figures, on=["slice", "model"], how="left", maintain_order="left")
    return Table(
        name="evaluation",
        title="The evaluation in numbers",
        frame=frame,
        hidden=tuple(name for name in frame.columns if name.endswith((" low", " high"))),
        note="The file has the 95 % intervals, too.",
        rows_shown=100,
    )
