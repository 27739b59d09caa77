"""The figures of `crossfade evaluate` for the chapter on models: quality by slice, winners, coverage, learning curves.

Nothing is measured anew here, so that a test set is read once.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from ....errors import DataError
from ....models.evaluation import metrics
from ...charts.interactive import Chart, Exhibit, Gap, Table
from ..context import Subject

MAIN = ("ndcg", 10)
SHOWN = (("ndcg", 10), ("recall", 20), ("hit_rate", 10), ("catalogue_coverage", 20), ("novelty", 20))
_OPTIONAL = {"against": pl.String, "better": pl.Boolean, "worse": pl.Boolean, "epoch": pl.Int64}


def evaluation_rows(subject: Subject, evaluation: Path | None) -> pl.DataFrame | None:
    """model, slice, metric, k, value, low, high, against, better, worse, epoch; None where there was no evaluation."""
    file = evaluation or subject.library.folder / "evaluation.jsonl"
    if not file.is_file():
        return None
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        frame = pl.DataFrame(rows, infer_schema_length=None)
        missing = [pl.lit(None).alias(name) for name in _OPTIONAL if name not in frame.columns]
        return frame.with_columns(missing).select(
            pl.col("model", "slice", "metric").cast(pl.String),
            pl.col("k").cast(pl.Int64),
            pl.col("value", "low", "high").cast(pl.Float64),
            *(pl.col(name).cast(kind) for name, kind in _OPTIONAL.items()),
        )
    except (ValueError, pl.exceptions.PolarsError) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"{file}: not what `crossfade evaluate --out` writes: {why}") from None


def nearest_k(rows: pl.DataFrame, metric: str, wanted: int) -> int | None:
    """The cut-off that was measured nearest to the wanted one."""
    ks = rows.filter(pl.col("metric") == metric).get_column("k").drop_nulls().unique().to_list()
    return metrics.nearest_k(ks, wanted) if ks else None


def winners(rows: pl.DataFrame) -> pl.DataFrame:
    """slice, model (the one with the highest NDCG), value, low, high, rivals: the models it is not clearly better than.

    Slices that no model gets anything right in are left out.
    """
    metric, k = MAIN[0], nearest_k(rows, *MAIN)
    main = rows.filter((pl.col("metric") == metric) & (pl.col("k") == k) & (pl.col("value") > 0))
    best = main.sort("value", descending=True, maintain_order=True).group_by("slice", maintain_order=True).first()
    gains = rows.filter((pl.col("metric") == f"{metric}_gain") & (pl.col("k") == k))
    order = {name: place for place, name in enumerate(main.get_column("slice").unique(maintain_order=True))}
    found = []
    for row in best.iter_rows(named=True):
        here = gains.filter(pl.col("slice") == row["slice"])
        beaten = [
            *here.filter((pl.col("model") == row["model"]) & pl.col("better")).get_column("against"),
            *here.filter((pl.col("against") == row["model"]) & pl.col("worse")).get_column("model"),
        ]
        others = main.filter((pl.col("slice") == row["slice"]) & (pl.col("model") != row["model"]))
        rivals = [name for name in others.get_column("model") if name not in beaten] if len(here) else None
        found.append({name: row[name] for name in ("slice", "model", "value", "low", "high")} | {"rivals": rivals})
    schema = {"slice": pl.String, "model": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    frame = pl.DataFrame(found, schema={**schema, "rivals": pl.List(pl.String)})
    return frame.sort(pl.col("slice").replace_strict(order, default=0))


def quality(rows: pl.DataFrame) -> list[Exhibit]:
    """All exhibits of an evaluation."""
    metric, k = MAIN[0], nearest_k(rows, *MAIN)
    main = rows.filter((pl.col("metric") == metric) & (pl.col("k") == k) & pl.col("value").is_not_null())
    by_slice = main.filter(~pl.col("slice").str.starts_with("n = "))
    exhibits: list[Exhibit] = []
    if len(by_slice):
        exhibits += [_by_slice(by_slice, k), *_winners(rows, k)]
    exhibits.append(_over_listeners(main.filter(pl.col("slice").str.starts_with("n = ")), k))
    for name, title, metric_name, drawn, note in (
        (
            "coverage",
            "How much of the catalogue is recommended?",
            "catalogue_coverage",
            "share of tracks",
            "Different tracks in all lists together.",
        ),
        (
            "popularity_bias",
            "Do models push what is popular?",
            "popularity_bias",
            "popularity bias",
            "How much more popular the answers are than what the listeners had played; 0 is even.",
        ),
    ):
        warm = (pl.col("metric") == metric_name) & (pl.col("slice") == "warm") & pl.col("value").is_not_null()
        if len(frame := rows.filter(warm).select("model", "k", "value", "low", "high")):
            exhibits.append(_over_k(name, title, frame, drawn, note))
    return [*exhibits, *learning_curves(rows), _table(rows)]


def _by_slice(frame: pl.DataFrame, k: int | None) -> Chart:
    return Chart(
        name="quality",
        title=f"NDCG@{k} by slice",
        frame=frame.select("slice", "model", "value", "low", "high"),
        kind="bar",
        x="slice",
        y="value",
        low="low",
        high="high",
        series="model",
        y_title=f"NDCG@{k}",
        wide=True,
        note="1 is perfect; whiskers are 95 % intervals. Warm: known tracks and listeners. Cold: nobody has played the "
        "track, or the listener has played nothing.",
    )


def _winners(rows: pl.DataFrame, k: int | None) -> list[Exhibit]:
    found = winners(rows).filter(~pl.col("slice").str.starts_with("n = "))
    if not len(found):
        return []
    return [
        Table(
            name="winners",
            title="Which model to take",
            frame=found.with_columns(pl.col("rivals").list.join(", ")),
            headings={"model": "best", "value": f"NDCG@{k}", "low": "from", "high": "to", "rivals": "as good"},
            note="As good: the 95 % interval of the difference to the best, on the same listeners, holds 0.",
        )
    ]


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
        low="low",
        high="high",
        series="model",
        x_title="listeners that a track has",
        y_title=f"NDCG@{k}",
        note="Well-known tracks of which only n listeners are shown to the models.",
    )


def _over_k(name: str, title: str, frame: pl.DataFrame, drawn: str, note: str) -> Chart:
    """A curve over the length of the list; bars where only one length was evaluated."""
    if frame.get_column("k").n_unique() == 1:
        return Chart(
            name=name,
            title=title,
            frame=frame,
            kind="across",
            x="value",
            y="model",
            low="low",
            high="high",
            x_title=f"{drawn}, lists of {frame.item(0, 'k')}",
            note=note,
        )
    return Chart(
        name=name,
        title=title,
        frame=frame.sort("k", maintain_order=True),
        kind="line",
        x="k",
        y="value",
        low="low",
        high="high",
        series="model",
        x_title="length of the list",
        y_title=drawn,
        log_x=True,
        note=note,
    )


def learning_curves(rows: pl.DataFrame) -> list[Exhibit]:
    """Loss by epoch of the models that learn by epochs, each as a share of its first epoch's: losses differ in kind."""
    points = rows.filter((pl.col("slice") == "learning") & pl.col("epoch").is_not_null()).sort("epoch")
    if not len(points):
        why = "no model that learns by epochs was evaluated"
        return [Gap("Learning curves", why, "crossfade evaluate --library L --models mf,vae --out L/evaluation.jsonl")]
    charts: list[Exhibit] = []
    for metric, part_of in (("train_loss", "training"), ("validation_loss", "held out")):
        part = points.filter(pl.col("metric") == metric).sort("model", "epoch", maintain_order=True)
        if not len(part):
            continue
        # A loss below 0 is a figure of merit turned round, -NDCG@20: what it has of its best is shown.
        merit = pl.col("value").max().over("model") <= 0
        relative = pl.when(merit).then(pl.col("value") / pl.col("value").min().over("model"))
        first = pl.col("value").first().over("model")
        frame = part.with_columns(relative=relative.otherwise(pl.col("value") / first))
        charts.append(
            Chart(
                name=metric.replace("loss", "curves"),
                title=f"Learning curves: {part_of}",
                frame=frame.select("model", "epoch", "relative", loss="value"),
                kind="line",
                x="epoch",
                y="relative",
                series="model",
                x_title="epoch",
                y_title="of its best" if metric == "validation_loss" else "loss, of the first epoch's",
                percent=True,
                note="The loss on what is learned from, as a share of the first epoch's."
                if metric == "train_loss"
                else "Quality on listens that are held out, as a share of the best epoch's; training stops when it no "
                "longer grows.",
            )
        )
    return charts


def _table(rows: pl.DataFrame) -> Table:
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
