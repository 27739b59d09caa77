"""What a listening log looks like in numbers: its size, and how empty the user x track matrix is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from .schema import SCHEMA, distinct_pairs, listed_ids, with_rows


@dataclass(frozen=True)
class LogFigures:
    """Sizes and sparsity of a log."""

    listens: int
    users: int
    tracks: int
    pairs: int
    """different (user, track)"""
    zero_share: dict[str, float]
    """column of the log -> share of its cells that are zero or missing"""
    track_zero_share: dict[str, float]
    """of the user x track matrix: share of zero cells per column (a track); the least, median and most of them"""

    @property
    def density(self) -> float:
        """Share of the user x track matrix that is filled."""
        return self.pairs / (self.users * self.tracks) if self.pairs else 0.0

    def record(self) -> dict[str, Any]:
        return {
            "users": self.users,
            "tracks": self.tracks,
            "listens": self.listens,
            "pairs": self.pairs,
            "density": self.density,
            "track_zero_share": self.track_zero_share,
            "zero_share": self.zero_share,
        }


def log_figures(frame: pl.LazyFrame) -> LogFigures:
    """The figures of a normalised log."""
    empty = [
        (pl.col(name).is_null() if dtype == pl.String() else (pl.col(name).cast(pl.Float64).fill_null(0) == 0))
        .mean()
        .alias(name)
        for name, dtype in SCHEMA.items()
    ]
    row = frame.select(pl.len(), *empty).collect(engine="streaming").row(0, named=True)
    user_ids, track_ids = listed_ids(frame)
    coded = with_rows(frame.select("user_id", "track_id"), user_ids, track_ids).collect(engine="streaming")
    user_rows, track_rows = (coded.get_column(name).to_numpy() for name in ("user_row", "track_row"))
    _, tracks = distinct_pairs(user_rows, track_rows, len(user_ids))
    filled = np.bincount(tracks, minlength=len(track_ids)) / max(1, len(user_ids))
    spread = {"least": filled.max(), "median": np.median(filled), "most": filled.min()} if len(filled) else {}
    return LogFigures(
        row["len"],
        len(user_ids),
        len(track_ids),
        len(tracks),
        {name: float(row[name] if row[name] is not None else 1.0) for name in SCHEMA},
        {name: 1 - float(share) for name, share in spread.items()},
    )
