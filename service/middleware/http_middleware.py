"""The middleware around all endpoints: checks of the request, then headers of the answer, a log line and the metrics.

Checked are host and origin, API key, rate and body. Every answer carries `X-Request-ID` (the client's, where it is a
plain word) and `X-Content-Type-Options`. Plain ASGI, since it runs at every request.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from contextlib import nullcontext
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Problem, from_exception
from ..metrics import Metrics
from ..settings import LOOPBACK, ROLE_HEADER, ServeOptions
from .api_keys import MANAGES, ApiKeyStore, key_in
from .request_limits import RateLimiter, UploadLimiter, limited_body, no_limit

_LOG = logging.getLogger("crossfade.service")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = ("/health/", "/docs", "/openapi.json", "/page/")
_PAGE = frozenset({"/"})
_BODY_BYTES = 4 * 2**20
"""of anything but an upload"""
_UPLOADS = frozenset({"/v1/classify", "/v1/similar_tracks", "/v1/compared_tracks", "/v1/tracks", "/v1/listens"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _SAFE | {"POST", "PUT", "PATCH", "DELETE"}


class HTTPMiddleware:
    def __init__(self, app: ASGIApp, options: ServeOptions, metrics: Metrics) -> None:
        self.app = app
        self.options = options
        self.api_keys = ApiKeyStore(options.library)
        self.metrics = metrics
        self.needs_key = options.require_key or not options.is_loopback
        self._rate = RateLimiter(options.requests_per_second)
        self._uploads = UploadLimiter(options.uploads, options.max_uploads_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id
        started = time.perf_counter()
        status = 0
        finished = False

        async def sending(message: Message) -> None:
            nonlocal status, finished
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                out["X-Content-Type-Options"] = "nosniff"
            elif message["type"] == "http.response.body":
                finished = not message.get("more_body", False)
            await send(message)

        client = "-"
        try:
            client = self._admit(scope, headers)
            is_upload = scope["method"] == "POST" and scope["path"] in _UPLOADS
            max_bytes, seconds = self.options.upload_bytes if is_upload else _BODY_BYTES, self.options.body_seconds
            with self._uploads.place() if is_upload else nullcontext(no_limit) as grow:
                limited = limited_body(scope, receive, max_bytes=max_bytes, max_seconds=seconds, grow=grow)
                await self.app(scope, limited, sending)
        except Exception as error:
            if finished:
                # Starlette passes on what was logged and answered already.
                return
            if status:
                # The answer has begun: it cannot become a problem any more.
                _LOG.error("broken off", exc_info=error, extra={"request_id": request_id})
                raise
            await from_exception(error, request_id)(scope, receive, sending)
        finally:
            self._note(scope, status, time.perf_counter() - started, client, request_id)

    def _admit(self, scope: Scope, headers: Headers) -> str:
        """Name of the client, for the rate and the log; a Problem where it is not admitted."""
        path, method = scope["path"], scope["method"]
        address = scope["client"][0] if scope.get("client") else "-"
        self._check_browser(method, headers)
        client, key = address, key_in(headers)
        name = self.api_keys.name_of(key) if key else None
        scope[MANAGES] = name in self.api_keys.managers() if name else not self.needs_key and not _is_passed_on(headers)
        if self.needs_key and not path.startswith(_OPEN) and path not in _PAGE and method != "OPTIONS":
            if name is None:
                # A wrong key costs its sender a token of the address's bucket.
                self._rate.take(address)
                raise Problem(
                    401, "key: missing" if not key else "key: not known", headers={"WWW-Authenticate": "Bearer"}
                )
            client = f"key:{name}"
        if not self._is_role(headers, key):
            self._rate.take(client)
        return client

    def _is_role(self, headers: Headers, key: str | None) -> bool:
        """Another role of this service, which has counted those it asks for. A key that both were given proves it;
        where no key is needed, this machine's programs are believed (a web page cannot send the header)."""
        own = self.options.outgoing_key
        if ROLE_HEADER not in headers:
            return False
        return not self.needs_key or bool(key and own and hmac.compare_digest(key.encode(), own.encode()))

    def _check_browser(self, method: str, headers: Headers) -> None:
        """A web page elsewhere must not reach a service that trusts its own machine."""
        if not self.needs_key:
            host = _host(headers.get("host", ""))
            if host and host not in LOOPBACK:
                raise Problem(421, "host: this service answers its own machine only, as localhost")
        if method not in _SAFE and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            origin = headers.get("origin")
            if origin not in self.options.allowed_origins:
                raise Problem(403, "origin: calls from other web sites are not allowed (--allow-origin)")

    def _note(self, scope: Scope, status: int, seconds: float, client: str, request_id: str) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path_format", None) or getattr(route, "path", None) or "other"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(endpoint, method, status).inc()
        self.metrics.seconds.labels(endpoint).observe(seconds)
        _LOG.info(
            "request",
            extra={
                "request_id": request_id,
                "method": method,
                "endpoint": endpoint,
                "status": status,
                "milliseconds": round(seconds * 1000, 2),
                "client": client,
            },
        )


def _is_passed_on(headers: Headers) -> bool:
    """Whether a proxy sent it, so that it may be anybody's."""
    return any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))


def _host(header: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        raise Problem(400, "host: not a host") from None
