"""What a training needs is said before it starts, and refused where it is not there."""

from __future__ import annotations

import re

import pytest

from crossfade.errors import DataError
from crossfade.pipelines.training.memory import LogSize, bytes_needed, check_memory

STEPS = ("hybrid", "ranking", "artefacts")
SMALL = LogSize(listens=100_000, users=1_000, tracks=2_000, factors=128)
LARGE = LogSize(listens=222_000_000, users=1_400_000, tracks=1_000_000, factors=128)


@pytest.mark.parametrize("step", STEPS)
def test_more_listens_need_more(step: str) -> None:
    assert bytes_needed(step, SMALL) < 0.8e9 < 5e9 < bytes_needed(step, LARGE)


def test_a_step_that_does_not_fit_is_refused_with_a_cure() -> None:
    said: list[str] = []
    check_memory("hybrid", SMALL, said.append, available=10**9)
    assert not said
    check_memory("hybrid", LARGE, said.append, available=10**12)
    assert len(said) == 1 and "1000.0 GB that are free" in said[0]
    needs = r"ranking: needs about .* GB of memory, but {} GB are free; train on "
    with pytest.raises(DataError, match=needs.format(r"3\.0") + r"fewer tracks \(--min-track-listens\)"):
        check_memory("ranking", LARGE, said.append, available=3 * 10**9)
    with pytest.raises(DataError, match=needs.format(r"24\.0") + "fewer users") as refused:
        check_memory("ranking", LARGE, said.append, available=24 * 10**9)
    (share,) = re.findall(r"--users-sample ([0-9.]+)", str(refused.value))
    check_memory("ranking", LARGE.of_users(float(share)), said.append, available=24 * 10**9)
