"""The commands of the service: `serve` and `keys`."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from cyclopts import Parameter

from ..pipelines.commands.options import Flag, LibraryFolder, Screen, option

RoleName = Literal["all", "recommend", "similar", "events"]
Repeated = Annotated[tuple[str, ...], Parameter(show_default=False)]


def serve(
    *,
    library: LibraryFolder,
    role: Annotated[RoleName, option("of this process; apart, they find each other by CROSSFADE_EVENTS_URL")] = "all",
    host: Annotated[str, option("address; others than this machine's need a key")] = "127.0.0.1",
    port: Annotated[int | None, option("8000; 8010 for similar, 8020 for events")] = None,
    database: Annotated[str | None, option("URL of the event store (SQLite in the library), or postgresql://…")] = None,
    require_key: Annotated[Flag, option("ask for a key on this machine, too")] = False,
    allow_origin: Annotated[Repeated, option("web origin that may call; may be repeated")] = (),
    rate: Annotated[float, option("requests a second per client")] = 200.0,
    upload_limit: Annotated[float, option("MiB of an upload")] = 256.0,
    uploads: Annotated[int, option("uploads at once; more get a 503")] = 16,
    uploads_limit: Annotated[float | None, option("MiB of these together (four of the largest)")] = None,
    console: Screen,
) -> int | None:
    """Recommendations, similar tracks, live events and a web page over HTTP.

    Example: crossfade serve --library L --port 8000
    """
    # Requests run beside each other already; numbers decided before numpy is loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    import fastapi  # noqa: F401
    import httpx  # noqa: F401
    import prometheus_client  # noqa: F401
    import python_multipart  # noqa: F401
    import sqlalchemy  # noqa: F401
    import uvicorn  # noqa: F401

    from ..pipelines.interactions.live_events import DATABASE_VARIABLE
    from .roles import EVENTS_URL_VARIABLE, KEY_VARIABLE, Role, ServeOptions
    from .server import serve as serve_until_stopped

    options = ServeOptions(
        library=library,
        role=Role(role),
        host=host,
        port=port,
        database=database or os.environ.get(DATABASE_VARIABLE),
        events_url=os.environ.get(EVENTS_URL_VARIABLE) or f"http://127.0.0.1:{Role.EVENTS.port}",
        outgoing_key=os.environ.get(KEY_VARIABLE),
        require_key=require_key,
        allowed_origins=allow_origin,
        requests_per_second=rate,
        upload_bytes=int(upload_limit * 2**20),
        uploads=uploads,
        uploads_bytes=None if uploads_limit is None else int(uploads_limit * 2**20),
    )
    return serve_until_stopped(options, console)


def keys(
    *,
    library: LibraryFolder,
    new: Annotated[str | None, option("name of a key to make; it is shown this once")] = None,
    revoke: Annotated[str | None, option("name of a key that opens nothing any more, from now on")] = None,
    console: Screen,
) -> None:
    """The service's API keys: lists them, makes one, revokes one.

    Example: crossfade keys --library L --new phone
    """
    from ..pipelines.library.store import Library
    from .middleware.api_keys import Keys

    Library.open(library).close()
    held = Keys.load(library)
    if new:
        held, key = held.with_new(new)
        held.save(library)
        console.record(name=new, key=key)
    if revoke:
        held = held.without(revoke)
        held.save(library)
    if not new:
        for name in held.hashes:
            console.record(name=name)
