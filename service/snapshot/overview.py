"""What a library holds, in numbers: its tracks, what is known of them, and how much of it is listened to."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from ...models.encoders.transformers import PREFIX
from ...pipelines.interactions.schema import parts_of, read_listens
from ...pipelines.library.store import Library

TEMPO_BIN = 10
"""beats per minute"""
_FASTEST = 300

Value = TypeVar("Value")


@dataclass(frozen=True)
class Overview:
    tracks: int
    with_file: int
    analyzed: int
    genres: dict[str, int]
    """likeliest genre -> tracks, most first"""
    tempos: dict[int, int]
    """beats per minute, from this on to the next -> tracks"""
    encoder: str | None
    finds_text: bool
    """whether some tracks have vectors of a model that may embed text, too"""


@dataclass(frozen=True)
class Coverage:
    listens: int
    users: int
    tracks: int
    """of the log"""
    tracks_in_library: int
    """of these, those that the library has"""
    first_day: str | None
    last_day: str | None
    sources: dict[str, int]
    """source -> rows of the log"""


class Cached(Generic[Value]):
    """A value that is made again when its key is another one; one is made at a time."""

    def __init__(self) -> None:
        self._lock, self._key, self._value = Lock(), None, None  # type: tuple[Lock, Hashable, Value | None]

    def of(self, key: Hashable, make: Callable[[], Value]) -> Value:
        with self._lock:
            if self._value is None or key != self._key:
                self._value, self._key = make(), key
            return self._value


def overview(library: Library) -> Overview:
    summaries = library.summaries()
    table, tempos = library.genre_table(), library.loudness_and_tempo()["tempo_bpm"].drop_nulls()
    genres: dict[str, int] = {}
    if len(table):
        likeliest = table.drop("track_id").fill_null(-1).to_numpy().argmax(axis=1)
        counted = np.bincount(likeliest, minlength=table.width - 1).tolist()
        genres = {name: count for name, count in zip(table.columns[1:], counted, strict=True) if count}
    bins = (tempos.clip(0, _FASTEST) // TEMPO_BIN * TEMPO_BIN).cast(pl.Int64).value_counts().sort("tempo_bpm")
    return Overview(
        len(summaries),
        sum(one.has_audio for one in summaries.values()),
        len(table),
        dict(sorted(genres.items(), key=lambda pair: (-pair[1], pair[0]))),
        dict(bins.iter_rows()),
        library.about("encoder"),
        any(name.startswith(PREFIX) for name in library.vector_names()),
    )


def coverage(library: Library) -> Coverage:
    """Reads the whole log."""
    sources = {
        part.stem: int(pl.scan_parquet(part, glob=False).select(pl.len()).collect().item())
        for part in parts_of(library)
    }
    if not sources:
        return Coverage(0, 0, 0, 0, None, None, {})
    log, time = read_listens(library), pl.col("time")
    first, last = log.select(first=time.min(), last=time.max()).collect(engine="streaming").row(0)
    users, played = (log.select(name).unique().collect(engine="streaming")[name] for name in ("user_id", "track_id"))
    known = int(played.is_in(pl.Series(library.track_ids(), dtype=pl.String).implode()).sum())
    return Coverage(sum(sources.values()), len(users), len(played), known, _day(first), _day(last), sources)


def log_state(library: Library) -> tuple[tuple[str, int, int], ...]:
    """Another one when the log is."""
    return tuple((part.name, (status := part.stat()).st_size, status.st_mtime_ns) for part in parts_of(library))


def _day(seconds: int | None) -> str | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
