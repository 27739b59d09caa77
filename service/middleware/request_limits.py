"""Limits: how many requests a client may send, how large and slow its body may be, and how many uploads run at once."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive, Scope

from ..errors import Problem

_CLIENTS_REMEMBERED = 10_000


class RateLimiter:
    """A token bucket per client: filled by `per_second`, at most twice as many are held; 0 is no limit."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float | None = None) -> None:
        """Raises a Problem (429) with a Retry-After. Called from one thread only."""
        if not self.per_second:
            return
        now = time.monotonic() if now is None else now
        capacity = max(1.0, 2 * self.per_second)
        tokens, since = self._buckets.pop(client, (capacity, now))
        tokens = min(capacity, tokens + (now - since) * self.per_second)
        self._buckets[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > _CLIENTS_REMEMBERED:
            self._buckets.popitem(last=False)
        if tokens < 1:
            seconds = max(1, round((1 - tokens) / self.per_second))
            raise Problem(
                429,
                f"rate: more than {self.per_second:g} requests a second; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )


class UploadLimiter:
    """Counts the uploads in flight, and the bytes that they have sent or announced.

    Used from one thread only.
    """

    def __init__(self, most: int, max_bytes: int) -> None:
        self.most, self.max_bytes = most, max_bytes
        self.count = self.bytes = 0

    @contextmanager
    def place(self) -> Iterator[Callable[[int], None]]:
        """Counts one more until the block ends; yields a function to be called with its size in bytes so far.

        Where there is no room, either raises a Problem (503) with a Retry-After.
        """
        if self.count >= self.most:
            raise self._full(f"{self.most} are in flight already")
        self.count += 1
        held = 0

        def grow(size: int) -> None:
            nonlocal held
            more = max(0, size - held)
            if self.bytes + more > self.max_bytes:
                raise self._full(f"{self.max_bytes / 2**20:g} MiB are in flight already")
            self.bytes += more
            held += more

        try:
            yield grow
        finally:
            self.count -= 1
            self.bytes -= held

    @staticmethod
    def _full(why: str) -> Problem:
        return Problem(503, f"uploads: {why}; try again", headers={"Retry-After": "5", "Connection": "close"})


def no_limit(size: int) -> None:
    """For bodies that are not counted together."""


def limited_body(
    scope: Scope, receive: Receive, *, max_bytes: int, max_seconds: float, grow: Callable[[int], None] = no_limit
) -> Receive:
    """`receive` that raises a Problem where the body gets too large (413) or takes too long (408).

    A body whose Content-Length is too large is refused before any of it is read. `grow` is called with the number of
    bytes that are announced or have come, and may raise a Problem.
    """
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 15 or int(value) > max_bytes:
                raise _too_large(max_bytes)
            grow(int(value))
    received = 0
    whole = False
    deadline = time.monotonic() + max_seconds

    async def limited() -> Message:
        nonlocal received, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise Problem(
                408, f"body: not received within {max_seconds:g} seconds", headers={"Connection": "close"}
            ) from None
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if received > max_bytes:
                raise _too_large(max_bytes)
            grow(received)
        return message

    return limited


def _too_large(max_bytes: int) -> Problem:
    size = f"{max_bytes / 2**20:g} MiB" if max_bytes >= 2**20 else f"{max_bytes / 2**10:g} KiB"
    return Problem(413, f"body: larger than the {size} that are taken here", headers={"Connection": "close"})
