"""Candidates: new, different, few, of many sources, alone as in a batch."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from small_ranking import CATALOGUE, OPTIONS, SPLIT, each, fitted, plays, scores_of, warm

from crossfade.errors import DataError
from crossfade.models.confidence_weights import States
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.ranking.candidates import CandidateGenerator
from crossfade.models.ranking.two_stage import TwoStageRecommender
from crossfade.models.ranking.user_profile import last_tracks
from crossfade.models.recommenders.ease import EASE, EASEOptions
from crossfade.models.recommenders.item_knn import ItemKNN


def test_candidates_are_new_different_and_few(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    rows = warm(hybrid)
    for user, found in zip(rows, each(generator, rows), strict=True):
        mine = found.ids
        assert len(np.unique(mine)) == len(mine) <= 60
        assert not np.isin(mine, hybrid.history.matrix[user].indices).any()
        votes = sum(flags.astype(int) for flags in found.nominated.values())
        assert (votes > 0).all()


def test_candidates_keep_to_the_tracks_allowed(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    allowed = np.zeros(len(CATALOGUE), bool)
    allowed[::3] = True
    for found in each(generator, warm(hybrid), candidates=allowed):
        assert allowed[found.ids].all()
    assert not any(len(found) for found in each(generator, warm(hybrid), candidates=np.zeros_like(allowed)))


def test_seen_tracks_come_back_when_allowed(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    rows = warm(hybrid)
    candidates = each(generator, rows, allow_seen=True)
    pairs = zip(rows, candidates, strict=True)
    assert any(np.isin(found.ids, hybrid.history.matrix[user].indices).any() for user, found in pairs)


def test_the_sound_source_finds_cold_tracks(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    everything = np.ones((1, len(CATALOGUE)), bool)
    for user in warm(hybrid).tolist():
        nominated = generator.sources([generator.trained_profile(user)])["sound"].best(len(CATALOGUE), everything).rows
        assert len(nominated) and (hybrid.listeners[nominated] == 0).all()


def test_last_tracks_are_the_newest_different_ones() -> None:
    rows = np.zeros(5, np.int32)
    tracks = np.array([3, 1, 3, 2, 0], np.int32)
    weights = np.array([1, 1, 1, 1, 0], np.float32)
    listens = Interactions(rows, tracks, weights, 2, 4, np.array([1, 2, 3, 4, 5]), Clock.ORDER)
    assert last_tracks(listens, 4).tolist() == [[2, 3, 1, -1], [-1] * 4]
    untimed = Interactions(rows, tracks, weights, 2, 4)
    assert (last_tracks(untimed, 3) == -1).all()


def test_the_taste_of_the_last_tracks_is_a_source_of_its_own(hybrid: Hybrid, generator: CandidateGenerator) -> None:
    """As if the user had listened to these only, the newest weighing most; news come first of all."""
    user = generator.trained_profile(int(warm(hybrid, 1)[0]))
    rows = np.flatnonzero(hybrid.listeners > 0)
    alone = hybrid.folding.one(user.last, np.float32(0.85) ** np.arange(len(user.last), dtype=np.float32))
    found = scores_of(generator, user, "als-last", rows)
    np.testing.assert_allclose(found, hybrid.als.track_factors[rows] @ alone, rtol=1e-4, atol=1e-5)
    news = np.setdiff1d(rows, user.history.track_rows)[:2].astype(np.int32)
    since = generator.profile(user.history.with_events(news, *plays(2)), user_row=user.user_row, newest=news)
    assert not np.allclose(scores_of(generator, since, "als-last", rows), found)
    without_order = generator.profile(user.history)
    assert not len(without_order.last) and "als-last" not in generator.sources([without_order])


def test_ease_is_a_source_where_there_is_no_order() -> None:
    untimed = replace(SPLIT.train, times=None, clock=Clock.NONE)
    generator = CandidateGenerator(fitted(untimed), OPTIONS.candidates).fit(untimed)
    assert set(generator.similarities.failed) == {"sequence"}
    user = generator.trained_profile(int(warm(generator.hybrid, 1)[0]))
    nominated = np.sort(generator.sources([user])["ease"].best(9, np.ones((1, len(CATALOGUE)), bool)).rows)
    ease = EASE(EASEOptions(neighbours=len(CATALOGUE))).fit(untimed)
    expected = ease.user_scores(np.array([user.user_row]))[0]
    np.testing.assert_allclose(scores_of(generator, user, "ease", nominated), expected[nominated], rtol=1e-4)
    assert "ease" not in CandidateGenerator(fitted(SPLIT.train)).fit(SPLIT.train).similarities.matrices


def test_a_source_that_fails_is_left_out(hybrid: Hybrid, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DataError("item-KNN: no memory for it")

    monkeypatch.setattr(ItemKNN, "fit", fail)
    recommender = TwoStageRecommender(CATALOGUE, hybrid=hybrid, options=OPTIONS).fit(SPLIT.train)
    assert recommender.generator.similarities.failed == {"items": "item-KNN: no memory for it"}
    assert (recommender.recommend(warm(hybrid), 5)[0] >= 0).all()


def test_candidates_hold_most_of_what_comes(recommender: TwoStageRecommender) -> None:
    assert recommender.recall["all"] > 0.5
    assert recommender.recall["all"] >= max(recommender.recall.values())


def test_compressed_vectors_give_the_same_candidates(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    exact = recommender.generator
    compressed = copy(hybrid)
    compressed.exact_rows = 10
    compressed._forget("scan")
    generator = CandidateGenerator.from_arrays(exact.save_arrays(), exact.metadata(), compressed)
    coded = TwoStageRecommender().assemble(generator, recommender.statistics, recommender.ranker)
    shares = []
    for row in warm(hybrid):
        listened = hybrid.user_history(int(row))
        expected, _ = recommender.recommend_one(listened, 10, user_row=int(row))
        found, _ = coded.recommend_one(listened, 10, user_row=int(row))
        shares.append(len(set(expected) & set(found)) / len(expected))
    assert np.mean(shares) > 0.95


def test_what_is_disliked_since_is_none_of_the_last_tracks(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    row = int(warm(hybrid)[0])
    history = hybrid.user_history(row)
    before = recommender.generator.profile(history, user_row=row).last
    dislike = States(plays=np.zeros(1, np.float32), liked=np.full(1, -1, np.float32))
    since = history.with_events(before[:1], dislike, np.zeros(1, np.int64))
    after = recommender.generator.profile(since, user_row=row, newest=before[:1]).last
    assert before[0] >= 0 and before[0] not in after and before[1] == after[0]


def test_candidates_are_the_same_in_a_batch_as_alone(generator: CandidateGenerator, hybrid: Hybrid) -> None:
    rows = warm(hybrid, 9)
    together = generator.candidates_of([generator.trained_profile(row) for row in rows.tolist()])
    alone = each(generator, rows)
    np.testing.assert_array_equal(together.ids, np.concatenate([found.ids for found in alone]))
    for name, scores in together.scores.items():
        np.testing.assert_array_equal(scores, np.concatenate([found.scores[name] for found in alone]))
        flags = np.concatenate([found.nominated[name] for found in alone])
        np.testing.assert_array_equal(together.nominated[name], flags)


def test_the_best_by_als_are_those_of_als(generator: CandidateGenerator, hybrid: Hybrid) -> None:
    rows, allowed = warm(hybrid), np.arange(len(CATALOGUE)) % 5 != 0
    users = [generator.trained_profile(row) for row in rows.tolist()]
    ids, scores = generator.best_by_als(users, 8, candidates=allowed)
    expected, its = hybrid.als.recommend(rows, 8, candidates=allowed)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(scores, its, rtol=1e-4, atol=1e-5)
