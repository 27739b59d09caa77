"""Parameters: the types that requests are checked against, and the original endpoints' two ways of giving them."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import Query
from pydantic import BeforeValidator, StringConstraints
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Problem

MOST_ANSWERS = 1000

Id = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern="^[^\\x00]+$")]
"""any text but NUL, which PostgreSQL cannot keep"""
UserId = Annotated[Id, Query(description="a listener, as the listening log knows them", examples=["123"])]
TrackId = Annotated[Id, Query(description="a track_id of the library", examples=["folk/nocturne.mp3"])]
K = Annotated[int, Query(ge=1, le=MOST_ANSWERS, description="how many", examples=[10])]
Blend = Annotated[float, Query(ge=0, le=1, description="how much taste (1) counts against sound (0)")]

Whole = Annotated[int, BeforeValidator(lambda value: _whole_number(value))]
"""in a JSON body, where 2.0 is the integer 2"""

ORIGINAL_PATHS = frozenset(
    {
        "/recommendations",
        "/recommendations_offline",
        "/recommendations_online",
        "/similar_tracks",
        "/add_event",
        "/get_events",
    }
)


class BodyAsQuery:
    """Moves the fields of a JSON object or a form into the query of the original endpoints; the query wins."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in ORIGINAL_PATHS:
            body = await _whole(receive)
            if body.strip():
                scope = dict(scope)
                fields = _fields(body, Headers(scope=scope).get("content-type", ""))
                scope["query_string"] = _merged(scope["query_string"], fields)
            receive = _nothing_more(receive)
        await self.app(scope, receive, send)


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _nothing_more(receive: Receive) -> Receive:
    told = False

    async def empty() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return empty


def _fields(body: bytes, content_type: str) -> dict[str, str]:
    if content_type.startswith("application/x-www-form-urlencoded") and not body.lstrip().startswith(b"{"):
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "body: not JSON") from None
    if not isinstance(found, dict):
        raise Problem(422, "body: not a JSON object")
    fields: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, dict | list):
            raise Problem(422, f"{ascii(name)[1:-1][:64]}: not a text or a number")
        if value is not None:
            fields[name] = value if isinstance(value, str) else json.dumps(value)
    return fields


def _merged(query: bytes, fields: dict[str, str]) -> bytes:
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    names = {name for name, _ in given}
    try:
        more = urlencode([(name, value) for name, value in fields.items() if name not in names])
    except UnicodeEncodeError:
        raise Problem(422, "body: holds text that is not valid Unicode") from None
    return b"&".join(part for part in (query, more.encode("ascii")) if part)
