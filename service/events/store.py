"""The event store: what listeners did, kept durably the moment it is acknowledged.

SQLAlchemy Core over SQLite (WAL, synchronous FULL) or PostgreSQL. An event is written once however often it is sent:
its `event_id` decides. Listeners who had their data deleted are remembered as hashes, so that what a model learned of
them before is left out until it is trained again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    func,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from ...errors import UsageError
from ...pipelines.interactions.user_deletion import user_hash

_METADATA = MetaData()
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")

_EVENTS = Table(
    "events",
    _METADATA,
    Column("sequence", _SEQUENCE, primary_key=True, autoincrement=True),
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
    "forgotten",
    _METADATA,
    Column("user_hash", String, primary_key=True),
    Column("time", BigInteger, nullable=False),
)
_ABOUT = Table("about", _METADATA, Column("key", String, primary_key=True), Column("value", String, nullable=False))
"""`store`: a name of its own, so that marks of another store are not taken for its own"""
_NEWEST_FIRST = (_EVENTS.c.time.desc(), _EVENTS.c.sequence.desc())
_FIELDS = ("event_id", "user_id", "track_id", "time", "played_ratio", "liked")
_IDS_PER_QUERY = 500
_EVER = 2**63 - 1
# Made once: SQLAlchemy takes longer to make and compare a statement than SQLite to answer it.
_RECENT = (
    select(*(_EVENTS.c[name] for name in _FIELDS))
    .where(_EVENTS.c.user_id == bindparam("user"), _EVENTS.c.sequence > bindparam("start"))
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("k"))
)
_PAGE = 1000
_PAGES = (
    select(_EVENTS.c.sequence, *(_EVENTS.c[name] for name in _FIELDS))
    .where(
        _EVENTS.c.user_id == bindparam("user"),
        tuple_(_EVENTS.c.time, _EVENTS.c.sequence)
        < tuple_(bindparam("time", type_=BigInteger), bindparam("sequence", type_=BigInteger)),
    )
    .order_by(*_NEWEST_FIRST)
    .limit(_PAGE)
)
# Most listeners did nothing since the training: one question tells.
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

    def says_the_same_as(self, other: StoredEvent) -> bool:
        """But for the time: an event that is sent again without one is given another."""
        return replace(self, time=other.time) == other


@dataclass(frozen=True)
class Receipt:
    """What became of a batch."""

    accepted: int
    duplicates: int
    conflicts: tuple[str, ...] = ()
    """event ids that are taken by a different event, which stays as it was"""


@dataclass(frozen=True)
class RecentEvents:
    """A listener's newest events, newest first."""

    events: tuple[StoredEvent, ...]
    forgotten_at: int | None = None
    """seconds since 1970: what was learned of the listener before then does not count"""


class EventStore:
    """Thread-safe; every write is on disk before the call returns."""

    def __init__(self, url: str) -> None:
        """Opens the database and makes the tables it lacks. Raises UsageError for a URL that is none."""
        self._engine = _engine(url)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        # SQLite has one writer at a time: waiting in line here is fairer than its polling.
        self._line = Lock()
        _METADATA.create_all(self._engine)
        self._name = self._named()

    @staticmethod
    def check_url(url: str) -> None:
        """Raises UsageError for a URL that no store can be at; whether one is there is seen when it is opened."""
        _engine(url).dispose()

    def close(self) -> None:
        self._engine.dispose()

    @property
    def kind(self) -> str:
        return self._engine.dialect.name

    def add(self, events: Sequence[StoredEvent]) -> Receipt:
        """All of them or, where this raises, none."""
        insert = (sqlite.insert if self._is_sqlite else postgresql.insert)(_EVENTS)
        unique = {one.event_id: one for one in reversed(events)}
        with self._line, self._writing() as connection:
            # Several services may share the database: what is new is what the insert says is new.
            rows = [vars(one) for one in reversed(unique.values())]
            statement = insert.on_conflict_do_nothing(index_elements=["event_id"]).returning(_EVENTS.c.event_id)
            new: set[str] = set()
            for start in range(0, len(rows), _IDS_PER_QUERY):
                new.update(connection.execute(statement.values(rows[start : start + _IDS_PER_QUERY])).scalars())
            there = {one.event_id: one for one in self._by_ids(connection, unique.keys())}
        conflicts = (one.event_id for one in events if not one.says_the_same_as(there.get(one.event_id, one)))
        return Receipt(len(new), len(events) - len(new), tuple(dict.fromkeys(conflicts)))

    def recent(self, user_id: str, k: int, *, after: str | None = None) -> RecentEvents:
        """The k newest events of a listener; `after` leaves out those that a training has seen (`live_events`)."""
        store, _, number = (after or "").rpartition(":")
        start = int(number) if store == self._name and number.isdecimal() else 0
        with self._engine.connect() as connection:
            asked = {"user": user_id, "start": start}
            forgotten, news = connection.execute(_STATE, asked | {"hash": user_hash(user_id)}).one()
            rows = connection.execute(_RECENT, asked | {"k": k}).mappings() if news else ()
            return RecentEvents(tuple(StoredEvent(**row) for row in rows), forgotten)

    def events_of(self, user_id: str) -> Iterator[StoredEvent]:
        """All events of a listener, newest first, read by the page; no transaction stays open in between."""
        page = {"user": user_id, "time": _EVER, "sequence": _EVER}
        while True:
            with self._engine.connect() as connection:
                rows = connection.execute(_PAGES, page).mappings().all()
            yield from (StoredEvent(**{name: row[name] for name in _FIELDS}) for row in rows)
            if len(rows) < _PAGE:
                return
            page |= {"time": rows[-1]["time"], "sequence": rows[-1]["sequence"]}

    def remove(self, user_id: str, event_ids: Iterable[str]) -> int:
        """Deletes these events of a listener; gives how many there were."""
        ids = list(event_ids)
        with self._line, self._writing() as connection:
            counts = (
                connection.execute(
                    delete(_EVENTS).where(
                        _EVENTS.c.user_id == user_id, _EVENTS.c.event_id.in_(ids[start : start + _IDS_PER_QUERY])
                    )
                ).rowcount
                for start in range(0, len(ids), _IDS_PER_QUERY)
            )
            return int(sum(counts))

    def forget(self, user_id: str) -> int:
        """Deletes all of a listener's events, and remembers that nothing older may be used; gives how many."""
        insert = (sqlite.insert if self._is_sqlite else postgresql.insert)(_FORGOTTEN)
        statement = insert.values(user_hash=user_hash(user_id), time=int(time.time()))
        with self._line, self._writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["user_hash"], set_={"time": statement.excluded.time})
            )
            count = int(connection.execute(delete(_EVENTS).where(_EVENTS.c.user_id == user_id)).rowcount)
        if self._is_sqlite:
            self._empty_wal()
        return count

    def count(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(_EVENTS)).scalar_one())

    def is_up(self) -> None:
        """Raises SQLAlchemyError where the database does not answer."""
        with self._engine.connect() as connection:
            connection.execute(select(1))

    def _empty_wal(self) -> None:
        """The write-ahead log still holds the pages of before."""
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def _named(self) -> str:
        insert = (sqlite.insert if self._is_sqlite else postgresql.insert)(_ABOUT)
        with self._writing() as connection:
            connection.execute(insert.values(key="store", value=uuid.uuid4().hex).on_conflict_do_nothing())
            return str(connection.execute(select(_ABOUT.c.value).where(_ABOUT.c.key == "store")).scalar_one())

    def _writing(self) -> Any:
        return self._engine.execution_options(writing=True).begin()

    @staticmethod
    def _by_ids(connection: Connection, event_ids: Iterable[str]) -> list[StoredEvent]:
        ids = list(event_ids)
        found: list[StoredEvent] = []
        for start in range(0, len(ids), _IDS_PER_QUERY):
            chosen = _EVENTS.c.event_id.in_(ids[start : start + _IDS_PER_QUERY])
            rows = connection.execute(select(*_columns()).where(chosen))
            found += [StoredEvent(**row) for row in rows.mappings()]
        return found


def _columns() -> list[Column[Any]]:
    return [_EVENTS.c[name] for name in _FIELDS]


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
        if kind == "postgresql":
            return create_engine(parsed, pool_size=8, max_overflow=32, pool_pre_ping=True)
        engine = create_engine(parsed, pool_size=8, max_overflow=32, connect_args={"timeout": 30})
    except UsageError:
        raise
    except Exception as error:
        # The URL may hold a password: it is not echoed.
        raise UsageError(f"event store: its URL cannot be used ({type(error).__name__})") from None
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
