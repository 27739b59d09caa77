"""The tracks of a library, the files they stand for, and the files that could not be embedded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import DataError
from ...models.encoders.transformers import PREFIX
from .scan import readable
from .schema import Database

if TYPE_CHECKING:
    import polars as pl

    from ...audio.metadata import Tags

_DESCRIPTION = ("title", "artists", "album", "genres", "released_at")
_LISTS = ("artists", "genres")
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
        status = path.stat()
        return cls(os.fsencode(path), status.st_size, status.st_mtime_ns)


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

    def has_track(self, track_id: str) -> bool:
        return bool(self._query("SELECT 1 FROM tracks WHERE track_id = ?", (track_id,)))

    def track_ids(self) -> list[str]:
        """External ids of all tracks, in row order."""
        return [row[0] for row in self._query("SELECT track_id FROM tracks ORDER BY track_row")]

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

    def tracks(self, track_id: str | None = None) -> pl.DataFrame:
        """One row per track in row order, or that of one track; `path` escapes what is not UTF-8."""
        import polars as pl

        where, parameters = ("", ()) if track_id is None else ("WHERE track_id = ?", (track_id,))
        rows = self._query(
            "SELECT track_id, path, title, artists, album, tracks.genres, released_at, duration_seconds, content_hash "
            f"FROM tracks LEFT JOIN heard USING (content_hash) {where} ORDER BY track_row",
            parameters,
        )
        lines = [
            (track_id, path and readable(path), title, json.loads(artists), album, json.loads(genres), *rest)
            for track_id, path, title, artists, album, genres, *rest in rows
        ]
        texts = pl.List(pl.String())
        schema = {
            "track_id": pl.String(),
            "path": pl.String(),
            "title": pl.String(),
            "artists": texts,
            "album": pl.String(),
            "genres": texts,
            "released_at": pl.Int64(),
            "duration_seconds": pl.Float64(),
            "content_hash": pl.String(),
        }
        return pl.DataFrame(lines, schema=schema, orient="row")

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

    def failures(self) -> dict[StoredFile, str]:
        """File -> reason, of the files that could not be embedded, by path."""
        rows = self._query("SELECT path, size, mtime_ns, reason FROM failures ORDER BY path")
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
