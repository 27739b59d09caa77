"""Two-stage recommending, in batches and to one user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import expit
from small_ranking import CATALOGUE, OPTIONS, each, plays, warm

from crossfade.models.evaluation.bootstrap import intervals
from crossfade.models.evaluation.splits import by_time
from crossfade.models.hybrid.crossfade import HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.online import NO_HISTORY, UserHistory
from crossfade.models.ranking.candidates import CandidateGenerator
from crossfade.models.ranking.two_stage import TwoStageRecommender
from crossfade.models.recommenders.als import ALSOptions
from crossfade.pipelines.simulation.world import World, WorldOptions


def test_the_two_stages_recommend_what_is_new(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows = warm(hybrid)
    ids, scores = recommender.recommend(rows, 10)
    heard = hybrid.history.matrix[rows].toarray() != 0
    assert (ids >= 0).all()
    assert not np.take_along_axis(heard, ids, axis=1).any()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_behind_the_candidates_come_the_others(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows = warm(hybrid, 3)
    ids, scores = recommender.recommend(rows, len(CATALOGUE), allow_seen=True)
    for mine, values in zip(ids, scores, strict=True):
        mine = mine[mine >= 0]
        assert sorted(mine) == np.flatnonzero(hybrid.known).tolist()
        assert (np.diff(values[: len(mine)]) <= 0).all()


def test_unknown_users_get_the_hybrids_answer(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    np.testing.assert_array_equal(recommender.recommend(np.array([-1]), 5)[0], hybrid.recommend(np.array([-1]), 5)[0])


def test_users_who_are_folded_in_with_their_newest_tracks_are_answered_as_one_by_one(
    recommender: TwoStageRecommender, hybrid: Hybrid
) -> None:
    rows = warm(hybrid, 4)
    newest, matrix = recommender.generator.last[rows].copy(), hybrid.history.matrix[rows]
    newest[2:, 3:], newest[3] = -1, -1
    ids, scores = recommender.recommend_from(matrix, 10, newest=newest)
    for place in range(len(rows)):
        history = UserHistory(matrix[place].indices.astype(np.int32), matrix[place].data)
        alone = recommender.recommend_one(history, 10, newest=newest[place][newest[place] >= 0])
        for found, expected in zip((ids[place], scores[place]), alone, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    without, _ = recommender.recommend_from(matrix, 10)
    assert (without[3] == ids[3]).all() and (without[:3] != ids[:3]).any()


def test_a_user_without_candidates_gets_nothing(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    nothing = np.zeros(len(CATALOGUE), bool)
    ids, scores = recommender.recommend(warm(hybrid), 5, candidates=nothing)
    assert (ids == -1).all()
    assert (scores == -np.inf).all()


def test_the_two_stages_save_and_load(recommender: TwoStageRecommender, hybrid: Hybrid, tmp_path: Path) -> None:
    recommender.save(tmp_path)
    loaded = TwoStageRecommender.load(tmp_path, hybrid)
    rows = warm(hybrid)
    for one, two in zip(recommender.recommend(rows, 20), loaded.recommend(rows, 20), strict=True):
        np.testing.assert_array_equal(one, two)
    assert loaded.recall == recommender.recall
    assert not any(file.suffix in (".pkl", ".pickle", ".npy") for file in tmp_path.iterdir())


def test_one_of_many_is_as_alone(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows, allowed = np.array([*warm(hybrid, 8), -1]), np.arange(len(CATALOGUE)) % 7 != 0
    for allow_seen in (False, True):
        ids, scores = recommender.recommend(rows, 10, allow_seen=allow_seen, candidates=allowed)
        for row, mine, values in zip(rows.tolist(), ids, scores, strict=True):
            listened = hybrid.user_history(row)
            found, its = recommender.recommend_one(
                listened, 10, user_row=row, allow_seen=allow_seen, candidates=allowed
            )
            assert allowed[found].all()
            np.testing.assert_array_equal(found, mine[mine >= 0])
            np.testing.assert_array_equal(its, values[mine >= 0])


def test_the_mean_probability_is_the_rate_of_the_next_period() -> None:
    """All candidates of all users, in a period as long as the label period was."""
    world = World(WorldOptions(users=600, tracks=300, artists=40, listens_per_user=60, seed=1))
    split, catalogue = by_time(world.listens()), world.catalogue()
    hybrid = Hybrid(catalogue, als=ALSOptions(factors=16, threads=1), options=HybridOptions()).fit(split.train)
    options = replace(OPTIONS, ranker=replace(OPTIONS.ranker, iterations=60))
    recommender = TwoStageRecommender(catalogue, hybrid=hybrid, options=options).fit(split.train)
    rows = np.flatnonzero(hybrid.history.warm_users).astype(np.int32)
    came = (by_time(split.test).train.matrix > 0).toarray()
    by_user = []
    for found in recommender.generator.trained_candidates(rows):
        users = np.array([user.user_row for user in found.users])[found.pairs.owners]
        pairs = np.stack([expit(recommender.rank(found)), came[users, found.ids]], axis=1)
        by_user += [part.mean(axis=0) for part in np.split(pairs, found.pairs.ends[1:-1])]
    claimed, true = intervals(np.stack(by_user), np.random.default_rng(0))
    # The rate that it was trained on, that of the label period, is as uncertain.
    assert abs(claimed.value - true.value) < np.sqrt(2) * min(true.high - true.value, true.value - true.low)


def test_new_events_and_unknown_users_are_ranked_too(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    row = int(warm(hybrid)[0])
    history = hybrid.user_history(row)
    before, _ = recommender.recommend_one(history, 10, user_row=row)
    news = before[:3]
    listened = history.with_events(news, *plays(3))
    after, scores = recommender.recommend_one(listened, 10, user_row=row, newest=news)
    assert not np.isin(after, news).any() and len(after) == 10
    assert (np.diff(scores) <= 0).all() and ((scores > 0) & (scores < 1)).all()
    stranger = NO_HISTORY.with_events(news, *plays(3))
    ids, _ = recommender.recommend_one(stranger, 10, newest=news)
    assert len(ids) == 10 and not np.isin(ids, news).any()
    everything, falling = recommender.recommend_one(stranger, len(CATALOGUE), newest=news)
    assert sorted([*everything, *news]) == np.flatnonzero(hybrid.known).tolist()
    assert (np.diff(falling) <= 0).all()
    popular, _ = recommender.recommend_one(NO_HISTORY, 5)
    np.testing.assert_array_equal(popular, hybrid.recommend(np.array([-1]), 5)[0][0])
    nowhere = np.zeros(len(CATALOGUE), bool)
    assert not len(recommender.recommend_one(history, 5, user_row=row, candidates=nowhere)[0])


def test_a_track_that_came_later_is_a_live_candidate(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    later = hybrid.append_tracks(CATALOGUE.take(np.arange(4)))
    longer = recommender.append_tracks(later)
    matrices = (one.generator.similarities.matrices["items"] for one in (longer, recommender))
    assert np.shares_memory(*(matrix.data for matrix in matrices))
    row = int(warm(hybrid)[0])
    new = np.zeros(len(later.taste), bool)
    new[-4:] = True
    ids, _ = longer.recommend_one(hybrid.user_history(row), 10, user_row=row, candidates=new)
    assert sorted(ids) == np.flatnonzero(new).tolist()
    heard = NO_HISTORY.with_events(np.flatnonzero(new).astype(np.int32), *plays(4))
    assert len(longer.recommend_one(heard, 10)[0]) == 10
    grown = longer.generator
    made = CandidateGenerator.from_arrays(grown.save_arrays(), grown.metadata(), later)
    for one, two in zip(each(grown, warm(hybrid)), each(made, warm(hybrid)), strict=True):
        np.testing.assert_array_equal(one.ids, two.ids)
