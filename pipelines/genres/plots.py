"""Pictures of a genre model: confusion matrix and learning curves, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("pictures", "train") from error
    # A figure of its own, without pyplot: no window system, no global state.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_confusion(path: Path, counts: NDArray[np.int64], classes: Sequence[str], title: str) -> None:
    """Shares of each true class (row) by the class that was given (column). Shape: counts [C, C]"""
    side = 2.5 + 0.45 * len(classes)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="heard as", ylabel="is", title=title)
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = shares[row, column]
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", size=7, color="white" if share > 0.5 else "k")
    figure.savefig(path, dpi=120)


def draw_learning(path: Path, curve: Sequence[Mapping[str, Any]]) -> None:
    """Loss and accuracy by epoch; each point has train_loss, validation_loss, accuracy."""
    figure = _figure(8, 3.5)
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(curve) + 1)
    left.plot(epochs, [point["train_loss"] for point in curve], label="training")
    left.plot(epochs, [point["validation_loss"] for point in curve], label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    right.plot(epochs, [point["accuracy"] for point in curve])
    right.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
    figure.savefig(path, dpi=120)
