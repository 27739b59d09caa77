"""The web page: files of the package, sent compressed, and kept by the browser for as long as they stay the same."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from importlib.abc import Traversable
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from ..compressed_content import CompressedContent
from ..errors import Problem

_HEADERS = {
    # Nothing that is not this service's own, and no script in the page itself: a title can hold what it likes.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; "
        "img-src 'self' data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_ASK_EACH_TIME = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"
"""for the files whose names have their version"""


def _read(name: str, file: Traversable) -> CompressedContent:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "text/plain"
    cache_control = _FOR_EVER if name.startswith("vendor/") else _ASK_EACH_TIME
    return CompressedContent.of(
        file.read_bytes(), f"{kind}; charset=utf-8", {**_HEADERS, "Cache-Control": cache_control}
    )


def page_routes() -> APIRouter:
    routes = APIRouter()
    page = {name: _read(name, file) for name, file in _walk(files("crossfade.service").joinpath("page"))}

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
