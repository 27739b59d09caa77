"""What a listening log looks like in numbers: its size, and how empty the user x track matrix is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """column -> share of its cells that are zero or missing"""

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
    # Strings are compared by their 64-bit hashes: 222 million pairs of ids would not fit, and n hashes collide
    # with a chance of n²/2⁶⁵, which moves the count by one or two at most.
    keys = {
        "users": pl.col("user_id").hash(),
        "tracks": pl.col("track_id").hash(),
        "pairs": pl.struct("user_id", "track_id").hash(),
    }
    counted = frame.select(
        pl.len().alias("listens"), *(key.n_unique().alias(name) for name, key in keys.items()), *empty
    ).collect(engine="streaming")
    row = counted.row(0, named=True)
    shares = {name: float(row[name] if row[name] is not None else 1.0) for name in SCHEMA}
    return LogFigures(row["listens"], row["users"], row["tracks"], row["pairs"], shares)
