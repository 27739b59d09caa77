"""The web page: files of the package, sent compressed, and kept by the browser for as long as they stay the same."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import Traversable
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from ...models.storage import content_hash
from ..errors import Problem

_HEADERS = {
    # Nothing that is not this service's own, and no script in the page itself: a title can hold what it likes.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
        "img-src 'self' data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}
_ASK_EACH_TIME = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"
"""for the files whose names have their version"""


@dataclass(frozen=True)
class _PageFile:
    content: bytes
    compressed: bytes
    """by gzip"""
    media_type: str
    etag: str
    cache_control: str

    @classmethod
    def read(cls, name: str, file: Traversable) -> _PageFile:
        content = file.read_bytes()
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "text/plain"
        cache_control = _FOR_EVER if name.startswith("vendor/") else _ASK_EACH_TIME
        etag = f'W/"{content_hash(content)[:32]}"'
        return cls(content, gzip.compress(content, 9, mtime=0), f"{kind}; charset=utf-8", etag, cache_control)

    def answer(self, request: Request) -> Response:
        headers = {**_HEADERS, "ETag": self.etag, "Cache-Control": self.cache_control}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if not _takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(self.content, media_type=self.media_type, headers=headers)
        return Response(self.compressed, media_type=self.media_type, headers={**headers, "Content-Encoding": "gzip"})


def page_routes() -> APIRouter:
    routes = APIRouter()
    page = {name: _PageFile.read(name, file) for name, file in _walk(files("crossfade.service").joinpath("page"))}

    @routes.get("/", include_in_schema=False)
    def index(request: Request) -> Response:
        return page["index.html"].answer(request)

    @routes.get("/page/{name:path}", include_in_schema=False)
    def file(name: str, request: Request) -> Response:
        if name not in page:
            raise Problem(404, f"page/{name}: no such file")
        return page[name].answer(request)

    return routes


def _walk(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for file in folder.iterdir():
        if file.is_dir():
            yield from _walk(file, f"{above}{file.name}/")
        else:
            yield f"{above}{file.name}", file


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header takes gzip; `gzip;q=0` refuses it."""
    for one in accepted.split(","):
        name, _, quality = one.replace(" ", "").lower().partition(";q=")
        if name in ("gzip", "*"):
            return quality.strip("0.") != "" or quality == ""
    return False
