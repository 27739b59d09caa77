"""Charts as PNG, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import MissingExtra
from .interactive import FAINT, INK, PALETTE, SCALE, Chart, grid


def draw(chart: Chart, path: Path) -> None:
    """The same picture as a PNG."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import PercentFormatter
    except ImportError as error:
        raise MissingExtra("pictures", "train") from error
    rows = len(chart.rows.get_column(chart.y).unique()) if chart.kind in ("across", "heat") else 0
    width = 10 if chart.wide else 7
    figure = Figure(figsize=(width, max(4.0, 1.2 + 0.24 * rows)))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.subplots_adjust(**_margins(chart, width))
    axes.set_title(_drawable(chart.title), loc="left", color=INK, fontsize=12, fontweight="bold")
    axes.set(xlabel=chart.x_title, ylabel=chart.y_title)
    axes.spines[["top", "right"]].set_visible(False)
    if chart.kind == "heat":
        _draw_heat(chart, figure, axes)
    elif chart.kind == "area":
        _draw_area(chart, axes)
    else:
        for number, (name, part) in enumerate(chart.parts()):
            _draw_part(chart, axes, _drawable(name), part, PALETTE[number % len(PALETTE)], number)
    if chart.shade is not None:
        axes.axvspan(*chart.shade, color=PALETTE[1], alpha=0.13, lw=0)
    if chart.kind != "heat":
        axes.grid(color=FAINT, lw=0.8)
        axes.set_axisbelow(True)
        if chart.log_x:
            axes.set_xscale("log")
        if chart.log_y:
            axes.set_yscale("log")
        if chart.from_zero:
            axes.set_ylim(bottom=0)
        if chart.percent:
            (axes.xaxis if chart.kind == "across" else axes.yaxis).set_major_formatter(PercentFormatter(1, decimals=0))
    if chart.rows.schema[chart.x].is_temporal():
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(maxticks=9)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        if chart.kind == "bar" and len(chart.rows) <= 12:
            axes.set_xticks(chart.rows.get_column(chart.x).to_list())
    if _tilted(chart):
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", fontsize=8)
    if chart.kind == "across":
        axes.invert_yaxis()
    if chart.plain_axes:
        axes.set_axis_off()
    if chart.series is not None and len(chart.rows):
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110)


def _margins(chart: Chart, width: float) -> dict[str, float]:
    """Room for labels and legend, by their lengths: matplotlib's own layout engines take as long as the drawing."""
    left, right = 0.75, 0.2
    if chart.kind in ("across", "heat"):
        left += 0.065 * max((len(str(label)) for label in chart.rows.get_column(chart.y)), default=0)
    if chart.series is not None:
        right += 0.5 + 0.07 * max((len(name) for name, _ in chart.parts()), default=0)
    bottom = 0.3 if _tilted(chart) else 0.17
    return {"left": min(0.45, left / width), "right": max(0.55, 1 - right / width), "bottom": bottom, "top": 0.91}


def _tilted(chart: Chart) -> bool:
    """Whether the names below the picture are too long to stand beside each other."""
    if chart.kind not in ("bar", "heat") or chart.rows.schema[chart.x] != pl.String:
        return False
    names = chart.rows.get_column(chart.x).unique().drop_nulls().to_list()
    room = (10 if chart.wide else 7) * (10 if chart.series is None else 8)
    return len(names) * (max(map(len, names), default=0) + 2) > room


def _drawable(text: Any) -> str:
    """Dollar signs would start a formula; letters that the font has not would only warn."""
    return str(text).replace("$", r"\$").encode("latin-1", "replace").decode("latin-1")


def _draw_part(chart: Chart, axes: Any, name: str, rows: pl.DataFrame, colour: str, number: int) -> None:
    xs, ys = (rows.get_column(column).to_list() for column in (chart.x, chart.y))
    label = name or None
    margins = None
    if chart.low and chart.high:
        drawn = chart.x if chart.kind == "across" else chart.y
        bounds = rows.select(below=pl.col(drawn) - pl.col(chart.low), above=pl.col(chart.high) - pl.col(drawn))
        margins = np.nan_to_num(bounds.cast(pl.Float64).fill_null(0).to_numpy().T).clip(min=0)
    if chart.kind == "line":
        axes.plot(xs, ys, color=colour, label=label, marker="o" if margins is not None or len(xs) == 1 else None, ms=4)
        if margins is not None:
            axes.errorbar(xs, ys, yerr=margins, fmt="none", ecolor=colour, capsize=2, lw=1)
    elif chart.kind == "points":
        axes.scatter(xs, ys, s=30 if len(chart.rows) < 300 else 9, color=colour, alpha=0.75, linewidths=0, label=label)
    elif chart.kind == "bar":
        if chart.series is None:
            axes.bar(xs, ys, width=_bar_width(xs), color=colour, yerr=margins, ecolor=INK)
        else:
            places = {str(x): n for n, x in enumerate(chart.rows.get_column(chart.x).unique(maintain_order=True))}
            count = len(chart.parts())
            at = [places[str(x)] + 0.8 * ((number + 0.5) / count - 0.5) for x in xs]
            axes.bar(at, ys, width=0.8 / count, color=colour, label=label, yerr=margins, ecolor=INK)
            axes.set_xticks(range(len(places)), [_drawable(x) for x in places], fontsize=8)
    else:
        places = {str(y): n for n, y in enumerate(chart.rows.get_column(chart.y).unique(maintain_order=True))}
        count = len(chart.parts())
        at = [places[str(y)] + 0.8 * ((number + 0.5) / count - 0.5) for y in ys]
        axes.barh(at, xs, height=0.8 / count, color=colour, label=label, xerr=margins, ecolor=INK)
        axes.set_yticks(range(len(places)), [_drawable(y) for y in places], fontsize=8)


def _bar_width(xs: Sequence[Any]) -> Any:
    """Nine tenths of the distance between bars on an axis of numbers or days."""
    if len(xs) > 1 and all(isinstance(x, date) for x in xs):
        return 0.9 * min(later - earlier for earlier, later in pairwise(sorted(xs)))
    if len(xs) > 1 and all(isinstance(x, int | float) for x in xs):
        return 0.9 * float(np.diff(np.unique(np.array(xs, float))).min(initial=np.inf))
    return 0.8


def _draw_area(chart: Chart, axes: Any) -> None:
    places = {x: n for n, x in enumerate(chart.rows.get_column(chart.x).unique().sort())}
    heights = []
    for _, rows in chart.parts():
        height = np.zeros(len(places))
        for x, y in rows.select(chart.x, chart.y).iter_rows():
            height[places[x]] = y or 0
        heights.append(height)
    names = [_drawable(name) for name, _ in chart.parts()]
    colours = [PALETTE[n % len(PALETTE)] for n in range(len(names))]
    axes.stackplot(list(places), heights, labels=names, colors=colours)


def _draw_heat(chart: Chart, figure: Any, axes: Any) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    xs, ys, values = grid(chart)
    image = axes.imshow(values, cmap=LinearSegmentedColormap.from_list("report", SCALE), aspect="auto")
    step = max(1, len(xs) // 24)
    axes.set_xticks(
        range(0, len(xs), step), [_drawable(x) for x in xs[::step]], fontsize=8, rotation=45 if len(xs) > 12 else 0
    )
    axes.set_yticks(range(len(ys)), [_drawable(y) for y in ys], fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.7)
