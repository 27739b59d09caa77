"""Listeners' own data: all that is kept of one, for them to take away or to have deleted.

Both read the whole listening log, and a deletion writes it anew: few are done at a time, apart from other requests, and
beyond that, the answer is a 503 with a Retry-After. What is taken away goes into a file first, row by row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from threading import BoundedSemaphore
from typing import IO, Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from pydantic_core import to_json

from ...pipelines.interactions.live_events import listens_of
from ...pipelines.interactions.user_deletion import EVER, user_hash
from ...pipelines.interactions.user_deletion import forget as forget_listens
from ...pipelines.library.store import Library
from ..errors import Problem, documented
from ..events.store import EventStore, StoredEvent
from ..parameters import MANAGER, Id

_LOG = logging.getLogger("crossfade.service")
_BLOCK = 1 << 16
MAX_EXPORTS = 2
MAX_DELETIONS = 8
"""one is done, and the others wait for that"""
PATIENCE_SECONDS = 30.0
"""how long a request waits for its deletion"""
_NOTE = (
    "also deleted from the trained versions; what their tracks learned from all listeners together stays until the "
    "library is trained again"
)
_UNFINISHED = "the listening log is still being written anew, and the next training looks through it again"


class ListenerData(BaseModel):
    """Everything that names the listener."""

    user_id: str
    events: list[StoredEvent] = Field(description="sent to this service, newest first")
    listens: list[dict[str, Any]] = Field(description="rows of the library's listening log")


class Forgotten(BaseModel):
    events: int = Field(description="deleted from the event store")
    listens: int | None = Field(description="deleted from the listening log; null where that is still being done")
    note: str


def listener_routes(store: EventStore, folder: Path) -> APIRouter:
    routes = APIRouter(tags=["listeners"])
    exports, deletions = BoundedSemaphore(MAX_EXPORTS), BoundedSemaphore(MAX_DELETIONS)
    one_at_a_time = ThreadPoolExecutor(1, "deletions")

    @routes.get("/v1/listeners/{user_id:path}", responses=documented(), response_model=ListenerData)
    def export(user_id: Id) -> Response:
        """A listener's own data; empty lists for somebody unknown."""
        _take(exports, f"exports: {MAX_EXPORTS} are being made already")
        try:
            return _from_a_file(_document(store, folder, user_id))
        finally:
            exports.release()

    @routes.delete(
        "/v1/listeners/{user_id:path}",
        dependencies=[MANAGER],
        responses={
            202: {"model": Forgotten, "description": "Deleted but for the log, which is still being written anew"},
            **documented(403),
        },
    )
    def forget(user_id: Id, response: Response) -> Forgotten:
        """Deletes it all: events, listens, and the listener's part of every trained version."""

        def write_log_anew() -> int:
            with Library.open(folder) as library, library.rewriting():
                return forget_listens(library, {user_hash(user_id): EVER})

        def finished(work: Future[int]) -> None:
            deletions.release()
            if error := work.exception():
                _LOG.error("listener not deleted from the log", exc_info=error)
            else:
                _LOG.info("listener deleted", extra={"events": events, "listens": work.result()})

        _take(deletions, f"deletions: {MAX_DELETIONS} are waiting already")
        try:
            # From here on the listener is remembered as deleted: should this process end, the next training goes on.
            events = store.forget(user_id)
            future = one_at_a_time.submit(write_log_anew)
        except BaseException:
            deletions.release()
            raise
        future.add_done_callback(finished)
        try:
            return Forgotten(events=events, listens=future.result(timeout=PATIENCE_SECONDS), note=_NOTE)
        except TimeoutError:
            response.status_code = 202
            return Forgotten(events=events, listens=None, note=f"{_UNFINISHED}; {_NOTE}")

    return routes


def _take(slots: BoundedSemaphore, reason: str) -> None:
    if not slots.acquire(blocking=False):
        raise Problem(503, f"{reason}; try again", headers={"Retry-After": "30"})


def _document(store: EventStore, folder: Path, user_id: str) -> Iterator[bytes]:
    """ListenerData as JSON, row by row."""
    yield b'{"user_id":' + to_json(user_id) + b',"events":['
    yield from _separated(vars(one) for one in store.events_of(user_id))
    yield b'],"listens":['
    with Library.open(folder) as library:
        yield from _separated(row for part in listens_of(library, user_id) for row in part.iter_rows(named=True))
    yield b"]}"


def _separated(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        yield (b"," if number else b"") + to_json(row, inf_nan_mode="null")


def _from_a_file(parts: Iterator[bytes]) -> Response:
    """An answer that is whole before it begins, so that a slow client keeps nothing waiting but its file."""
    with ExitStack() as stack:
        file = stack.enter_context(TemporaryFile())
        size = sum(map(file.write, parts))
        file.seek(0)
        stack.pop_all()
    return StreamingResponse(_blocks(file), media_type="application/json", headers={"Content-Length": str(size)})


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block
