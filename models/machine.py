"""The machine: what cores and memory this process may use, and numerical libraries kept from using all cores."""

from __future__ import annotations

import math
import os
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Those that this process may use, by its affinity and its container's quota (control groups of version 2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with quota_file.open() as file:
            quota, period = file.read().split()
        return min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        # No such file, or "max" in it: no quota.
        return cores


def available_bytes(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> int | None:
    """What this process may still use, by the machine and its container; None where neither tells."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
        used = int(limit.with_name("memory.current").read_text())
        # What files are cached is in it, and gives way.
        cached = dict(line.split() for line in limit.with_name("memory.stat").read_text().splitlines())
        found.append(max(0, int(limit.read_text()) - used + int(cached["inactive_file"])))
    except (OSError, ValueError, KeyError):
        # No such files, or "max" in them: no limit.
        pass
    return min(found, default=None)


def one_thread_each() -> None:
    """For a process whose tasks run side by side: a matrix product uses one thread, unless the user says otherwise.

    To be called before numpy is imported. Threads that wait for each other's small products spin: they double what an
    analysis costs.
    """
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
