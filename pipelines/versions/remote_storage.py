"""Where artefacts go: a folder at any URL that fsspec knows, with the settings that S3 takes from the environment.

S3_BUCKET_NAME, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and S3_ENDPOINT_URL come from the environment, else from a file
`.env` in the working folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import CrossfadeError, MissingExtra, UsageError
from ...models.storage import content_hash, replacing

BUCKET = "S3_BUCKET_NAME"
_NAMES = (BUCKET, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_ENDPOINT_URL")
_BLOCK = 1 << 20
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec")
"""whose errors have no base in common with Python's, and which need not be installed"""


class PublishError(CrossfadeError):
    """A place that cannot be written or read, or does not hold what it should."""


def settings(folder: Path | None = None) -> dict[str, str]:
    """The four settings that are set; the environment wins over `.env` of the working folder."""
    file = (folder or Path.cwd()) / ".env"
    found = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and not line.lstrip().startswith("#"):
                found[name.strip()] = value.strip().strip("'\"")
    merged = found | dict(os.environ)
    return {name: merged[name] for name in _NAMES if merged.get(name)}


def destination(url: str | None, chosen: Mapping[str, str]) -> str | None:
    """The URL: what was asked for, else the bucket that is set, else None."""
    if url:
        return url.rstrip("/") if "://" in url else Path(url).absolute().as_uri()
    bucket = chosen.get(BUCKET, "").removeprefix("s3://").strip("/")
    return f"s3://{bucket}" if bucket else None


class Destination:
    """Files below one URL; every failure is a PublishError that names the file."""

    def __init__(self, url: str, chosen: Mapping[str, str]) -> None:
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError:
            raise MissingExtra("publish", "publish") from None
        options: dict[str, Any] = {}
        if url.startswith(("s3://", "s3a://")):
            options = {
                "key": chosen.get("AWS_ACCESS_KEY_ID"),
                "secret": chosen.get("AWS_SECRET_ACCESS_KEY"),
                "endpoint_url": chosen.get("S3_ENDPOINT_URL"),
                # What another process uploads has to be seen, and a wrong key must not live on in a cache.
                "use_listings_cache": False,
                "skip_instance_cache": True,
                "config_kwargs": {"connect_timeout": 10, "retries": {"max_attempts": 3}},
            }
        self.url = url
        try:
            self._files, self._root = url_to_fs(url, **options)
        except ModuleNotFoundError:
            raise MissingExtra(f"{url}", "publish") from None
        except (ImportError, ValueError) as error:
            raise UsageError(f"{url}: {_first_line(error)}") from None

    def size(self, name: str) -> int | None:
        """Bytes, None where there is no such file."""
        with self._failing(name):
            try:
                return int(self._files.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def upload(self, file: Path, name: str) -> None:
        """A file that is not whole never has the name."""
        with self._failing(name), self._replacing(name) as path:
            self._files.put_file(str(file), path)

    def write(self, name: str, text: str) -> None:
        """Replaces a small file, whole or not at all."""
        with self._failing(name), self._replacing(name) as path:
            self._files.pipe_file(path, text.encode())

    def read(self, name: str) -> str | None:
        """A small file's text, None where there is none."""
        with self._failing(name):
            try:
                return str(self._files.cat_file(self._path(name)).decode())
            except FileNotFoundError:
                return None

    def download(self, name: str, file: Path) -> None:
        with self._failing(name):
            self._files.get_file(self._path(name), str(file))

    def digest(self, name: str) -> str:
        """The hash of what is there, read back."""
        with self._failing(name), self._files.open(self._path(name), "rb") as opened:
            return content_hash(iter(lambda: opened.read(_BLOCK), b""))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _replacing(self, name: str) -> Iterator[str]:
        """A path to write to; object stores show a file when it is whole."""
        path = Path(self._path(name))
        if not self._is_local:
            yield self._path(name)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            yield str(part)

    @property
    def _is_local(self) -> bool:
        protocol = self._files.protocol
        return "file" in (protocol if isinstance(protocol, tuple | list) else (protocol,))

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = _first_line(error)
            match error:
                case PermissionError():
                    keys = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights they have"
                    cure = "may you write there?" if self._is_local else f"check {keys}"
                    reason = f"not allowed ({reason}); {cure}"
                case FileNotFoundError():
                    reason = f"not there ({reason}); does the {'folder' if self._is_local else 'bucket'} exist?"
                case OSError():
                    pass
                case _ if type(error).__module__.partition(".")[0] in _CLIENTS:
                    reason = f"{reason}; check the keys and S3_ENDPOINT_URL"
                case _:
                    raise
            raise PublishError(f"{self.url}/{name}: {reason}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
