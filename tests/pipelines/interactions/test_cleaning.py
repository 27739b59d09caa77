"""Cleaning: what leaves, and that every step is counted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from crossfade.errors import DataError, UsageError
from crossfade.pipelines.interactions.cleaning import CleaningOptions, CleaningStep, clean, core
from crossfade.pipelines.interactions.schema import conform
from crossfade.pipelines.interactions.statistics import log_figures


def log(**columns: object) -> pl.LazyFrame:
    return conform(pl.LazyFrame(columns, strict=False))


def left(frame: pl.LazyFrame) -> list[tuple[str, str]]:
    return sorted(frame.select("user_id", "track_id").collect().rows())


def step(steps: list[CleaningStep], name: str) -> CleaningStep:
    return next(step for step in steps if step.name == name)


def test_a_clean_log_stays_as_it_is() -> None:
    frame = log(user_id=["a", "a", "b"], track_id=["x", "y", "x"])
    cleaned, steps = clean(frame)
    assert left(cleaned) == left(frame)
    assert all(step.dropped_listens == step.dropped_users == step.dropped_tracks == 0 for step in steps)
    assert (steps[-1].listens, steps[-1].users, steps[-1].tracks) == (3, 2, 2)


def test_missing_values_and_duplicates_are_counted() -> None:
    frame = log(user_id=["a", "a", None, "b", "a"], track_id=["x", "x", "x", None, "x"], time=[1, 1, 1, 1, 2])
    cleaned, steps = clean(frame)
    assert left(cleaned) == [("a", "x"), ("a", "x")]
    assert step(steps, "missing values").dropped_listens == 2
    assert step(steps, "duplicates").dropped_listens == 1


def test_a_sample_does_not_count_missing_tracks_as_one() -> None:
    frame = log(user_id=["a", "a", "b"], track_id=["x", None, "x"])
    _, steps = clean(frame, CleaningOptions(users_sample=0.99))
    assert step(steps, "users sample").tracks == 1


def test_rare_tracks_leave_and_take_their_only_listeners_along() -> None:
    frame = log(user_id=["a", "b", "c", "a"], track_id=["x", "x", "y", "z"], time=[1, 2, 3, 4])
    cleaned, steps = clean(frame, CleaningOptions(min_track_listens=2))
    assert left(cleaned) == [("a", "x"), ("b", "x")]
    rare = step(steps, "tracks under 2 listens")
    assert (rare.dropped_listens, rare.dropped_users, rare.dropped_tracks) == (2, 1, 2)


def test_users_who_only_skip_and_dislike_leave() -> None:
    frame = log(
        user_id=["skips", "dislikes", "rates low", "likes", "plays", "both", "both"],
        track_id=["x"] * 7,
        played_ratio=[0.2, None, None, None, 0.9, 0.1, None],
        liked=[None, -1, None, 1, None, None, 1],
        rating=[None, None, 1, None, None, None, None],
        plays=[None] * 7,
    )
    rated = pl.concat([frame, log(user_id=["rates high"], track_id=["x"], rating=[5])])
    cleaned, steps = clean(rated)
    assert {user for user, _ in left(cleaned)} == {"likes", "plays", "both", "rates high"}
    assert step(steps, "users without a positive signal").dropped_users == 3


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_core_is_what_taking_one_node_at_a_time_leaves(rng: np.random.Generator, k: int) -> None:
    pairs = {(int(u), int(t)) for u, t in zip(rng.integers(0, 40, 200), rng.integers(0, 50, 200), strict=True)}
    expected = set(pairs)
    while True:
        nodes = [("user", u) for u, _ in expected] + [("track", t) for _, t in expected]
        weak = next((node for node in nodes if nodes.count(node) < k), None)
        if weak is None:
            break
        expected = {(u, t) for u, t in expected if weak not in (("user", u), ("track", t))}
    users, tracks = core(*np.array(sorted(pairs)).T, 40, 50, k)
    assert {(u, t) for u, t in pairs if users[u] and tracks[t]} == expected
    assert set(np.flatnonzero(users)) == {u for u, _ in expected}


def test_after_the_core_everybody_has_k_of_the_others(rng: np.random.Generator) -> None:
    frame = log(
        user_id=rng.integers(0, 30, 400).astype(str), track_id=rng.integers(0, 60, 400).astype(str), time=np.arange(400)
    )
    cleaned, steps = clean(frame, CleaningOptions(core=5))
    pairs = cleaned.select("user_id", "track_id").unique().collect()
    assert pairs.group_by("user_id").len()["len"].min() >= 5
    assert pairs.group_by("track_id").len()["len"].min() >= 5
    assert steps[-1].name == "5-core" and steps[-1].listens == len(left(cleaned))


def test_a_sample_keeps_whole_users_and_repeats_with_its_seed(rng: np.random.Generator) -> None:
    frame = log(user_id=rng.integers(0, 100, 900).astype(str), track_id=rng.integers(0, 60, 900).astype(str))
    options = CleaningOptions(users_sample=0.1, seed=3)
    sample, steps = clean(frame, options)
    users = sample.select("user_id").unique().collect()["user_id"]
    assert len(users) == 10 == step(steps, "users sample").users
    whole = frame.filter(pl.col("user_id").is_in(users.implode())).unique()
    assert left(sample) == left(whole)
    shuffled = frame.collect().sample(fraction=1, shuffle=True, seed=1).lazy()
    assert left(clean(shuffled, options)[0]) == left(sample)
    assert left(clean(frame, CleaningOptions(users_sample=0.1, seed=4))[0]) != left(sample)


def test_each_step_starts_where_the_last_one_ended(rng: np.random.Generator) -> None:
    frame = log(user_id=rng.integers(0, 30, 300).astype(str), track_id=rng.integers(0, 60, 300).astype(str))
    _, steps = clean(frame, CleaningOptions(users_sample=0.8, min_track_listens=3, core=3))
    for before, after in pairwise(steps):
        assert before.listens - after.dropped_listens == after.listens
        assert before.users - after.dropped_users == after.users
        assert before.tracks - after.dropped_tracks == after.tracks


def test_the_step_that_left_nothing_is_named() -> None:
    frame = log(user_id=["a", "b"], track_id=["x", "y"])
    with pytest.raises(DataError, match="no listens left after the step '2-core'"):
        clean(frame, CleaningOptions(core=2))
    with pytest.raises(DataError, match="no listens left after the step 'tracks under 9 listens'"):
        clean(frame, CleaningOptions(min_track_listens=9))
    with pytest.raises(DataError, match="'missing values'"):
        clean(log(user_id=[None], track_id=["x"]))


def test_a_sample_of_no_user_is_wrong_usage() -> None:
    for share in (0, 1.5):
        with pytest.raises(UsageError, match="users sample"):
            CleaningOptions(users_sample=share)


def test_the_figures_are_those_of_the_dense_matrix(rng: np.random.Generator) -> None:
    users, tracks = rng.integers(0, 30, 300), rng.integers(0, 40, 300)
    frame = log(user_id=users.astype(str), track_id=tracks.astype(str), plays=rng.integers(0, 3, 300))
    figures = log_figures(frame)
    dense = np.zeros((30, 40))
    dense[users, tracks] = 1
    assert (figures.listens, figures.pairs) == (300, dense.sum())
    assert figures.density == pytest.approx(dense.mean())
    zeros = (dense == 0).mean(axis=0)
    assert list(figures.track_zero_share.values()) == pytest.approx([zeros.min(), np.median(zeros), zeros.max()])
    plays = frame.collect()["plays"]
    assert figures.zero_share["plays"] == pytest.approx((plays == 0).mean())
    assert figures.zero_share["time"] == 1 and figures.zero_share["user_id"] == 0
