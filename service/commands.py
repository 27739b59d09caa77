"""The commands of the service: `serve` and `keys`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..pipelines.commands.console import Console

AddCommand = Callable[[str, str], argparse.ArgumentParser]


def add_commands(add_command: AddCommand) -> None:
    serve = add_command("serve", "recommendations, similar tracks, live events and a web page over HTTP")
    serve.add_argument("--library", type=Path, required=True, metavar="L", help="the library's folder")
    serve.add_argument("--role", choices=("all", "recommend", "similar", "events"), default="all", help=_ROLE)
    serve.add_argument("--host", default="127.0.0.1", help="address (127.0.0.1); others need a key")
    serve.add_argument("--port", type=int, help="8000; 8010 for similar, 8020 for events")
    serve.add_argument("--database", metavar="URL", help="event store (SQLite in the library), or postgresql://…")
    serve.add_argument("--require-key", action="store_true", help="ask for a key on this machine, too")
    serve.add_argument("--allow-origin", action="append", default=[], metavar="URL", help="web origin that may call")
    serve.add_argument("--rate", type=float, default=200.0, metavar="N", help="requests a second per client (200)")
    serve.add_argument("--upload-limit", type=float, default=256.0, metavar="MIB", help="size of an upload (256)")
    serve.add_argument("--uploads", type=int, default=16, metavar="N", help="uploads at once (16); more get a 503")
    serve.add_argument(
        "--uploads-limit", type=float, metavar="MIB", help="size of these together (four of the largest)"
    )
    serve.set_defaults(run=_serve)

    keys = add_command("keys", "the service's API keys: lists them, makes one, revokes one")
    keys.add_argument("--library", type=Path, required=True, metavar="L", help="the library's folder")
    keys.add_argument("--new", metavar="NAME", help="make a key; it is shown this once")
    keys.add_argument("--revoke", metavar="NAME", help="it opens nothing any more, in running services either")
    keys.set_defaults(run=_keys)


_ROLE = "what this process does (all); apart, they find each other by CROSSFADE_EVENTS_URL"


def _serve(arguments: argparse.Namespace, console: Console) -> int | None:
    # Requests run beside each other already; numbers decided before numpy is loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from ..errors import MissingExtra

    try:
        import fastapi  # noqa: F401
        import httpx  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import sqlalchemy  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("serve", "serve") from None
    from ..pipelines.interactions.live_events import DATABASE_VARIABLE
    from .server import serve
    from .settings import EVENTS_URL_VARIABLE, KEY_VARIABLE, Role, ServeOptions

    options = ServeOptions(
        library=arguments.library,
        role=Role(arguments.role),
        host=arguments.host,
        port=arguments.port,
        database=arguments.database or os.environ.get(DATABASE_VARIABLE),
        events_url=os.environ.get(EVENTS_URL_VARIABLE) or f"http://127.0.0.1:{Role.EVENTS.port}",
        outgoing_key=os.environ.get(KEY_VARIABLE),
        require_key=arguments.require_key,
        allowed_origins=tuple(arguments.allow_origin),
        requests_per_second=arguments.rate,
        upload_bytes=int(arguments.upload_limit * 2**20),
        uploads=arguments.uploads,
        uploads_bytes=None if arguments.uploads_limit is None else int(arguments.uploads_limit * 2**20),
    )
    return serve(options, console)


def _keys(arguments: argparse.Namespace, console: Console) -> None:
    from ..errors import MissingExtra
    from ..pipelines.library.store import Library

    try:
        from .middleware.api_keys import ApiKeyStore
    except ModuleNotFoundError:
        raise MissingExtra("keys", "serve") from None
    Library.open(arguments.library).close()
    keys = ApiKeyStore(arguments.library)
    if arguments.new:
        console.record(name=arguments.new, key=keys.add(arguments.new))
    if arguments.revoke:
        keys.revoke(arguments.revoke)
    if not arguments.new:
        for name in keys.hashes():
            console.record(name=name)
