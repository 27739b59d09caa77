"""The web page: one file without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import HTMLResponse


def page_routes() -> APIRouter:
    routes = APIRouter()
    text = files("crossfade.service").joinpath("page/index.html").read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {_hashes(text, 'script')}; style-src {_hashes(text, 'style')}; "
            "connect-src 'self'; media-src 'self' blob:; img-src 'self' data:; form-action 'none'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @routes.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(text, headers=headers)

    return routes


def _hashes(page: str, tag: str) -> str:
    """What the page's own inline parts are known by: no other script runs in it."""
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
