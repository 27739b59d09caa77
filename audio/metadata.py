"""What a file says about itself: title, artists, album, genres and date from its tags."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Tags:
    """A file's tags; empty where it has none."""

    title: str | None = None
    artists: tuple[str, ...] = ()
    album: str | None = None
    genres: tuple[str, ...] = ()
    released_at: int | None = None
    """seconds since 1970, from a year or a date"""


_ID3 = {"TIT2": "title", "TPE1": "artist", "TALB": "album", "TCON": "genre", "TDRC": "date"}
"""frames of ID3 where mutagen has no easy names for them: in WAV and AIFF"""


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """The tags of a file of any kind that mutagen knows; no tags where they are missing or broken."""
    fields = read_fields(path)

    def first(name: str) -> str | None:
        return next(iter(fields.get(name, ())), None)

    date = first("originaldate") or first("date") or first("year")
    return Tags(first("title"), fields.get("artist", ()), first("album"), fields.get("genre", ()), released_at(date))


def read_fields(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """All text fields by their common lower-case name, such as `artist` or `musicbrainz_trackid`."""
    import mutagen

    try:
        file: Any = mutagen.File(os.fspath(path), easy=True)
        items = list(file.tags.items()) if file is not None and file.tags is not None else []
    except (mutagen.MutagenError, OSError, ValueError, KeyError, IndexError, EOFError):
        # Broken tags never keep a file from being heard.
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, value in items:
        texts = tuple(dict.fromkeys(text for text in map(_text, value if isinstance(value, list) else [value]) if text))
        if texts:
            found[_ID3.get(str(name), str(name).lower())] = texts
    return found


def _text(value: object) -> str:
    return str(value).replace("\x00", " ").encode("utf-8", "replace").decode().strip()


def released_at(date: str | None) -> int | None:
    """Seconds since 1970 of `1971`, `1971-03` or `1971-03-05`; None where it is none of these.

    >>> released_at("1971")
    31536000
    """
    for length, pattern in ((10, "%Y-%m-%d"), (7, "%Y-%m"), (4, "%Y")):
        try:
            return int(datetime.strptime((date or "")[:length], pattern).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    return None
