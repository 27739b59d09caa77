"""The commands that carry a trained library elsewhere: `publish` and `pull`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .console import Console
from .main import AddCommand


def add_commands(add_command: AddCommand) -> None:
    publish = add_command("publish", "upload the trained version, its tables and the library they belong to")
    pull = add_command("pull", "fetch what was published, and make it this library's version")
    for command, doing in ((publish, "to"), (pull, "from")):
        command.add_argument(
            "url",
            nargs="?",
            metavar="URL",
            help=f"{doing} s3://bucket/prefix, file:///folder or any URL of fsspec; without, s3://$S3_BUCKET_NAME",
        )
        command.add_argument("--library", required=True, type=Path, metavar="L", help="library folder")
    publish.set_defaults(run=_publish)
    pull.add_argument("--replace", action="store_true", help="also a library that was not pulled from there")
    pull.set_defaults(run=_pull)


def publish_where_set(folder: Path, console: Console) -> int:
    """What `train` does at its end: publishes where a bucket is set, else says that there is none. Gives the status.

    The training is good whatever becomes of the upload, so a failure is told and not raised.
    """
    from ...errors import CrossfadeError
    from ..versions.remote_storage import BUCKET, destination, settings

    chosen = settings()
    url = destination(None, chosen)
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
        _publish_to(folder, url, chosen, console)
    except (CrossfadeError, OSError) as error:
        console.message(f"crossfade: trained, but not published: {error}; crossfade publish --library {folder}")
        return 1
    return 0


def _publish(arguments: argparse.Namespace, console: Console) -> None:
    url, chosen = _asked(arguments)
    _publish_to(arguments.library, url, chosen, console)


def _publish_to(folder: Path, url: str, chosen: dict[str, str], console: Console) -> None:
    from ..library.store import Library
    from ..versions.publish import publish
    from ..versions.remote_storage import Destination

    with Library.open(folder) as library:
        version = library.current_version().name
        for done in publish(library, Destination(url, chosen)):
            console.record(
                to=f"{url}/{done.folder}", version=version, files=done.files, uploaded=done.moved, bytes=done.bytes
            )


def _pull(arguments: argparse.Namespace, console: Console) -> None:
    from ..interactions.live_events import DATABASE_VARIABLE
    from ..versions.publish import pull
    from ..versions.remote_storage import Destination

    url, chosen = _asked(arguments)
    database = os.environ.get(DATABASE_VARIABLE)
    version, folders = pull(Destination(url, chosen), arguments.library, replace=arguments.replace, database=database)
    for done in folders:
        console.record(
            source=f"{url}/{done.folder}", version=version, files=done.files, fetched=done.moved, bytes=done.bytes
        )


def _asked(arguments: argparse.Namespace) -> tuple[str, dict[str, str]]:
    from ...errors import UsageError
    from ..versions.remote_storage import BUCKET, destination, settings

    chosen = settings()
    url = destination(arguments.url, chosen)
    if url is None:
        raise UsageError(f"{arguments.command}: say where, by URL, or set {BUCKET}")
    return url, chosen
