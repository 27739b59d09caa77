"""What a report is about: a library's tracks by name and genre, and the exploration of its log, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import DataError
from ..interactions.schema import read_listens
from ..interactions.statistics import Exploration, Period, Progress
from ..library.store import Library


@dataclass(frozen=True, eq=False)
class Subject:
    """A library, ready to be reported on."""

    library: Library
    tracks: pl.DataFrame
    """as `Library.tracks`, with `track_row`"""
    log: Exploration | None
    """None where there are no listens"""
    top: int = 10

    @classmethod
    def read(cls, library: Library, scratch: Path, *, period: Period, top: int, progress: Progress) -> Subject:
        tracks = library.tracks().with_row_index("track_row").with_columns(pl.col("track_row").cast(pl.Int32))
        try:
            listens = read_listens(library)
        except DataError:
            return cls(library, tracks, None, top)
        log = Exploration(
            listens,
            tracks.get_column("track_id"),
            scratch,
            period=period,
            duration_seconds=tracks.get_column("duration_seconds"),
            progress=progress,
        )
        return cls(library, tracks, log if log.filled["len"] else None, top)

    @cached_property
    def names(self) -> pl.DataFrame:
        """track_row, track_id, title, artist: of every track, those that only the log knows by their ids."""
        if self.log is None or len(self.log.track_ids) == len(self.tracks):
            ids = self.tracks.select("track_row", "track_id")
        else:
            ids = (
                self.log.track_ids.to_frame()
                .with_row_index("track_row")
                .with_columns(pl.col("track_row").cast(pl.Int32))
            )
        told = self.tracks.select("track_id", "title", artist=pl.col("artists").list.join(", "))
        return ids.join(told, on="track_id", how="left").select(
            "track_row", "track_id", pl.col("title").fill_null(pl.col("track_id")), pl.col("artist").fill_null("")
        )

    @cached_property
    def has_labels(self) -> bool:
        """Whether the catalogue itself names genres."""
        return bool(self.tracks.get_column("genres").list.len().sum())

    @cached_property
    def heard_genres(self) -> pl.DataFrame:
        """track_row, heard (the most probable genre), probability: of tracks whose audio was heard."""
        probabilities, names = self.genre_probabilities
        rows = np.flatnonzero(probabilities.sum(axis=1) > 0) if probabilities.size else np.zeros(0, np.int64)
        best = probabilities[rows].argmax(axis=1) if len(rows) else np.zeros(0, np.int64)
        return pl.DataFrame(
            {
                "track_row": rows.astype(np.int32),
                "heard": [names[k] for k in best],
                "probability": probabilities[rows, best].astype(np.float64) if len(rows) else np.zeros(0),
            },
            schema={"track_row": pl.Int32, "heard": pl.String, "probability": pl.Float64},
        )

    @cached_property
    def genre_probabilities(self) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], list[str]]:
        """([T, G], the names of the G genres), empty where nothing was heard."""
        if "encoder" not in self.library.vector_names():
            return np.zeros((0, 0), np.float32), []
        catalogue = self.library.catalogue("encoder")
        return catalogue.genre_probabilities, list(catalogue.genre_names)

    @cached_property
    def genres(self) -> pl.DataFrame:
        """track_row, genre: one row per label of a track; what was heard stands in where the catalogue has none."""
        labelled = (
            self.tracks.select("track_row", genre="genres")
            .explode("genre", empty_as_null=True)
            .drop_nulls()
            .unique(maintain_order=True)
        )
        heard = self.heard_genres.select("track_row", genre="heard").join(labelled, on="track_row", how="anti")
        return pl.concat([labelled, heard])

    @cached_property
    def artists(self) -> pl.DataFrame:
        """track_row, artist: one row per artist of a track."""
        named = self.tracks.select("track_row", artist="artists").explode("artist", empty_as_null=True)
        return named.filter(pl.col("artist") != "").unique(maintain_order=True)

    @property
    def kind(self) -> str:
        """By what tracks are told apart: genre or, where no genre is known, artist."""
        return "genre" if len(self.genres) else "artist"

    @property
    def kinds(self) -> pl.DataFrame:
        """`genres` or `artists`, after `kind`."""
        return self.genres if len(self.genres) else self.artists
