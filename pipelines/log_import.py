"""Brings a listening log into a library: its tracks, its vectors, and the listens themselves."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ..audio.errors import DataError, UsageError
from . import delimited_log, movielens_log, mpd_log
from .library import Library
from .listening_log import SourceLog, sink, writing
from .log_columns import naming
from .log_figures import LogFigures, log_figures

READERS: Mapping[str, Callable[[Path, Path], SourceLog]] = {
    "movielens": movielens_log.read,
    "mpd": mpd_log.read,
    "csv": delimited_log.read,
}
"""format -> reader of (path, scratch folder)"""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How to read a log."""

    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """csv: our columns -> theirs"""
    match: bool = False
    """join by artist and title where ids do not"""
    known_only: bool = False
    """drop listens of tracks that nothing else is known of"""
    source: str | None = None
    """name of this part of the log; None makes one of the format and the path"""
    out: Path | None = None
    """yandex: where its tables go; None is a folder of the library"""


@dataclass(frozen=True)
class ImportSummary:
    """What came in, what did not, and why."""

    source: str
    figures: LogFigures
    catalogue_tracks: int
    """tracks that the source describes"""
    vectors: int
    unknown_tracks: int
    """tracks in the log that neither the source nor the library describes"""
    dropped: dict[str, int]
    notes: tuple[str, ...] = ()
    matched: dict[str, int] | None = None

    def record(self) -> dict[str, Any]:
        fields = {
            "source": self.source,
            **self.figures.record(),
            "catalogue_tracks": self.catalogue_tracks,
            "vectors": self.vectors,
            "unknown_tracks": self.unknown_tracks,
            "dropped": self.dropped,
        }
        return fields if self.matched is None else {**fields, "matched": self.matched}


def import_log(library: Library, path: Path, options: ImportOptions) -> ImportSummary:
    """Reads the log at `path`; a second time it replaces what the first one brought."""
    if options.columns and options.format != "csv":
        raise UsageError(f"--columns: {options.format} has its own; only csv takes them")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    source = options.source or source_name(path, options.format)
    with writing(library, source) as (part, scratch):
        if options.format == "csv":
            log = delimited_log.read(path, scratch, options.columns)
        else:
            log = READERS[options.format](path, scratch)
        with naming(path):
            tracks = _tracks(log)
        dropped = sink(log, part)
        listens = pl.scan_parquet(part, glob=False)
        heard = listens.select(pl.col("track_id").unique()).collect(engine="streaming")
        known = pl.concat(
            [tracks.select("track_id"), pl.DataFrame({"track_id": library.track_ids()}, {"track_id": pl.String})]
        )
        unknown = heard.join(known, on="track_id", how="anti")
        notes = log.notes
        library.add_tracks(tracks)
        if len(unknown):
            library.add_tracks(unknown)
            notes += (f"{path}: {len(unknown):,} tracks of the log are not described anywhere; kept without names",)
        vectors = _add_vectors(library, log, pl.concat([tracks.select("track_id"), unknown]))
        figures = log_figures(listens)
    return ImportSummary(source, figures, len(tracks), vectors, len(unknown), dropped, notes)


def source_name(path: Path, format: str) -> str:
    """The same for the same path, different for another, and a plain file name."""
    stem = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")[:40]
    digest = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]
    return f"{format}-{stem or 'log'}-{digest}"


def _tracks(log: SourceLog) -> pl.DataFrame:
    if log.tracks is None:
        return pl.DataFrame(schema={"track_id": pl.String()})
    tracks = log.tracks.filter(pl.col("track_id").is_not_null()).collect(engine="streaming")
    return tracks.unique("track_id", keep="first", maintain_order=True)


def _add_vectors(library: Library, log: SourceLog, wanted: pl.DataFrame) -> int:
    if log.vectors is None:
        return 0
    count = 0
    for track_ids, vectors in log.vectors.batches(wanted):
        library.add_vectors(log.vectors.name, track_ids, vectors)
        count += len(track_ids)
    return count
