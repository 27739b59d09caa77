"""What a report shows besides charts: tables, galleries, and the gaps where something is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from ..charts.chart import Chart


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that sorts; the page shows its first rows, the Parquet file holds all of them."""

    name: str
    title: str
    frame: pl.DataFrame
    note: str = ""
    headings: dict[str, str] = field(default_factory=dict)
    """column -> what the page calls it, where that is not `column_title`"""
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
