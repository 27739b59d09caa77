"""What a report is about: a library's tracks by name and genre, its listening log, its models; each read once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import DataError
from ...models.recommenders.registry import REGISTRY
from ..interactions.schema import read_listens
from ..interactions.statistics import LogStatistics, Period
from ..library.progress import Progress
from ..library.store import Library
from ..versions.model_version import ModelVersion

_OPTIONAL = {"group": pl.String, "against": pl.String, "better": pl.Boolean, "worse": pl.Boolean, "epoch": pl.Int64}


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    period: Period = field(default_factory=Period)
    top: int = 10
    """tracks to list inside each genre"""
    evaluation: Path | None = None
    """JSON lines of an evaluation; None looks for `evaluation.jsonl` in the library"""
    genre_model: Path | None = None
    """folder of a genre classifier of one's own, to be shown too"""


@dataclass(frozen=True, eq=False)
class ReportData:
    """A library, ready to be reported on."""

    library: Library
    options: ReportOptions
    tracks: pl.DataFrame
    """as `Library.tracks`, with `track_row`"""
    log: LogStatistics | None
    """None where there are no listens"""

    @classmethod
    def read(cls, library: Library, scratch: Path, options: ReportOptions, progress: Progress) -> ReportData:
        tracks = library.tracks().with_row_index("track_row").cast({"track_row": pl.Int32})
        try:
            listens = read_listens(library)
        except DataError:
            return cls(library, options, tracks, None)
        ids, durations = tracks.get_column("track_id"), tracks.get_column("duration_seconds")
        log = LogStatistics(listens, ids, scratch, period=options.period, duration_seconds=durations, progress=progress)
        return cls(library, options, tracks, log if log.filled["len"] else None)

    @cached_property
    def names(self) -> pl.DataFrame:
        """track_row, track_id, title, artist of every track; those that only the log has are called by their ids."""
        ids = self.tracks.get_column("track_id") if self.log is None else self.log.track_ids
        titles = self.tracks.select("track_id", "title", artist=pl.col("artists").list.join(", "))
        rows = ids.to_frame().with_row_index("track_row").cast({"track_row": pl.Int32})
        return rows.join(titles, on="track_id", how="left", maintain_order="left").with_columns(
            pl.col("title").fill_null(pl.col("track_id")), pl.col("artist").fill_null("")
        )

    def named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of a table with `track_row`, in their order, with track_id, title and artist."""
        return frame.join(self.names, on="track_row", how="left", maintain_order="left")

    @cached_property
    def genre_probabilities(self) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], list[str]]:
        """([T, G], the names of the G genres), empty where no audio was analysed."""
        if "encoder" not in self.library.vector_names():
            return np.zeros((0, 0), np.float32), []
        catalogue = self.library.catalogue("encoder")
        return catalogue.genre_probabilities, list(catalogue.genre_names)

    @cached_property
    def predicted_genres(self) -> pl.DataFrame:
        """track_row, heard (the most probable genre), probability: of tracks whose audio was analysed."""
        probabilities, names = self.genre_probabilities
        rows = np.flatnonzero(probabilities.any(axis=1))
        best = probabilities[rows].argmax(axis=1) if len(rows) else rows
        columns = {"track_row": rows, "heard": [names[k] for k in best], "probability": probabilities[rows, best]}
        return pl.DataFrame(columns, {"track_row": pl.Int32, "heard": pl.String, "probability": pl.Float64})

    @cached_property
    def labels(self) -> pl.DataFrame:
        """track_row, label, heard, probability: a track's first genre label and the most probable genre."""
        labels = self.tracks.select("track_row", label=pl.col("genres").list.first()).drop_nulls()
        return labels.join(self.predicted_genres, on="track_row", maintain_order="left")

    @property
    def known_labels(self) -> pl.DataFrame:
        """`labels` that the classifier has a genre of the same name for, and `agrees`: whether that is predicted."""
        lower = pl.col("label").str.to_lowercase()
        return self.labels.filter(lower.is_in(self.genre_probabilities[1])).with_columns(
            agrees=lower == pl.col("heard")
        )

    @cached_property
    def genres(self) -> pl.DataFrame:
        """track_row, genre: one row per label of a track; the predicted genre where the catalogue has none."""
        labelled = (
            self.tracks.select("track_row", genre="genres")
            .explode("genre", empty_as_null=True)
            .drop_nulls()
            .unique(maintain_order=True)
        )
        predicted = self.predicted_genres.select("track_row", genre="heard")
        return pl.concat([labelled, predicted.join(labelled, on="track_row", how="anti", maintain_order="left")])

    @cached_property
    def artists(self) -> pl.DataFrame:
        """track_row, artist: one row per artist of a track."""
        named = self.tracks.select("track_row", artist="artists").explode("artist", empty_as_null=True)
        return named.filter(pl.col("artist") != "").unique(maintain_order=True)

    @property
    def kind(self) -> str:
        """What tracks are grouped by: genre or, where no genre is known, artist."""
        return "genre" if len(self.genres) else "artist"

    @property
    def kinds(self) -> pl.DataFrame:
        """`genres` or `artists`, after `kind`."""
        return self.genres if len(self.genres) else self.artists

    @cached_property
    def trained(self) -> ModelVersion:
        """The version in use; LibraryError where none is trained, ImportError where it cannot be loaded here."""
        return ModelVersion.load(self.library)

    @cached_property
    def evaluation(self) -> pl.DataFrame | None:
        """model, slice, metric, k, value, low, high and the columns of _OPTIONAL; None without an evaluation."""
        file = self.options.evaluation or self.library.folder / "evaluation.jsonl"
        if not file.is_file():
            return None
        try:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
            # An evaluation writes model by model.
            models = {name: place for place, name in enumerate(REGISTRY)}
            slices = list(dict.fromkeys(row.get("slice") for row in rows))
            rows.sort(key=lambda row: (slices.index(row.get("slice")), models.get(row.get("model"), len(models))))
            frame = pl.DataFrame(rows, infer_schema_length=None)
            missing = [pl.lit(None).alias(name) for name in _OPTIONAL if name not in frame.columns]
            return frame.with_columns(missing).select(
                pl.col("model", "slice", "metric").cast(pl.String),
                pl.col("k").cast(pl.Int64),
                pl.col("value", "low", "high").cast(pl.Float64),
                *(pl.col(name).cast(kind) for name, kind in _OPTIONAL.items()),
            )
        except (ValueError, pl.exceptions.PolarsError) as error:
            why = str(error).splitlines()[0]
            raise DataError(f"{file}: not what `crossfade evaluate --out` writes: {why}") from None
