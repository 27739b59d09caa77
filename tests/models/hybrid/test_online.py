"""One = many: what is served to one user is what all are recommended, exactly where all tracks are compared, and
nearly beyond."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import planted
from scipy.sparse import csr_matrix

from crossfade.models.confidence_weights import States
from crossfade.models.hybrid.crossfade import HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.online import NO_HISTORY, UserHistory
from crossfade.models.interactions import Interactions
from crossfade.models.recommenders.als import ALSOptions

WORLD = planted(users=120, artists=40, each=6)


@pytest.fixture(scope="module", params=[(0.0, 0.0), (0.2, 0.5)], ids=["plain", "corrected"])
def hybrid(request: pytest.FixtureRequest) -> Hybrid:
    affinity, profile = request.param
    options = HybridOptions(affinity=affinity, profile=profile)
    return Hybrid(WORLD.catalogue, als=ALSOptions(factors=16, regularization=5.0), options=options).fit(WORLD.train)


def mixed(rng: np.random.Generator) -> Interactions:
    """The planted world's listens, some of them dislikes and some skips."""
    return replace(WORLD.train, weights=rng.choice([1.0, 2.0, -1.0, 0.0], len(WORLD.train)).astype(np.float32))


def test_what_is_evaluated_is_what_is_recommended_and_what_the_service_answers(rng: np.random.Generator) -> None:
    """Batch = live: one fold-in against the same factors, dislikes counted and skips seen, for all who ask."""
    options = HybridOptions(affinity=0.2, profile=0.5)
    hybrid = Hybrid(WORLD.catalogue, als=ALSOptions(factors=16, regularization=5.0), options=options).fit(mixed(rng))
    newer = replace(WORLD.catalogue.take(np.arange(3)), track_ids=("new 0", "new 1", "new 2"))
    for model in (hybrid, hybrid.append_tracks(newer)):
        users = np.arange(0, 120, 7, dtype=np.int32)
        heard = model.history.matrix[users]
        evaluated, scores = model.recommend(users, 30)
        recommended, their_scores = model.recommend_from(heard, 30)
        np.testing.assert_array_equal(evaluated, recommended)
        np.testing.assert_array_equal(scores, their_scores)
        vectors = model.fold_in(heard)
        for user, ids, values, vector in zip(users, evaluated, scores, vectors, strict=True):
            history = model.user_history(int(user))
            served, its_scores = model.candidates(history, 30)
            np.testing.assert_array_equal(model.query(history).taste, vector)
            np.testing.assert_allclose(its_scores, values[ids >= 0], rtol=1e-4, atol=1e-6)
            sure = values[ids >= 0] > values.min()  # which of equal ones are last is another matter
            np.testing.assert_array_equal(served[sure], ids[ids >= 0][sure])
            assert not np.isin(served, history.track_rows).any()
    assert (heard.data == 0).any() and (heard.data < 0).any()
    by_als = hybrid.als.recommend(users, 30)
    for one, other in zip(by_als, hybrid.als.recommend_from(heard[:, :240], 30), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_user_is_folded_in_as_by_als_and_by_the_prior_where_nobody_listened(hybrid: Hybrid) -> None:
    """So that what the crossfade does to tracks of few listeners does not move the taste of those who hear others."""
    warm, users = hybrid.listeners > 0, np.arange(0, 120, 7)
    heard = hybrid.history.matrix[users]
    assert warm[heard.indices].all() and hybrid.options.crossfade.tau > 1
    np.testing.assert_array_equal(hybrid.fold_in(heard), hybrid.als.fold_in(heard))
    cold = np.flatnonzero(~warm & hybrid.known)
    np.testing.assert_array_equal(hybrid.folding.vectors(cold), hybrid.prior.of_tracks(cold))
    only_cold = csr_matrix((np.ones(3, np.float32), cold[:3], [0, 3]), shape=(1, len(warm)))
    assert np.linalg.norm(hybrid.fold_in(only_cold)[0]) > 0


def test_a_dislike_moves_what_is_recommended(hybrid: Hybrid) -> None:
    heard = hybrid.history.matrix[[5]].toarray()
    without, _ = hybrid.recommend_from(csr_matrix(heard), 10)
    heard[0, without[0, :3]] = -1
    vector, other = hybrid.fold_in(csr_matrix(heard))[0], hybrid.fold_in(hybrid.history.matrix[[5]])[0]
    assert (hybrid.taste[without[0, :3]] @ vector < hybrid.taste[without[0, :3]] @ other).all()


def test_the_als_of_a_longer_hybrid_answers_as_before(hybrid: Hybrid) -> None:
    """A hybrid with tracks added keeps an ALS that can be asked: it knows nothing of them and recommends none."""
    users = np.arange(0, 120, 7, dtype=np.int32)
    before = hybrid.als.recommend(users, 20)
    newer = replace(WORLD.catalogue.take(np.arange(2)), track_ids=("new 0", "new 1"))
    longer = hybrid.append_tracks(newer).append_tracks(replace(newer, track_ids=("new 2", "new 3"))).als
    for one, other in zip(before, longer.recommend(users, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    similar, _ = longer.similar(np.array([0, 241], np.int32), 5)
    assert similar[0].max() < 240 and (similar[1] == -1).all()


def test_a_reason_is_the_liked_track_that_adds_most(hybrid: Hybrid) -> None:
    """By the formula, track by track; what adds nothing and the track itself are none."""
    factors = hybrid.als.track_factors.astype(np.float64)
    inverse = np.linalg.inv(factors.T @ factors + hybrid.als.options.regularization * np.eye(factors.shape[1]))
    for user in range(0, 120, 7):
        history = hybrid.user_history(user)
        ids, _ = hybrid.candidates(history, 20, allow_seen=True)
        confidences = hybrid.als.confidences(hybrid.history.liked[[user]])
        for row, reason in zip(ids, hybrid.because(history, ids), strict=True):
            terms = confidences.data * (hybrid.folding.vectors(confidences.indices) @ inverse @ hybrid.taste[row])
            terms[confidences.indices == row] = -np.inf
            assert reason == (confidences.indices[terms.argmax()] if terms.max() > 0 else -1)
    assert (hybrid.because(history, np.array([-1, -1])) == -1).all()


def test_a_shortlist_holds_what_comparing_everything_finds(hybrid: Hybrid) -> None:
    compressed = copy(hybrid)
    compressed.exact_rows = 10
    compressed._forget("scan")
    shares = []
    for user in range(0, 120, 7):
        history = hybrid.user_history(user)
        expected, _ = hybrid.candidates(history, 10)
        found, _ = compressed.candidates(history, 10)
        shares.append(len(set(expected) & set(found)) / len(expected))
    assert np.mean(shares) > 0.97


def test_somebody_cold_gets_what_is_popular(hybrid: Hybrid) -> None:
    rows, scores = hybrid.candidates(NO_HISTORY, 10)
    _, expected = hybrid.recommend(np.array([-1], np.int32), 10)
    np.testing.assert_array_equal(scores, expected[0])
    disliked = UserHistory(rows[:1], np.array([-1], np.float32))
    np.testing.assert_array_equal(hybrid.candidates(disliked, 9)[0], rows[1:])
    assert (hybrid.because(NO_HISTORY, rows) == -1).all() and len(scores) == 10
    assert hybrid.user_history(-1).is_cold


def test_listens_add_up_and_a_skip_adds_nothing(hybrid: Hybrid) -> None:
    history = hybrid.user_history(0)
    now = np.zeros(1, np.int64)
    both = history.with_events(history.track_rows[:1], States(given=np.array([2], np.float32)), now)
    assert both.weights[both.track_rows == history.track_rows[0]] == history.weights[0] + 2
    skipped = np.setdiff1d(np.arange(20), history.track_rows)[:1].astype(np.int32)
    as_event = history.with_events(skipped, States(plays=np.zeros(1, np.float32)), now)
    for with_skip in (as_event, history.with_seen(skipped)):
        np.testing.assert_allclose(hybrid.query(with_skip).taste, hybrid.query(history).taste, rtol=1e-5)
        assert skipped not in hybrid.candidates(with_skip, 240)[0]


@pytest.mark.parametrize("exact_rows", [10**6, 280, 100])
def test_what_is_appended_is_found_as_if_it_had_been_there(hybrid: Hybrid, exact_rows: int) -> None:
    """All compared, compressed from the first new track on, and compressed before."""
    short = copy(hybrid)
    short.exact_rows = exact_rows
    short._forget("scan")
    known = [row for row in range(0, 240, 6) if hybrid.known[row]]
    newer = replace(WORLD.catalogue.take(np.array(known, np.intp)), track_ids=tuple(f"new {row}" for row in known))
    history = short.user_history(3)
    short.candidates(history, 60)
    grown = short.append_tracks(newer)
    made = copy(grown)
    made._forget("scan", "known_rows", "score_vectors")
    found, scores = grown.candidates(history, 60)
    expected, its_scores = made.candidates(history, 60)
    np.testing.assert_array_equal(made.score_vectors, grown.score_vectors)
    np.testing.assert_array_equal(grown.folding.gram, short.folding.gram)
    assert len(set(found) & set(expected)) >= 57 and (found >= 240).any()
    np.testing.assert_allclose(scores[:10], its_scores[:10], rtol=1e-4, atol=1e-6)
    assert short.candidates(history, 60)[0].max() < 240 and len(short.taste) == 240


def test_a_compressed_model_is_loaded_with_its_codes(hybrid: Hybrid, tmp_path: Path) -> None:
    model = copy(hybrid)
    model.exact_rows = 100
    model._forget("scan")
    model.save(tmp_path)
    loaded = Hybrid.load(tmp_path)
    assert loaded.scan.arrays().keys() == {"codes"}
    history = model.user_history(3)
    for one, other in zip(model.candidates(history, 5), loaded.candidates(history, 5), strict=True):
        np.testing.assert_array_equal(one, other)
