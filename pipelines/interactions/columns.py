"""Columns of other people's tables: found or refused by name, and brought to one type.

Ids are text everywhere: 1, 1.0, "1" and "1.0" are the same id, because a column of integers with one gap in it comes
out of many tools as 1.0. Times are whole seconds since 1970 whatever the table counts in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from ...errors import DataError

_TIME_UNITS = ((10**17, 10**9, "nanoseconds"), (10**14, 10**6, "microseconds"), (10**11, 10**3, "milliseconds"))
"""(from this number on, how many make a second, name): 1e11 is the year 5138 in seconds and 1973 in milliseconds"""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns what polars and the operating system say about a file into one DataError line that names it."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise DataError(f"{path}: no such file or folder") from error
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "utf-8" in why.lower() or "utf8" in why.lower():
            why = "not UTF-8 text; iconv -f LATIN1 -t UTF-8 makes it that"
        if path.suffix == ".parquet":
            why = f"not a whole Parquet file ({why}); fetch or copy it again"
        raise DataError(f"{path}: {why}") from error


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file, read lazily; its footer is read now, so that a file that was cut short is refused now."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with naming(path):
        pl.read_parquet_schema(path)
        return pl.scan_parquet(path, glob=False)


def scan_csv(path: Path, *, separator: str = ",", quote: str | None = '"') -> pl.LazyFrame:
    """A delimited text file with a header, read lazily, every column as text."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with naming(path):
        frame = pl.scan_csv(
            path, separator=separator, quote_char=quote, infer_schema=False, encoding="utf8", glob=False
        )
        frame.collect_schema()
        return frame


def find(folder: Path, *names: str) -> Path:
    """The first of these files that is in the folder."""
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    raise DataError(f"{folder}: no {' or '.join(names)} in it, but {listed(there) or 'nothing'}")


def need(frame: pl.LazyFrame, path: Path, columns: Iterable[str]) -> None:
    """Refuses a table that lacks one of these columns, naming those it has."""
    found = frame.collect_schema().names()
    missing = [name for name in columns if name not in found]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)} among {listed(found)}")


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names with commas, the end of a long list cut off."""
    return ", ".join(names[:most]) + (f" … ({len(names)} in all)" if len(names) > most else "")


_DATE_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_SAMPLE_ROWS = 10_000

UNREADABLE_TIME = -(2**63)
"""stands for a time that is there but cannot be read"""


def id_text(frame: pl.LazyFrame, path: os.PathLike[str], column: str) -> pl.Expr:
    """The column as external ids; null where there is none."""
    dtype = frame.collect_schema()[column]
    value = pl.col(column)
    if dtype.is_integer():
        return value.cast(pl.String)
    if dtype.is_float():
        whole = (value == value.floor()) & (value.abs() < 2**53)
        return (
            pl.when(whole)
            .then(value.cast(pl.Int64, strict=False).cast(pl.String))
            .when(value.is_not_nan())
            .then(value.cast(pl.String))
        )
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        text = value.cast(pl.String).str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")
        return pl.when(text != "").then(text)
    raise DataError(f"{path}: column {column} holds {dtype}, which cannot be an id")


def number(frame: pl.LazyFrame, path: os.PathLike[str], column: str) -> pl.Expr:
    """The column as float64; NaN where there is something that is not a number, null where there is nothing."""
    dtype = frame.collect_schema()[column]
    value = pl.col(column)
    if dtype.is_numeric() or dtype == pl.Boolean:
        return value.cast(pl.Float64)
    if dtype == pl.String:
        text = value.str.strip_chars()
        filled = pl.when(text != "").then(text)
        return filled.cast(pl.Float64, strict=False).fill_null(pl.when(filled.is_not_null()).then(float("nan")))
    raise DataError(f"{path}: column {column} holds {dtype}, which cannot be a number")


def seconds(frame: pl.LazyFrame, path: os.PathLike[str], column: str) -> pl.Expr:
    """The column as whole seconds since 1970, null where there is no time.

    Numbers count seconds, or by their size milli-, micro- or nanoseconds; text is such a number or an ISO date, and
    UNREADABLE_TIME where it is neither.
    """
    dtype = frame.collect_schema()[column]
    value = pl.col(column)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return value.cast(pl.Datetime("us")).dt.epoch("s")
    if dtype.is_integer():
        return _by_size(value.cast(pl.Int64))
    if dtype.is_float():
        return _by_size(value.cast(pl.Int64, strict=False))
    if dtype == pl.String:
        text = value.str.strip_chars()
        text = pl.when(text != "").then(text)
        counted = _by_size(text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False))
        # Dates are looked for only where the first rows have some: in numbers that would take most of the time.
        with naming(Path(path)):
            dated = frame.head(_SAMPLE_ROWS).select((text.is_not_null() & counted.is_null()).any()).collect().item()
        date = text.str.replace(r"^(\S{10})[Tt]", "$1 ").str.replace(r"(?i)\s*(Z|UTC|GMT)$", "")
        dates = [date.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _DATE_FORMS]
        found = pl.coalesce(counted, *(parsed.dt.epoch("s") for parsed in dates)) if dated else counted
        return found.fill_null(pl.when(text.is_not_null()).then(UNREADABLE_TIME))
    raise DataError(f"{path}: column {column} holds {dtype}, which cannot be a time")


def time_note(frame: pl.LazyFrame, path: Path, column: str) -> tuple[str, ...]:
    """What to tell about the unit of a time column: nothing where it counts seconds."""
    dtype = frame.collect_schema()[column]
    if not (dtype.is_numeric() or dtype == pl.String):
        return ()
    with naming(path):
        found = frame.select(pl.col(column).cast(pl.Float64, strict=False).max()).collect(engine="streaming").item()
    for least, _, unit in _TIME_UNITS:
        if found is not None and found >= least:
            return (f"{path}: column {column} counts {unit}; taken as seconds",)
    return ()


def _by_size(value: pl.Expr) -> pl.Expr:
    result = value
    for least, per_second, _ in reversed(_TIME_UNITS):
        result = pl.when(value.abs() >= least).then(value // per_second).otherwise(result)
    return result
