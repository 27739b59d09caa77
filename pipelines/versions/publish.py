"""Publishing: the current version of a library to a place from which others fetch it, and back.

    data/HASH/library.db, data/HASH/NAME.parquet     tracks and listens
    model/HASH/FILE                                  what was trained
    recommendations/HASH/FILE.parquet                the artefacts' tables
    pictures/HASH/FILE.png
    manifests/VERSION.json                           path -> where it is, bytes and hash
    current.json                                     the version in use

Files are named by their hash: what is there already is not uploaded again, and no upload touches what an earlier
version needs. `current.json` is written last, when everything was read back, so a broken upload changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import LibraryError, UsageError
from ...models.storage import content_hash, move_durably, write_json
from ..interactions.live_events import forgotten_in
from ..interactions.user_deletion import forget
from ..library.folder_layout import ARTEFACTS, describe_files, files_in, read_manifest, write_manifest
from ..library.store import Library
from .remote_storage import Destination, PublishError

CURRENT = "current.json"
PULLED = "pulled.json"


@dataclass(frozen=True)
class Published:
    """What one publish or pull did to one folder of the place."""

    folder: str
    """data, model, recommendations or pictures"""
    files: int
    moved: int
    """files that were not there yet"""
    bytes: int
    """of those"""


Entries = dict[str, dict[str, Any]]
"""file of the library -> where it is (`at`), its size (`bytes`) and `hash`"""


def publish(library: Library, place: Destination) -> list[Published]:
    """Uploads the current version; raises PublishError, and then the place's former version is still its current."""
    version = library.current_version()
    with TemporaryDirectory(prefix=".publishing-", dir=library.folder) as scratch:
        copy = Path(scratch) / "library.db"
        _backup(library.folder / "library.db", copy)
        sources = {f"models/{version.name}/{name}": version / name for name in files_in(version)}
        sources |= {f"listens/{part.name}": part for part in sorted(library.listens_folder.glob("*.parquet"))}
        sources["library.db"] = copy
        entries: Entries = describe_files(sources)
        uploaded = set()
        for path, entry in entries.items():
            name = entry["at"] = f"{_folder_of(path)}/{entry['hash']}/{sources[path].name}"
            if place.size(name) != entry["bytes"]:
                place.upload(sources[path], name)
                if place.digest(name) != entry["hash"]:
                    raise PublishError(f"{place.url}/{name}: not what was uploaded; publish again")
                uploaded.add(path)
    text = write_manifest(version.name, files=entries)
    place.write(f"manifests/{version.name}.json", text)
    place.write(CURRENT, write_manifest(version.name, hash=content_hash(text.encode())))
    return _summary(entries, uploaded)


def pull(
    place: Destination, folder: Path, *, replace: bool = False, database: str | None = None
) -> tuple[str, list[Published]]:
    """The place's current version becomes that of the library in `folder`; gives its name, and what was done.

    A library that was not pulled from there is left alone, unless told to `replace` its tracks and listens. Listeners
    who had their data deleted here, by the event store (`database`, see `take_events`), are left out.
    """
    version, entries = _manifest(place)
    folder.mkdir(parents=True, exist_ok=True)
    _may_replace(folder, place.url, replace)
    replaces = Library.exists(folder)
    with TemporaryDirectory(prefix=".pulling-", dir=folder) as scratch:
        fetched: dict[str, Path] = {}
        for number, (path, entry) in enumerate(entries.items()):
            kept = folder / path
            if path != "library.db" and kept.is_file() and content_hash(kept) == entry["hash"]:
                continue
            fetched[path] = Path(scratch) / str(number)
            place.download(entry["at"], fetched[path])
            if content_hash(fetched[path]) != entry["hash"]:
                raise PublishError(f"{place.url}/{entry['at']}: damaged; publish again")
        write_json(folder / PULLED, {"url": place.url, "version": version})
        # An empty library where there is none, so that there is something to lock.
        with Library.open(folder, create=True) as library, library.rewriting():
            playlists = library.playlists()
            _install(folder, entries, fetched)
            # Who was deleted here may not be known as deleted there.
            forget(library, forgotten_in(library, database))
        with Library.open(folder) as library:
            if replaces:
                library.begin_history()
                # Made by those who listen here.
                library.replace_playlists(playlists)
            library.publish_version(library.models / version)
    return version, _summary(entries, fetched)


def _summary(entries: Entries, moved: Container[str]) -> list[Published]:
    folders: dict[str, list[str]] = {}
    for path in entries:
        folders.setdefault(_folder_of(path), []).append(path)
    sizes = {name: [entries[path]["bytes"] for path in paths if path in moved] for name, paths in folders.items()}
    return [Published(name, len(folders[name]), len(these), sum(these)) for name, these in sizes.items()]


def _install(folder: Path, entries: Entries, fetched: dict[str, Path]) -> None:
    """Everything was fetched: models first, then listens, then the tracks; `models/current` follows by the caller."""
    for path, file in fetched.items():
        if path != "library.db":
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            move_durably(file, target)
    for part in (folder / "listens").glob("*.parquet"):
        if f"listens/{part.name}" not in entries:
            part.unlink()
    # Through SQLite itself, which waits for whoever reads the library at the moment.
    _backup(fetched["library.db"], folder / "library.db")


def _manifest(place: Destination) -> tuple[str, Entries]:
    """Name of the current version, and its files."""
    text = place.read(CURRENT)
    if text is None:
        raise PublishError(f"{place.url}: nothing was published here")
    try:
        pointer = read_manifest(text, place.url)
        name = f"manifests/{pointer['version']}.json"
        found = place.read(name)
        if found is None or content_hash(found.encode()) != pointer["hash"]:
            raise PublishError(f"{place.url}/{name}: missing or damaged; publish again")
        manifest = read_manifest(found, place.url)
        version, entries = str(manifest["version"]), dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise PublishError(f"{place.url}/{CURRENT}: damaged ({error}); publish again") from None
    inside = ("library.db", "listens/", f"models/{version}/")
    for path in entries:
        if not path.startswith(inside) or ".." in Path(path).parts:
            raise PublishError(f"{place.url}/{name}: names {path}, which is no file of a library")
    return version, entries


def _may_replace(folder: Path, url: str, replace: bool) -> None:
    if replace or not Library.exists(folder):
        return
    try:
        pulled = json.loads((folder / PULLED).read_text()).get("url")
    except (OSError, ValueError):
        pulled = None
    if pulled != url:
        raise UsageError(
            f"{folder}: a library of its own, not pulled from {url}; pull into another folder, or say --replace"
        )


def _folder_of(path: str) -> str:
    if not path.startswith("models/"):
        return "data"
    if path.endswith(".png"):
        return "pictures"
    return "recommendations" if f"/{ARTEFACTS}/" in path else "model"


def _backup(source: Path, target: Path) -> None:
    """A consistent copy of a database that others may be writing."""
    try:
        with (
            contextlib.closing(sqlite3.connect(source, timeout=60)) as one,
            contextlib.closing(sqlite3.connect(target, timeout=60)) as other,
        ):
            one.backup(other)
    except sqlite3.Error as error:
        raise LibraryError(f"{target}: {error}") from None
