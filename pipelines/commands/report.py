"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts.types import ExistingFile

from ...option_types import Count
from .options import GenreModelFolder, LibraryFolder, Screen, open_library, option


def report(
    *,
    library: LibraryFolder,
    out: Annotated[Path, option("folder for report.html, pictures/ and numbers/")],
    first_day: Annotated[str | None, option("first day of the period, such as 2024-01-31", "--from")] = None,
    last_day: Annotated[str | None, option("its last day, included", "--to")] = None,
    top: Annotated[Count, option("tracks to list inside each genre")] = 10,
    evaluation: Annotated[ExistingFile | None, option("written by evaluate --out (L/evaluation.jsonl)")] = None,
    genre_model: GenreModelFolder = None,
    console: Screen,
) -> None:
    """One HTML page about a library, its listeners and its models.

    Example: crossfade report --library L --out report
    """
    from ..interactions.statistics import Period
    from ..report.context import ReportOptions
    from ..report.page import write_report

    options = ReportOptions(
        period=Period.of_days(first_day, last_day), top=top, evaluation=evaluation, genre_model=genre_model
    )
    with open_library(library) as opened, console.bar("report") as progress:
        written = write_report(opened, out, options, progress=progress)
    console.record(**written.record())
