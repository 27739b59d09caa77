"""Heads: how long a client may take for the first lines of a request.

uvicorn waits for ever: some thousand connections that send a byte a minute would use up all the service's files.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..errors import problem_response

HEAD_SECONDS = 10.0

_Protocol: Any = AutoHTTPProtocol


class PunctualProtocol(_Protocol):  # type: ignore[misc]
    """uvicorn's own protocol that ends a connection whose request does not begin in time."""

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._deadline: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop()
        super().connection_lost(error)

    def _watch(self) -> None:
        """More bytes of the same head give no more time."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._late)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._end(408, f"request: its head did not come within {self.head_seconds:g} seconds")

    def send_400_response(self, message: str) -> None:
        """What uvicorn calls for what is not HTTP."""
        self._end(400, f"request: {message}")

    def _end(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        answer = problem_response(status, detail)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + bytes(answer.body))
        self.transport.close()
