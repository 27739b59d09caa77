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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ...errors import DataError, UsageError
from ...models.storage import content_hash, move_durably

Progress = Callable[[int, int | None], None]
"""called with (bytes so far, bytes in all or None)"""

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60

_YAMBDA = "https://huggingface.co/datasets/yandex/yambda/resolve/main"
_YAMBDA_EVENTS = ("listens", "likes", "dislikes", "unlikes", "undislikes")
_YAMBDA_TABLES = (f"{_YAMBDA}/artist_item_mapping.parquet", f"{_YAMBDA}/album_item_mapping.parquet")
_YANDEX = "https://storage.yandexcloud.net/mle-data/ym"
_MOVIELENS = "https://files.grouplens.org/datasets/movielens"


def _yambda(size: str) -> tuple[str, ...]:
    return (*(f"{_YAMBDA}/flat/{size}/{kind}.parquet" for kind in _YAMBDA_EVENTS), *_YAMBDA_TABLES)


DATA_SETS: Mapping[str, tuple[str, ...]] = {
    "yambda": _yambda("50m"),
    "yambda-500m": _yambda("500m"),
    "yambda-5b": _yambda("5b"),
    "yambda-embeddings": (f"{_YAMBDA}/embeddings.parquet",),
    "movielens": (f"{_MOVIELENS}/ml-latest-small.zip",),
    "movielens-32m": (f"{_MOVIELENS}/ml-32m.zip",),
    "yandex": tuple(f"{_YANDEX}/{name}.parquet" for name in ("tracks", "catalog_names", "interactions")),
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

    def record(self) -> dict[str, Any]:
        return asdict(self)


def fetch(what: str, out: Path, *, sha256: str | None = None, progress: Progress | None = None) -> Iterator[Fetched]:
    """Downloads a data set by name or one URL into the folder `out`, file by file."""
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


def fetch_file(url: str, out: Path, *, sha256: str | None = None, progress: Progress | None = None) -> Fetched:
    """Downloads one file into the folder `out`; DataError says what is wrong: the network, the server or the file."""
    name = Path(unquote(urlsplit(url).path)).name or urlsplit(url).netloc
    path, part = out / name, out / f"{name}.part"
    expected = sha256.lower() if sha256 else None
    known = _read_json(out / f"{name}.fetched.json")
    if path.is_file() and known.get("url") == url and path.stat().st_size == known.get("bytes"):
        digest = content_hash(path, "sha256")
        if digest == known.get("sha256") and expected in (None, digest):
            return Fetched(url, str(path), path.stat().st_size, digest, "unchanged")
    resumed = part.exists()
    while True:
        before = part.stat().st_size if part.exists() else 0
        answer = _Answer.ask(url, part)
        resumed = resumed and answer.start > 0
        with answer.body, part.open("ab" if answer.start else "wb") as file:
            error = _copy(answer, file, progress)
        size = part.stat().st_size
        if error is not None and (answer.size is None or size <= before):
            raise _unreachable(url, part, error) from error
        if answer.size is None or size == answer.size:
            break
        if size > answer.size:
            part.unlink()
            raise DataError(f"{url}: {size:,} bytes came, {answer.size:,} were announced; try again")
        if size <= before:
            raise DataError(f"{url}: {size:,} of {answer.size:,} bytes came; run the same again to carry on")
    digest = _check(url, part, answer, expected)
    move_durably(part, path)
    _state(part).unlink(missing_ok=True)
    fetched = Fetched(url, str(path), size, digest, "resumed" if resumed else "fetched")
    (out / f"{name}.fetched.json").write_text(json.dumps({"url": url, "bytes": size, "sha256": digest}) + "\n")
    return fetched


class _Redirects(HTTPRedirectHandler):
    """Follows redirects and keeps their headers: the hub names a file's hash only in the one that leads to it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.headers.update({name.lower(): value for name, value in headers.items()})
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True)
class _Answer:
    """What the server sends: `body` from byte `start` on, of a file of `size` bytes."""

    body: Any
    start: int
    size: int | None
    hashes: dict[str, str]
    """algorithm -> hexadecimal digits"""

    @classmethod
    def ask(cls, url: str, part: Path) -> _Answer:
        have = part.stat().st_size if part.exists() else 0
        known = _read_json(_state(part))
        headers = {"User-Agent": "crossfade", "Accept-Encoding": "identity"}
        if have and known.get("url") == url and known.get("validator"):
            headers |= {"Range": f"bytes={have}-", "If-Range": str(known["validator"])}
        redirects = _Redirects()
        try:
            body = build_opener(redirects).open(Request(url, headers=headers), timeout=_TIMEOUT_SECONDS)
        except HTTPError as error:
            if error.code == 416 and "Range" in headers:
                part.unlink()
                return cls.ask(url, part)
            raise DataError(f"{url}: the server says {error.code} {error.reason}") from error
        except (URLError, HTTPException, OSError) as error:
            raise _unreachable(url, part, error) from error
        found = {name.lower(): value for name, value in body.headers.items()}
        start, size = 0, None
        if body.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", found.get("content-range", ""))
            if match is None or int(match[1]) != have:
                body.close()
                raise DataError(f"{url}: the server sends another part than bytes {have}…; delete {part} and try again")
            start, size = have, int(match[2])
        elif found.get("content-length", "").isdecimal():
            size = int(found["content-length"])
        strong = found.get("etag", "W/").startswith('"')
        validator = found["etag"] if strong else found.get("last-modified")
        _state(part).write_text(json.dumps({"url": url, "validator": validator}) + "\n")
        return cls(body, start, size, _announced({**redirects.headers, **found}))


def _announced(headers: Mapping[str, str]) -> dict[str, str]:
    """The hashes of the whole file that the headers name."""
    hashes = {}
    if match := re.search("sha-256=:([A-Za-z0-9+/=]+):", headers.get("repr-digest", "")):
        hashes["sha256"] = base64.b64decode(match[1]).hex()
    if match := re.fullmatch('(?:W/)?"?([0-9a-f]{64})"?', headers.get("x-linked-etag", "")):
        hashes["sha256"] = match[1]
    if "x-amz-request-id" in headers and (match := re.fullmatch('"([0-9a-f]{32})"', headers.get("etag", ""))):
        hashes["md5"] = match[1]
    return hashes


def _copy(answer: _Answer, file: IO[bytes], progress: Progress | None) -> Exception | None:
    """Writes what comes; gives the error that the connection ended with, if it did."""
    done = answer.start
    while True:
        try:
            chunk = answer.body.read(_CHUNK_BYTES)
        except (HTTPException, OSError) as error:
            return error
        if not chunk:
            return None
        file.write(chunk)
        done += len(chunk)
        if progress:
            progress(done, answer.size)


def _check(url: str, part: Path, answer: _Answer, expected: str | None) -> str:
    """The file's SHA-256; a file with another hash than was asked for or announced is deleted."""
    digest = content_hash(part, "sha256")
    wanted = {"sha256": expected} if expected else answer.hashes
    for algorithm, right in wanted.items():
        found = digest if algorithm == "sha256" else content_hash(part, algorithm)
        if found != right:
            part.unlink()
            _state(part).unlink(missing_ok=True)
            raise DataError(f"{url}: its {algorithm} is {found}, it should be {right}; damaged on the way, try again")
    return digest


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _unreachable(url: str, part: Path, error: Exception) -> DataError:
    why = getattr(error, "reason", None) or error
    kept = " what came so far is kept, run the same again to carry on" if part.exists() else " is there a network?"
    return DataError(f"{url}: no connection ({why});{kept}")


def _unpack(archive: Path, out: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(out)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive}: not a zip archive ({error}); delete it and fetch it again") from error
