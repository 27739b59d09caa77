"""Content that is sent compressed, and not again to who has it."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from fastapi import Request, Response

from ..models.storage import content_hash


@dataclass(frozen=True)
class CompressedContent:
    content: bytes
    compressed: bytes
    """by gzip"""
    media_type: str
    etag: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, content: bytes, media_type: str, headers: Mapping[str, str]) -> Self:
        etag = f'W/"{content_hash(content)[:32]}"'
        headers = {**headers, "ETag": etag, "Vary": "Accept-Encoding"}
        return cls(content, gzip.compress(content, 9, mtime=0), media_type, etag, headers)

    def answer(self, request: Request) -> Response:
        """304 where the request names this content."""
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=dict(self.headers))
        if not takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(self.content, media_type=self.media_type, headers=dict(self.headers))
        headers = {**self.headers, "Content-Encoding": "gzip"}
        return Response(self.compressed, media_type=self.media_type, headers=headers)


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header takes gzip; `gzip;q=0` refuses it."""
    for one in accepted.split(","):
        name, _, quality = one.replace(" ", "").lower().partition(";q=")
        if name in ("gzip", "*"):
            return quality.strip("0.") != "" or quality == ""
    return False
