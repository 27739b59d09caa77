"""Columns of other people's tables: found or refused by name, and brought to one type.

Ids are text everywhere: 1, 1.0, "1" and "1.0" are the same id, because a column of integers with one gap in it comes
out of many tools as 1.0. Times are whole seconds since 1970 whatever the table counts in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import polars as pl

from ...errors import DataError

_TIME_UNITS = ((10**17, 10**9, "nanoseconds"), (10**14, 10**6, "microseconds"), (10**11, 10**3, "milliseconds"))
"""(from this number on, how many make a second, name): 1e11 is the year 5138 in seconds and 1973 in milliseconds"""
_DATE_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_SAMPLE_ROWS = 10_000

UNREADABLE_TIME = -(2**63)
"""stands for a time that is there but cannot be read"""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns an error of polars or the operating system about a file into a DataError of one line that names it."""
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


def find(path: Path, name: str) -> Path:
    """The file of this name in the folder, or in the folder of the file `path`."""
    folder = path.parent if path.is_file() else path
    if not folder.exists():
        raise DataError(f"{folder}: no such file or folder")
    if not (folder / name).is_file():
        raise DataError(f"{folder}: no {name} in it, but {listed(sorted(entry.name for entry in folder.iterdir()))}")
    return folder / name


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names with commas, the end of a long list cut off."""
    return (", ".join(names[:most]) or "nothing") + (f" … ({len(names)} in all)" if len(names) > most else "")


@dataclass(frozen=True)
class SourceTable:
    """A table that is read lazily, and its columns as expressions of one type; DataError where they cannot be that."""

    path: Path
    """for error messages"""
    frame: pl.LazyFrame

    @classmethod
    def parquet(cls, path: Path, *columns: str) -> Self:
        """A Parquet file with at least these columns; its footer is read now, so that a truncated file fails now."""
        with reading(path):
            frame = pl.scan_parquet(path, glob=False)
            frame.collect_schema()
            return cls(path, frame).require(*columns)

    @classmethod
    def csv(cls, path: Path, *columns: str, separator: str = ",", quote: str | None = '"') -> Self:
        """A delimited text file with a header of at least these columns, every column as text."""
        with reading(path):
            frame = pl.scan_csv(
                path, separator=separator, quote_char=quote, infer_schema=False, encoding="utf8", glob=False
            )
            return cls(path, frame).require(*columns)

    @cached_property
    def schema(self) -> pl.Schema:
        return self.frame.collect_schema()

    def require(self, *columns: str) -> Self:
        """The table itself; DataError names the columns that it lacks and those that it has."""
        if missing := [name for name in columns if name not in self.schema]:
            raise DataError(f"{self.path}: no column {', '.join(missing)} among {listed(self.schema.names())}")
        return self

    def select(self, **columns: pl.Expr | str) -> pl.LazyFrame:
        """The named columns."""
        return self.frame.select(**columns)

    def id(self, column: str) -> pl.Expr:
        """The column as external ids; null where there is none."""
        dtype, value = self.schema[column], pl.col(column)
        if dtype.is_integer():
            return value.cast(pl.String)
        if dtype.is_float():
            whole = (value == value.floor()) & (value.abs() < 2**53)
            text = pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String))
            return text.when(value.is_not_nan()).then(value.cast(pl.String))
        if dtype in (pl.String, pl.Categorical, pl.Enum):
            return _filled(value.cast(pl.String).str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1"))
        raise self._unusable(column, "an id")

    def number(self, column: str) -> pl.Expr:
        """The column as float64; NaN where there is something that is not a number, null where there is nothing."""
        dtype, value = self.schema[column], pl.col(column)
        if dtype.is_numeric() or dtype == pl.Boolean:
            return value.cast(pl.Float64)
        if dtype == pl.String:
            text = _filled(value.str.strip_chars())
            return text.cast(pl.Float64, strict=False).fill_null(pl.when(text.is_not_null()).then(float("nan")))
        raise self._unusable(column, "a number")

    def seconds(self, column: str) -> pl.Expr:
        """The column as whole seconds since 1970, null where there is no time.

        Numbers count seconds, or by their size milli-, micro- or nanoseconds; text is such a number or an ISO date, and
        UNREADABLE_TIME where it is neither.
        """
        dtype, value = self.schema[column], pl.col(column)
        if dtype == pl.Date or isinstance(dtype, pl.Datetime):
            return value.cast(pl.Datetime("us")).dt.epoch("s")
        if dtype.is_numeric():
            return _by_size(value.cast(pl.Int64, strict=False))
        if dtype != pl.String:
            raise self._unusable(column, "a time")
        text = _filled(value.str.strip_chars())
        time = _by_size(text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False))
        # Dates are looked for only where the first rows have some: in numbers that would take most of the time.
        with reading(self.path):
            dated = self.frame.head(_SAMPLE_ROWS).select((text.is_not_null() & time.is_null()).any()).collect().item()
        if dated:
            date = text.str.replace(r"^(\S{10})[Tt]", "$1 ").str.replace(r"(?i)\s*(Z|UTC|GMT)$", "")
            dates = [date.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in _DATE_FORMS]
            time = pl.coalesce(time, *(parsed.dt.epoch("s") for parsed in dates))
        return time.fill_null(pl.when(text.is_not_null()).then(UNREADABLE_TIME))

    def time_note(self, column: str) -> tuple[str, ...]:
        """A note on the unit of a time column, for a person; none where it counts seconds."""
        if not (self.schema[column].is_numeric() or self.schema[column] == pl.String):
            return ()
        largest = pl.col(column).cast(pl.Float64, strict=False).max()
        with reading(self.path):
            newest = self.frame.select(largest).collect(engine="streaming").item()
        for least, _, unit in _TIME_UNITS:
            if newest is not None and newest >= least:
                return (f"{self.path}: column {column} counts {unit}; taken as seconds",)
        return ()

    def _unusable(self, column: str, kind: str) -> DataError:
        return DataError(f"{self.path}: column {column} holds {self.schema[column]}, which cannot be {kind}")


def _filled(text: pl.Expr) -> pl.Expr:
    return pl.when(text != "").then(text)


def _by_size(value: pl.Expr) -> pl.Expr:
    result = value
    for least, per_second, _ in reversed(_TIME_UNITS):
        result = pl.when(value.abs() >= least).then(value // per_second).otherwise(result)
    return result
