"""Cores and memory: those of this process, never more than its container may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossfade.models.machine import THREAD_VARIABLES, available_bytes, available_cores, one_thread_each
from crossfade.pipelines.embedding.process_pool import in_workers


@pytest.mark.parametrize(
    ("content", "expected"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("", None), (None, None)]
)
def test_a_quota_counts_where_there_is_one(tmp_path: Path, content: str | None, expected: int | None) -> None:
    file = tmp_path / "cpu.max"
    if content is not None:
        file.write_text(content)
    assert available_cores(file) == (expected or len(os.sched_getaffinity(0)))


def test_a_quota_of_more_than_there_is_gives_no_more(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text("6400000 100000")
    assert available_cores(file) == len(os.sched_getaffinity(0))


def test_a_process_kept_to_one_core_uses_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from crossfade.models.machine import available_cores; print(available_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_what_is_free_is_the_least_of_machine_and_container(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    assert available_bytes(meminfo, limit) is None
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    assert available_bytes(meminfo, limit) == 5_120_000
    limit.write_text("max\n")
    (tmp_path / "memory.current").write_text("1500000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\ninactive_file 500000\n")
    assert available_bytes(meminfo, limit) == 5_120_000
    limit.write_text("3000000\n")
    assert available_bytes(meminfo, limit) == 2_000_000


def test_what_the_user_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREAD_VARIABLES[0], "7")
    for name in THREAD_VARIABLES[1:]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    one_thread_each()
    assert [os.environ[name] for name in THREAD_VARIABLES] == ["7", "1", "1"]


def _nothing() -> None: ...


def test_workers_use_one_thread_each_and_their_parent_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    found = list(in_workers(os.getenv, THREAD_VARIABLES, count=1, prepare=_nothing))
    assert sorted(found) == sorted((name, "1") for name in THREAD_VARIABLES)
    assert not set(THREAD_VARIABLES) & set(os.environ)
