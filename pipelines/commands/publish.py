"""The commands that carry a trained library elsewhere: `publish` and `pull`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from ...errors import CrossfadeError, UsageError
from ...option_types import Flag
from .options import LibraryFolder, Screen, open_library, option

Url = Annotated[str | None, option("s3://bucket/prefix, file:///folder or any of fsspec; s3://$S3_BUCKET_NAME without")]


def publish(url: Url = None, /, *, library: LibraryFolder, console: Screen) -> None:
    """Upload the trained version, its tables and the library they belong to.

    Example: crossfade publish s3://bucket/prefix --library L
    """
    _publish_to(library, *_destination("publish", url), console)


def pull(
    url: Url = None,
    /,
    *,
    library: LibraryFolder,
    replace: Annotated[Flag, option("also a library that was not pulled from there")] = False,
    console: Screen,
) -> None:
    """Fetch what was published, and make it this library's version.

    Example: crossfade pull s3://bucket/prefix --library L
    """
    from ..interactions.live_events import DATABASE_VARIABLE
    from ..versions import publish as versions
    from ..versions.remote_storage import Destination

    url, settings = _destination("pull", url)
    database = os.environ.get(DATABASE_VARIABLE)
    version, folders = versions.pull(Destination(url, settings), library, replace=replace, database=database)
    for done in folders:
        console.record(
            source=f"{url}/{done.folder}", version=version, files=done.files, fetched=done.moved, bytes=done.bytes
        )


def publish_where_set(folder: Path, console: Screen) -> int:
    """What `train` does at its end: publishes where a bucket is set, else prints that there is none. Gives the status.

    The training is good whatever becomes of the upload, so a failure is printed and not raised.
    """
    from ..versions.remote_storage import BUCKET, destination, settings

    found = settings()
    url = destination(None, found)
    if url is None:
        console.message(f"not published: {BUCKET} is not set")
        return 0
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    source = "the environment" if BUCKET in os.environ else ".env of the working folder"
    console.message(
        f"publishing to bucket {bucket}, prefix {prefix or '(none)'} ({BUCKET} in {source}): the trained version, the "
        "tracks and the listening log; --no-publish leaves it out"
    )
    try:
        _publish_to(folder, url, found, console)
    except (CrossfadeError, OSError) as error:
        console.message(f"crossfade: trained, but not published: {error}; crossfade publish --library {folder}")
        return 1
    return 0


def _publish_to(folder: Path, url: str, settings: dict[str, str], console: Screen) -> None:
    from ..versions import publish as versions
    from ..versions.remote_storage import Destination

    with open_library(folder) as library:
        version = library.current_version().name
        for done in versions.publish(library, Destination(url, settings)):
            console.record(
                to=f"{url}/{done.folder}", version=version, files=done.files, uploaded=done.moved, bytes=done.bytes
            )


def _destination(command: str, url: str | None) -> tuple[str, dict[str, str]]:
    from ..versions.remote_storage import BUCKET, destination, settings

    found = settings()
    url = destination(url, found)
    if url is None:
        raise UsageError(f"{command}: say where, by URL, or set {BUCKET}")
    return url, found
