"""Reader of MovieLens (ml-latest-small … ml-32m): films are the tracks, star ratings the feedback.

    ratings.csv   userId, movieId, rating (0.5 … 5), timestamp (seconds since 1970)
    movies.csv    movieId, title ("Toy Story (1995)"), genres ("Adventure|Comedy", or "(no genres listed)")

Further columns, also nameless ones, are passed over. The year in the title becomes `released_at`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ..columns import find, id_text, need, number, scan_csv, seconds, time_note
from ..schema import SourceLog


def read(path: Path, scratch: Path) -> SourceLog:
    """The log in a folder."""
    folder = path.parent if path.is_file() else path
    ratings_path = find(folder, "ratings.csv")
    ratings = scan_csv(ratings_path)
    need(ratings, ratings_path, ["userId", "movieId", "rating", "timestamp"])
    listens = ratings.select(
        id_text(ratings, ratings_path, "userId").alias("user_id"),
        id_text(ratings, ratings_path, "movieId").alias("track_id"),
        seconds(ratings, ratings_path, "timestamp").alias("time"),
        number(ratings, ratings_path, "rating").fill_null(float("nan")).alias("rating"),
    )
    notes = time_note(ratings, ratings_path, "timestamp")
    if not (folder / "movies.csv").is_file():
        return SourceLog(folder, listens, notes=(*notes, f"{folder}: no movies.csv; titles and genres are unknown"))
    movies_path = folder / "movies.csv"
    movies = scan_csv(movies_path)
    need(movies, movies_path, ["movieId", "title", "genres"])
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32, strict=False)
    genres = pl.col("genres").str.split("|").list.filter(~pl.element().is_in(["", "(no genres listed)"]))
    tracks = movies.select(
        id_text(movies, movies_path, "movieId").alias("track_id"),
        pl.col("title").str.strip_chars(),
        genres.alias("genres"),
        pl.datetime(year, 1, 1).dt.epoch("s").alias("released_at"),
    )
    return SourceLog(folder, listens, tracks, notes=notes)
