"""Errors as problem+json (RFC 9457): every answer that is not a success has the same shape, and none is a traceback."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from ..errors import AudioError, CrossfadeError, DataError, LibraryError, MissingExtra, ResourceError, UsageError
from ..pipelines.library.store import Library

MEDIA_TYPE = "application/problem+json"
RETRY_SOON = {"Retry-After": "5"}

_NOT_AUDIO = ("not audio", "cannot be decoded", "crashed the decoder")

_LOG = logging.getLogger("crossfade.service")

_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Not Found"]},
        "status": {"type": "integer", "examples": [404]},
        "detail": {"type": "string", "examples": ["nocturne.mp3: no such track"]},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"where": {"type": "string"}, "why": {"type": "string"}}},
        },
    },
}
"""of the answer, for the OpenAPI document"""


class Problem(Exception):
    """What an endpoint raises to answer with a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = dict(headers or {})
        self.errors = errors or []

    def response(self, request_id: str | None) -> Response:
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if request_id is not None:
            body["request_id"] = request_id
        if self.errors:
            body["errors"] = self.errors
        # ASCII: an input with a lone surrogate is echoed escaped instead of failing to encode.
        return Response(json.dumps(body).encode("ascii"), self.status, self.headers, MEDIA_TYPE)


def check_tracks(library: Library, track_ids: Iterable[str]) -> None:
    """Raises a Problem (404) that names the first one that the library does not have."""
    for one in library.listed_tracks(list(track_ids)):
        if not one.in_library:
            raise Problem(404, f"{one.track_id}: no such track")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint: these problems, and `default` for the rest (limits, keys)."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    named: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in (*statuses, 422, 503)
    }
    return named | {"default": {"description": "Any other problem: a key, a limit, a body", "content": content}}


def install(app: FastAPI) -> None:
    """Makes the application answer every exception with a problem, and its OpenAPI document describe them."""
    for kind in (Problem, HTTPException, RequestValidationError, CrossfadeError, SQLAlchemyError, OSError, Exception):
        app.add_exception_handler(kind, _answer)

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            made.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _SCHEMA
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def without_folders(text: str) -> str:
    """A message without the folders of this machine that its files are in.

    >>> without_folders("/srv/music/L: not trained yet; run crossfade train --library /srv/music/L")
    'L: not trained yet; run crossfade train --library L'
    """
    return re.sub(r"(?<![\w.~/])/(?:[^\s:;,'\"()]+/)+", "", text)


def from_exception(error: Exception, request_id: str | None = None) -> Response:
    """The problem that stands for an exception; what nobody foresaw is logged and is a 500 without its text."""
    if isinstance(error, HTTPException) and isinstance(error.__cause__, Problem):
        # FastAPI puts its own words on what ends the reading of a body.
        error = error.__cause__
    match error:
        case Problem():
            problem = error
        case RequestValidationError():
            problem = _invalid(error)
        case HTTPException():
            detail = "no such address; see /docs" if error.status_code == 404 else str(error.detail)
            problem = Problem(error.status_code, detail, headers=error.headers)
        case AudioError():
            status = 415 if error.reason.startswith(_NOT_AUDIO) else 422
            problem = Problem(status, f"file: {without_folders(error.reason)}")
        case UsageError() | DataError():
            problem = Problem(422, without_folders(str(error)))
        case SQLAlchemyError() | OSError() | LibraryError(__cause__=sqlite3.Error()):
            # What a database says names tables, values and files of this machine.
            _LOG.error("storage", extra={"request_id": request_id, "error": " ".join(str(error).split())})
            name = type(error.__cause__ or error).__name__
            problem = Problem(503, f"storage: {name}; nothing was changed", headers=RETRY_SOON)
        case LibraryError() | MissingExtra() | ResourceError():
            problem = Problem(503, without_folders(str(error)), headers=RETRY_SOON)
        case _:
            _LOG.error("unforeseen", exc_info=error, extra={"request_id": request_id})
            problem = Problem(500, "an error in Crossfade itself; the log has it")
    return problem.response(request_id)


def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        # The router names the methods of the first route of this path only.
        methods = (
            method
            for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
            if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
        )
        error.headers = {"Allow": ", ".join(methods)}
    return from_exception(error, request.scope.get("request_id"))


def _invalid(error: RequestValidationError) -> Problem:
    found = error.errors()
    errors = [{"where": ".".join(str(part) for part in one["loc"]), "why": str(one["msg"])} for one in found[:20]]
    if any(one["type"] == "json_invalid" for one in found):
        return Problem(400, "body: not JSON", errors=errors)
    first = errors[0] if errors else {"where": "request", "why": "not valid"}
    return Problem(422, f"{first['where'].partition('.')[2] or first['where']}: {first['why']}", errors=errors)
