"""API keys: made once, shown once, kept as SHA-256 hashes in the library's `keys.json`.

A key is 256 random bits, so that a plain hash of it cannot be guessed back.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers

from ...errors import LibraryError, UsageError
from ...models.storage import content_hash, replacing

FILE_NAME = "keys.json"


@dataclass(frozen=True)
class Keys:
    """Names of keys and their hashes."""

    hashes: dict[str, str]

    @classmethod
    def load(cls, library: Path) -> Keys:
        """Those of a library's folder; none where there is no file."""
        file = library / FILE_NAME
        try:
            hashes = json.loads(file.read_text())["keys"]
            return cls({str(name): str(value) for name, value in hashes.items()})
        except FileNotFoundError:
            return cls({})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LibraryError(f"{file}: not a file of keys ({type(error).__name__})") from None

    def save(self, library: Path) -> None:
        file = library / FILE_NAME
        with replacing(file) as part, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            json.dump({"keys": self.hashes}, out, indent=1)

    def with_new(self, name: str) -> tuple[Keys, str]:
        """These and one more, and the key itself, which is not kept."""
        if name in self.hashes:
            raise UsageError(f"{name}: there is a key of this name already; revoke it first")
        key = "cf_" + secrets.token_urlsafe(32)
        return Keys({**self.hashes, name: _hash(key)}), key

    def without(self, name: str) -> Keys:
        if name not in self.hashes:
            raise UsageError(f"{name}: no key of this name; there are: {', '.join(self.hashes) or 'none'}")
        return Keys({other: value for other, value in self.hashes.items() if other != name})

    def name_of(self, key: str) -> str | None:
        """Whose key it is; None for nobody's."""
        wanted = _hash(key)
        found = [name for name, value in self.hashes.items() if hmac.compare_digest(wanted, value)]
        return found[0] if found else None


class KeyFile:
    """The keys of a library's folder as they are now: one that is made or revoked counts from the next request on."""

    def __init__(self, library: Path) -> None:
        self._library = library
        self._read: tuple[tuple[int, int, int] | None, Keys] | None = None

    def keys(self) -> Keys:
        """LibraryError where the file is damaged: then nobody gets in."""
        try:
            status = (self._library / FILE_NAME).stat()
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
        except FileNotFoundError:
            stamp = None
        if self._read is None or self._read[0] != stamp:
            self._read = stamp, Keys.load(self._library)
        return self._read[1]


def key_in(headers: Headers) -> str | None:
    """`Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return headers.get("x-api-key")


def _hash(key: str) -> str:
    return content_hash(key.encode("utf-8", "surrogateescape"), "sha256")
