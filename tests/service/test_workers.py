"""Several workers behind one address: what one is told all know, and nobody is missed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from processes import Running, running
from serving import camp, track

WORKERS = 2


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(600):
        if true():
            return
        waiting.wait(0.1)
    raise AssertionError("not within a minute")


def workers(service: Running) -> list[int]:
    """Process ids of the workers that are there, the oldest first."""
    lines = [json.loads(line) for line in service.text().splitlines() if line.startswith("{")]
    return [one["worker"] for one in lines if one["message"] == "worker started" and alive(one["worker"])]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Whatever is asked meanwhile is answered by the other one."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def service(folder: Path, tmp_path: Path) -> Iterator[Running]:
    with running(folder, "--workers", str(WORKERS), "--rate", "0", log=tmp_path / "log") as service:
        until(lambda: len(workers(service)) == WORKERS)
        until(lambda: service.text().count('"loaded"') >= WORKERS)
        yield service
        service.stop()


def test_what_one_worker_is_told_another_answers_by(service: Running) -> None:
    first, second = workers(service)
    ask = f"{service.url}/v1/recommendations?user_id=new&k=5"
    for told, asked in ((second, first), (first, second)):
        with stopped(told):
            assert not httpx.get(ask, timeout=60).json()["personal"] or told == first
        with stopped(asked):
            sent = httpx.post(f"{service.url}/add_event", params={"user_id": "new", "track_id": track(59)}, timeout=60)
            assert sent.json() == {"result": "ok"}
        with stopped(told):
            answer = httpx.get(ask, timeout=60).json()
        assert answer["personal"] and answer["notes"] == []
        assert {camp(one["track_id"]) for one in answer["tracks"]} == {1}
    numbers = httpx.get(f"{service.url}/metrics", timeout=60).text
    assert 'crossfade_events_total{outcome="accepted"} 2.0' in numbers and "crossfade_tracks 60.0" in numbers


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_a_signal_ends_all(service: Running) -> None:
    killed, other = workers(service)
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(workers(service)) == WORKERS)
    replaced = next(pid for pid in workers(service) if pid != other)
    with stopped(other):
        answer = httpx.get(f"{service.url}/v1/recommendations?user_id=u1&k=5", timeout=60)
    assert answer.status_code in (200, 503)
    assert service.stop() == 0
    assert not alive(replaced) and not alive(other)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(service: Running) -> None:
    there = workers(service)
    service.kill()
    until(lambda: not any(map(alive, there)))
