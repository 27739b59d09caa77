"""Reader of MovieLens (ml-latest-small … ml-32m): films are the tracks, star ratings the feedback.

    ratings.csv   userId, movieId, rating (0.5 … 5), timestamp (seconds since 1970)
    movies.csv    movieId, title ("Toy Story (1995)"), genres ("Adventure|Comedy", or "(no genres listed)")

Further columns, also nameless ones, are passed over. The year in the title becomes `released_at`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ..columns import SourceTable, find
from ..schema import SourceLog


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder."""
    ratings = SourceTable.csv(find(path, "ratings.csv"), "userId", "movieId", "rating", "timestamp")
    listens = ratings.select(
        user_id=ratings.id("userId"),
        track_id=ratings.id("movieId"),
        time=ratings.seconds("timestamp"),
        rating=ratings.number("rating").fill_null(float("nan")),
    )
    notes = ratings.time_note("timestamp")
    movies_path = ratings.path.with_name("movies.csv")
    if not movies_path.is_file():
        notes += (f"{movies_path.parent}: no movies.csv; titles and genres are unknown",)
        return SourceLog(path, listens, notes=notes)
    movies = SourceTable.csv(movies_path, "movieId", "title", "genres")
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32, strict=False)
    tracks = movies.select(
        track_id=movies.id("movieId"),
        title=pl.col("title").str.strip_chars(),
        genres=pl.col("genres").str.split("|").list.filter(~pl.element().is_in(["", "(no genres listed)"])),
        released_at=pl.datetime(year, 1, 1).dt.epoch("s"),
    )
    return SourceLog(path, listens, tracks, notes=notes)
