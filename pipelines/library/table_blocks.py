"""Delimited text, plain or compressed (gzip, bzip2), as data frames of some rows each: tables larger than memory."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import polars as pl

from ...errors import DataError

BLOCK_BYTES = 1 << 26
_OPENERS: dict[str, Callable[[Path, str], Any]] = {".gz": gzip.open, ".bz2": bz2.open}


def is_delimited_text(path: Path) -> bool:
    """Whether the file is called so: .csv or .tsv, perhaps with .gz or .bz2 behind it."""
    name = path.with_suffix("") if path.suffix.lower() in _OPENERS else path
    return name.suffix.lower() in (".csv", ".tsv")


def table_blocks(path: Path, *, separator: str = "\t", block_bytes: int = BLOCK_BYTES) -> Iterator[pl.DataFrame]:
    """The rows of a table with a header, all columns as text; at least one frame. DataError names a damaged file."""
    columns: list[str] | None = None
    try:
        with _opened(path) as file:
            rest = b""
            while block := file.read(block_bytes):
                whole, newline, rest = (rest + block).rpartition(b"\n")
                if newline:
                    frame = _frame(whole, separator, columns)
                    columns = frame.columns
                    yield frame
            if rest or columns is None:
                yield _frame(rest, separator, columns)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else "it is empty"
        raise DataError(f"{path}: not a whole table of text ({why}); fetch or copy it again") from error


def _frame(text: bytes, separator: str, columns: list[str] | None) -> pl.DataFrame:
    return pl.read_csv(
        BytesIO(text), has_header=columns is None, new_columns=columns, separator=separator, infer_schema=False
    )


def _opened(path: Path) -> IO[bytes]:
    opener = _OPENERS.get(path.suffix.lower())
    opened: IO[bytes] = path.open("rb") if opener is None else opener(path, "rb")
    return opened
