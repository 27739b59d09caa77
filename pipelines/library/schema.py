"""library.db: its tables, the triggers that count changes, and the migrations of older formats.

Every write of a track, of its analysis or of its vectors is a change, whichever program writes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ...errors import LibraryError
from ...models.genres.vocabulary import BUILT_IN, GENRES, Vocabulary

_VOCABULARIES = """
CREATE TABLE vocabularies (
    vocabulary INTEGER PRIMARY KEY,
    genres TEXT NOT NULL,             -- JSON: [G] the names of the columns
    model_hash TEXT NOT NULL,         -- BLAKE2b-128 of the genre model's card; '' is the built-in vocabulary
    model_path BLOB,                  -- the genre model's folder
    UNIQUE (genres, model_hash)
);
"""
_TABLES = (
    _VOCABULARIES
    + """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE heard (
    content_hash TEXT PRIMARY KEY,
    duration_seconds REAL NOT NULL,
    embedding BLOB NOT NULL,          -- [D] float32
    genres BLOB NOT NULL,             -- [G] float32 probabilities, or empty where unknown
    description TEXT NOT NULL,        -- JSON: the fields of Description
    vocabulary INTEGER REFERENCES vocabularies  -- names the columns of genres; null where they are unknown
) WITHOUT ROWID;
CREATE TABLE tracks (
    track_row INTEGER PRIMARY KEY,
    track_id TEXT NOT NULL UNIQUE,
    path BLOB UNIQUE,
    size INTEGER,
    mtime_ns INTEGER,
    content_hash TEXT REFERENCES heard,
    title TEXT,
    artists TEXT NOT NULL DEFAULT '[]',
    album TEXT,
    genres TEXT NOT NULL DEFAULT '[]',
    released_at INTEGER
);
CREATE INDEX tracks_by_content ON tracks (content_hash);
CREATE TABLE failures (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE vectors (
    name TEXT NOT NULL, track_row INTEGER NOT NULL REFERENCES tracks ON DELETE CASCADE, vector BLOB NOT NULL,
    PRIMARY KEY (name, track_row)
) WITHOUT ROWID;
"""
)
"""`about` has the facts of the library itself: format, encoder, vocabulary (the one that names its genres now)"""

_FINGERPRINTS = "CREATE TABLE fingerprints (content_hash TEXT PRIMARY KEY REFERENCES heard, signs BLOB NOT NULL);\n"
"""of `audio.fingerprint`, as `pack` packs them; made when they are first needed"""

_PLAYLISTS = """
CREATE TABLE playlists (
    playlist_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    track_ids TEXT NOT NULL,          -- JSON: in order
    revision INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);
"""

_VECTORS_BY_TRACK = "CREATE INDEX vectors_by_track ON vectors (track_row);\n"
"""without it, each track that is deleted reads all vectors for its own"""

_CHANGES = (
    # Which tracks changed, in order: a track's latest change has its highest revision, and no revision comes twice.
    "CREATE TABLE changes (revision INTEGER PRIMARY KEY AUTOINCREMENT, track_id TEXT NOT NULL UNIQUE);\n"
    "INSERT INTO about VALUES ('history', lower(hex(randomblob(16))));\n"
)

_WATCHED = ("track_id", "path", "content_hash", "title", "artists", "album", "genres", "released_at")
_SAME_CONTENT = "SELECT track_id FROM tracks WHERE content_hash = {}.content_hash"
_SAME_ROW = "SELECT track_id FROM tracks WHERE track_row = {}.track_row"


def _trigger(event: str, table: str, changed: str, when: str = "") -> str:
    # Not INSERT OR REPLACE: the statement that fires a trigger has its own OR, and that one would count.
    return (
        f"CREATE TRIGGER IF NOT EXISTS {table}_{event.lower()} AFTER {event} ON {table} {when} BEGIN "
        f"DELETE FROM changes WHERE track_id IN ({changed}); INSERT INTO changes (track_id) {changed}; END"
    )


_TRIGGERS = (
    _trigger("INSERT", "tracks", "SELECT NEW.track_id"),
    _trigger("DELETE", "tracks", "SELECT OLD.track_id"),
    _trigger(
        "UPDATE",
        "tracks",
        "SELECT OLD.track_id UNION SELECT NEW.track_id",
        "WHEN " + " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _WATCHED),
    ),
    *(_trigger(event, "heard", _SAME_CONTENT.format("NEW")) for event in ("INSERT", "UPDATE")),
    *(_trigger(event, "vectors", _SAME_ROW.format("NEW")) for event in ("INSERT", "UPDATE")),
    _trigger("DELETE", "vectors", _SAME_ROW.format("OLD")),
)


def _from_1(db: sqlite3.Connection) -> None:
    """Genre probabilities belong to a vocabulary of their own each, where the whole library had one.

    Uploads to a library with a genre model were stored in the built-in vocabulary; their width tells.
    """
    for statement in (_VOCABULARIES, "ALTER TABLE heard ADD COLUMN vocabulary INTEGER REFERENCES vocabularies"):
        db.execute(statement)
    about = dict(db.execute("SELECT key, value FROM about WHERE key IN ('genres', 'genre_model')"))
    db.execute("DELETE FROM about WHERE key IN ('genres', 'genre_model')")
    db.execute("UPDATE heard SET genres = x'' WHERE genres = zeroblob(length(genres))")
    model = json.loads(about.get("genre_model", "{}"))
    path = Path(model["path"]) if model else None
    current = Vocabulary(tuple(json.loads(about.get("genres", json.dumps(GENRES)))), model.get("hash", ""), path)
    for vocabulary in (current, BUILT_IN):
        number, width = vocabulary_number(db, vocabulary), 4 * len(vocabulary.genres)
        where = "WHERE vocabulary IS NULL AND genres != x'' AND length(genres) = ?"
        db.execute(f"UPDATE heard SET vocabulary = ? {where}", (number, width))
    db.execute("UPDATE heard SET genres = x'' WHERE vocabulary IS NULL")
    db.execute("INSERT INTO about VALUES ('vocabulary', ?)", (vocabulary_number(db, current),))
    for statement in (*_CHANGES.split(";\n"), *_TRIGGERS):
        db.execute(statement)


def _from_2(db: sqlite3.Connection) -> None:
    """Audio fingerprints are kept."""
    db.execute(_FINGERPRINTS)


def _from_3(db: sqlite3.Connection) -> None:
    """Playlists are kept."""
    db.execute(_PLAYLISTS)


def _from_4(db: sqlite3.Connection) -> None:
    """A track's vectors are found without reading all."""
    db.execute(_VECTORS_BY_TRACK)


_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_from_1, _from_2, _from_3, _from_4)
"""what makes a library of format 1 one of format 2, and so on; all of it happens in one transaction"""

FORMAT = 1 + len(_MIGRATIONS)
"""Version of the schema above; a library with a higher one is refused, since writing to it could damage it."""


def vocabulary_number(db: sqlite3.Connection, vocabulary: Vocabulary) -> int:
    """The vocabulary's row, a new one where it is not there yet; its model is where it was seen last."""
    model = None if vocabulary.model is None else os.fsencode(vocabulary.model)
    found = db.execute(
        "INSERT INTO vocabularies (genres, model_hash, model_path) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET model_path = excluded.model_path RETURNING vocabulary",
        (json.dumps(vocabulary.genres, ensure_ascii=False), vocabulary.model_hash, model),
    )
    return int(found.fetchone()[0])


def _is_empty(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _format(db: sqlite3.Connection) -> int:
    """0 where the database does not say."""
    found = db.execute("SELECT value FROM about WHERE key = 'format'").fetchone()
    return int(found[0]) if found else 0


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextmanager
def _sqlite_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LibraryError(f"{folder / 'library.db'}: {error}") from error


class Database:
    """An open library.db; a context manager. Raises LibraryError where it cannot be opened or written."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = connection

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether there is a library in the folder."""
        return (folder / "library.db").exists()

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, create: bool = False) -> Self:
        """The library in `folder`, brought to the format above; with `create` an empty one where there is none.

        LibraryError where there is none, where it is of a newer format, or not a library at all.
        """
        folder = Path(folder)
        file = folder / "library.db"
        if not cls.exists(folder):
            if not create:
                raise LibraryError(f"{folder}: no library here; `crossfade embed FOLDER --library {folder}` makes one")
            if folder.exists() and not folder.is_dir():
                raise LibraryError(f"{folder}: not a folder")
            folder.mkdir(parents=True, exist_ok=True)
        with _sqlite_errors(folder):
            db = sqlite3.connect(file, timeout=60, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA foreign_keys = ON")
            if _is_empty(db):
                db.execute("PRAGMA journal_mode = WAL")
                with _transaction(db):
                    # Another process may have made the tables between the look and the lock.
                    if _is_empty(db):
                        made = _TABLES + _FINGERPRINTS + _PLAYLISTS + _VECTORS_BY_TRACK + _CHANGES
                        for statement in (*made.split(";\n"), *_TRIGGERS):
                            db.execute(statement)
                        db.execute("INSERT INTO about VALUES ('format', ?)", (str(FORMAT),))
            db.execute("PRAGMA synchronous = NORMAL")
            found = _format(db)
            if not found:
                raise LibraryError(f"{folder}: library.db is not a Crossfade library")
            if found > FORMAT:
                raise LibraryError(
                    f"{folder}: written by a newer Crossfade (format {found}, this one knows {FORMAT}); "
                    "upgrade with pip install -U crossfade"
                )
            if found < FORMAT:
                with _transaction(db):
                    # Another process may have done it between the look and the lock.
                    for migrate in _MIGRATIONS[_format(db) - 1 :]:
                        migrate(db)
                    db.execute("UPDATE about SET value = ? WHERE key = 'format'", (str(FORMAT),))
        return cls(folder, db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block's writes, or none of them; a transaction inside another one is a part of it."""
        with _sqlite_errors(self.folder), _transaction(self._db):
            yield self._db

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        with _sqlite_errors(self.folder):
            return self._db.execute(sql, parameters).fetchall()

    def about(self, key: str) -> str | None:
        """A fact about the library itself, such as the encoder it was embedded with."""
        found = self._query("SELECT value FROM about WHERE key = ?", (key,))
        return found[0][0] if found else None
