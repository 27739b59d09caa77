"""Downloads of public data sets: streamed to disk, resumed where they stopped, size and hash checked.

A file under way is `NAME.part`, with what the server said about it beside it in `NAME.part.json`; it is renamed to NAME
when it is whole, and `NAME.fetched.json` keeps its hash. A download is carried on only if the server still has the same
file (RFC 9110: Range with If-Range), and a file that is there and still has its hash is not fetched again.

Hashes come from the caller or from the server: `Repr-Digest` (RFC 9530), the `X-Linked-Etag` of the Hugging Face hub
(SHA-256), and the ETag of S3-like storage where it is an MD5.
"""

from __future__ import annotations

import base64
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ...errors import DataError, UsageError
from ...models.storage import content_hash, move_durably, write_json
from ..library.progress import Progress, silent

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60

_YAMBDA = "https://huggingface.co/datasets/yandex/yambda/resolve/main"
_ONION = "https://zenodo.org/records/15394646/files"
_MOVIELENS = "https://files.grouplens.org/datasets/movielens"


def _yambda(size: str) -> tuple[str, ...]:
    events = (f"flat/{size}/{kind}" for kind in ("listens", "likes", "dislikes", "unlikes", "undislikes"))
    return tuple(f"{_YAMBDA}/{name}.parquet" for name in (*events, "artist_item_mapping", "album_item_mapping"))


DATA_SETS: Mapping[str, tuple[str, ...]] = {
    "yambda": _yambda("50m"),
    "yambda-500m": _yambda("500m"),
    "yambda-5b": _yambda("5b"),
    "yambda-embeddings": (f"{_YAMBDA}/embeddings.parquet",),
    "music4all-onion": tuple(f"{_ONION}/{name}.tsv.bz2" for name in ("userid_trackid_timestamp", "id_musicnn")),
    "movielens": (f"{_MOVIELENS}/ml-latest-small.zip",),
    "movielens-32m": (f"{_MOVIELENS}/ml-32m.zip",),
    "yandex": tuple(
        f"https://storage.yandexcloud.net/mle-data/ym/{name}.parquet"
        for name in ("tracks", "catalog_names", "interactions")
    ),
}
"""name -> the files of it; archives are unpacked"""


@dataclass(frozen=True)
class Fetched:
    """A file that is there, whole."""

    url: str
    path: str
    bytes: int
    sha256: str
    status: str
    """fetched, resumed, or unchanged"""


def fetch(what: str, out: Path, *, sha256: str | None = None, progress: Progress = silent) -> Iterator[Fetched]:
    """Downloads a data set by name or one URL into the folder `out`, file by file; progress is in bytes."""
    if what in DATA_SETS:
        if sha256 is not None and len(DATA_SETS[what]) > 1:
            raise UsageError(f"--sha256: {what} is several files; fetch them by URL to give a hash")
        urls = DATA_SETS[what]
    elif urlsplit(what).scheme in ("http", "https"):
        urls = (what,)
    else:
        raise UsageError(f"{what}: neither an http(s) URL nor a data set; there are: {', '.join(DATA_SETS)}")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"--sha256 {sha256}: not 64 hexadecimal digits")
    out.mkdir(parents=True, exist_ok=True)
    for url in urls:
        fetched = fetch_file(url, out, sha256=sha256, progress=progress)
        if what in DATA_SETS and fetched.path.endswith(".zip"):
            _unpack(Path(fetched.path), out)
        yield fetched


def fetch_file(url: str, out: Path, *, sha256: str | None = None, progress: Progress = silent) -> Fetched:
    """Downloads one file into the folder `out`; DataError says what is wrong: the network, the server or the file."""
    name = Path(unquote(urlsplit(url).path)).name or urlsplit(url).netloc
    path, part, state, receipt = (out / f"{name}{suffix}" for suffix in ("", ".part", ".part.json", ".fetched.json"))
    expected = {"sha256": sha256.lower()} if sha256 else {}
    earlier = _read_json(receipt)
    if path.is_file() and earlier.get("url") == url and path.stat().st_size == earlier.get("bytes"):
        digest = content_hash(path, "sha256")
        if digest == earlier.get("sha256") == expected.get("sha256", digest):
            return Fetched(url, str(path), path.stat().st_size, digest, "unchanged")
    resumed = part.exists()
    while True:
        before = part.stat().st_size if part.exists() else 0
        response = _Response.open(url, part, state)
        resumed = resumed and response.start > 0
        error = response.append_to(part, progress)
        size = part.stat().st_size
        if size == response.size or (response.size is None and error is None):
            break
        if response.size is None or (error is not None and size <= before):
            raise _unreachable(url, part, error) from error
        if size > response.size:
            part.unlink()
            raise DataError(f"{url}: {size:,} bytes came, {response.size:,} were announced; try again")
        if size <= before:
            raise DataError(f"{url}: {size:,} of {response.size:,} bytes came; run the same again to carry on")
    for algorithm, right in (expected or response.hashes).items():
        if (digest := content_hash(part, algorithm)) != right:
            part.unlink()
            state.unlink(missing_ok=True)
            raise DataError(f"{url}: its {algorithm} is {digest}, it should be {right}; damaged on the way, try again")
    fetched = Fetched(url, str(path), size, content_hash(part, "sha256"), "resumed" if resumed else "fetched")
    move_durably(part, path)
    state.unlink(missing_ok=True)
    write_json(receipt, {"url": url, "bytes": size, "sha256": fetched.sha256})
    return fetched


class _Redirects(HTTPRedirectHandler):
    """Follows redirects and keeps their headers: the hub names a file's hash only in the one that leads to it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.headers.update({name.lower(): value for name, value in headers.items()})
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class _Response:
    """`body` from byte `start` on, of a file of `size` bytes, as the server sends it."""

    body: Any
    start: int
    size: int | None
    hashes: dict[str, str]
    """algorithm -> hexadecimal digits of the whole file"""

    @classmethod
    def open(cls, url: str, part: Path, state: Path) -> _Response:
        """Asks for what `part` lacks, if `state` says from which version of the file it comes; else for all of it."""
        length = part.stat().st_size if part.exists() else 0
        earlier = _read_json(state)
        request = {"User-Agent": "crossfade", "Accept-Encoding": "identity"}
        if length and earlier.get("url") == url and earlier.get("validator"):
            request |= {"Range": f"bytes={length}-", "If-Range": str(earlier["validator"])}
        redirects = _Redirects()
        try:
            body = build_opener(redirects).open(Request(url, headers=request), timeout=_TIMEOUT_SECONDS)
        except HTTPError as error:
            if error.code == 416 and "Range" in request:
                part.unlink()
                return cls.open(url, part, state)
            raise DataError(f"{url}: the server says {error.code} {error.reason}") from error
        except (URLError, HTTPException, OSError) as error:
            raise _unreachable(url, part, error) from error
        headers = {name.lower(): value for name, value in body.headers.items()}
        start, size = 0, headers.get("content-length", "")
        if body.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("content-range", ""))
            if match is None or int(match[1]) != length:
                body.close()
                raise DataError(
                    f"{url}: the server sends another part than bytes {length}…; delete {part} and try again"
                )
            start, size = length, match[2]
        strong = headers.get("etag", "W/").startswith('"')
        validator = headers["etag"] if strong else headers.get("last-modified")
        write_json(state, {"url": url, "validator": validator})
        hashes = _announced_hashes({**redirects.headers, **headers})
        return cls(body, start, int(size) if size.isdecimal() else None, hashes)

    def append_to(self, part: Path, progress: Progress) -> Exception | None:
        """Writes what comes behind `start`; returns the error that the connection ended with, if it did."""
        with self.body, part.open("ab" if self.start else "wb") as file:
            while True:
                try:
                    chunk = self.body.read(_CHUNK_BYTES)
                except (HTTPException, OSError) as error:
                    return error
                if not chunk:
                    return None
                file.write(chunk)
                progress(file.tell(), self.size)


def _announced_hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """The hashes of the whole file that the headers name."""
    hashes = {}
    if match := re.search("sha-256=:([A-Za-z0-9+/=]+):", headers.get("repr-digest", "")):
        hashes["sha256"] = base64.b64decode(match[1]).hex()
    if match := re.fullmatch('(?:W/)?"?([0-9a-f]{64})"?', headers.get("x-linked-etag", "")):
        hashes["sha256"] = match[1]
    if "x-amz-request-id" in headers and (match := re.fullmatch('"([0-9a-f]{32})"', headers.get("etag", ""))):
        hashes["md5"] = match[1]
    return hashes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _unreachable(url: str, part: Path, error: Exception | None) -> DataError:
    why = getattr(error, "reason", None) or error
    kept = " what came so far is kept, run the same again to carry on" if part.exists() else " is there a network?"
    return DataError(f"{url}: no connection ({why});{kept}")


def _unpack(archive: Path, out: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(out)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive}: not a zip archive ({error}); delete it and fetch it again") from error
