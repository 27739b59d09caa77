"""Audio files at any URL that fsspec knows (s3://, gs://, abfs://, hdfs://, file:// …), beside those of this machine.

A `Path` has no place for the two slashes of a URL, so that s3://bucket/x is Path("s3:/bucket/x") wherever the code
takes a path, and s3://bucket/x in the library. Keys and endpoints are those that the file system's package finds in the
environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...errors import UsageError, optional_module

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)", re.DOTALL)


def url_of(path: Path) -> str | None:
    """The URL that a path stands for; None for a path of this machine."""
    found = _URL.fullmatch(str(path))
    return f"{found[1]}://{'/' if found[1] == 'file' else ''}{found[2]}" if found else None


def remote_files(url: str) -> Iterator[tuple[Path, str]]:
    """(path, path relative to `url`) of all files below it, in order; hidden ones left out."""
    files, root = file_system(url)
    for name in sorted(files.find(root)):
        relative = name.removeprefix(root).strip("/") or name.rpartition("/")[2]
        if not any(part.startswith(".") for part in relative.split("/")):
            yield Path(files.unstrip_protocol(name)), relative


def size_and_mtime(url: str) -> tuple[int, int]:
    """Bytes, and when it was changed, in nanoseconds; raises OSError."""
    files, root = file_system(url)
    return int(files.info(root)["size"]), int(files.modified(root).timestamp() * 1e9)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A file of this machine with the content: `path` itself where it is one, else a copy for as long as the block."""
    url = url_of(path)
    if url is None:
        yield path
        return
    files, root = file_system(url)
    with TemporaryDirectory(prefix="crossfade-") as scratch:
        copy = Path(scratch, path.name)
        files.get_file(root, os.fspath(copy))
        yield copy


def file_system(url: str) -> tuple[Any, str]:
    """(fsspec's file system, the place in it); UsageError for a scheme that it does not know."""
    core = optional_module("fsspec.core", url, "publish")
    try:
        files, root = core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{url}: {str(error).splitlines()[0]}") from None
    return files, root.rstrip("/")
