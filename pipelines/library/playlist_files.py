"""Playlists as files that other players read: M3U8 (UTF-8, extended) and JSPF (https://xspf.org/jspf)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes


@dataclass(frozen=True)
class ListedFile:
    """A track of a playlist that has a file."""

    path: Path
    """as the file of the playlist names it"""
    title: str
    artist: str | None = None
    duration_seconds: float | None = None


def m3u(files: Iterable[ListedFile]) -> bytes:
    """In bytes, as paths are. What a line cannot hold is left out."""
    lines = [b"#EXTM3U"]
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
