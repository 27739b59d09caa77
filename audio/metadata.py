"""Metadata: title, artists, album, genres and date in a file's tags, its encoding, its format by its first bytes."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
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
    """The tags of a file of any kind that mutagen reads; no tags where they are missing or broken."""
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
        # A file with broken tags is analysed all the same.
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, value in items:
        texts = tuple(dict.fromkeys(text for text in map(_text, value if isinstance(value, list) else [value]) if text))
        if texts:
            found[_ID3.get(str(name), str(name).lower())] = texts
    return found


@dataclass(frozen=True)
class Encoding:
    """How a file holds its audio; None where it does not say."""

    format: str
    """MP3, FLAC, OggVorbis, MP4 …, by mutagen's names"""
    lossless: bool
    bitrate_kbps: int | None = None
    sample_rate: int | None = None
    channels: int | None = None


_LOSSLESS = frozenset(
    {"FLAC", "OggFLAC", "WAVE", "AIFF", "MonkeysAudio", "WavPack", "TrueAudio", "TAK", "OptimFROG", "DSF", "DSDIFF"}
)


def read_encoding(path: str | os.PathLike[str]) -> Encoding:
    """Of a file of any kind that mutagen reads; of another its suffix alone."""
    import mutagen

    unknown = Encoding(Path(path).suffix.removeprefix(".").upper() or "unknown", False)
    try:
        file: Any = mutagen.File(os.fspath(path))
    except (mutagen.MutagenError, OSError, ValueError, KeyError, IndexError, EOFError):
        return unknown
    if file is None:
        return unknown
    name = type(file).__name__
    bitrate, *sizes = (getattr(file.info, field, None) or None for field in ("bitrate", "sample_rate", "channels"))
    lossless = name in _LOSSLESS or getattr(file.info, "codec", "") == "alac"
    return Encoding(name, lossless, bitrate and round(bitrate / 1000), *sizes)


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


PICTURE_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif"}
"""of pictures that every browser shows, by how they begin"""
_FRONT_COVER = 3
"""the type of a picture in ID3's APIC and FLAC's PICTURE"""


def picture_type(picture: bytes) -> str | None:
    """The media type of a JPEG, PNG, GIF or WebP by its first bytes; None for anything else.

    >>> picture_type(b"\\x89PNG...")
    'image/png'
    """
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in PICTURE_TYPES.items() if picture.startswith(start)), None)


def read_cover(path: str | os.PathLike[str]) -> bytes | None:
    """The picture in a file's tags, the front cover before others; None where it has none that a browser shows."""
    import mutagen

    try:
        file: Any = mutagen.File(os.fspath(path))
        pictures = [] if file is None else _pictures(file)
    except (mutagen.MutagenError, OSError, ValueError, KeyError, IndexError, EOFError, TypeError):
        return None
    shown = [(kind != _FRONT_COVER, data) for kind, data in pictures if picture_type(data)]
    return min(shown, key=lambda pair: pair[0])[1] if shown else None


def _pictures(file: Any) -> list[tuple[int, bytes]]:
    """(type, data) of the pictures of FLAC, ID3, MP4, and of Ogg's comments."""
    from mutagen import flac

    parse: Any = flac.Picture
    tags = file.tags or {}
    found = [(picture.type, picture.data) for picture in getattr(file, "pictures", ())]
    found += [(frame.type, frame.data) for frame in getattr(tags, "getall", lambda name: ())("APIC")]
    found += [(_FRONT_COVER, bytes(picture)) for picture in tags.get("covr") or ()]
    for text in tags.get("metadata_block_picture") or ():
        picture = parse(base64.b64decode(text))
        found.append((picture.type, picture.data))
    return found


_DAMAGED = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"RIFF": "WAV",
    b"FORM": "AIFF",
    b"caff": "CAF",
    b"DSD ": "DSF",
    b"FRM8": "DSDIFF",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"tBaK": "TAK",
    b"TTA": "True Audio",
    b"MP+": "Musepack",
    b"MPCK": "Musepack",
    b"\x30\x26\xb2\x75": "WMA",
    b"\x1a\x45\xdf\xa3": "Matroska",
    b"\xff\xfb": "MP3",
    b"\xff\xf3": "MP3",
}
_OTHERS = {
    b"MThd": "MIDI, which holds notes and no sound",
    b"OFR ": "OptimFROG, which only its own program decodes",
} | dict.fromkeys((b"ID3", b"APETAGEX", b"TAG"), "tags with no sound after them, or damaged sound")
_REASONS = {start: f"damaged or cut short ({kind})" for start, kind in _DAMAGED.items()} | _OTHERS
"""by how a file begins"""


def undecodable_reason(path: str | os.PathLike[str]) -> str:
    """Why nothing of a file could be decoded, in plain words, which the errors of decoders are not."""
    with Path(path).open("rb") as file:
        head = file.read(12)
    if head[4:8] in (b"ftyp", b"moov"):
        return "damaged or cut short (MP4)"
    found = (reason for start, reason in _REASONS.items() if head.startswith(start))
    return next(found, "not audio, or damaged where it begins")
