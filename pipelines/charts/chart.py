"""A chart: a table of numbers and a few words on how to draw it, as a Vega-Lite specification.

Satyanarayan et al. (2017), "Vega-Lite: A Grammar of Interactive Graphics". A page draws the specification in the
browser, `draw` makes a PNG of it without one, so that the two cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from ...errors import optional_module

PALETTE = (
    *("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7"),
    *("#a463f2", "#97bbf5", "#9c6b4e", "#9498a0", "#1f8a94", "#c44e8a"),
)
INK = "#1d2433"
FAINT = "#e4e7ee"
HEAT = ("#f4f6fb", "#c9d5f4", "#8fa8e8", "#4269d0", "#1f3680")
"""colours of heat maps, from nothing to most"""

COLUMN_TITLES = {
    "plays": "listens",
    "users": "listeners",
    "user_id": "listener",
    "liked": "likes",
    "low": "from",
    "high": "to",
}
"""what pictures and tables call a column; others are called by their names"""

VEGA_CONFIG: dict[str, Any] = {
    "font": "Inter, Segoe UI, system-ui, DejaVu Sans, sans-serif",
    "view": {"stroke": None},
    "range": {"category": PALETTE, "ramp": HEAT, "heatmap": HEAT},
    "axis": {"gridColor": FAINT, "domainColor": "#c9cfdb", "tickColor": "#c9cfdb", "labelColor": INK}
    | {"titleColor": INK, "titleFontWeight": "normal", "titleFontSize": 12, "labelFontSize": 11, "labelLimit": 260},
    "legend": {"orient": "top", "title": None, "labelFontSize": 11, "labelLimit": 240, "labelColor": INK},
    "title": {"anchor": "start", "fontSize": 14, "color": INK},
}

Kind = Literal["line", "area", "bar", "across", "points", "heat"]


def column_title(column: str) -> str:
    return COLUMN_TITLES.get(column, column.replace("_", " "))


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
    """across: horizontal bars, with the categories in `y`; heat: `value` by `x` and `y`"""
    x: str
    y: str
    note: str = ""
    """how to read it"""
    series: str | None = None
    """column that splits the rows into colours, in order of first appearance"""
    value: str | None = None
    interval: tuple[str, str] | None = None
    """columns with the ends of an interval around y (x for `across`)"""
    values_shown: bool = False
    """heat: the value stands in each cell where it is not 0"""
    text: str | None = None
    """column shown when a point is touched"""
    x_title: str | None = None
    y_title: str | None = None
    """None is the column's title, nothing for categories and days"""
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

    @property
    def rows(self) -> pl.DataFrame:
        """What is drawn."""
        return self.frame if self.filled is None else self.filled

    @property
    def height(self) -> int:
        """In pixels, with room for every category of `across` and `heat`."""
        return max(300, 60 + 19 * self.rows.get_column(self.y).n_unique()) if self.kind in ("across", "heat") else 300


def vega_lite(chart: Chart, width: int | Literal["container"] = "container") -> dict[str, Any]:
    """The specification; `width` in pixels, or that of the element of the page that holds it."""
    mark, rows = _mark(chart), chart.rows
    encoding: dict[str, Any] = {"x": _axis(chart, "x"), "y": _axis(chart, "y")}
    drawn = chart.value or (chart.x if chart.kind == "across" else chart.y)
    if chart.kind == "bar" and rows.schema[chart.x].is_numeric():
        # Bars of numbers are as wide as the smallest distance between two of them.
        gaps = np.diff(np.unique(rows.get_column(chart.x).drop_nulls().to_numpy()))
        half = 0.46 * float(gaps.min() if len(gaps) else 1)
        rows = rows.with_columns(left=pl.col(chart.x) - half, right=pl.col(chart.x) + half)
        encoding |= {"x": encoding["x"] | {"field": "left"}, "x2": {"field": "right"}, "y2": {"datum": 0}}
    if chart.kind == "heat":
        legend = {"orient": "right", "format": ".0%" if chart.percent else "~s"}
        encoding["color"] = {"field": drawn, "type": "quantitative", "legend": legend}
    elif chart.series is not None:
        names = rows.get_column(chart.series).unique(maintain_order=True).cast(pl.String).to_list()
        room = (1000 if chart.wide else 480) if width == "container" else width
        columns = max(1, room // (40 + 7 * max(map(len, names), default=0)))
        series = {"field": chart.series, "type": "nominal", "sort": None}
        encoding["color"] = series | {"scale": {"domain": names}, "legend": {"columns": columns, "symbolLimit": 0}}
        if chart.kind in ("bar", "across"):
            encoding["xOffset" if chart.kind == "bar" else "yOffset"] = series
        elif chart.kind == "area":
            # Stacked in order of appearance.
            rows = rows.with_columns(
                order=pl.col(chart.series).cast(pl.String).replace_strict(names, range(len(names)))
            )
            encoding["order"] = {"field": "order"}
        encoding["opacity"] = {"condition": {"param": "chosen", "value": 0.8}, "value": 0.1}
    encoding["tooltip"] = {"field": chart.text} if chart.text else _tooltip(chart, drawn)
    layers: list[dict[str, Any]] = [{"mark": mark, "encoding": encoding, "params": _interactions(chart)}]
    if chart.values_shown:
        number = {"field": drawn, "type": "quantitative", "format": ".0%" if chart.percent else "~s"}
        half = float(rows.get_column(drawn).to_numpy().max()) / 2
        halfway = {"condition": {"test": f"datum['{drawn}'] > {half}", "value": "white"}}
        cells = {"x": encoding["x"], "y": encoding["y"], "text": number, "color": halfway | {"value": INK}}
        filled = [{"filter": f"datum['{drawn}'] > 0"}]
        layers.append({"mark": {"type": "text", "fontSize": 10}, "encoding": cells, "transform": filled})
    if chart.interval is not None:
        low, high = chart.interval
        side = "x" if chart.kind == "across" else "y"
        ends = {side: encoding[side] | {"field": low}, f"{side}2": {"field": high}}
        kept = {name: encoding[name] for name in ("x", "y", "xOffset", "yOffset") if name in encoding}
        colour = {"color": encoding["color"]} if chart.kind == "line" and chart.series else {}
        layers.append({"mark": {"type": "rule", "color": INK}, "encoding": kept | colour | ends})
    channels = [channel for layer in layers for channel in layer["encoding"].values() if isinstance(channel, dict)]
    used = pl.col(sorted({channel["field"] for channel in channels if "field" in channel} | {chart.x, chart.y}))
    if chart.shade is not None:
        ends = {"x": encoding["x"] | {"field": "first"}, "x2": {"field": "last"}}
        mark = {"type": "rect", "color": PALETTE[1], "opacity": 0.13}
        values = {"values": [{"first": str(chart.shade[0]), "last": str(chart.shade[1])}]}
        layers.insert(0, {"mark": mark, "encoding": ends, "data": values})
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": f"{chart.title}. {chart.note}".strip(),
        "data": {"values": _values(rows.select(used))},
        "layer": layers,
        "width": width,
        "height": chart.height,
        "autosize": {"type": "fit", "contains": "padding"},
        "config": VEGA_CONFIG,
    }


def _mark(chart: Chart) -> dict[str, Any]:
    if chart.kind == "heat":
        return {"type": "rect", "stroke": "white"}
    if chart.kind == "points":
        return {"type": "circle", "size": 70 if len(chart.rows) < 300 else 30, "color": PALETTE[0]}
    if chart.kind == "line":
        # A line of a single point would not be seen.
        lone = chart.series is not None and chart.rows.get_column(chart.series).is_unique().any()
        return {"type": "line", "point": bool(chart.interval or lone or len(chart.rows) == 1), "color": PALETTE[0]}
    return {"type": "area" if chart.kind == "area" else "bar", "color": PALETTE[0]}


def _axis(chart: Chart, side: Literal["x", "y"]) -> dict[str, Any]:
    """The encoding of a position."""
    column, title, log = (chart.x, chart.x_title, chart.log_x) if side == "x" else (chart.y, chart.y_title, chart.log_y)
    kind = chart.rows.schema[column]
    if chart.plain_axes:
        return {"field": column, "type": "quantitative", "axis": None, "scale": {"zero": False, "padding": 8}}
    if kind.is_temporal():
        # Days have no time zone; the browser's must not shift them.
        unit = {"timeUnit": "utcyearmonth"} if chart.kind == "bar" else {"scale": {"type": "utc"}}
        return {"field": column, "type": "temporal", "title": title} | unit
    if not kind.is_numeric() or chart.kind == "heat":
        tilted = side == "x" and not kind.is_numeric() and _long(chart)
        label = {"labelAngle": -30 if tilted else 0, "labelOverlap": side == "x" and not tilted, "grid": False}
        return {"field": column, "type": "nominal", "sort": None, "title": title, "axis": label}
    length = (side == "x") == (chart.kind == "across")
    axis: dict[str, Any] = {"format": "~s", "tickCount": 4} if log else {}
    if chart.percent and length:
        axis = {"format": ".0%", "tickMinStep": 0.01}
    zero = length and (chart.from_zero or chart.kind in ("bar", "across", "area"))
    if kind.is_integer():
        axis["tickMinStep"] = 1
    scale = {"type": "log", "nice": False} if log else {"zero": zero, "nice": side == "y"}
    title = column_title(column) if title is None else title
    stack = {"stack": "zero" if chart.kind == "area" else None} if length else {}
    return {"field": column, "type": "quantitative", "title": title, "axis": axis, "scale": scale} | stack


def _long(chart: Chart) -> bool:
    """Whether the names below the picture are too long to stand beside each other."""
    names = chart.rows.get_column(chart.x).cast(pl.String).unique().drop_nulls()
    return len(names) * (float(names.str.len_chars().max() or 0) + 2) > (140 if chart.wide else 70)  # type: ignore[arg-type]


def _tooltip(chart: Chart, drawn: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for column in dict.fromkeys(filter(None, (chart.series, chart.x, chart.y, chart.value))):
        about: dict[str, Any] = {"field": column, "title": column_title(column)}
        if chart.rows.schema[column].is_temporal():
            about |= {"timeUnit": "utcyearmonthdate", "format": "%Y-%m-%d"}
        elif chart.rows.schema[column].is_numeric():
            about |= {"type": "quantitative", "format": ".1%" if chart.percent and column == drawn else ",.4~g"}
        shown.append(about)
    return shown


def _interactions(chart: Chart) -> list[dict[str, Any]]:
    """A click in the legend picks a series; dragging moves continuous axes, the wheel with shift scales them."""
    found: list[dict[str, Any]] = []
    if chart.series is not None:
        found.append({"name": "chosen", "select": {"type": "point", "fields": [chart.series]}, "bind": "legend"})
    if chart.kind in ("line", "points"):
        select = {"type": "interval", "zoom": "wheel![event.shiftKey]"}
        found.append({"name": "zoomed", "select": select, "bind": "scales"})
    return found


def _values(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Shortened to six digits: the page need not carry more than can be seen."""
    floats = pl.selectors.float()
    rows = rows.with_columns(floats.cast(pl.Float64)).with_columns(
        pl.when(floats.is_finite()).then(floats.round_sig_figs(6)), pl.selectors.temporal().cast(pl.String)
    )
    return rows.to_dicts()


def draw(chart: Chart, path: Path) -> None:
    """The picture as a PNG."""
    specification = vega_lite(chart, 1000 if chart.wide else 640) | {"title": chart.title}
    path.write_bytes(optional_module("vl_convert", "pictures").vegalite_to_png(specification, scale=1.2))
