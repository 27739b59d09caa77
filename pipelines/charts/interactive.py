"""What a report shows: charts, tables, galleries, and the gaps where something is missing.

A chart is a table of numbers and a few words on how to draw it. The same description becomes an interactive plotly
figure (a plain dict, drawn by plotly.js in the page) and a PNG (`drawing`), so that the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

PALETTE = (
    "#4269d0",
    "#efb118",
    "#ff725c",
    "#6cc5b0",
    "#3ca951",
    "#ff8ab7",
    "#a463f2",
    "#97bbf5",
    "#9c6b4e",
    "#9498a0",
    "#1f8a94",
    "#c44e8a",
)
INK = "#1d2433"
FAINT = "#e4e7ee"
SCALE = ("#f4f6fb", "#c9d5f4", "#8fa8e8", "#4269d0", "#1f3680")
"""of heat maps, from nothing to most"""

Kind = Literal["line", "area", "bar", "across", "points", "heat"]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture; `name` is the name of its files."""

    name: str
    title: str
    frame: pl.DataFrame
    """its numbers, all that the picture shows"""
    filled: pl.DataFrame | None = None
    """drawn in their place: the same numbers, and zeros where there are none"""
    kind: Kind
    """across: bars that lie, with the categories in `y`; heat: `value` by `x` and `y`"""
    x: str
    y: str
    note: str = ""
    """how to read it"""
    series: str | None = None
    """column that splits the rows into colours, in order of first appearance"""
    value: str | None = None
    low: str | None = None
    high: str | None = None
    """columns of an interval around y (x for `across`)"""
    text: str | None = None
    """column shown when a point is touched"""
    x_title: str = ""
    y_title: str = ""
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = False
    """the axis of y begins at 0, as that of bars does"""
    percent: bool = False
    """the drawn value is a share, shown as per cent"""
    plain_axes: bool = False
    """positions mean nothing in themselves, as on a map"""
    shade: tuple[Any, Any] | None = None
    """from, to on x: the period in question"""
    wide: bool = False

    def parts(self) -> list[tuple[str, pl.DataFrame]]:
        """(name of a series, its rows)"""
        if self.series is None:
            return [("", self.rows)]
        names = self.rows.get_column(self.series).unique(maintain_order=True)
        return [(str(name), self.rows.filter(pl.col(self.series) == name)) for name in names]

    @property
    def rows(self) -> pl.DataFrame:
        """What is drawn."""
        return self.frame if self.filled is None else self.filled


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that sorts; the page shows its first rows, the Parquet file holds all of them."""

    name: str
    title: str
    frame: pl.DataFrame
    note: str = ""
    headings: dict[str, str] = field(default_factory=dict)
    """column -> what the page calls it"""
    percents: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    """columns that only the file has"""
    rows_shown: int = 50
    grouped: bool = False
    """rows with the same first cell belong together"""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Small pictures with captions."""

    name: str
    title: str
    images: Sequence[tuple[str, bytes]]
    """(caption, PNG)"""
    frame: pl.DataFrame
    note: str = ""


@dataclass(frozen=True)
class Gap:
    """What is not there, why, and what would bring it."""

    what: str
    why: str
    cure: str = ""
    clear: bool = False
    """it was looked for, and there is none: nothing is missing"""


Exhibit = Chart | Table | Gallery | Gap


@dataclass(frozen=True)
class Section:
    """A chapter of the report."""

    name: str
    title: str
    lead: str
    """what it answers, in a sentence or two"""
    exhibits: tuple[Exhibit, ...]


def plotly_figure(chart: Chart) -> dict[str, Any]:
    """`{"data", "layout"}` as plotly.js takes them."""
    layout: dict[str, Any] = {
        "xaxis": _axis(chart.x_title, log=chart.log_x, hidden=chart.plain_axes),
        "yaxis": _axis(chart.y_title, log=chart.log_y, hidden=chart.plain_axes),
        "showlegend": chart.series is not None,
    }
    if chart.from_zero:
        layout["yaxis"]["rangemode"] = "tozero"
    if chart.kind == "bar" and chart.rows.schema[chart.x].is_temporal():
        places = _values(chart.rows, chart.x)
        layout["xaxis"] |= {"tickvals": places[:: max(1, len(places) // 6)], "tickformat": "%b %Y"}
    if chart.percent:
        layout["xaxis" if chart.kind == "across" else "yaxis"]["tickformat"] = ".0%"
    if chart.kind in ("across", "heat"):
        layout["yaxis"] |= {"autorange": "reversed", "automargin": True, "type": "category"}
    if chart.kind == "bar" and chart.series:
        layout["barmode"] = "group"
    if chart.shade is not None:
        first, last = (_plain(value) for value in chart.shade)
        layout["shapes"] = [
            {"type": "rect", "xref": "x", "yref": "paper", "x0": first, "x1": last, "y0": 0, "y1": 1}
            | {"fillcolor": PALETTE[1], "opacity": 0.13, "line": {"width": 0}, "layer": "below"}
        ]
    if chart.kind == "heat":
        return {"data": [_heat(chart)], "layout": layout}
    traces = [_trace(chart, name, rows, PALETTE[n % len(PALETTE)]) for n, (name, rows) in enumerate(chart.parts())]
    return {"data": traces, "layout": layout}


def _axis(title: str, *, log: bool, hidden: bool) -> dict[str, Any]:
    if hidden:
        return {"visible": False}
    return {"title": {"text": title}, **({"type": "log", "dtick": 1} if log else {})}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def _values(rows: pl.DataFrame, column: str) -> list[Any]:
    """Shortened to six digits: the page need not carry more than can be seen."""
    values = rows.get_column(column)
    if values.dtype.is_float():
        return [None if value is None or not np.isfinite(value) else float(f"{value:.6g}") for value in values]
    if values.dtype.is_temporal():
        return values.cast(pl.String).to_list()
    return values.to_list()


def _trace(chart: Chart, name: str, rows: pl.DataFrame, colour: str) -> dict[str, Any]:
    trace: dict[str, Any] = {"x": _values(rows, chart.x), "y": _values(rows, chart.y), "name": name}
    if chart.kind in ("bar", "across"):
        trace |= {"type": "bar", "marker": {"color": colour}, "orientation": "h" if chart.kind == "across" else "v"}
    elif chart.kind == "points":
        trace |= {"type": "scatter", "mode": "markers"}
        trace["marker"] = {"color": colour, "size": 9 if len(chart.rows) < 300 else 6, "opacity": 0.75}
    else:
        lone = len(rows) == 1
        trace |= {"type": "scatter", "mode": "markers" if lone else "lines", "line": {"color": colour, "width": 2}}
        if chart.kind == "area":
            trace |= {"stackgroup": "all", "line": {"color": colour, "width": 0.5}, "fillcolor": colour}
    if chart.low and chart.high:
        drawn = chart.x if chart.kind == "across" else chart.y
        bounds = rows.select(above=pl.col(chart.high) - pl.col(drawn), below=pl.col(drawn) - pl.col(chart.low))
        error: dict[str, Any] = {
            "type": "data",
            "array": _values(bounds, "above"),
            "arrayminus": _values(bounds, "below"),
        }
        error |= {"symmetric": False, "color": INK, "thickness": 1, "width": 3}
        trace["error_x" if chart.kind == "across" else "error_y"] = error
        if chart.kind == "line":
            trace["mode"] = "lines+markers"
    if chart.text:
        trace |= {"text": _values(rows, chart.text), "hovertemplate": "%{text}<extra>" + name + "</extra>"}
        if chart.kind in ("bar", "across"):
            trace["textposition"] = "none"
    return trace


def grid(chart: Chart) -> tuple[list[Any], list[Any], np.ndarray[Any, np.dtype[np.float64]]]:
    """(x values, y values, [Y, X] values) of a heat map, in order of first appearance."""
    xs = chart.rows.get_column(chart.x).unique(maintain_order=True).to_list()
    ys = chart.rows.get_column(chart.y).unique(maintain_order=True).to_list()
    grid = np.full((len(ys), len(xs)), np.nan)
    places = {x: n for n, x in enumerate(xs)}, {y: n for n, y in enumerate(ys)}
    for x, y, value in chart.rows.select(chart.x, chart.y, str(chart.value)).iter_rows():
        grid[places[1][y], places[0][x]] = np.nan if value is None else value
    return xs, ys, grid


def _heat(chart: Chart) -> dict[str, Any]:
    xs, ys, values = grid(chart)
    cells = [[None if np.isnan(cell) else float(f"{cell:.5g}") for cell in row] for row in values]
    scale = [[n / (len(SCALE) - 1), colour] for n, colour in enumerate(SCALE)]
    heat: dict[str, Any] = {
        "type": "heatmap",
        "x": [str(x) for x in xs],
        "y": [str(y) for y in ys],
        "z": cells,
        "colorscale": scale,
    }
    heat |= {"xgap": 1, "ygap": 1, "hoverongaps": False, "colorbar": {"thickness": 10, "outlinewidth": 0}}
    shown = "%{z:.1%}" if chart.percent else "%{z:,}"
    heat["hovertemplate"] = "%{y}, %{x}: " + shown + "<extra></extra>"
    if chart.percent:
        heat["colorbar"]["tickformat"] = ".0%"
    return heat
