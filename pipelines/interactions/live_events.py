"""The events of a service's users as a part of the listening log, for `crossfade train`.

The events become `listens/events.parquet`, written anew each time. A mark keeps how far they were read, so that the
service adds to a trained version only what came after it. Users who had their data deleted are deleted again, in case a
part of the log was imported since.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from ...errors import DataError, optional_module
from ...models.storage import replacing, write_json
from ..library.store import Library
from .schema import SourceLog, parts_of, read_listens, sink
from .user_deletion import forget

FILE_NAME = "events.db"
"""the event store in a library's folder"""
DATABASE_VARIABLE = "CROSSFADE_EVENTS_DATABASE"
"""environment: SQLAlchemy URL of the event store, where it is not in the library"""

_SOURCE = "events"
_MARK = "events.json"
_FIRST_POSITION = 1 << 40
"""where positions of events begin: behind those of imported logs, which have an order but no times"""
_SCHEMA = pl.Schema(
    {
        "sequence": pl.Int64(),
        "user_id": pl.String(),
        "track_id": pl.String(),
        "time": pl.Int64(),
        "played_ratio": pl.Float32(),
        "liked": pl.Int8(),
    }
)
_ROWS = 100_000


def take_events(library: Library, database: str | None = None) -> dict[str, int]:
    """Brings the log up to date with the event store; returns the numbers of `events` and of `deleted` rows.

    `database` is the store's URL; None means `events.db` in the library, if it is there.
    """
    file = library.folder / FILE_NAME
    if database is None and not file.exists():
        return {"events": 0, "deleted": 0}
    # A deletion at the same time waits for the lock, and then finds in the log the events that were read before.
    with library.rewriting(), _events(database, file) as db:
        forgotten = _forgotten(db)
        (store,) = db.execute("SELECT value FROM about WHERE key = 'store'").fetchone()
        (newest,) = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
        db.commit()
        count = _write(library, db, newest)
        write_json(library.listens_folder / _MARK, {"mark": f"{store}:{newest}"})
        return {"events": count, "deleted": forget(library, forgotten)}


def forgotten_in(library: Library, database: str | None = None) -> dict[str, int]:
    """Hash -> time of deletion of the users whose data are deleted; `database` as in `take_events`."""
    file = library.folder / FILE_NAME
    if database is None and not file.exists():
        return {}
    with _events(database, file) as db:
        return _forgotten(db)


def events_mark(library: Library) -> str | None:
    """Up to which event of which store the log goes; None without events."""
    try:
        return str(json.loads((library.listens_folder / _MARK).read_text())["mark"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{library.listens_folder / _MARK}: damaged ({error}); delete it and train again") from None


def listened_tracks(library: Library, database: str | None = None) -> frozenset[str]:
    """The track_ids that listens go by, those of events that were not trained on yet included."""
    found: set[str] = set()
    if parts_of(library):
        listens = read_listens(library).select("track_id").unique()
        found.update(listens.collect(engine="streaming")["track_id"])
    file = library.folder / FILE_NAME
    if database is not None or file.exists():
        with _events(database, file) as db:
            found.update(row[0] for row in db.execute("SELECT DISTINCT track_id FROM events").fetchall())
    return frozenset(found)


def listens_of(library: Library, user_id: str) -> Iterator[pl.DataFrame]:
    """The listener's rows of each part of the log. Reads all of it."""
    mine = pl.col("user_id") == user_id
    for part in parts_of(library):
        yield pl.scan_parquet(part, glob=False).filter(mine).collect(engine="streaming")


def _forgotten(db: Any) -> dict[str, int]:
    return dict(db.execute("SELECT user_hash, time FROM forgotten").fetchall())


def _write(library: Library, db: Any, newest: int) -> int:
    cursor = db.execute(f"SELECT {', '.join(_SCHEMA.names())} FROM events WHERE sequence <= {int(newest)}")
    batches = iter(lambda: cursor.fetchmany(_ROWS), [])
    tables = [pl.DataFrame([tuple(row) for row in rows], schema=_SCHEMA, orient="row") for rows in batches]
    table = pl.concat([pl.DataFrame(schema=_SCHEMA), *tables])
    library.listens_folder.mkdir(parents=True, exist_ok=True)
    file = library.listens_folder / f"{_SOURCE}.parquet"
    if table.is_empty():
        file.unlink(missing_ok=True)
        return 0
    order = pl.int_range(_FIRST_POSITION, _FIRST_POSITION + pl.len(), dtype=pl.Int64).alias("position")
    with replacing(file) as part:
        sink(SourceLog(Path(_SOURCE), table.sort("time", "sequence").with_columns(order).lazy()), part)
    return len(table)


@contextmanager
def _events(database: str | None, file: Path) -> Iterator[Any]:
    """A connection to the event store; no event with a number below the highest can come any more."""
    name = database or ""
    if not name.startswith(("postgresql", "postgres:")):
        path = Path(name.removeprefix("sqlite:///")) if name else file
        if not path.exists():
            raise DataError(f"{path}: no event store here")
        try:
            with closing(sqlite3.connect(path, timeout=60)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise DataError(f"{path}: not a Crossfade event store ({error})") from None
        return
    psycopg = optional_module("psycopg", "events in PostgreSQL", "serve")
    # The URL may hold a password: it is not echoed.
    try:
        with psycopg.connect("postgresql://" + name.partition("://")[2]) as connection:
            # Waits for those who are writing: numbers are given before they are seen.
            connection.execute("LOCK TABLE events IN SHARE MODE")
            yield connection
    except psycopg.Error as error:
        raise DataError(f"events: PostgreSQL says {type(error).__name__}: {' '.join(str(error).split())}") from None
