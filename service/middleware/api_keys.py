"""API keys: made once, shown once, kept as SHA-256 hashes in the library's `keys.json`.

A key is 256 random bits, so that a plain hash of it cannot be guessed back. A key opens what listeners need; one that
was made to manage also starts jobs, deletes listeners, and makes and revokes keys.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from pathlib import Path

from starlette.datastructures import Headers

from ...errors import LibraryError, UsageError
from ...models.storage import content_hash, replacing

FILE_NAME = "keys.json"
MANAGES = "crossfade.manages"
"""of a request's scope: whether its sender may manage the library"""


class ApiKeyStore:
    """The keys of a library's folder as they are now: one that is made or revoked counts from the next request on."""

    def __init__(self, library: Path) -> None:
        self._file = library / FILE_NAME
        self._read: tuple[tuple[int, int, int], dict[str, str], frozenset[str]] | None = None

    def hashes(self) -> dict[str, str]:
        """Name of each key -> its hash; none where there is no file, LibraryError where it is damaged."""
        return self._content()[0]

    def managers(self) -> frozenset[str]:
        """Names of the keys that may manage the library."""
        return self._content()[1]

    def _content(self) -> tuple[dict[str, str], frozenset[str]]:
        try:
            status = self._file.stat()
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            if self._read is None or self._read[0] != stamp:
                content = json.loads(self._file.read_text())
                hashes = {str(name): str(value) for name, value in content["keys"].items()}
                self._read = stamp, hashes, frozenset(content.get("managers", ())) & hashes.keys()
        except FileNotFoundError:
            return {}, frozenset()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LibraryError(f"{self._file}: not a file of keys ({type(error).__name__})") from None
        return self._read[1:]

    def add(self, name: str, *, manages: bool = False) -> str:
        """Makes a key; gives the key itself, which is not kept."""
        hashes = self.hashes()
        if name in hashes:
            raise UsageError(f"{name}: there is a key of this name already; revoke it first")
        key = "cf_" + secrets.token_urlsafe(32)
        self._write({**hashes, name: _hash(key)}, self.managers() | ({name} if manages else set()))
        return key

    def revoke(self, name: str) -> None:
        hashes = self.hashes()
        if name not in hashes:
            raise UsageError(f"{name}: no key of this name; there are: {', '.join(hashes) or 'none'}")
        self._write({other: value for other, value in hashes.items() if other != name}, self.managers() - {name})

    def name_of(self, key: str) -> str | None:
        """Whose key it is; None for nobody's."""
        shown = _hash(key)
        names = [name for name, value in self.hashes().items() if hmac.compare_digest(shown, value)]
        return names[0] if names else None

    def _write(self, hashes: dict[str, str], managers: frozenset[str]) -> None:
        with (
            replacing(self._file) as part,
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out,
        ):
            json.dump({"keys": hashes, "managers": sorted(managers)}, out, indent=1)


def key_in(headers: Headers) -> str | None:
    """`Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return headers.get("x-api-key")


def _hash(key: str) -> str:
    return content_hash(key.encode("utf-8", "surrogateescape"), "sha256")
