"""The commands of the service: `serve` and `keys`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

from ..errors import UsageError
from ..models.machine import one_thread_each
from ..option_types import Flag
from ..pipelines.commands.options import LibraryFolder, Screen, open_library, option
from .settings import EVENTS_URL_VARIABLE, KEY_VARIABLE, PlayerAccount, ServeOptions


def serve(*, options: ServeOptions, console: Screen) -> int:
    """Recommendations, similar tracks, live events and a web page over HTTP.

    Example: crossfade serve --library L --port 8000
    """
    one_thread_each()
    import fastapi  # noqa: F401
    import httpx  # noqa: F401
    import prometheus_client  # noqa: F401
    import python_multipart  # noqa: F401
    import sqlalchemy  # noqa: F401
    import uvicorn  # noqa: F401

    from ..pipelines.interactions.live_events import DATABASE_VARIABLE
    from .server import serve as serve_until_stopped

    options = replace(
        options,
        database=options.database or os.environ.get(DATABASE_VARIABLE),
        events_url=os.environ.get(EVENTS_URL_VARIABLE) or options.events_url,
        outgoing_key=os.environ.get(KEY_VARIABLE),
        player=PlayerAccount.of_environment(),
    )
    return serve_until_stopped(options, console)


def keys(
    *,
    library: LibraryFolder,
    new: Annotated[str | None, option("name of a key to make; it is shown this once")] = None,
    manage: Annotated[Flag, option("the new key also starts jobs, deletes listeners, makes and revokes keys")] = False,
    revoke: Annotated[str | None, option("name of a key that opens nothing any more, from now on")] = None,
    console: Screen,
) -> None:
    """The service's API keys: lists them, makes one, revokes one.

    Example: crossfade keys --library L --new phone
    """
    from .middleware.api_keys import ApiKeyStore

    if manage and not new:
        raise UsageError("keys: --manage is for a new key; say its name by --new NAME")
    open_library(library).close()
    store = ApiKeyStore(library)
    if new:
        console.record(name=new, manages=manage, key=store.add(new, manages=manage))
    if revoke:
        store.revoke(revoke)
    if not new:
        for name in store.hashes():
            console.record(name=name, manages=name in store.managers())
