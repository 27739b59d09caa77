"""Services as processes of their own, started by the command and stopped by signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 120.0


@dataclass
class Running:
    """A service that answers at `url`."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def kill(self) -> None:
        """As the kernel would when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Asks it to stop; gives its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def text(self) -> str:
        return self.log.read_text()


@contextmanager
def running(library: Path, *arguments: str, log: Path, ready: bool = True, **environment: str) -> Iterator[Running]:
    """`crossfade serve` on a free port of this machine, until the block ends; ready to answer unless told otherwise."""
    command = [sys.executable, "-m", "crossfade.pipelines", "serve", "--library", str(library), "--json", *arguments]
    if "--port" not in arguments:
        command += ["--port", "0"]
    with log.open("a") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment}
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"it did not start: {log.read_text()}"
            found = Running(json.loads(line)["url"], process, log)
            wait_until_ready(found.url, ready=ready)
            yield found
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def wait_until_ready(url: str, *, ready: bool = True) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/health/{'ready' if ready else 'live'}", timeout=10, trust_env=False)
            if answer.status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url}: not ready within {START_SECONDS:g} s")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
