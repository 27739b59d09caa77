"""Playlists: named, ordered lists of tracks that a library keeps.

They name tracks by their track_ids, not by rows: a track whose file went away and came back is still in its place.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .tracks import Tracks


@dataclass(frozen=True)
class Playlist:
    playlist_id: int
    name: str
    """of one playlist only"""
    track_ids: tuple[str, ...]
    """in order; a track may occur twice, and need not be in the library any more"""
    revision: int = 1
    """one more with every change, so that nobody overwrites a change that they have not seen"""
    changed_at: int = 0
    """seconds since 1970"""


@dataclass(frozen=True)
class ListedTrack:
    """What is shown of a track of a playlist."""

    track_id: str
    in_library: bool
    title: str | None
    artists: tuple[str, ...]
    path: Path | None
    duration_seconds: float | None


class Playlists(Tracks):
    """The table of playlists, beside those of the tracks that they name."""

    def playlists(self) -> list[Playlist]:
        """The one that was changed last comes first."""
        return self._playlists("ORDER BY changed_at DESC, playlist_id DESC")

    def playlist(self, playlist_id: int) -> Playlist | None:
        return next(iter(self._playlists("WHERE playlist_id = ?", playlist_id)), None)

    def playlist_named(self, name: str) -> Playlist | None:
        return next(iter(self._playlists("WHERE name = ?", name)), None)

    def add_to_playlist(self, name: str, track_ids: Sequence[str]) -> Playlist:
        """Puts tracks behind those of the playlist of this name, which is made where there is none.

        A track that is there already is left out.
        """
        with self.transaction() as db:
            known = self.playlist_named(name)
            if known is not None:
                new = dict.fromkeys(one for one in track_ids if one not in set(known.track_ids))
                return self.change_playlist(replace(known, track_ids=(*known.track_ids, *new))) if new else known
            made = Playlist(0, name, tuple(dict.fromkeys(track_ids)), changed_at=int(time.time()))
            row = db.execute(
                "INSERT INTO playlists (name, track_ids, revision, changed_at) VALUES (?, ?, ?, ?)",
                (name, _json(made.track_ids), made.revision, made.changed_at),
            ).lastrowid
            return replace(made, playlist_id=int(row or 0))

    def change_playlist(self, playlist: Playlist) -> Playlist:
        """Keeps another name or other tracks of a playlist that is there; gives it with its new revision."""
        changed = replace(playlist, revision=playlist.revision + 1, changed_at=int(time.time()))
        with self.transaction() as db:
            db.execute(
                "UPDATE playlists SET name = ?, track_ids = ?, revision = ?, changed_at = ? WHERE playlist_id = ?",
                (changed.name, _json(changed.track_ids), changed.revision, changed.changed_at, changed.playlist_id),
            )
        return changed

    def remove_playlist(self, playlist_id: int) -> bool:
        """Whether it was there."""
        with self.transaction() as db:
            return db.execute("DELETE FROM playlists WHERE playlist_id = ?", (playlist_id,)).rowcount > 0

    def replace_playlists(self, playlists: Iterable[Playlist]) -> None:
        """These are all there are from now on."""
        with self.transaction() as db:
            db.execute("DELETE FROM playlists")
            db.executemany(
                "INSERT INTO playlists VALUES (?, ?, ?, ?, ?)",
                ((one.playlist_id, one.name, _json(one.track_ids), one.revision, one.changed_at) for one in playlists),
            )

    def rename_tracks(self, track_ids: Mapping[str, str]) -> None:
        """Playlists name them by their new ids, too."""
        with self.transaction():
            super().rename_tracks(track_ids)
            for one in self.playlists():
                if not track_ids.keys().isdisjoint(one.track_ids):
                    self.change_playlist(replace(one, track_ids=tuple(track_ids.get(id, id) for id in one.track_ids)))

    def listed_tracks(self, track_ids: Sequence[str]) -> list[ListedTrack]:
        """In the same order; those that are not in the library have nothing but their id."""
        rows = self._query(
            "SELECT listed.value, track_row NOTNULL, title, coalesce(artists, '[]'), tracks.path, duration_seconds "
            "FROM json_each(?) AS listed LEFT JOIN tracks ON track_id = listed.value "
            "LEFT JOIN heard USING (content_hash) ORDER BY listed.key",
            (_json(track_ids),),
        )
        return [
            ListedTrack(id, bool(known), title, tuple(json.loads(artists)), path and Path(os.fsdecode(path)), seconds)
            for id, known, title, artists, path, seconds in rows
        ]

    def _playlists(self, rest: str, *parameters: object) -> list[Playlist]:
        columns = "playlist_id, name, track_ids, revision, changed_at"
        rows = self._query(f"SELECT {columns} FROM playlists {rest}", parameters)
        return [Playlist(row[0], row[1], tuple(json.loads(row[2])), *row[3:]) for row in rows]


def _json(track_ids: Sequence[str]) -> str:
    return json.dumps(track_ids, ensure_ascii=False)
