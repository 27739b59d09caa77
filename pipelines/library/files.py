"""Files: written whole or not at all, and known by the hash of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "artefacts"


def content_hash(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def key_of(*parts: Any) -> str:
    """A hash of JSON-like values; equal parts have equal keys on every machine.

    >>> key_of("als", {"factors": 128}) == key_of("als", {"factors": 128}) != key_of("als", {"factors": 64})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def key_of_files(files: Sequence[Path]) -> str:
    """A hash of the files' names and contents."""
    whole = []
    for file in files:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16))
        whole.append((file.name, digest.hexdigest()))
    return key_of(whole)


def hashes_of(version: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """file -> its bytes and hash, as the manifest has them."""
    return {name: {"bytes": (version / name).stat().st_size, "hash": key_of_files([version / name])} for name in files}


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path to write to; it becomes `file` when the block ends well, and goes when it does not."""
    part = file.with_name(file.name + ".part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
