"""The library's folder besides its database: the listening log, trained versions, what was embedded, and a lock."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import LibraryError
from ...models.storage import content_hash, replacing, write_json

_PLACES = "places.json"
FORMAT = 1
"""version of manifests"""
ARTEFACTS = "artefacts"
"""folder of a version with its tables: recommendations, popular tracks and so on"""
MANIFEST = f"{ARTEFACTS}/manifest.json"
"""of a version, written last: one without it is not whole"""
TRAINING_LOCK = "training.lock"
"""file of the library: shared by who trains, alone by who deletes what killed trainings left"""
KEPT_VERSIONS = 3
"""how many trained versions stay, that in use included"""


def files_in(version: Path) -> list[str]:
    """Names of all files of a version, relative to it, in order."""
    return sorted(str(file.relative_to(version)) for file in version.rglob("*") if file.is_file())


def describe_files(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """name -> bytes and hash of the files, as manifests have them."""
    return {name: {"bytes": file.stat().st_size, "hash": content_hash(file)} for name, file in files.items()}


def write_manifest(version: str, **content: Any) -> str:
    """The JSON of a manifest, of a version's folder or of one that is published, or of a pointer to one."""
    return json.dumps({"format_version": FORMAT, "version": version, **content}, indent=1, ensure_ascii=False) + "\n"


def read_manifest(text: str, where: str) -> dict[str, Any]:
    """LibraryError where `where` was written by a newer program; ValueError, KeyError, TypeError for a damaged one."""
    found: dict[str, Any] = json.loads(text)
    if found["format_version"] > FORMAT:
        raise LibraryError(f"{where}: published by a newer Crossfade; upgrade with pip install -U crossfade")
    return found


def within_place(path: Path, places: Iterable[Path]) -> Path:
    """A file's path from the embedded folder on that it lies in; its name alone where it lies in none."""
    place = next((one for one in places if path != one and path.is_relative_to(one)), path.parent)
    return path.relative_to(place)


class LibraryFolder:
    """A folder with a listening log and trained versions."""

    folder: Path

    def __repr__(self) -> str:
        return f"Library({str(self.folder)!r})"

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
            write_json(self.folder / _PLACES, names)

    @property
    def current_name(self) -> str | None:
        """Name of the trained version in use; None where the library is not trained."""
        try:
            return (self.models / "current").read_text().strip()
        except FileNotFoundError:
            return None

    def current_version(self) -> Path:
        """The folder of the version in use."""
        name = self.current_name
        if name is None:
            raise LibraryError(f"{self.folder}: not trained yet; run crossfade train --library {self.folder}")
        if not (self.models / name).is_dir():
            raise LibraryError(f"{self.models / 'current'}: names {name}, which is not there; train again")
        return self.models / name

    def versions(self) -> list[Path]:
        """The trained versions that are whole: the current one, then the others, the newest first."""
        current = self.current_name
        folders = sorted((path for path in self.models.glob("*-*") if path.is_dir()), reverse=True)
        whole = [path for path in folders if path.name == current or (path / MANIFEST).exists()]
        return sorted(whole, key=lambda path: path.name != current)

    def new_version(self) -> Path:
        """A new, empty folder for trained things; not current until it is published."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        version = self.models / f"{stamp}-{uuid.uuid4().hex[:6]}"
        version.mkdir(parents=True)
        return version

    def discard_unfinished(self) -> None:
        """Deletes what killed trainings left, unless somebody is training. To be called inside `rewriting`."""
        import fcntl

        with (self.folder / TRAINING_LOCK).open("a") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            whole = self.versions()
            for path in self.models.glob("*-*"):
                if path.is_dir() and path not in whole:
                    shutil.rmtree(path, ignore_errors=True)

    def publish_version(self, version: Path, *, keep: int = KEPT_VERSIONS) -> None:
        """Makes a version the current one, in one step: readers see the old one or the new one.

        The newest `keep` versions stay, and with them the unfinished folders that are newer: somebody may be training.
        """
        with replacing(self.models / "current") as part:
            part.write_text(version.name + "\n")
        kept = self.versions()[:keep]
        for path in self.models.glob("*-*"):
            if path.is_dir() and path not in kept and ((path / MANIFEST).exists() or path.name < kept[-1].name):
                shutil.rmtree(path, ignore_errors=True)
