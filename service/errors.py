"""Errors as problem+json (RFC 9457): every answer that is not a success has the same shape, and none is a traceback."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from ..errors import AudioError, CrossfadeError, DataError, LibraryError, MissingExtra, ResourceError, UsageError

MEDIA_TYPE = "application/problem+json"

_NOT_AUDIO = ("not audio", "cannot be decoded", "crashed the decoder")

_LOG = logging.getLogger("crossfade.service")

SCHEMA: dict[str, Any] = {
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
            "items": {
                "type": "object",
                "properties": {"where": {"type": "string"}, "why": {"type": "string"}},
            },
        },
    },
}
"""of the answer, for the OpenAPI document"""


class Problem(Exception):
    """What an endpoint raises to answer with a problem."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint: these problems, and `default` for the rest (limits, keys)."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    named: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in (*statuses, 422, 503)
    }
    return named | {"default": {"description": "Any other problem: a key, a limit, a body", "content": content}}


def problem_response(
    status: int,
    detail: str,
    *,
    request_id: str | None = None,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if request_id is not None:
        body["request_id"] = request_id
    if errors:
        body["errors"] = errors
    # ASCII: an input with a lone surrogate is echoed escaped instead of failing to encode.
    return Response(json.dumps(body).encode("ascii"), status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes the application answer every exception with a problem."""
    for kind in (Problem, HTTPException, RequestValidationError, CrossfadeError, SQLAlchemyError, OSError, Exception):
        app.add_exception_handler(kind, _answer)


def without_folders(text: str) -> str:
    """What a message says of files of this machine, without saying where they are.

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
            return problem_response(error.status, error.detail, request_id=request_id, headers=error.headers)
        case RequestValidationError():
            return _invalid(error, request_id)
        case HTTPException():
            return problem_response(
                error.status_code, _detail(error), request_id=request_id, headers=getattr(error, "headers", None)
            )
        case AudioError():
            status = 415 if error.reason.startswith(_NOT_AUDIO) else 422
            return problem_response(status, f"file: {without_folders(error.reason)}", request_id=request_id)
        case UsageError() | DataError():
            return problem_response(422, without_folders(str(error)), request_id=request_id)
        case SQLAlchemyError() | OSError() | LibraryError(__cause__=sqlite3.Error()):
            # What a database says names tables, values and files of this machine.
            _LOG.error("storage", extra={"request_id": request_id, "error": " ".join(str(error).split())})
            return problem_response(
                503,
                f"storage: {type(error.__cause__ or error).__name__}; nothing was changed",
                request_id=request_id,
                headers={"Retry-After": "5"},
            )
        case LibraryError() | MissingExtra() | ResourceError():
            text = without_folders(str(error))
            return problem_response(503, text, request_id=request_id, headers={"Retry-After": "5"})
        case _:
            _LOG.error("unforeseen", exc_info=error, extra={"request_id": request_id})
            return problem_response(500, "an error in Crossfade itself; the log has it", request_id=request_id)


def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        # The router names the methods of the first route of this path only.
        error.headers = {"Allow": ", ".join(sorted(_methods(request)))}
    return from_exception(error, request.scope.get("request_id"))


def _methods(request: Request) -> set[str]:
    """All methods that the request's path answers to."""
    return {
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }


def _detail(error: HTTPException) -> str:
    if error.status_code == 404:
        return "no such address; see /docs"
    return str(error.detail)


def _invalid(error: RequestValidationError, request_id: str | None) -> Response:
    found = error.errors()
    errors = [{"where": ".".join(str(part) for part in one["loc"]), "why": str(one["msg"])} for one in found[:20]]
    malformed = any(one["type"] == "json_invalid" for one in found)
    first = errors[0] if errors else {"where": "request", "why": "not valid"}
    detail = "body: not JSON" if malformed else f"{first['where'].partition('.')[2] or first['where']}: {first['why']}"
    return problem_response(400 if malformed else 422, detail, request_id=request_id, errors=errors)
