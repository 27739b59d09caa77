"""Workers: processes that answer at one address, each with a service of its own that follows the library.

All of them accept from one socket, so that whichever is idle takes the next connection. A worker that dies is replaced.
uvicorn's own workers are not used: it finds a worker that is killed in the middle of its health check only when that
check times out, and takes one that needs longer than that to start for a hanging one.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from socket import socket
from tempfile import TemporaryDirectory

from prometheus_client.multiprocess import mark_process_dead

from .metrics import METRICS_VARIABLE
from .settings import ServeOptions

_LOG = logging.getLogger("crossfade.service")
_PAUSE_SECONDS = 1.0
"""between the deaths of workers and their replacement, which may die for the same reason"""
_LOOK_SECONDS = 0.2

Work = Callable[[ServeOptions, socket], None]


def run_workers(work: Work, options: ServeOptions, listening: socket, *, grace_seconds: float) -> None:
    """`options.workers` processes that do `work`, until SIGINT or SIGTERM, which ends them all.

    Who has not ended after `grace_seconds` is killed.
    """
    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    with TemporaryDirectory(prefix="crossfade-metrics-") as folder:
        # Workers keep their numbers there, and whoever is asked for metrics adds them up.
        os.environ[METRICS_VARIABLE] = folder
        workers = [_started(work, options, listening) for _ in range(options.workers)]
        while not stop.is_set():
            wait([worker.sentinel for worker in workers], timeout=_LOOK_SECONDS)
            for worker in [one for one in workers if not one.is_alive()]:
                workers.remove(worker)
                mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
                _LOG.error("worker died", extra={"worker": worker.pid, "status": worker.exitcode})
                stop.wait(_PAUSE_SECONDS)
                if not stop.is_set():
                    workers.append(_started(work, options, listening))
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + grace_seconds
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()


def _started(work: Work, options: ServeOptions, listening: socket) -> SpawnProcess:
    # Spawned, not forked: a fork copies the locks of threads that it does not copy.
    worker = multiprocessing.get_context("spawn").Process(target=_run, args=(work, options, listening))
    worker.start()
    _LOG.info("worker started", extra={"worker": worker.pid})
    return worker


def _run(work: Work, options: ServeOptions, listening: socket) -> None:
    threading.Thread(target=_follow_parent, daemon=True).start()
    work(options, listening)


def _follow_parent() -> None:
    """A parent that is killed can't stop its workers, which would keep the address."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
