"""The server: binds the address, prints it, answers until SIGINT or SIGTERM, and lets answers finish."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ..errors import UsageError
from ..pipelines.commands.console import Console
from ..pipelines.library.store import Library
from .app import Service
from .events.store import EventStore
from .logging import start_logging
from .middleware.api_keys import ApiKeyStore
from .settings import Role, ServeOptions
from .workers import run_workers

GRACE_SECONDS = 15


def serve(options: ServeOptions, console: Console) -> int:
    """Until SIGINT or SIGTERM. Raises UsageError for an address that it must not or cannot have."""
    if (options.require_key or not options.is_loopback) and not ApiKeyStore(options.library).hashes():
        raise UsageError(
            f"{options.host}: others could reach it, so it needs an API key; "
            f"crossfade keys --new NAME --library {options.library}"
        )
    if options.role.has(Role.EVENTS):
        EventStore(options.database_url).close()
    listening = _listening(options)
    port = listening.getsockname()[1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    start_logging()
    if not Library.exists(options.library):
        console.message(f"crossfade: {options.library}: no library there yet; answers 503 until there is one")
    workers = {"workers": options.workers} if options.workers > 1 else {}
    console.record(role=str(options.role), url=f"http://{host}:{port}", pid=os.getpid(), **workers)
    console.close()
    if options.workers == 1:
        _answer(options, listening)
    else:
        # One that is in the middle of loading a version ends after that.
        run_workers(_answer, options, listening, grace_seconds=2 * GRACE_SECONDS)
    return 0


def _answer(options: ServeOptions, listening: socket.socket) -> None:
    """In the process that answers."""
    start_logging()
    service = Service(options)
    if options.role.has(Role.SIMILAR):
        service.upload_analyzer.start()
    config = uvicorn.Config(
        service.app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ws="none",
    )
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """One that returns after SIGINT and SIGTERM: uvicorn's own raises the signal once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _listening(options: ServeOptions) -> socket.socket:
    port = options.role.port if options.port is None else options.port
    if not 0 <= port <= 65535:
        raise UsageError(f"port: {port}; it has to be from 0 (any free one) to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(options.host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends small packets at once (TCP_NODELAY) only where the protocol is named; else each waits 40 ms.
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"{options.host}: no such address ({error.strerror or error})") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(512)
    except OSError as error:
        found.close()
        raise UsageError(f"{options.host}:{port}: cannot be listened at ({error.strerror or error})") from None
    return found
