"""What a training leaves to an engine: cleaning the log, ALS, lists. This engine is one machine: polars, `implicit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ...models.interactions import Interactions
from ...models.recommenders.als import Solver, solve
from ..interactions.cleaning import CleaningOptions, CleaningStep, clean
from ..interactions.columns import reading
from ..interactions.schema import listed_ids, read_listens, to_listens
from ..interactions.statistics import LogFigures, log_figures
from ..library.store import Library
from .batch_tables import Spread
from .list_parts import ROWS_PER_PART, in_threads


@dataclass(frozen=True, eq=False)
class CleanedLog:
    """What a training learns from."""

    listens: Interactions
    """over `user_ids` and the tracks of the catalogue"""
    user_ids: pl.Series
    played_ids: pl.Series
    """tracks in the log, be they in the catalogue or not"""
    steps: list[CleaningStep]
    figures: LogFigures


class LocalEngine:
    """One machine."""

    name = "local"
    solver: Solver = staticmethod(solve)
    """of ALS"""
    rows_per_part = ROWS_PER_PART
    """of the lists that are written at once"""

    def spread(self, library: Library, version: Path) -> Spread:
        """What makes lists of a version."""
        return in_threads

    def cleaned_log(self, library: Library, track_ids: pl.Series, options: CleaningOptions) -> CleanedLog:
        """The library's log, cleaned, over the tracks of a catalogue."""
        log = read_listens(library)
        with reading(library.listens_folder):
            frame, steps = clean(log, options)
            user_ids, played_ids = listed_ids(frame)
            listens = to_listens(frame, user_ids, track_ids, options.confidence)
            return CleanedLog(listens, user_ids, played_ids, steps, log_figures(frame))
