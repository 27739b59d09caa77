"""Playlists as files that other players read: M3U8 (UTF-8, extended) and JSPF (https://xspf.org/jspf).

Navidrome, Jellyfin, Lyrion and others take in the M3U8 files that lie among the music: `put_among_music` is how a
playlist gets to them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote_from_bytes

from ...errors import DataError
from ...models.storage import replacing


@dataclass(frozen=True)
class ListedFile:
    """A track of a playlist that has a file."""

    path: Path
    """as the file of the playlist names it"""
    title: str
    artist: str | None = None
    duration_seconds: float | None = None


def m3u(files: Iterable[ListedFile], *, mark: str | None = None) -> bytes:
    """In bytes, as paths are. What a line cannot hold is left out. `mark` is a comment's text."""
    lines = [b"#EXTM3U", *([] if mark is None else [f"#{mark}".encode()])]
    for file in files:
        path = os.fsencode(file.path)
        if b"\n" in path or b"\r" in path:
            continue
        named = " ".join(" - ".join(part for part in (file.artist, file.title) if part).split())
        seconds = -1 if file.duration_seconds is None else round(file.duration_seconds)
        # A path that begins as a comment does would be taken for one.
        start = b"./" if path.startswith(b"#") else b""
        lines += [f"#EXTINF:{seconds},{named}".encode("utf-8", "backslashreplace"), start + path]
    return b"\n".join(lines) + b"\n"


def jspf(name: str, files: Iterable[ListedFile]) -> bytes:
    """Locations are URIs; durations are in milliseconds."""
    tracks = []
    for file in files:
        track: dict[str, object] = {"location": [quote_from_bytes(os.fsencode(file.path))], "title": file.title}
        if file.artist is not None:
            track["creator"] = file.artist
        if file.duration_seconds is not None:
            track["duration"] = round(1000 * file.duration_seconds)
        tracks.append(track)
    return json.dumps({"playlist": {"title": name, "track": tracks}}, indent=1, ensure_ascii=False).encode() + b"\n"


def playlist_mark(playlist_id: int) -> str:
    """What a playlist carries that was written or sent from here, so that nothing else is ever replaced."""
    return f"CROSSFADE-PLAYLIST:{playlist_id}"


def put_among_music(folder: Path, name: str, playlist_id: int, files: Iterable[ListedFile]) -> Path:
    """Writes a playlist into a folder of music, in place of what was written there for it before; gives its path.

    `files` are absolute; those in the folder get paths from there. DataError where a file of this name is somebody
    else's.
    """
    mark = playlist_mark(playlist_id)
    target = folder / f"{re.sub(_NOT_IN_NAMES, '_', name)[:100].strip('. ') or f'playlist {playlist_id}'}.m3u8"
    if target.exists() and not _has_mark(target, mark):
        raise DataError(f"{target.name}: there already, and not written for this playlist; rename one of the two")
    listed = [replace(file, path=Path(os.path.relpath(file.path, folder))) for file in files]
    with replacing(target) as part:
        part.write_bytes(m3u(listed, mark=mark))
    for other in folder.glob("*.m3u8"):
        # Under the name that it had before.
        if other != target and _has_mark(other, mark):
            other.unlink()
    return target


_NOT_IN_NAMES = r'[/\\:*?"<>|\x00-\x1f]'


def _has_mark(file: Path, mark: str) -> bool:
    with file.open("rb") as opened:
        return f"#{mark}".encode() in opened.read(200).splitlines()
