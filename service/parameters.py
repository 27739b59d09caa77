"""Parameters: the types that requests are checked against, and the original endpoints' two ways of giving them."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, StringConstraints

from .errors import Problem
from .middleware.api_keys import MANAGES

MAX_K = 1000

Id = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern="^[^\\x00]+$")]
"""any text but NUL, which PostgreSQL cannot keep"""
UserId = Annotated[Id, Query(description="a listener's id in the listening log", examples=["123"])]
TrackId = Annotated[Id, Query(description="a track_id of the library", examples=["folk/nocturne.mp3"])]
K = Annotated[int, Query(ge=1, le=MAX_K, description="how many", examples=[10])]
Blend = Annotated[float, Query(ge=0, le=1, description="how much taste (1) counts against sound (0)")]


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _manager(request: Request) -> None:
    if not request.scope.get(MANAGES):
        raise Problem(
            403, "key: may not manage this library; crossfade keys --new NAME --manage makes one that may do so"
        )


MANAGER = Depends(_manager)
"""Whoever may manage the library: with a key that was made for it, or on this machine where no key is asked for."""

WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
"""in a JSON body, where 2.0 is the integer 2"""


class QueryOrBodyRoute(APIRoute):
    """A POST without a body of its own takes its query parameters from a JSON object or a form, too; the query wins."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is not None or self.methods != {"POST"}:
            return handle

        async def handle_body(request: Request) -> Response:
            body = await request.body()
            if body.strip():
                fields = _fields(body, request.headers.get("content-type", ""))
                request.scope["query_string"] = _with_fields(request.scope["query_string"], fields)
            return await handle(request)

        return handle_body


def _fields(body: bytes, content_type: str) -> dict[str, str]:
    if content_type.startswith("application/x-www-form-urlencoded") and not body.lstrip().startswith(b"{"):
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "body: not JSON") from None
    if not isinstance(values, dict):
        raise Problem(422, "body: not a JSON object")
    for name, value in values.items():
        if isinstance(value, dict | list):
            raise Problem(422, f"{ascii(name)[1:-1][:64]}: not a text or a number")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }


def _with_fields(query: bytes, fields: dict[str, str]) -> bytes:
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        more = urlencode({name: value for name, value in fields.items() if name not in given})
    except UnicodeEncodeError:
        raise Problem(422, "body: holds text that is not valid Unicode") from None
    return b"&".join(part for part in (query, more.encode("ascii")) if part)
