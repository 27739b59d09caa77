"""What a listening log looks like in numbers: its size, and how empty the user x track matrix is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import polars as pl

from .listening_log import SCHEMA


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
    """The figures of a normalised log, in one streaming pass over each column."""
    empty = [
        (pl.col(name).is_null() if dtype == pl.String() else (pl.col(name).cast(pl.Float64).fill_null(0) == 0))
        .mean()
        .alias(name)
        for name, dtype in SCHEMA.items()
    ]
    # Ids are compared by their 64-bit hashes: 222 million pairs of strings would not fit, and n hashes collide
    # with a chance of n²/2⁶⁵, which moves a count by one or two at most.
    counted = frame.select(pl.len(), pl.col("user_id").hash().n_unique().alias("users"), *empty).collect(
        engine="streaming"
    )
    row = counted.row(0, named=True)
    pairs = frame.select(track=pl.col("track_id").hash(), pair=pl.struct("user_id", "track_id").hash()).unique()
    listeners = pairs.group_by("track").len().collect(engine="streaming").get_column("len")
    filled = {"least": listeners.max(), "median": listeners.median(), "most": listeners.min()}
    return LogFigures(
        row["len"],
        row["users"],
        len(listeners),
        int(listeners.sum()),
        {name: float(row[name] if row[name] is not None else 1.0) for name in SCHEMA},
        {name: 1 - float(cast(float, count)) / row["users"] for name, count in filled.items()}
        if len(listeners)
        else {},
    )
