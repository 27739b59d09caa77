"""A collection on disk: which files there are, and which track each of them is."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...audio.metadata import Tags, read_fields, released_at
from ...errors import DataError, UsageError
from .remote_files import file_system, remote_files, url_of

BESIDE_MUSIC = frozenset(
    f".{ending}"
    for ending in "csv cue db htm html ini json log lrc m3u m3u8 md md5 nfo pdf pls sfv txt xml yaml yml".split()  # noqa: SIM905
)
"""endings of what lies in music folders and is no music; passed over when a folder is walked"""


@dataclass(frozen=True)
class ScannedFile:
    """A file that may be a track."""

    path: Path
    """absolute"""
    track_id: str
    tags: Tags | None = None
    """those of the manifest; None means the file's own"""
    refusal: str | None = None
    """why it can't be a track, where that is known without opening it"""
    named: bool = False
    """whether the manifest or the tag names the track_id, rather than the path"""


@dataclass(frozen=True)
class ManifestEntry:
    """A line of a manifest."""

    path: Path
    track_id: str
    tags: Tags
    line: int


def check_place(place: Path) -> None:
    """UsageError where there is nothing."""
    url = url_of(place)
    if not (place.exists() if url is None else file_system(url)[0].exists(url)):
        raise UsageError(f"{readable(place)}: no such file or folder")


def walk(places: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """(absolute path, path relative to the place it was found in) of all files, in order; hidden ones left out."""
    for place in places:
        check_place(place)
        if url := url_of(place):
            for path, relative in remote_files(url):
                if path.suffix.lower() not in BESIDE_MUSIC:
                    yield path, relative
            continue
        if not place.is_dir():
            yield absolute(place), place.name
            continue
        root = absolute(place)
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder) / name
                if not name.startswith(".") and path.suffix.lower() not in BESIDE_MUSIC:
                    yield path, str(path.relative_to(root))


def scan(
    places: Sequence[Path],
    taken: dict[str, Path | None],
    *,
    manifest: Path | None = None,
    id_field: str | None = None,
    fixed: Collection[str] = (),
) -> Iterator[ScannedFile]:
    """Every file with the track it is.

    `taken` maps the library's track_ids to the paths they stand for. `id_field` names the tag that holds the id; files
    without it go by their path. Two files never share an id: the later one gets its folder's name in front. A track of
    the library whose id is `fixed` takes no other.
    """
    owner = dict(taken)
    known = {path: track_id for track_id, path in taken.items() if path is not None}
    listed = {entry.path: entry for entry in read_manifest(manifest, places)} if manifest else {}
    for track_id in _renamed(listed, known, owner, fixed):
        del owner[track_id]
    seen: set[Path] = set()

    def scanned(path: Path, relative: str) -> ScannedFile:
        seen.add(path)
        before, entry = known.get(path), listed.get(path)
        tags: Tags | None = None
        if entry:
            track_id, tags, named, source = entry.track_id, entry.tags, True, f"{manifest}, line {entry.line}"
        else:
            tag = next(iter(read_fields(path).get(id_field, ())), None) if id_field else None
            track_id = tag or before or _free(readable(relative), path, owner)
            named, source = tag is not None, f"tag {id_field}"
        other = owner.get(track_id)
        if before in fixed and before != track_id:
            why = f"cannot become {track_id}: listens know it as {before} ({source})"
        elif other is not None and other != path and (entry or _may_be_there(other)):
            why = f"track_id {track_id} is already {readable(other)} ({source})"
        else:
            owner[track_id] = path
            return ScannedFile(path, track_id, tags, named=named)
        return ScannedFile(path, track_id, tags, why)

    for path, relative in walk(places):
        if path not in seen:
            yield scanned(path, relative)
    for path, entry in listed.items():
        if path not in seen and path.exists():
            yield scanned(path, path.name)
        elif path not in seen:
            yield ScannedFile(path, entry.track_id, entry.tags, f"no such file ({manifest}, line {entry.line})")


def _renamed(
    listed: Mapping[Path, ManifestEntry],
    known: Mapping[Path, str],
    owner: Mapping[str, Path | None],
    fixed: Collection[str],
) -> dict[str, str]:
    """The library's track_ids that a manifest replaces, and by what: only by ids that are free, or are made so."""
    renames: dict[str, str] = {}
    for path, entry in listed.items():
        old, new = known.get(path, entry.track_id), entry.track_id
        if old != new and old not in fixed and new not in renames.values():
            renames[old] = new
    while taken := [old for old, new in renames.items() if new not in renames and owner.get(new) is not None]:
        for old in taken:
            del renames[old]
    return renames


def _free(name: str, path: Path, owner: dict[str, Path | None]) -> str:
    """`name`, with folder names in front until no other existing file has it."""
    folders = list(path.parents)
    for depth in range(len(folders)):
        other = owner.get(name)
        if name not in owner or other == path or (other is not None and not _may_be_there(other)):
            return name
        name = readable(f"{folders[len(Path(name).parts) - 1].name or depth}/{name}")
    return readable(path)


def _may_be_there(path: Path) -> bool:
    """Of a remote file it is not asked: a request for each would take too long."""
    return url_of(path) is not None or path.exists()


def read_manifest(file: Path, places: Sequence[Path]) -> list[ManifestEntry]:
    """A CSV with the columns path, track_id, and any of title, artist, album, genre, released_at.

    Paths are absolute, or relative to the manifest or to an embedded folder. Several artists or genres are separated
    by `;`. Raises DataError naming file and column.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
            reader = csv.DictReader(lines)
            missing = {"path", "track_id"} - set(reader.fieldnames or ())
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "none"
                raise DataError(f"{file}: no column {' or '.join(sorted(missing))}; found {found}")
            rows = list(reader)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    roots = [absolute(file).parent, *map(absolute, places)]
    entries = []
    for number, row in enumerate(rows, start=2):
        if not row["path"] or not row["track_id"]:
            raise DataError(f"{file}, line {number}: path or track_id is empty")
        options = [root / row["path"] for root in roots]
        path = next((option for option in options if option.exists()), options[0])
        tags = Tags(
            row.get("title") or None,
            _split(row.get("artist")),
            row.get("album") or None,
            _split(row.get("genre")),
            released_at(row.get("released_at")),
        )
        entries.append(ManifestEntry(Path(os.path.normpath(path)), row["track_id"], tags, number))
    return entries


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (names or "").split(";") if name.strip())


def is_gone(path: Path) -> bool:
    """Whether there is nothing of this name; of a folder that may not be read, nobody knows."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def absolute(path: Path) -> Path:
    """Without `..`, but with links as they are: a library of links stays one of links; a URL as it is."""
    return path if url_of(path) else Path(os.path.abspath(path))  # noqa: PTH100


def readable(path: str | bytes | Path) -> str:
    """A path as text that can be stored and printed: what is not UTF-8 in it is escaped."""
    if isinstance(path, Path) and (url := url_of(path)):
        path = url
    return os.fsencode(path).decode("utf-8", "backslashreplace")
