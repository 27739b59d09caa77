"""Import of precomputed vectors (Parquet, CSV, TSV), and export of tracks, vectors and genres as Parquet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import DataError
from ...models.storage import replacing
from .store import Library
from .table_blocks import is_delimited_text, table_blocks


@dataclass(frozen=True)
class Imported:
    """What came in with a table of vectors."""

    tracks: int
    dimensions: int
    left_out: int
    """rows without a vector, or with a gap in it"""


def import_vectors(library: Library, path: Path, name: str) -> Imported:
    """Parquet of `track_id` (or `id`) and one list column, or `track_id` and numeric columns; the latter as text, too.

    Text is CSV or TSV with a header, perhaps compressed (.gz, .bz2). A row with a null, NaN or infinity, or with
    something that is not a number, is a track without a vector. Raises DataError naming file and column.
    """
    frame = _read(path)
    if "track_id" not in frame.columns and "id" in frame.columns:
        frame = frame.rename({"id": "track_id"})
    if "track_id" not in frame.columns:
        raise DataError(f"{path}: no column track_id among {', '.join(frame.columns)}")
    track_ids = frame["track_id"].cast(pl.String)
    if track_ids.null_count():
        raise DataError(f"{path}: {track_ids.null_count()} rows without track_id")
    if repeated := track_ids.filter(track_ids.is_duplicated()).unique().to_list():
        raise DataError(f"{path}: track_id {repeated[0]} occurs more than once")
    lists = [column for column, kind in frame.schema.items() if isinstance(kind, pl.List | pl.Array)]
    numbers = [column for column, kind in frame.schema.items() if kind.is_numeric() and column != "track_id"]
    if len(lists) == 1:
        vectors = _stacked(path, frame[lists[0]])
    elif not lists and numbers:
        vectors = frame.select(pl.col(numbers).cast(pl.Float32).fill_null(float("nan"))).to_numpy()
    else:
        found = ", ".join(f"{name} ({kind})" for name, kind in frame.schema.items())
        raise DataError(f"{path}: needs one list column or numeric columns beside track_id, has {found}")
    whole = np.isfinite(vectors).all(axis=1)
    if not vectors.size or not whole.any():
        raise DataError(f"{path}: no row has a vector without null, NaN or infinity")
    try:
        library.add_vectors(name, track_ids.filter(pl.Series(whole)).to_list(), vectors[whole], features=not lists)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Imported(int(whole.sum()), vectors.shape[1], int((~whole).sum()))


def _read(path: Path) -> pl.DataFrame:
    if is_delimited_text(path):
        separator = "," if ".csv" in path.suffixes else "\t"
        numbers = pl.all().exclude("track_id", "id").cast(pl.Float32, strict=False)
        return pl.concat([block.with_columns(numbers) for block in table_blocks(path, separator=separator)])
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from error


def _stacked(path: Path, column: pl.Series) -> np.ndarray:
    """[n, D], NaN where a row has no vector."""
    try:
        lists = column.drop_nulls().cast(pl.List(pl.Float32))
    except pl.exceptions.PolarsError:
        raise DataError(f"{path}: column {column.name}: {column.dtype}, but a vector has numbers") from None
    lengths = sorted(lists.list.len().unique())
    if len(lengths) > 1:
        raise DataError(f"{path}: column {column.name}: vectors of different lengths, {lengths[0]} and {lengths[1]}")
    vectors = np.full((len(column), *lengths), np.nan, np.float32)
    if len(lists):
        vectors[column.is_not_null().to_numpy()] = lists.list.to_array(lengths[0]).to_numpy()
    return vectors.reshape(len(column), -1)


def _file_name(name: str) -> str:
    """Characters that file names may not have are written %XX, as in URLs.

    >>> _file_name("hub:laion/clap")
    'hub%3Alaion%2Fclap'
    """
    return re.sub(r'[\x00-\x1f%/\\:*?"<>|]', lambda found: f"%{ord(found[0]):02X}", name)


def export(library: Library, folder: Path) -> dict[str, int]:
    """Writes tracks, embeddings, genres and imported vectors as Parquet files; rows by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks = library.tracks()
    tables = {"tracks": tracks}
    for name in library.vector_names():
        vectors = library.vectors(name)
        column = pl.Series("vector", list(vectors), dtype=pl.List(pl.Float32))
        known = tracks.select("track_id", column).filter(pl.Series(vectors.any(axis=1)))
        tables["embeddings" if name == "encoder" else f"vectors_{_file_name(name)}"] = known
        if name == "encoder":
            tables["genres"] = library.genre_table()
    for name, table in tables.items():
        with replacing(folder / f"{name}.parquet") as part:
            table.write_parquet(part)
    return {name: len(table) for name, table in tables.items()}
