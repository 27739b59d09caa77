"""Fast = slow: what is served is what the models say, exactly where all rows are compared, and nearly beyond."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import planted
from scipy.sparse import csr_matrix

from crossfade.models.confidence import States
from crossfade.models.hybrid.index import HybridIndex
from crossfade.models.hybrid.inner_product_scan import Scan
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.online import NOTHING, Listened, LiveTaste
from crossfade.models.hybrid.options import Choices
from crossfade.models.hybrid.quick_index import QuickIndex
from crossfade.models.interactions import Interactions
from crossfade.models.recommenders.als import ALSOptions, FoldIn

WORLD = planted(users=120, artists=40, each=6)


@pytest.fixture(scope="module", params=[(0.0, 0.0), (0.2, 0.5)], ids=["plain", "corrected"])
def hybrid(request: pytest.FixtureRequest) -> Hybrid:
    affinity, profile = request.param
    choices = Choices(affinity=affinity, profile=profile)
    return Hybrid(WORLD.catalogue, als=ALSOptions(factors=16, regularization=5.0), choices=choices).fit(WORLD.train)


def mixed(rng: np.random.Generator) -> Interactions:
    """The planted world's listens, some of them dislikes and some skips."""
    return replace(WORLD.train, weights=rng.choice([1.0, 2.0, -1.0, 0.0], len(WORLD.train)).astype(np.float32))


def test_what_is_evaluated_is_what_is_recommended_and_what_the_service_answers(rng: np.random.Generator) -> None:
    """Batch = live: one fold-in against the same factors, dislikes counted and skips seen, for all who ask."""
    choices = Choices(affinity=0.2, profile=0.5)
    hybrid = Hybrid(WORLD.catalogue, als=ALSOptions(factors=16, regularization=5.0), choices=choices).fit(mixed(rng))
    newer = replace(WORLD.catalogue.take(np.arange(3)), track_ids=("new 0", "new 1", "new 2"))
    for model in (hybrid, hybrid.with_tracks(newer)):
        taste, users = LiveTaste(model), np.arange(0, 120, 7, dtype=np.int32)
        heard = model.history.heard[users]
        evaluated, scores = model.recommend(users, 30)
        recommended, their_scores = model.recommend_from(heard, 30)
        np.testing.assert_array_equal(evaluated, recommended)
        np.testing.assert_array_equal(scores, their_scores)
        vectors = model.fold_in(heard)
        for user, ids, values, vector in zip(users, evaluated, scores, vectors, strict=True):
            listened = taste.history(int(user))
            served, its_scores = taste.candidates(listened, 30)
            np.testing.assert_array_equal(taste.fold_in(listened), vector)
            np.testing.assert_allclose(its_scores, values[ids >= 0], rtol=1e-4, atol=1e-6)
            sure = values[ids >= 0] > values.min()  # which of equal ones are last is another matter
            np.testing.assert_array_equal(served[sure], ids[ids >= 0][sure])
            assert not np.isin(served, listened.track_rows).any()
    assert (heard.data == 0).any() and (heard.data < 0).any()
    by_als = hybrid.als.recommend(users, 30)
    for one, other in zip(by_als, hybrid.als.recommend_from(heard[:, :240], 30), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dislike_moves_what_is_recommended(hybrid: Hybrid) -> None:
    heard = hybrid.history.heard[[5]].toarray()
    without, _ = hybrid.recommend_from(csr_matrix(heard), 10)
    heard[0, without[0, :3]] = -1
    vector, other = hybrid.fold_in(csr_matrix(heard))[0], hybrid.fold_in(hybrid.history.heard[[5]])[0]
    assert (hybrid.taste[without[0, :3]] @ vector < hybrid.taste[without[0, :3]] @ other).all()


def test_the_als_of_a_longer_hybrid_answers_as_before(hybrid: Hybrid) -> None:
    """A hybrid with tracks added keeps an ALS that can be asked: it knows nothing of them and recommends none."""
    users = np.arange(0, 120, 7, dtype=np.int32)
    before = hybrid.als.recommend(users, 20)
    newer = replace(WORLD.catalogue.take(np.arange(2)), track_ids=("new 0", "new 1"))
    longer = hybrid.with_tracks(newer).with_tracks(replace(newer, track_ids=("new 2", "new 3"))).als
    for one, other in zip(before, longer.recommend(users, 20), strict=True):
        np.testing.assert_array_equal(one, other)
    similar, _ = longer.similar(np.array([0, 241], np.int32), 5)
    assert similar[0].max() < 240 and (similar[1] == -1).all()


def test_candidates_and_reasons_are_the_hybrid_s(hybrid: Hybrid) -> None:
    taste = LiveTaste(hybrid)
    for user in range(0, 120, 7):
        heard = hybrid.history.heard[[user]]
        rows, scores = hybrid.recommend_from(heard, 30)
        mine, its_scores = taste.candidates(taste.history(user), 30)
        there = rows[0] >= 0
        np.testing.assert_allclose(its_scores, scores[0][there], rtol=1e-4, atol=1e-6)
        liked = heard.maximum(0).tocsr()
        liked.eliminate_zeros()
        reasons = hybrid.because_of(liked, mine[None])[0]
        np.testing.assert_array_equal(taste.because(taste.history(user), mine), reasons)


def test_codes_nominate_what_comparing_everything_finds(hybrid: Hybrid) -> None:
    exact, coded = LiveTaste(hybrid), LiveTaste(hybrid, exact_rows=10)
    shares = []
    for user in range(0, 120, 7):
        expected, _ = exact.candidates(exact.history(user), 10)
        found, _ = coded.candidates(coded.history(user), 10)
        shares.append(len(set(expected) & set(found)) / len(expected))
    assert np.mean(shares) > 0.97


def test_somebody_cold_gets_what_is_popular(hybrid: Hybrid) -> None:
    taste = LiveTaste(hybrid)
    rows, scores = taste.candidates(NOTHING, 10)
    _, expected = hybrid.recommend(np.array([-1], np.int32), 10)
    np.testing.assert_array_equal(scores, expected[0])
    disliked = Listened(rows[:1], np.array([-1], np.float32))
    np.testing.assert_array_equal(taste.candidates(disliked, 9)[0], rows[1:])
    assert (taste.because(NOTHING, rows) == -1).all() and len(scores) == 10


def test_listens_add_up_and_a_skip_says_nothing(hybrid: Hybrid) -> None:
    taste = LiveTaste(hybrid)
    history = taste.history(0)
    now = np.zeros(1, np.int64)
    both = history.plus(history.track_rows[:1], States(given=np.array([2], np.float32)), now)
    assert both.weights[both.track_rows == history.track_rows[0]] == history.weights[0] + 2
    skipped = int(np.setdiff1d(np.arange(20), history.track_rows)[0])
    with_skip = history.plus(np.array([skipped], np.int32), States(plays=np.zeros(1, np.float32)), now)
    np.testing.assert_allclose(taste.fold_in(with_skip), taste.fold_in(history), rtol=1e-5)
    assert skipped not in taste.candidates(with_skip, 240)[0]


def index(rng: np.random.Generator, count: int = 3000) -> HybridIndex:
    taste, sound = rng.normal(size=(count, 8)).astype(np.float32), rng.normal(size=(count, 13)).astype(np.float32)
    taste[: count // 10] = 0
    sound[count // 20 : count // 5] = 0
    made = HybridIndex(8, 13)
    made.add(taste, sound)
    return made


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("exact_rows", [10**6, 500])
def test_the_quick_index_finds_what_the_index_finds(rng: np.random.Generator, blend: float, exact_rows: int) -> None:
    slow = index(rng)
    vectors = slow.vectors(np.arange(len(slow), dtype=np.int32))
    quick = QuickIndex(vectors, slow.factors, exact_rows=exact_rows)
    allowed = rng.random(len(slow)) < 0.9
    for row in (0, 200, 400, 2000):
        ids, scores = slow.similar(np.array([row], np.int32), 10, blend=blend, candidates=allowed)
        found, its_scores = quick.similar(row, 10, blend=blend, candidates=allowed)
        expected = ids[0][ids[0] >= 0]
        assert len(found) == len(expected) and len(set(found) & set(expected)) >= len(expected) - 1
        np.testing.assert_allclose(its_scores[:1], scores[0][: min(1, len(expected))], atol=1e-5)


@pytest.mark.parametrize("exact_rows", [10**6, 280, 100])
def test_what_is_appended_is_found_as_if_it_had_been_there(hybrid: Hybrid, exact_rows: int) -> None:
    """All compared, coded from the first new track on, and coded before."""
    short = LiveTaste(hybrid, exact_rows=exact_rows)
    known = [row for row in range(0, 240, 6) if hybrid.known[row]]
    rows = np.array(known, np.intp)
    newer = replace(WORLD.catalogue.take(rows), track_ids=tuple(f"new {row}" for row in known))
    longer = hybrid.with_tracks(newer)
    grown, made = short.following(longer), LiveTaste(longer, exact_rows=exact_rows)
    listened = short.history(3)
    found, scores = grown.candidates(listened, 60)
    expected, its_scores = made.candidates(listened, 60)
    np.testing.assert_allclose(longer.folding.gram, FoldIn(longer.als, longer.taste).gram, rtol=1e-4, atol=1e-4)
    assert len(set(found) & set(expected)) >= 57 and (found >= 240).any()
    np.testing.assert_allclose(scores[:10], its_scores[:10], rtol=1e-4, atol=1e-6)
    assert short.candidates(listened, 60)[0].max() < 240 and len(short) == 240


@pytest.mark.parametrize("exact_rows", [10**6, 3000, 500])
def test_a_quick_index_grows(rng: np.random.Generator, exact_rows: int) -> None:
    slow = index(rng)
    short = QuickIndex(slow.vectors(np.arange(len(slow), dtype=np.int32)), slow.factors, exact_rows=exact_rows)
    taste, sound = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(5, 13)).astype(np.float32)
    taste[1], sound[2] = 0, 0
    slow.add(taste, sound)
    grown = short.plus(taste, sound)
    for row in range(len(short), len(slow)):
        ids, scores = slow.similar(np.array([row], np.int32), 10, blend=0.5)
        found, its_scores = grown.similar(row, 10, blend=0.5)
        assert len(set(found) & set(ids[0])) >= 9
        np.testing.assert_allclose(its_scores[0], scores[0][0], atol=1e-5)
    assert len(short) == 3000 and len(grown) == 3005


def test_an_empty_scan_and_an_odd_width() -> None:
    assert len(Scan(np.zeros((0, 3), np.float32)).nominees(np.ones(3, np.float32), 5)) == 0
    rows = np.eye(7, dtype=np.float32).repeat(100, axis=0)
    found = Scan(rows, exact_rows=10).nominees(rows[350], 120)
    assert set(range(300, 400)) <= set(found.tolist())
