"""The tracks of a library, the files they stand for, and the files that could not be embedded."""

from __future__ import annotations

import calendar
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import DataError
from ...models.encoders.transformers import PREFIX
from .remote_files import size_and_mtime, url_of
from .scan import readable
from .schema import Database

if TYPE_CHECKING:
    import polars as pl

    from ...audio.metadata import Tags

_DESCRIPTION = ("title", "artists", "album", "genres", "released_at")
_LISTS = ("artists", "genres")
_COLUMNS = ("track_id", "path", *_DESCRIPTION, "duration_seconds", "content_hash")
CURRENT_VOCABULARY = "(SELECT value FROM about WHERE key = 'vocabulary')"
"""SQL: the one that names the library's genres now"""


class StoredFile(NamedTuple):
    """A file as the library last saw it; where all three are the same, so is its content."""

    path: bytes
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """As it is now. Raises OSError."""
        if url := url_of(path):
            return cls(os.fsencode(url), *size_and_mtime(url))
        status = path.stat()
        return cls(os.fsencode(path), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class TrackFilter:
    """Which tracks may be answers; what is None allows all."""

    genre: str | None = None
    """a label of the track; case makes no difference"""
    artist: str | None = None
    """one of its artists, likewise"""
    years: tuple[int, int] | None = None
    """the first and the last year of its release"""

    def __bool__(self) -> bool:
        return self != TrackFilter()


class Tracks(Database):
    """The tables of tracks and failures."""

    def add_tracks(self, frame: pl.DataFrame) -> None:
        """Adds tracks or updates what is known of them; columns that are absent and blank cells change nothing.

        Columns: track_id text, and any of title text, artists list of text, album text, genres list of text,
        released_at seconds since 1970.
        """
        if "track_id" not in frame.columns:
            raise DataError(f"tracks: no column track_id among {', '.join(frame.columns)}")
        columns = [name for name in _DESCRIPTION if name in frame.columns]
        self._describe(columns, frame.select("track_id", *columns).iter_rows())

    def describe_track(self, track_id: str, tags: Tags) -> None:
        """Adds one track, or updates what is known of it; what the tags leave open stays as it was."""
        self._describe(_DESCRIPTION, [(track_id, *(getattr(tags, name) for name in _DESCRIPTION))])

    def _describe(self, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        """`rows` have a track_id before the columns."""
        new = {name: f"nullif(excluded.{name}, '[]')" if name in _LISTS else f"excluded.{name}" for name in columns}
        update = ", ".join(f"{name} = coalesce({value}, {name})" for name, value in new.items())
        sql = (
            f"INSERT INTO tracks ({', '.join(['track_id', *columns])}) VALUES (?{', ?' * len(columns)}) "
            f"ON CONFLICT (track_id) DO {'UPDATE SET ' + update if update else 'NOTHING'}"
        )
        with self.transaction() as db:
            db.executemany(sql, ((row[0], *map(_stored, columns, row[1:])) for row in rows))

    def rename_tracks(self, track_ids: Mapping[str, str]) -> None:
        """Gives tracks other ids, which may be one another's.

        An id that a track without a file of its own has (it came with a log or with vectors) takes in the renamed one.
        """
        with self.transaction() as db:
            rows = []
            for old, new in track_ids.items():
                (row,) = db.execute("SELECT track_row FROM tracks WHERE track_id = ?", (old,)).fetchone()
                # First out of each other's way.
                db.execute("UPDATE tracks SET track_id = char(0) || track_row WHERE track_row = ?", (row,))
                rows.append((row, new))
            for row, new in rows:
                other = db.execute("SELECT track_row FROM tracks WHERE track_id = ?", (new,)).fetchone()
                if other is not None:
                    columns = "path, size, mtime_ns, content_hash"
                    file = db.execute(f"SELECT {columns} FROM tracks WHERE track_row = ?", (row,)).fetchone()
                    db.execute("UPDATE OR IGNORE vectors SET track_row = ? WHERE track_row = ?", (*other, row))
                    db.execute("DELETE FROM tracks WHERE track_row = ?", (row,))
                    db.execute(f"UPDATE tracks SET ({columns}) = (?, ?, ?, ?) WHERE track_row = ?", (*file, *other))
                db.execute("UPDATE tracks SET track_id = ? WHERE track_row = ?", (new, row))

    def remove_tracks(self, track_ids: Iterable[str]) -> None:
        """Removes tracks with their vectors, and the analyses that no other track has."""
        with self.transaction() as db:
            for track_id in track_ids:
                sql = "DELETE FROM tracks WHERE track_id = ? RETURNING content_hash"
                for content_hash in db.execute(sql, (track_id,)).fetchall():
                    if not db.execute("SELECT 1 FROM tracks WHERE content_hash = ?", content_hash).fetchone():
                        db.execute("DELETE FROM fingerprints WHERE content_hash = ?", content_hash)
                        db.execute("DELETE FROM heard WHERE content_hash = ?", content_hash)

    def remove_files(self, track_ids: Iterable[str]) -> None:
        """Tracks that have no file any more, and keep what is known of them."""
        with self.transaction() as db:
            sql = "UPDATE tracks SET path = NULL, size = NULL, mtime_ns = NULL WHERE track_id = ?"
            db.executemany(sql, ((track_id,) for track_id in track_ids))

    def has_track(self, track_id: str) -> bool:
        return bool(self._query("SELECT 1 FROM tracks WHERE track_id = ?", (track_id,)))

    def track_ids(self) -> list[str]:
        """External ids of all tracks, in row order."""
        return [row[0] for row in self._query("SELECT track_id FROM tracks ORDER BY track_row")]

    def matching(self, wanted: TrackFilter) -> list[str]:
        """External ids of the tracks that a filter allows."""
        conditions: list[str] = ["1"]
        parameters: list[str | int] = []
        for column, value in (("genres", wanted.genre), ("artists", wanted.artist)):
            if value is not None:
                conditions.append(f"EXISTS (SELECT 1 FROM json_each({column}) WHERE lower(value) = lower(?))")
                parameters.append(value)
        if wanted.years is not None:
            first, last = wanted.years
            conditions.append("released_at >= ? AND released_at < ?")
            parameters += [calendar.timegm((first, 1, 1, 0, 0, 0)), calendar.timegm((last + 1, 1, 1, 0, 0, 0))]
        sql = f"SELECT track_id FROM tracks WHERE {' AND '.join(conditions)}"
        return [row[0] for row in self._query(sql, parameters)]

    def described_tracks(self) -> list[str]:
        """External ids of the tracks of which anything is known besides the id."""
        rows = self._query(
            "SELECT track_id FROM tracks WHERE path NOTNULL OR content_hash NOTNULL OR title NOTNULL "
            "OR artists != '[]' OR album NOTNULL OR genres != '[]' OR track_row IN (SELECT track_row FROM vectors)"
        )
        return [row[0] for row in rows]

    def releases(self) -> dict[str, int]:
        """When tracks were released, in seconds since 1970, by track_id; those alone for which it is known."""
        return dict(self._query("SELECT track_id, released_at FROM tracks WHERE released_at NOTNULL"))

    def tracks(self) -> pl.DataFrame:
        """One row per track in row order; `path` escapes what is not UTF-8."""
        import polars as pl

        texts = pl.List(pl.String())
        kinds = {"artists": texts, "genres": texts, "released_at": pl.Int64(), "duration_seconds": pl.Float64()}
        schema = {name: kinds.get(name, pl.String()) for name in _COLUMNS}
        return pl.DataFrame(self._tracks("ORDER BY track_row"), schema=schema, orient="row")

    def track(self, track_id: str) -> dict[str, Any] | None:
        """One track's row of `tracks`, by column; None where there is no such track."""
        rows = self._tracks("WHERE track_id = ?", (track_id,))
        return dict(zip(_COLUMNS, rows[0], strict=True)) if rows else None

    def _tracks(self, rest: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Values of `_COLUMNS`."""
        names = ", ".join("tracks.genres" if name == "genres" else name for name in _COLUMNS)
        rows = self._query(f"SELECT {names} FROM tracks LEFT JOIN heard USING (content_hash) {rest}", parameters)
        return [
            (track_id, path and readable(path), title, json.loads(artists), album, json.loads(genres), *others)
            for track_id, path, title, artists, album, genres, *others in rows
        ]

    def paths(self) -> dict[str, bytes]:
        """track_id -> path, of the tracks that have a file."""
        return dict(self._query("SELECT track_id, path FROM tracks WHERE path NOTNULL ORDER BY track_row"))

    def path_of(self, track_id: str) -> Path | None:
        """The track's file; None where it has none or is not there."""
        found = self._query("SELECT path FROM tracks WHERE track_id = ? AND path NOTNULL", (track_id,))
        return Path(os.fsdecode(found[0][0])) if found else None

    def file_with(self, content_hash: str) -> Path | None:
        """A file with this content that is still as the library last saw it; None where there is none."""
        sql = "SELECT path, size, mtime_ns FROM tracks WHERE content_hash = ? AND path NOTNULL ORDER BY track_row"
        for path, size, mtime_ns in self._query(sql, (content_hash,)):
            file = Path(os.fsdecode(path))
            try:
                if StoredFile.of(file) == StoredFile(path, size, mtime_ns):
                    return file
            except OSError:
                continue
        return None

    def tracks_with(self, content_hash: str) -> list[str]:
        """External ids of the tracks whose files have this content, in row order."""
        rows = self._query("SELECT track_id FROM tracks WHERE content_hash = ? ORDER BY track_row", (content_hash,))
        return [row[0] for row in rows]

    def analyzed_files(self) -> set[StoredFile]:
        """The files for which `has_analysis` is true."""
        rows = self._query(
            "SELECT path, size, mtime_ns FROM tracks JOIN heard USING (content_hash) "
            f"WHERE path NOTNULL AND vocabulary = {CURRENT_VOCABULARY}"
        )
        return {StoredFile(*row) for row in rows}

    def track_at(self, path: bytes) -> tuple[str, str | None] | None:
        """(track_id, content_hash) of the track whose file lies there."""
        found = self._query("SELECT track_id, content_hash FROM tracks WHERE path = ?", (path,))
        return found[0] if found else None

    def set_file(self, track_id: str, file: StoredFile, content_hash: str) -> None:
        """From now on this is the file of a track, which is added where it is not there; it failed no more.

        Where its content is another, vectors of other encoders that were made of the former one go.
        """
        with self.transaction() as db:
            db.execute("DELETE FROM failures WHERE path = ?", (file.path,))
            db.execute(
                "DELETE FROM vectors WHERE name GLOB ? AND track_row = "
                "(SELECT track_row FROM tracks WHERE track_id = ? AND content_hash != ?)",
                (f"{PREFIX}*", track_id, content_hash),
            )
            db.execute(
                "INSERT INTO tracks (track_id, path, size, mtime_ns, content_hash) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (track_id) DO UPDATE SET path = excluded.path, size = excluded.size, "
                "mtime_ns = excluded.mtime_ns, content_hash = excluded.content_hash",
                (track_id, *file, content_hash),
            )

    def failure_count(self) -> int:
        """How many files could not be embedded."""
        return int(self._query("SELECT count(*) FROM failures")[0][0])

    def failures(self, most: int = -1) -> dict[StoredFile, str]:
        """File -> reason, of the files that could not be embedded, by path; the first `most`, -1 for all."""
        rows = self._query("SELECT path, size, mtime_ns, reason FROM failures ORDER BY path LIMIT ?", (most,))
        return {StoredFile(*file): reason for *file, reason in rows}

    def add_failure(self, file: StoredFile, reason: str) -> None:
        """A file could not be embedded; a track whose file it was before it changed has none any more."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", (*file, reason))
            db.execute("UPDATE tracks SET path = NULL WHERE path = ? AND (size, mtime_ns) != (?, ?)", file)

    def remove_failure(self, path: bytes) -> None:
        """The file is no failure any more."""
        with self.transaction() as db:
            db.execute("DELETE FROM failures WHERE path = ?", (path,))


def _stored(column: str, value: Any) -> Any:
    """A cell as the database has it: lists as JSON, None where it is blank."""
    if column in _LISTS:
        return json.dumps([one for one in value or () if one], ensure_ascii=False)
    return None if isinstance(value, str) and not value.strip() else value
