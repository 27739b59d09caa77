"""Jobs: one at a time, known to every process, and honest about how they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossfade.pipelines.library import jobs as module
from crossfade.pipelines.library.jobs import KEPT_JOBS, Job, Jobs, Progress, State


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Whose commands are a shell's."""
    monkeypatch.setattr(module, "COMMAND", ("sh", "-c"))
    return Jobs(tmp_path / "L")


def start(jobs: Jobs, script: str) -> Job | None:
    return jobs.start(jobs.prepare(), "test", [script], {})


def begun(jobs: Jobs, script: str) -> Job:
    job = start(jobs, script)
    assert job is not None
    return job


def until(jobs: Jobs, number: int, true: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = jobs.get(number)
        assert job is not None
        if true(job):
            return job
        time.sleep(0.01)
    raise AssertionError(job)


def ended(jobs: Jobs, job: Job) -> Job:
    return until(jobs, job.number, lambda one: one.state is not State.RUNNING)


def test_a_job_tells_its_progress_its_answer_and_how_it_ended(jobs: Jobs) -> None:
    lines = ["hearing: 3 of 1,200, 2.0 a second, 10 min left", "something: odd", "hearing: 4 of 1,200"]
    script = "; ".join([f"echo '{line}' >&2" for line in lines] + ["""echo '{"tracks": 4}'""", "exit 0"])
    done = ended(jobs, begun(jobs, script))
    assert (done.state, done.log) == (State.DONE, ("something: odd",))
    assert done.progress == Progress("hearing", 4, 1200, "") and done.ended_at is not None
    assert jobs.answers(done.number) == [{"tracks": 4}]
    failed = ended(jobs, begun(jobs, "echo 'crossfade: L: not trained yet' >&2; exit 1"))
    assert (failed.state, failed.log) == (State.FAILED, ("crossfade: L: not trained yet",))
    assert [job.number for job in jobs.all()] == [failed.number, done.number]


def test_one_runs_at_a_time_whoever_started_it(jobs: Jobs, tmp_path: Path) -> None:
    """Another process starts it and ends; it goes on, and every process knows of it."""
    program = (
        "import sys; from pathlib import Path; from crossfade.pipelines.library import jobs; "
        "jobs.COMMAND = ('sh', '-c'); all = jobs.Jobs(Path(sys.argv[1])); "
        "print(all.start(all.prepare(), 'test', ['read line </dev/null; exec sleep 60'], {}).number)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "L"], capture_output=True, text=True, check=True)
    running = jobs.get(int(done.stdout))
    assert running is not None and running.state is State.RUNNING and running.ended_at is None
    assert start(jobs, "exit 0") is None
    jobs.cancel(running.number)
    assert ended(jobs, running).state is State.CANCELLED
    assert ended(jobs, begun(jobs, "exit 0")).state is State.DONE


def test_what_does_not_stop_when_asked_is_killed_when_asked_again(jobs: Jobs) -> None:
    job = begun(jobs, "trap '' INT; echo ready >&2; while :; do sleep 60; done")
    until(jobs, job.number, lambda one: one.log == ("ready",))
    asked = jobs.cancel(job.number)
    assert asked is not None and asked.state is State.RUNNING
    jobs.cancel(job.number)
    assert ended(jobs, job).state is State.CANCELLED
    assert jobs.cancel(99) is None


def test_one_that_was_killed_is_found_dead(jobs: Jobs, tmp_path: Path) -> None:
    """Without an exit status, as after a power failure."""
    job = begun(jobs, "echo $$ >&2; exec sleep 60")
    process = int(until(jobs, job.number, lambda one: bool(one.log)).log[0])
    os.killpg(os.getpgid(process), signal.SIGKILL)
    assert ended(jobs, job).state is State.LOST
    assert Jobs(tmp_path / "L").all()[0].state is State.LOST


def test_what_was_given_to_a_job_goes_with_its_end_and_old_jobs_go(jobs: Jobs) -> None:
    folder = jobs.prepare()
    (folder / "input").mkdir()
    (folder / "input" / "log.csv").write_text("u,t")
    job = jobs.start(folder, "test", [f"cat '{folder}/input/log.csv' >&2"], {})
    assert job is not None
    assert ended(jobs, job).log == ("u,t",)
    assert not (folder / "input").exists()
    for _ in range(KEPT_JOBS + 1):
        last = ended(jobs, begun(jobs, "exit 0"))
    assert len(jobs.all()) == KEPT_JOBS and jobs.all()[0] == last
