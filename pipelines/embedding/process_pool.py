"""Worker processes that may die without taking the run with them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from ...errors import CrossfadeError, ResourceError
from ...models.machine import THREAD_VARIABLES, one_thread_each

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDied(Exception):
    """The process that worked on an item was killed or crashed."""


def in_workers(
    work: Callable[[Item], Result], items: Iterable[Item], *, count: int, prepare: Callable[[], None]
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """(item, result) pairs as they are done, in any order; WorkerDied stands for an item that killed its worker.

    `prepare` runs once in each worker; ResourceError where that fails, which is no item's fault. A native decoder may
    crash on a broken file: what was in flight then is tried again, one item at a time, so that only the culprit is
    blamed.
    """
    waiting = iter(items)
    while True:
        suspects: list[Item] = []
        in_flight: dict[Future[Result], Item] = {}
        try:
            with WorkerPool(count, prepare) as pool:
                while True:
                    for item in islice(waiting, 2 * count - len(in_flight)):
                        suspects = [item]
                        in_flight[pool.submit(work, item)] = item
                        suspects = []
                    if not in_flight:
                        return
                    done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        yield in_flight.pop(future), result
        except BrokenProcessPool:
            suspects += in_flight.values()
        for item in suspects:
            yield item, _alone(work, item, prepare)


def _alone(work: Callable[[Item], Result], item: Item, prepare: Callable[[], None]) -> Result | WorkerDied:
    with WorkerPool(1, prepare) as pool:
        pool.wait_until_ready()
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return WorkerDied()


class _Process(SpawnProcess):
    """Of one core: its numerical libraries, which read the environment when they are loaded, start no threads."""

    def start(self) -> None:
        unset = [name for name in THREAD_VARIABLES if name not in os.environ]
        one_thread_each()
        try:
            super().start()
        finally:
            for name in unset:
                del os.environ[name]


class _Context(SpawnContext):
    # Spawned, not forked: a fork copies the locks of threads that it does not copy.
    Process = _Process


class WorkerPool(ProcessPoolExecutor):
    """Processes that end with this one, and at the end of a `with` block whatever they are doing.

    Work raises ResourceError in a process that could not start, instead of breaking the whole pool.
    """

    def __init__(self, count: int, prepare: Callable[[], None]) -> None:
        super().__init__(count, mp_context=_Context(), initializer=_start, initargs=(prepare,))

    def submit(self, work: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        return super().submit(_call, work, *arguments, **named)

    def wait_until_ready(self) -> None:
        """Until a process has started; ResourceError where it could not."""
        try:
            self.submit(_nothing).result()
        except BrokenProcessPool:
            raise ResourceError(f"{_WORKER}: died while it loaded its models; is there enough memory for it?") from None

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


_WORKER = "worker process"
_start_error: str | None = None
"""why this process could not be prepared"""


def _call(work: Callable[..., Result], /, *arguments: Any, **named: Any) -> Result:
    if _start_error is not None:
        raise ResourceError(f"{_WORKER}: cannot start: {_start_error}")
    return work(*arguments, **named)


def _nothing() -> None: ...


def _start(prepare: Callable[[], None]) -> None:
    """Runs first in each worker."""
    # Ctrl-C goes to the whole group; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed can't stop its workers.
    threading.Thread(target=_follow_parent, daemon=True).start()
    # C libraries write warnings about broken files to stderr, across the progress bar.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    global _start_error
    try:
        prepare()
    except MemoryError:
        _start_error = "not enough memory"
    except CrossfadeError as error:
        _start_error = str(error)
    except Exception as error:
        _start_error = f"{type(error).__name__}: {' '.join(str(error).split())}"


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
