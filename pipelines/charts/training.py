"""Charts of a training: its losses epoch by epoch, and the importance of a ranker's features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from .chart import Chart

if TYPE_CHECKING:
    from ...models.nn.training_loop import Curve


def epoch_table(curve: Curve) -> pl.DataFrame:
    """A row per epoch."""
    return pl.DataFrame([epoch.record() for epoch in curve])


def learning_curve(curve: Curve, note: str = "") -> Chart:
    """The losses of each epoch, and the accuracy of a classifier."""
    epochs = epoch_table(curve)
    figures = [name for name in ("train_loss", "validation_loss", "accuracy") if name in epochs.columns]
    figures = [name for name in figures if epochs[name].dtype != pl.Null]
    return Chart(
        name="epochs",
        title="Learning curve",
        frame=epochs.unpivot(figures, index="epoch", variable_name="figure").drop_nulls(),
        kind="line",
        x="epoch",
        y="value",
        series="figure",
        note=note,
    )


def importance_chart(importance: Mapping[str, float]) -> Chart:
    """The 20 features that matter most; `importance` is feature -> per cent, largest first."""
    frame = pl.DataFrame({"feature": list(importance), "importance": list(importance.values())})
    return Chart(
        name="feature_importance",
        title="What the ranker looks at",
        frame=frame.head(20),
        kind="across",
        x="importance",
        y="feature",
        x_title="share of all changes of the score, in per cent",
    )
