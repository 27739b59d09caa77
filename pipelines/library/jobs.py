"""Jobs: `crossfade` commands that run in the background on a library, one at a time, each a process of its own.

    jobs/<number>/job.json     what runs, and since when
    jobs/<number>/running      locked for as long as the process lives
    jobs/<number>/log          its stderr
    jobs/<number>/answer       its stdout
    jobs/<number>/input/       files that were given to it; deleted when it ends
    jobs/<number>/cancelled    is there where it was asked to stop
    jobs/<number>/status       its exit status; missing where it was killed, or the machine stopped

The process goes on when the one that started it ends. All that is known of it lies here, so any process can tell.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Thread
from typing import IO, Any

from ...models.storage import write_json
from .progress import EVERY_VARIABLE

COMMAND = (sys.executable, "-m", "crossfade.pipelines")
"""`crossfade` of this program, wherever it is installed"""
KEPT_JOBS = 20
PROGRESS_SECONDS = 1.0
_LOG_BYTES = 1 << 16
_PROGRESS = re.compile(r"^(?P<what>.+): (?P<done>[\d,]+) of (?P<total>[\d,]+)(?P<rest>, .*)?$")
_SCRIPT = (
    'trap : INT TERM; nice -n 10 "$@"; status=$?; rm -rf "$0/input"; '
    'echo $status >"$0/status.part"; mv "$0/status.part" "$0/status"'
)
"""of the shell that waits for the command; $0 is the job's folder"""


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """it was killed, or the machine stopped"""


@dataclass(frozen=True)
class Progress:
    what: str
    done: int
    total: int
    rest: str
    """rate and time left, in words"""


@dataclass(frozen=True)
class Job:
    """As it is at the moment."""

    number: int
    kind: str
    words: tuple[str, ...]
    """of the command, without `crossfade`"""
    state: State
    started_at: float
    """seconds since 1970"""
    ended_at: float | None
    progress: Progress | None
    """the newest that it told"""
    log: tuple[str, ...]
    """the last lines of its messages, without those of its progress"""


class Jobs:
    """The jobs of a library's folder, which need not hold a library yet."""

    def __init__(self, library: Path) -> None:
        self._folder = library / "jobs"

    def all(self) -> list[Job]:
        """The newest first."""
        return [job for number in sorted(self._numbers(), reverse=True) if (job := self.get(number)) is not None]

    def get(self, number: int) -> Job | None:
        """None where there is none of this number."""
        folder = self._folder / str(number)
        try:
            header = json.loads((folder / "job.json").read_text())
            log = folder / "log"
            lines = _tail(log)
            told_at = log.stat().st_mtime
        except FileNotFoundError:
            return None
        state = self._state(folder)
        progress = [found for line in lines if (found := _PROGRESS.match(line))]
        return Job(
            number,
            header["kind"],
            tuple(header["words"]),
            state,
            header["started_at"],
            None if state is State.RUNNING else max(told_at, _modified(folder / "status")),
            _progress(progress[-1]) if progress else None,
            tuple(line for line in lines if not _PROGRESS.match(line)),
        )

    def answers(self, number: int) -> list[dict[str, Any]]:
        """The records that its command has printed so far."""
        try:
            lines = (self._folder / str(number) / "answer").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []
        records = []
        for line in lines:
            # The last one may not be whole yet.
            with suppress(ValueError):
                records.append(json.loads(line))
        return records

    def prepare(self) -> Path:
        """A new job's folder; what is put into its `input` is there for the command."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            folder = self._folder / str(max(self._numbers(), default=0) + 1)
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder

    def start(self, folder: Path, kind: str, words: Sequence[str], environment: Mapping[str, str]) -> Job | None:
        """Starts a command in a folder that was prepared; None where another job runs."""
        with self._starting():
            if any(job.state is State.RUNNING for job in self.all()):
                return None
            self._prune(int(folder.name))
            with (
                (folder / "running").open("w") as lock,
                (folder / "answer").open("w") as answer,
                (folder / "log").open("w") as log,
            ):
                _lock(lock)
                process = subprocess.Popen(
                    ["sh", "-c", _SCRIPT, str(folder.absolute()), *COMMAND, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=log,
                    env={**os.environ, EVERY_VARIABLE: str(PROGRESS_SECONDS), **environment},
                    # The lock is the process's as well, and ends with it.
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                )
                header = {"kind": kind, "words": list(words), "started_at": time.time(), "process": process.pid}
                write_json(folder / "job.json", header)
            Thread(target=process.wait, name="job", daemon=True).start()
            return self.get(int(folder.name))

    def cancel(self, number: int) -> Job | None:
        """Asks a running job to stop, as Ctrl-C does; the second time it is killed. None where there is none."""
        job, folder = self.get(number), self._folder / str(number)
        if job is None or job.state is not State.RUNNING:
            return job
        again = (folder / "cancelled").exists()
        (folder / "cancelled").touch()
        process = json.loads((folder / "job.json").read_text())["process"]
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL if again else signal.SIGINT)
        return self.get(number)

    def _state(self, folder: Path) -> State:
        for attempt in (0, 1):
            try:
                status = int((folder / "status").read_text())
            except (FileNotFoundError, ValueError):
                if _is_locked(folder / "running"):
                    return State.RUNNING
                if not attempt:
                    # It may have ended between the two looks.
                    continue
                return State.CANCELLED if (folder / "cancelled").exists() else State.LOST
            if status == 0:
                return State.DONE
            return State.CANCELLED if (folder / "cancelled").exists() else State.FAILED
        raise AssertionError

    def _numbers(self) -> list[int]:
        with suppress(FileNotFoundError):
            return [int(one.name) for one in self._folder.iterdir() if one.name.isdigit()]
        return []

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One at a time, in any process."""
        with (self._folder / "starting.lock").open("a") as file:
            _lock(file)
            yield

    def _prune(self, newest: int) -> None:
        for number in self._numbers():
            folder = self._folder / str(number)
            if number <= newest - KEPT_JOBS:
                shutil.rmtree(folder, ignore_errors=True)
            elif number < newest and (folder / "job.json").exists():
                # Left by one that was killed.
                shutil.rmtree(folder / "input", ignore_errors=True)


def _lock(file: IO[str]) -> None:
    """Waits for it; it is free again when the file is closed in every process that has it open."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX)


def _is_locked(file: Path) -> bool:
    import fcntl

    try:
        with file.open() as opened:
            # Shared: those who look at the same time do not take one another for the job.
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _tail(file: Path) -> list[str]:
    """The last lines."""
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - _LOG_BYTES))
        lines = opened.read().decode("utf-8", "replace").splitlines()
    return lines[1:] if size > _LOG_BYTES else lines


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _progress(found: re.Match[str]) -> Progress:
    done, total = (int(found[name].replace(",", "")) for name in ("done", "total"))
    return Progress(found["what"], done, total, (found["rest"] or "").removeprefix(", "))
