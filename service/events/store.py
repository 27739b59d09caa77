"""The event store: what listeners did, kept durably the moment it is acknowledged.

SQLAlchemy Core over SQLite (WAL, synchronous FULL) or PostgreSQL. An event is written once however often it is sent:
its `event_id` decides. Listeners who had their data deleted are remembered as hashes, so that what a model learned of
them before is left out until it is trained again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    exists,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from ...errors import LibraryError, UsageError
from ...pipelines.interactions.user_deletion import user_hash
from ...pipelines.library.store import Library

_METADATA = MetaData()
_EVENTS = Table(
    "events",
    _METADATA,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False, unique=True),
    Column("user_id", String, nullable=False),
    Column("track_id", String, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("played_ratio", Float),
    Column("liked", SmallInteger),
    Index("events_by_user", "user_id", "time", "sequence"),
    # A number is never given twice, so that "after this one" keeps its meaning when events are deleted.
    sqlite_autoincrement=True,
)
_FORGOTTEN = Table(
    "forgotten", _METADATA, Column("user_hash", String, primary_key=True), Column("time", BigInteger, nullable=False)
)
_ABOUT = Table("about", _METADATA, Column("key", String, primary_key=True), Column("value", String, nullable=False))
"""`store`: a name of its own, so that marks of another store are not taken for its own"""
_FIELDS = ("event_id", "user_id", "track_id", "time", "played_ratio", "liked")
_COLUMNS = [_EVENTS.c[name] for name in _FIELDS]
_NEWEST_FIRST = (_EVENTS.c.time.desc(), _EVENTS.c.sequence.desc())
_LATEST = 2**63 - 1
_PAGE = 1000
# Made once: SQLAlchemy takes longer to make and compare a statement than SQLite to answer it.
_RECENT = (
    select(*_COLUMNS)
    .where(_EVENTS.c.user_id == bindparam("user"), _EVENTS.c.sequence > bindparam("start"))
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("k"))
)
_PAGES = (
    select(_EVENTS.c.sequence, *_COLUMNS)
    .where(
        _EVENTS.c.user_id == bindparam("user"),
        tuple_(_EVENTS.c.time, _EVENTS.c.sequence)
        < tuple_(bindparam("time", type_=BigInteger), bindparam("sequence", type_=BigInteger)),
    )
    .order_by(*_NEWEST_FIRST)
    .limit(_PAGE)
)
# Most listeners did nothing since the training: one query suffices.
_STATE = select(
    select(_FORGOTTEN.c.time).where(_FORGOTTEN.c.user_hash == bindparam("hash")).scalar_subquery(),
    exists().where(_EVENTS.c.user_id == bindparam("user"), _EVENTS.c.sequence > bindparam("start")),
)


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """One thing a listener did."""

    event_id: str
    user_id: str
    track_id: str
    time: int
    """seconds since 1970"""
    played_ratio: float | None = None
    liked: int | None = None
    """1 liked, -1 disliked, 0 took it back"""

    def repeats(self, other: StoredEvent) -> bool:
        """Whether it is the same but for the time: an event that is sent again without one is given another."""
        return replace(self, time=other.time) == other


@dataclass(frozen=True)
class Receipt:
    """What became of a batch."""

    accepted: int
    duplicates: int
    conflicts: list[str] = field(default_factory=list)
    """event ids that are taken by a different event, which stays as it was"""


@dataclass(frozen=True)
class RecentEvents:
    """A listener's newest events, newest first."""

    events: tuple[StoredEvent, ...]
    forgotten_at: int | None = None
    """seconds since 1970: what was learned of the listener before then does not count"""


class EventStore:
    """Thread-safe; every write is on disk before the call returns."""

    def __init__(self, url: str, *, library: Path | None = None) -> None:
        """UsageError for a URL that no store can be at; the database is opened, and its tables made, when it is needed.

        `library` is a folder in which a library has to be before that: LibraryError until then.
        """
        self._engine = _engine(url)
        self._library = library
        self._name: str | None = None
        # SQLite has one writer at a time: waiting in line here is fairer than its polling.
        self._write_lock = Lock()
        self._insert: Any = (sqlite if self.kind == "sqlite" else postgresql).insert

    def close(self) -> None:
        self._engine.dispose()

    @property
    def kind(self) -> str:
        return self._engine.dialect.name

    def add(self, events: Sequence[StoredEvent]) -> Receipt:
        """All of them or, where this raises, none."""
        # Of equal ids the first one counts.
        unique = {one.event_id: one for one in reversed(events)}
        insert = self._insert(_EVENTS).on_conflict_do_nothing(index_elements=["event_id"])
        with self._writing() as connection:
            # Several services may share the database: new is what the insert returns.
            rows = [vars(one) for one in reversed(unique.values())]
            new = len(connection.execute(insert.returning(_EVENTS.c.event_id), rows).all()) if rows else 0
            found = connection.execute(select(*_COLUMNS).where(_EVENTS.c.event_id.in_(unique))).mappings()
            stored = {row["event_id"]: StoredEvent(**row) for row in found}
        conflicts = (one.event_id for one in events if not one.repeats(stored.get(one.event_id, one)))
        return Receipt(new, len(events) - new, list(dict.fromkeys(conflicts)))

    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents:
        """The k newest events of a listener; `after` leaves out those that a training has used (`live_events`)."""
        engine = self._opened()
        store, _, number = (after or "").rpartition(":")
        start = int(number) if store == self._name and number.isdecimal() else 0
        with engine.connect() as connection:
            values = {"user": user_id, "start": start}
            forgotten, has_new = connection.execute(_STATE, values | {"hash": user_hash(user_id)}).one()
            rows = connection.execute(_RECENT, values | {"k": k}).mappings() if has_new else ()
            return RecentEvents(tuple(StoredEvent(**row) for row in rows), forgotten)

    def events_of(self, user_id: str) -> Iterator[StoredEvent]:
        """All events of a listener, newest first, read by the page; no transaction stays open in between."""
        page = {"user": user_id, "time": _LATEST, "sequence": _LATEST}
        while True:
            with self._opened().connect() as connection:
                rows = connection.execute(_PAGES, page).mappings().all()
            yield from (StoredEvent(**{name: row[name] for name in _FIELDS}) for row in rows)
            if len(rows) < _PAGE:
                return
            page |= {"time": rows[-1]["time"], "sequence": rows[-1]["sequence"]}

    def remove(self, user_id: str, event_ids: Collection[str]) -> int:
        """Deletes these events of a listener; gives how many there were."""
        which = (_EVENTS.c.user_id == user_id) & _EVENTS.c.event_id.in_(event_ids)
        with self._writing() as connection:
            return int(connection.execute(delete(_EVENTS).where(which)).rowcount)

    def forget(self, user_id: str) -> int:
        """Deletes all of a listener's events, and remembers that nothing older may be used; gives how many."""
        insert = self._insert(_FORGOTTEN).values(user_hash=user_hash(user_id), time=int(time.time()))
        with self._writing() as connection:
            connection.execute(
                insert.on_conflict_do_update(index_elements=["user_hash"], set_={"time": insert.excluded.time})
            )
            count = int(connection.execute(delete(_EVENTS).where(_EVENTS.c.user_id == user_id)).rowcount)
        if self.kind == "sqlite":
            # The write-ahead log still holds the pages of before.
            with closing(self._engine.raw_connection()) as raw:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def ping(self) -> None:
        """Raises SQLAlchemyError where the database does not answer."""
        with self._opened().connect() as connection:
            connection.execute(select(1))

    def _opened(self) -> Engine:
        if self._name is None:
            if self._library is not None and not Library.exists(self._library):
                raise LibraryError(f"{self._library.name}: no library here, so there is no place for events")
            with self._write_lock:
                _METADATA.create_all(self._engine)
                named = self._insert(_ABOUT).values(key="store", value=uuid.uuid4().hex).on_conflict_do_nothing()
                with self._engine.execution_options(writing=True).begin() as connection:
                    connection.execute(named)
                    name = select(_ABOUT.c.value).where(_ABOUT.c.key == "store")
                    self._name = str(connection.execute(name).scalar_one())
        return self._engine

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        engine = self._opened().execution_options(writing=True)
        with self._write_lock, engine.begin() as connection:
            yield connection


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        kind = parsed.get_backend_name()
        if kind not in ("sqlite", "postgresql"):
            raise UsageError(f"event store: {kind} is not supported; sqlite and postgresql are")
        if kind == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise UsageError(
                "event store: SQLite in memory keeps nothing; name a file, as in sqlite:////path/events.db"
            )
        own: dict[str, Any] = {"pool_pre_ping": True} if kind == "postgresql" else {"connect_args": {"timeout": 30}}
        engine = create_engine(parsed, pool_size=8, max_overflow=32, **own)
    except UsageError:
        raise
    except Exception as error:
        # The URL may hold a password: it is not echoed.
        raise UsageError(f"event store: its URL cannot be used ({type(error).__name__})") from None
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    # SQLAlchemy's BEGIN below, instead of the driver's own that comes too late for a read.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # What is deleted is overwritten, not just marked as free.
    connection.execute("PRAGMA secure_delete = ON")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
