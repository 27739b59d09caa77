"""Brings a listening log into a library: its tracks, its vectors, and the listens themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import DataError, UsageError
from ...models.storage import content_hash
from ..library.store import Library
from .columns import reading
from .matching import Matches, match
from .options import ImportOptions
from .readers import delimited, lastfm, movielens, mpd, music4all_onion, yambda, yandex
from .schema import SourceLog, sink, writing
from .statistics import LogFigures, log_figures

READERS: Mapping[str, Callable[..., SourceLog]] = {
    "yandex": yandex.read,
    "yambda": yambda.read,
    "movielens": movielens.read,
    "lastfm": lastfm.read,
    "mpd": mpd.read,
    "music4all-onion": music4all_onion.read,
    "csv": delimited.read,
}
"""format -> reader of (path, scratch folder)"""


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
    matches: Matches | None = None

    def record(self) -> dict[str, Any]:
        names = ("catalogue_tracks", "vectors", "unknown_tracks", "dropped")
        row = {"source": self.source} | asdict(self.figures) | {name: getattr(self, name) for name in names}
        return row if self.matches is None else row | {"match": self.matches.record()}


def check(path: Path, options: ImportOptions) -> None:
    """Raises where there is no log at `path`, or options and format contradict each other."""
    if options.columns and options.format != "csv":
        raise UsageError(f"--columns: {options.format} has its own; only csv takes them")
    if options.out is not None and options.format != "yandex":
        raise UsageError(f"--out: {options.format} has no tables to write; only yandex does")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")


def import_log(library: Library, path: Path, options: ImportOptions) -> ImportSummary:
    """Reads the log at `path`; a second time it replaces what the first one brought."""
    check(path, options)
    source = options.source or source_name(path, options.format)
    with writing(library, source) as (part, scratch):
        with reading(path):
            arguments = (options.columns,) if options.format == "csv" else ()
            log = READERS[options.format](path, scratch, *arguments)
            tracks = _tracks(log)
        matches = None
        if options.match:
            matches = _match(library, path, tracks)
            log = _renamed(log, matches.pairs)
            tracks = tracks.join(matches.pairs, on="track_id", how="anti")
        known = _known(library, log, tracks)
        dropped = sink(log, part, known=known if options.known_only else None)
        listens = pl.scan_parquet(part, glob=False)
        played = listens.select(pl.col("track_id").unique()).collect(engine="streaming")
        unknown = played.join(known, on="track_id", how="anti")
        notes = log.notes
        if len(unknown):
            notes += (f"{path}: {len(unknown):,} tracks of the log are not described anywhere; kept without names",)
        library.add_tracks(tracks)
        library.add_tracks(played)
        vectors = _add_vectors(library, log, pl.concat([tracks.select("track_id"), played]).unique())
        if options.format == "yandex":
            with reading(path):
                yandex.write_tables(path, options.out or library.folder / "yandex")
        figures = log_figures(listens)
    return ImportSummary(source, figures, len(tracks), vectors, len(unknown), dropped, notes, matches)


def _match(library: Library, path: Path, tracks: pl.DataFrame) -> Matches:
    """Matches the source's tracks with those of the library that have other ids."""
    if "title" not in tracks.columns or "artists" not in tracks.columns:
        raise DataError(f"{path}: --match artist,title needs artists and titles, and the log has none")
    present = library.tracks()
    other_ids = tracks.join(present.filter(pl.col("path").is_not_null()), on="track_id", how="anti")
    return match(other_ids, present.join(tracks, on="track_id", how="anti"))


def _renamed(log: SourceLog, pairs: pl.DataFrame) -> SourceLog:
    """The log with the library's ids where a track was matched."""

    def rename(table: pl.LazyFrame) -> pl.LazyFrame:
        joined = table.join(pairs.lazy(), on="track_id", how="left", maintain_order="left")
        return joined.with_columns(track_id=pl.coalesce("library_track_id", "track_id")).drop("library_track_id")

    vectors = log.vectors and replace(log.vectors, table=rename(log.vectors.table))
    return replace(log, listens=rename(log.listens), vectors=vectors)


def _known(library: Library, log: SourceLog, tracks: pl.DataFrame) -> pl.DataFrame:
    """Ids of the tracks of which the source or the library has more than listens."""
    described = pl.DataFrame({"track_id": library.described_tracks()}, {"track_id": pl.String})
    parts = [tracks.select("track_id"), described]
    if log.vectors is not None:
        with reading(log.path):
            parts.append(log.vectors.table.select("track_id").collect(engine="streaming"))
    return pl.concat(parts).drop_nulls().unique()


def source_name(path: Path, format: str) -> str:
    """The same for the same path, different for another, and a plain file name."""
    stem = re.sub(r"[^a-z0-9]+", "-", path.resolve().stem.lower()).strip("-")[:40]
    digest = content_hash(os.fsencode(path.resolve()), "sha256")[:8]
    return f"{format}-{stem or 'log'}-{digest}"


def _tracks(log: SourceLog) -> pl.DataFrame:
    if log.tracks is None:
        return pl.DataFrame(schema={"track_id": pl.String()})
    tracks = log.tracks.filter(pl.col("track_id").is_not_null()).collect(engine="streaming")
    # The first value of each column that is not blank: a track may have several rows.
    blank = [pl.col(name).replace("", None) for name, kind in tracks.schema.items() if kind == pl.String]
    empty = [pl.when(pl.col(name).list.len() > 0).then(name) for name, kind in tracks.schema.items() if kind == pl.List]
    rows = tracks.with_columns(*blank, *empty).group_by("track_id", maintain_order=True)
    return rows.agg(pl.all().first(ignore_nulls=True))


def _add_vectors(library: Library, log: SourceLog, tracks: pl.DataFrame) -> int:
    if log.vectors is None:
        return 0
    count = 0
    for track_ids, vectors in log.vectors.batches(tracks):
        library.add_vectors(log.vectors.name, track_ids, vectors, features=log.vectors.features)
        count += len(track_ids)
    return count
