"""The library: everything Crossfade knows about one collection, in one folder.

    library.db          SQLite, WAL: tracks, what was heard of them, precomputed vectors, failures
    listens/            the listening log, Parquet (see `interactions.schema`)
    models/<version>/   trained things; the file `models/current` names the version in use
    places.json         the folders and files that were embedded here; not in library.db, which may be somebody else's

A track's row and its vector are committed together or not at all, so a killed run loses the batch in flight and
nothing else. Paths are bytes (`os.fsencode`): SQLite text refuses names that are not valid UTF-8.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError, LibraryError, UsageError
from ...models.catalogue import Catalogue
from ...models.genres.vocabulary import BUILT_IN, GENRES, Vocabulary
from .artist_credits import Credits
from .files import replacing
from .scan import readable

if TYPE_CHECKING:
    from ..audio_analysis.analyzer import Ear, Heard

_VOCABULARIES = """
CREATE TABLE vocabularies (
    vocabulary INTEGER PRIMARY KEY,
    genres TEXT NOT NULL,             -- JSON: [G] the names of the columns
    model_hash TEXT NOT NULL,         -- BLAKE2b-128 of the genre model's card; '' is the built-in vocabulary
    model_path BLOB,                  -- the genre model's folder
    UNIQUE (genres, model_hash)
);
"""
_SCHEMA = (
    _VOCABULARIES
    + """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE heard (
    content_hash TEXT PRIMARY KEY,
    duration_seconds REAL NOT NULL,
    embedding BLOB NOT NULL,          -- [D] float32
    genres BLOB NOT NULL,             -- [G] float32 probabilities, or empty where unknown
    description TEXT NOT NULL,        -- JSON: confident, moods, tempo_bpm, key, loudness_lufs
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

_CHANGES = (
    # Which tracks changed, in order: a track's latest change has its highest revision, and no revision comes twice.
    "CREATE TABLE changes (revision INTEGER PRIMARY KEY AUTOINCREMENT, track_id TEXT NOT NULL UNIQUE);\n"
    "INSERT INTO about VALUES ('history', lower(hex(randomblob(16))));\n"
)

_DESCRIBED = ("track_id", "path", "content_hash", "title", "artists", "album", "genres", "released_at")
_SAME_SOUND = "SELECT track_id FROM tracks WHERE content_hash = {}.content_hash"
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
        "WHEN " + " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _DESCRIBED),
    ),
    *(_trigger(event, "heard", _SAME_SOUND.format("NEW")) for event in ("INSERT", "UPDATE")),
    *(_trigger(event, "vectors", _SAME_ROW.format("NEW")) for event in ("INSERT", "UPDATE")),
    _trigger("DELETE", "vectors", _SAME_ROW.format("OLD")),
)
"""Every write of a track, of what was heard of it or of its vectors is a change, whichever program writes."""

_LISTS = ("artists", "genres")
_PLACES = "places.json"
MANIFEST = "artefacts/manifest.json"
"""of a version, written last: one without it is not whole"""

KEPT_VERSIONS = 3
"""how many trained versions stay, that in use included"""


@dataclass(frozen=True)
class Mark:
    """How far the changes of a library's tracks have been read."""

    history: str
    """a name of its own: where it is another one, nothing is known of what changed"""
    revision: int

    def follows(self, other: Mark) -> bool:
        """Whether the changes after `other` are all that lies between the two."""
        return self.history == other.history and self.revision >= other.revision


_NAMED = "heard.vocabulary = (SELECT value FROM about WHERE key = 'vocabulary')"
"""SQL: the genre probabilities are those of the vocabulary that names the library's genres now"""


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
        key, width = _key_of(db, vocabulary), 4 * len(vocabulary.genres)
        where = "WHERE vocabulary IS NULL AND genres != x'' AND length(genres) = ?"
        db.execute(f"UPDATE heard SET vocabulary = ? {where}", (key, width))
    db.execute("UPDATE heard SET genres = x'' WHERE vocabulary IS NULL")
    db.execute("INSERT INTO about VALUES ('vocabulary', ?)", (_key_of(db, current),))
    for statement in (*_CHANGES.split(";\n"), *_TRIGGERS):
        db.execute(statement)


_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_from_1,)
"""what makes a library of format 1 one of format 2, and so on; all of it happens in one transaction"""

FORMAT = 1 + len(_MIGRATIONS)
"""Version of the schema above; a library with a higher one is refused, since writing to it could damage it."""


def _key_of(db: sqlite3.Connection, vocabulary: Vocabulary) -> int:
    """The vocabulary's number, a new one where it is not there yet; its model is where it was seen last."""
    model = None if vocabulary.model is None else os.fsencode(vocabulary.model)
    found = db.execute(
        "INSERT INTO vocabularies (genres, model_hash, model_path) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET model_path = excluded.model_path RETURNING vocabulary",
        (json.dumps(vocabulary.genres, ensure_ascii=False), vocabulary.model_hash, model),
    )
    return int(found.fetchone()[0])


class Library:
    """One collection; a context manager. Raises LibraryError where it cannot be opened or written."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = connection

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, create: bool = False) -> Self:
        """The library in `folder`; with `create` an empty one is made where there is none."""
        folder = Path(folder)
        file = folder / "library.db"
        if not file.exists():
            if not create:
                raise LibraryError(f"{folder}: no library here; `crossfade embed FOLDER --library {folder}` makes one")
            if folder.exists() and not folder.is_dir():
                raise LibraryError(f"{folder}: not a folder")
            folder.mkdir(parents=True, exist_ok=True)
        with _sqlite_errors(folder):
            connection = sqlite3.connect(file, timeout=60, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA foreign_keys = ON")
            library = cls(folder, connection)
            library._prepare()
        return library

    def _prepare(self) -> None:
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty:
            self._db.execute("PRAGMA journal_mode = WAL")
            with self.transaction():
                # Another process may have made it between the look and the lock.
                if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    for statement in (*(_SCHEMA + _CHANGES).split(";\n"), *_TRIGGERS):
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO about VALUES ('format', ?)", (str(FORMAT),))
        self._db.execute("PRAGMA synchronous = NORMAL")
        found = self.about("format")
        if found is None:
            raise LibraryError(f"{self.folder}: library.db is not a Crossfade library")
        if int(found) > FORMAT:
            raise LibraryError(
                f"{self.folder}: written by a newer Crossfade (format {found}, this one knows {FORMAT}); "
                "upgrade with pip install -U crossfade"
            )
        if int(found) < FORMAT:
            self._migrate()

    def _migrate(self) -> None:
        with self.transaction() as db:
            # Another process may have done it between the look and the lock.
            found = int(self.about("format") or FORMAT)
            for migrate in _MIGRATIONS[found - 1 :]:
                migrate(db)
            db.execute("UPDATE about SET value = ? WHERE key = 'format'", (str(FORMAT),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def __repr__(self) -> str:
        return f"Library({str(self.folder)!r})"

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block's writes, or none of them."""
        with _sqlite_errors(self.folder):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a question to library.db."""
        with _sqlite_errors(self.folder):
            return self._db.execute(sql, parameters).fetchall()

    def about(self, key: str) -> str | None:
        """A fact about the library itself, such as the encoder it was embedded with."""
        found = self.query("SELECT value FROM about WHERE key = ?", (key,))
        return found[0][0] if found else None

    # Tracks

    def add_tracks(self, frame: pl.DataFrame) -> None:
        """Adds tracks or updates what is known of them; columns that are absent and blank cells change nothing.

        Columns: track_id text, and any of title text, artists list of text, album text, genres list of text,
        released_at seconds since 1970.
        """
        known = ("title", "artists", "album", "genres", "released_at")
        columns = [name for name in known if name in frame.columns]
        if "track_id" not in frame.columns:
            raise DataError(f"tracks: no column track_id among {', '.join(frame.columns)}")
        names = ["track_id", *columns]
        said = {name: f"nullif(excluded.{name}, '[]')" if name in _LISTS else f"excluded.{name}" for name in columns}
        update = ", ".join(f"{name} = coalesce({new}, {name})" for name, new in said.items())
        sql = (
            f"INSERT INTO tracks ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            f"ON CONFLICT (track_id) DO {'UPDATE SET ' + update if update else 'NOTHING'}"
        )
        lists = [name in _LISTS for name in names]
        rows = (
            tuple(
                json.dumps([one for one in value or () if one], ensure_ascii=False) if is_list else _said(value)
                for value, is_list in zip(row, lists, strict=True)
            )
            for row in frame.select(names).iter_rows()
        )
        with self.transaction() as db:
            db.executemany(sql, rows)

    def add_vectors(
        self, name: str, track_ids: Sequence[str], vectors: NDArray[np.float32], *, features: bool = False
    ) -> None:
        """Precomputed sound vectors [T, D] under a name; tracks that are not known yet are added.

        `features`: the columns have units of their own (BPM, decibels), so they are standardised before they are
        compared. The constants are taken when they are first read and then stay, so that later tracks move no score.
        """
        if name == "encoder" or not name.strip():
            raise UsageError(f"vectors {name!r}: `encoder` is what embed hears; give these a name of their own")
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(track_ids):
            raise DataError(f"vectors {name}: {vectors.shape} for {len(track_ids)} tracks")
        if not np.isfinite(vectors).all():
            raise DataError(f"vectors {name}: NaN or infinite values")
        there = self.query("SELECT length(vector) / 4 FROM vectors WHERE name = ? LIMIT 1", (name,))
        if there and there[0][0] != vectors.shape[1]:
            raise DataError(f"vectors {name}: {vectors.shape[1]} dimensions, but the library has {there[0][0]}")
        with self.transaction() as db:
            if features:
                db.execute("INSERT OR IGNORE INTO about VALUES (?, '')", (f"scale:{name}",))
            db.executemany(
                "INSERT OR IGNORE INTO tracks (track_id) VALUES (?)", ((track_id,) for track_id in track_ids)
            )
            db.executemany(
                "INSERT OR REPLACE INTO vectors SELECT ?, track_row, ? FROM tracks WHERE track_id = ?",
                ((name, vector.tobytes(), track_id) for track_id, vector in zip(track_ids, vectors, strict=True)),
            )

    def remove_tracks(self, track_ids: Iterable[str]) -> None:
        """Forgets tracks; what was heard of them stays only while another track has the same audio."""
        with self.transaction() as db:
            db.executemany("DELETE FROM tracks WHERE track_id = ?", ((track_id,) for track_id in track_ids))
            db.execute(
                "DELETE FROM heard WHERE content_hash NOT IN "
                "(SELECT content_hash FROM tracks WHERE content_hash NOTNULL)"
            )

    def rename_tracks(self, track_ids: Mapping[str, str]) -> None:
        """Gives tracks other ids, which may be one another's. In a transaction.

        An id that a track without a file of its own has (it came with a log or with vectors) takes in the renamed one.
        """
        rows = []
        for old, new in track_ids.items():
            (row,) = self._db.execute("SELECT track_row FROM tracks WHERE track_id = ?", (old,)).fetchone()
            # First out of each other's way.
            self._db.execute("UPDATE tracks SET track_id = char(0) || track_row WHERE track_row = ?", (row,))
            rows.append((row, new))
        for row, new in rows:
            other = self._db.execute("SELECT track_row FROM tracks WHERE track_id = ?", (new,)).fetchone()
            if other is not None:
                columns = "path, size, mtime_ns, content_hash"
                file = self._db.execute(f"SELECT {columns} FROM tracks WHERE track_row = ?", (row,)).fetchone()
                self._db.execute("UPDATE OR IGNORE vectors SET track_row = ? WHERE track_row = ?", (*other, row))
                self._db.execute("DELETE FROM tracks WHERE track_row = ?", (row,))
                self._db.execute(f"UPDATE tracks SET ({columns}) = (?, ?, ?, ?) WHERE track_row = ?", (*file, *other))
            self._db.execute("UPDATE tracks SET track_id = ? WHERE track_row = ?", (new, row))

    # What was heard

    def claim_encoder(self, name: str) -> None:
        """A library holds one encoder's embeddings; LibraryError where others are there, which can't be compared."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO about VALUES ('encoder', ?)", (name,))
        if (there := self.about("encoder")) != name:
            raise LibraryError(f"{self.folder}: embedded with {there}, not {name}; use another library")

    def vocabulary(self) -> Vocabulary:
        """What names this library's genres now; single tracks may still have those of an earlier one."""
        found = self.query(
            "SELECT genres, model_hash, model_path FROM vocabularies "
            "WHERE vocabulary = (SELECT value FROM about WHERE key = 'vocabulary')"
        )
        if not found:
            return BUILT_IN
        genres, model_hash, path = found[0]
        return Vocabulary(tuple(json.loads(genres)), model_hash, None if path is None else Path(os.fsdecode(path)))

    def analyzer(self, *, threads: int | None = None, every: bool = False) -> Ear:
        """What hears a file as this library's tracks were heard, its genre model included."""
        from ...models.genres.model import GenreModel
        from ..audio_analysis.analyzer import Ear

        path = self.vocabulary().model
        try:
            return Ear(threads, every, None if path is None else GenreModel.load(path))
        except LibraryError as error:
            raise LibraryError(
                f"{self.folder}: its genre model is gone ({error}); "
                f"name one: crossfade embed FOLDER --library {self.folder} --genre-model M"
            ) from error

    def use_vocabulary(self, analyzer: Ear) -> None:
        """From now on these are the library's genres.

        Tracks keep the ones they have, with their names, until they are heard again; where a genre model needs no more
        than the stored embeddings, it names all of them here.
        """
        model, encoder = analyzer.model, analyzer.encoder
        with self.transaction() as db:
            key = _key_of(db, analyzer.vocabulary)
            db.execute("INSERT OR REPLACE INTO about VALUES ('vocabulary', ?)", (key,))
            if model is None or not model.needs_only_mean(encoder.name, encoder.dimensions):
                return
            rows = db.execute(
                "SELECT content_hash, embedding, description FROM heard WHERE vocabulary IS NOT ?", (key,)
            ).fetchall()
            if not rows:
                return
            found = model.predict({encoder.name: [np.frombuffer(row[1], np.float32)[None] for row in rows]})
            for probabilities, (content_hash, _, said) in zip(found, rows, strict=True):
                description = json.loads(said) | {"confident": model.confident(probabilities)}
                genres = probabilities.astype(np.float32).tobytes()
                db.execute(
                    "UPDATE heard SET genres = ?, vocabulary = ?, description = ? WHERE content_hash = ?",
                    (genres, key, json.dumps(description, ensure_ascii=False), content_hash),
                )

    def add_heard(self, content_hash: str, heard: Heard) -> None:
        """Keeps what was heard of a content; of one that is known, the genres and the description. In a transaction.

        LibraryError where the vectors are not as wide as they have to be.
        """
        embedding, genres = (np.asarray(vector, np.float32) for vector in (heard.embedding, heard.genres))
        there = self.query("SELECT length(embedding) / 4 FROM heard LIMIT 1")
        if there and there[0][0] != embedding.size:
            raise LibraryError(f"{self.folder}: embeddings of {there[0][0]} dimensions, not {embedding.size}")
        if genres.size != len(heard.vocabulary.genres):
            raise LibraryError(f"{self.folder}: {genres.size} probabilities for {len(heard.vocabulary.genres)} genres")
        description = json.dumps(asdict(heard.description), ensure_ascii=False)
        key = _key_of(self._db, heard.vocabulary)
        self._db.execute("INSERT OR IGNORE INTO about VALUES ('vocabulary', ?)", (key,))
        self._db.execute(
            "INSERT INTO heard VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "genres = excluded.genres, description = excluded.description, vocabulary = excluded.vocabulary",
            (content_hash, heard.duration_seconds, embedding.tobytes(), genres.tobytes(), description, key),
        )

    def has_heard(self, content_hash: str) -> bool:
        """Whether a content was heard, and its genres are named by the library's vocabulary of now."""
        return bool(self.query(f"SELECT 1 FROM heard WHERE content_hash = ? AND {_NAMED}", (content_hash,)))

    def heard_files(self) -> dict[bytes, tuple[int, int]]:
        """Path -> (size, mtime_ns) of the files for which `has_heard` is true."""
        rows = self.query(f"SELECT path, size, mtime_ns FROM tracks JOIN heard USING (content_hash) WHERE {_NAMED}")
        return {path: (size, mtime_ns) for path, size, mtime_ns in rows if path is not None}

    def genres_of(self, track_id: str) -> dict[str, float]:
        """Genre -> probability, by the vocabulary that the track was heard with; empty where it was not heard."""
        rows = self.query(
            "SELECT vocabularies.genres, heard.genres FROM tracks JOIN heard USING (content_hash) "
            "JOIN vocabularies USING (vocabulary) WHERE track_id = ?",
            (track_id,),
        )
        if not rows:
            return {}
        return dict(zip(json.loads(rows[0][0]), np.frombuffer(rows[0][1], np.float32).tolist(), strict=True))

    def genre_table(self) -> pl.DataFrame:
        """track_id and a column per genre, of the tracks whose genres are known, in row order.

        Columns of the library's vocabulary come first. A genre that a track's vocabulary does not have is null.
        """
        rows = self.query(
            "SELECT track_id, vocabulary, heard.genres FROM tracks JOIN heard USING (content_hash) "
            "WHERE vocabulary NOTNULL ORDER BY track_row"
        )
        names = {key: json.loads(genres) for key, genres in self.query("SELECT vocabulary, genres FROM vocabularies")}
        ids = {"row": pl.Int64, "track_id": pl.String}
        parts = [pl.DataFrame(schema=ids | dict.fromkeys(self.vocabulary().genres, pl.Float32))]
        for key, genres in names.items():
            named = [(row, track_id, blob) for row, (track_id, of, blob) in enumerate(rows) if of == key]
            if named:
                table = np.frombuffer(b"".join(blob for _, _, blob in named), np.float32).reshape(len(named), -1)
                who = pl.DataFrame([row[:2] for row in named], schema=ids, orient="row")
                parts.append(who.hstack(pl.DataFrame(table, schema=genres)))
        return pl.concat(parts, how="diagonal").sort("row").drop("row")

    def track_ids(self) -> list[str]:
        """External ids of all tracks, in row order."""
        return [row[0] for row in self.query("SELECT track_id FROM tracks ORDER BY track_row")]

    def tracks(self) -> pl.DataFrame:
        """One row per track in row order; `path` escapes what is not UTF-8."""
        rows = self.query(
            "SELECT track_id, path, title, artists, album, tracks.genres, released_at, duration_seconds, content_hash "
            "FROM tracks LEFT JOIN heard USING (content_hash) ORDER BY track_row"
        )
        schema = pl.Schema(
            {
                "track_id": pl.String(),
                "path": pl.String(),
                "title": pl.String(),
                "artists": pl.List(pl.String()),
                "album": pl.String(),
                "genres": pl.List(pl.String()),
                "released_at": pl.Int64(),
                "duration_seconds": pl.Float64(),
                "content_hash": pl.String(),
            }
        )
        lines = [
            (track_id, path and readable(path), title, json.loads(artists), album, json.loads(genres), *rest)
            for track_id, path, title, artists, album, genres, *rest in rows
        ]
        return pl.DataFrame(lines, schema=schema, orient="row")

    def paths(self) -> dict[str, Path]:
        """Track id -> its file, of tracks that have one."""
        return {
            track_id: Path(os.fsdecode(path))
            for track_id, path in self.query("SELECT track_id, path FROM tracks WHERE path NOTNULL ORDER BY track_row")
        }

    def loudness_and_tempo(self) -> pl.DataFrame:
        """track_id, loudness_lufs, tempo_bpm in row order, of tracks whose audio was analysed."""
        rows = self.query(
            "SELECT track_id, json_extract(description, '$.loudness_lufs'), json_extract(description, '$.tempo_bpm') "
            "FROM tracks JOIN heard USING (content_hash) ORDER BY track_row"
        )
        schema = {"track_id": pl.String, "loudness_lufs": pl.Float64, "tempo_bpm": pl.Float64}
        return pl.DataFrame(rows, schema, orient="row")

    def failures(self) -> pl.DataFrame:
        """path (what is not UTF-8 escaped), reason: the files that could not be read, by path."""
        rows = self.query("SELECT path, reason FROM failures ORDER BY path")
        schema = {"path": pl.String, "reason": pl.String}
        return pl.DataFrame([(readable(path), reason) for path, reason in rows], schema, orient="row")

    def sounds(self) -> list[str]:
        """Names of the sound vectors there are: `encoder` for embeddings of audio, and those of imported vectors."""
        # DISTINCT would read every vector; this asks the index for the next name.
        imported = [
            row[0]
            for row in self.query(
                "WITH RECURSIVE names(name) AS (SELECT min(name) FROM vectors UNION ALL "
                "SELECT (SELECT min(vectors.name) FROM vectors WHERE vectors.name > names.name) FROM names "
                "WHERE names.name NOTNULL) SELECT name FROM names WHERE name NOTNULL"
            )
        ]
        heard = self.query("SELECT 1 FROM heard LIMIT 1")
        return ["encoder", *imported] if heard else imported

    def mark(self) -> Mark:
        """How far the changes of tracks have come; reading it costs nothing."""
        revision = self.query("SELECT coalesce(max(revision), 0) FROM changes")[0][0]
        return Mark(self.about("history") or "", revision)

    def begin_history(self) -> None:
        """Other tracks took the place of those that were here: what was read of these is no help to follow them."""
        with self.transaction() as db:
            db.execute("UPDATE about SET value = lower(hex(randomblob(16))) WHERE key = 'history'")

    def removed(self, after: Mark) -> list[str]:
        """External ids of tracks that changed after a mark and are gone."""
        sql = "SELECT track_id FROM changes LEFT JOIN tracks USING (track_id) WHERE revision > ? AND track_row ISNULL"
        return [row[0] for row in self.query(sql, (after.revision,))]

    def catalogue(
        self, sound: str | None = None, *, after: Mark | None = None, artists: Iterable[str] = ()
    ) -> Catalogue:
        """All tracks as arrays; `sound` names the vectors, None means embeddings, else the only imported ones.

        Artists are all that are credited, those of the title included (see `credits`); `tracks` has them as they came.
        `after` gives only the tracks that changed since; `artists` are then those of the others.
        """
        names = self.sounds()
        if sound is None and "encoder" not in names and len(names) > 1:
            raise UsageError(f"{self.folder}: several sets of vectors, say which: {', '.join(names)}")
        if sound is not None and sound not in names:
            raise UsageError(f"{sound}: no such vectors in {self.folder}; there are: {', '.join(names) or 'none'}")
        chosen = sound or next(iter(names), None)
        which, parameters = changed(after)
        tracks = self.query(
            f"SELECT track_id, artists, genres, released_at, title FROM tracks {which} ORDER BY track_row", parameters
        )
        unknown = np.iinfo(np.int64).min
        named = [(json.loads(row[1]), row[4]) for row in tracks]
        known = ([name] for name in artists)
        credits = Credits(chain(known, (names for names, _ in named)), (title for _, title in named))
        return Catalogue(
            tuple(row[0] for row in tracks),
            tuple(credits.of(names, title) for names, title in named),
            self._sound(chosen, after),
            tuple(tuple(json.loads(row[2])) for row in tracks),
            self._genre_probabilities(after) if chosen == "encoder" else np.zeros((0, 0), np.float32),
            np.array([unknown if row[3] is None else row[3] for row in tracks], np.int64),
            self.vocabulary().genres if chosen == "encoder" else (),
        )

    def _sound(self, name: str | None, after: Mark | None) -> NDArray[np.float32]:
        which, parameters = changed(after)
        if name == "encoder":
            return self._blobs(
                f"SELECT embedding FROM tracks LEFT JOIN heard USING (content_hash) {which} ORDER BY track_row",
                parameters,
            )
        vectors = self._blobs(
            "SELECT vector FROM tracks LEFT JOIN vectors ON vectors.track_row = tracks.track_row AND name = ? "
            f"{which} ORDER BY tracks.track_row",
            (name, *parameters),
        )
        there = np.any(vectors != 0, axis=1)
        if name is None or not there.any():
            return vectors
        scaled = np.zeros_like(vectors)
        scaled[there] = self.scaled(name, vectors[there])
        return scaled

    def scaled(self, name: str, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Imported vectors [n, D] as they are compared: features standardised, others as they are."""
        stored = self.about(f"scale:{name}")
        if stored is None:
            return vectors
        if not stored:
            blobs = self.query("SELECT vector FROM vectors WHERE name = ?", (name,))
            table = np.frombuffer(b"".join(blob for (blob,) in blobs), np.float32).reshape(len(blobs), -1)
            deviations = table.std(axis=0, dtype=np.float64)
            scale = [table.mean(axis=0, dtype=np.float64).tolist(), np.where(deviations > 0, deviations, 1).tolist()]
            stored = json.dumps(scale)
            with self.transaction() as db:
                db.execute("UPDATE about SET value = ? WHERE key = ?", (stored, f"scale:{name}"))
        means, deviations = np.array(json.loads(stored))
        return np.asarray((vectors - means) / deviations, np.float32)

    def _genre_probabilities(self, after: Mark | None) -> NDArray[np.float32]:
        which, parameters = changed(after)
        return self._blobs(
            f"SELECT CASE WHEN {_NAMED} THEN heard.genres END FROM tracks LEFT JOIN heard USING (content_hash) {which} "
            "ORDER BY track_row",
            parameters,
        )

    def _blobs(self, sql: str, parameters: Sequence[Any] = ()) -> NDArray[np.float32]:
        """[T, D]: one float32 blob per track, zeros where it is null."""
        blobs = [row[0] for row in self.query(sql, parameters)]
        width = next((len(blob) for blob in blobs if blob is not None), 0)
        zeros = bytes(width)
        joined = b"".join(zeros if blob is None else blob for blob in blobs)
        return np.frombuffer(joined, np.float32).reshape(len(blobs), width // 4)

    # Folders

    @property
    def listens_folder(self) -> Path:
        return self.folder / "listens"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @contextmanager
    def rewriting(self) -> Iterator[None]:
        """One at a time, in any process: who replaces parts of the log, or changes versions that are there."""
        import fcntl

        with (self.folder / "rewriting.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def places(self) -> list[Path]:
        """Absolute folders and files that were embedded into this library on this machine."""
        file = self.folder / _PLACES
        try:
            return [Path(os.fsdecode(name.encode("latin-1"))) for name in json.loads(file.read_text())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, AttributeError) as error:
            raise LibraryError(f"{file}: damaged ({error}); delete it and embed the folders again") from None

    def add_places(self, places: Iterable[Path]) -> None:
        """Remembers what is embedded."""
        known = self.places()
        both = list(dict.fromkeys([*known, *places]))
        if both != known:
            # Paths are bytes: latin-1 has a character for each.
            names = [os.fsencode(place).decode("latin-1") for place in both]
            with replacing(self.folder / _PLACES) as part:
                part.write_text(json.dumps(names, indent=1) + "\n")

    def versions(self) -> list[Path]:
        """The trained versions that are whole: the current one, then the others, the newest first."""
        folders = sorted((path for path in self.models.glob("*-*") if path.is_dir()), reverse=True)
        pointer = self.models / "current"
        current = pointer.read_text().strip() if pointer.exists() else None
        whole = [path for path in folders if path.name == current or (path / MANIFEST).exists()]
        return sorted(whole, key=lambda path: path.name != current)

    def new_version(self) -> Path:
        """A new, empty folder for trained things; not current until it is published."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        version = self.models / f"{stamp}-{uuid.uuid4().hex[:6]}"
        version.mkdir(parents=True)
        return version

    def publish_version(self, version: Path, *, keep: int = KEPT_VERSIONS) -> None:
        """Makes a version the current one, in one step: readers see the old one or the new one.

        The newest `keep` versions stay, and with them the unfinished folders that are newer: somebody may be training.
        """
        pointer = self.models / "current.new"
        pointer.write_text(version.name + "\n")
        with pointer.open("rb") as file:
            os.fsync(file.fileno())
        pointer.replace(self.models / "current")
        kept = self.versions()[:keep]
        for path in self.models.glob("*-*"):
            if path.is_dir() and path not in kept and ((path / MANIFEST).exists() or path.name < kept[-1].name):
                shutil.rmtree(path, ignore_errors=True)

    def current_version(self) -> Path:
        """The folder of the version in use."""
        pointer = self.models / "current"
        if not pointer.exists():
            raise LibraryError(f"{self.folder}: not trained yet; run crossfade train --library {self.folder}")
        version = self.models / pointer.read_text().strip()
        if not version.is_dir():
            raise LibraryError(f"{pointer}: names {version.name}, which is not there; train again")
        return version


def _said(value: Any) -> Any:
    """A cell of a table; None where it is blank."""
    return None if isinstance(value, str) and not value.strip() else value


def changed(after: Mark | None) -> tuple[str, tuple[int, ...]]:
    """SQL that leaves only the tracks that changed after a mark, and its parameters; for None it leaves all."""
    if after is None:
        return "", ()
    return "WHERE track_id IN (SELECT track_id FROM changes WHERE revision > ?)", (after.revision,)


@contextmanager
def _sqlite_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LibraryError(f"{folder / 'library.db'}: {error}") from error
