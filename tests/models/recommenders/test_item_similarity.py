"""EASE, RP3beta and item-KNN against the formulas of their papers, and the recency that they share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossfade.errors import UsageError
from crossfade.models.interactions import Clock, Interactions, liked
from crossfade.models.recommenders import item_knn
from crossfade.models.recommenders.ease import EASE, EASEOptions, invert
from crossfade.models.recommenders.item_knn import ItemKNN, ItemKNNOptions
from crossfade.models.recommenders.item_similarity import ItemSimilarityOptions
from crossfade.models.recommenders.rp3beta import RP3beta, RP3betaOptions

EXACT = EASEOptions(regularization=3.0, dropout=0.0, confidence_power=1.0, neighbours=1000)


def listens_of(rng: np.random.Generator, users: int, tracks: int) -> Interactions:
    dense = (rng.random((users, tracks)) < 0.3) * rng.choice([1.0, 2.0, -0.5], (users, tracks))
    dense[:, 0] = 1
    rows, columns = np.nonzero(dense)
    times = rng.integers(0, 1000, len(rows))
    weights = dense[rows, columns].astype(np.float32)
    parts = rows.astype(np.int32), columns.astype(np.int32), weights, users, tracks, times, Clock.ORDER
    return Interactions(*parts)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(("users", "tracks"), [(30, 70), (70, 30)])
def test_ease_is_the_closed_form_by_either_inverse(
    users: int, tracks: int, dropout: float, rng: np.random.Generator
) -> None:
    listens = listens_of(rng, users, tracks)
    likes = liked(listens.matrix).toarray().astype(np.float64)
    scaled = likes / np.sqrt(np.mean(likes[likes > 0] ** 2))
    gram = scaled.T @ scaled
    inverse = np.linalg.inv(gram + np.diag(3.0 + dropout / (1 - dropout) * np.diag(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    model = EASE(replace(EXACT, dropout=dropout)).fit(listens)
    np.testing.assert_allclose(model.scores_from(listens.matrix), likes @ weights, rtol=1e-3, atol=2e-4)
    correlation = -inverse / np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))
    np.fill_diagonal(correlation, 0)
    ids, scores = model.similar(np.arange(tracks, dtype=np.int32), 1)
    rows = np.flatnonzero(ids[:, 0] >= 0)
    np.testing.assert_allclose(scores[rows, 0], correlation[rows].max(axis=1), rtol=1e-3)


def test_a_few_weights_come_near_to_all_of_them(rng: np.random.Generator) -> None:
    listens = listens_of(rng, 90, 60)
    exact, few = (EASE(replace(EXACT, neighbours=20, all_weights_up_to=most)).fit(listens) for most in (60, 59))
    assert few.similarity.nnz <= 60 * 20
    first, second = (model.scores_from(listens.matrix).ravel() for model in (exact, few))
    assert np.corrcoef(first, second)[0, 1] > 0.8
    means = [model.scores_from(listens.matrix).mean() for model in (exact, few)]
    np.testing.assert_allclose(means[0], means[1], atol=0.05)


@pytest.mark.parametrize("block", [1, 7, 40, 64])
def test_inverse_in_blocks(block: int, rng: np.random.Generator) -> None:
    rows = rng.normal(size=(60, 40))
    matrix = (rows.T @ rows / 60 + np.eye(40)).astype(np.float32)
    expected = np.linalg.inv(matrix.astype(np.float64))
    matrix[np.triu_indices(40, 1)] = np.nan
    found = invert(matrix, block=block)
    assert found is matrix
    lower = np.tril_indices(40)
    np.testing.assert_allclose(found[lower], expected[lower], atol=1e-5)


def test_too_many_tracks_for_the_memory_are_recommended_by_popularity(rng: np.random.Generator) -> None:
    listens = listens_of(rng, 70, 30)
    model = EASE(replace(EXACT, max_items=10))
    note = model.fit_note(listens)
    assert note is not None and note.startswith("ease: 30 tracks need 0.0 GiB; the 10 of most listeners")
    assert EASE(replace(EXACT, max_items=30)).fit_note(listens) is None
    assert EASE(replace(EXACT, max_items=10)).fit_note(listens_of(rng, 10, 30)) is None
    model.fit(listens)
    assert model.learned.sum() == 10
    assert listens.listeners[model.learned].min() >= listens.listeners[~model.learned].max()
    users = np.arange(70, dtype=np.int32)
    ids, _ = model.recommend(users, 30, allow_seen=True)
    assert model.learned[ids[:, :10]].all() and (ids >= 0).all()
    counts = model.history.popularity[ids[:, 10:]]
    assert (np.diff(counts, axis=1) <= 0).all()


@pytest.mark.parametrize("kind", [EASEOptions, ItemKNNOptions, RP3betaOptions])
def test_options_that_make_no_sense_are_refused(kind: type[ItemSimilarityOptions]) -> None:
    for wrong in ({"neighbours": 0}, {"half_life": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            kind(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_rp3beta_is_three_steps_of_a_walk(beta: float, rng: np.random.Generator) -> None:
    listens = listens_of(rng, 40, 25)
    likes = np.maximum(listens.matrix.toarray(), 0).astype(np.float64)
    from_track, from_user = likes.T / likes.sum(axis=0)[:, None], likes / likes.sum(axis=1)[:, None]
    walks = from_track**0.6 @ from_user**0.6 / (likes > 0).sum(axis=0) ** beta
    np.fill_diagonal(walks, 0)
    model = RP3beta(RP3betaOptions(alpha=0.6, beta=beta, neighbours=25)).fit(listens)
    np.testing.assert_allclose(model.similarity.toarray(), walks, rtol=1e-4, atol=1e-7)


def test_bm25_and_tf_idf_are_those_of_implicit(rng: np.random.Generator) -> None:
    from implicit.nearest_neighbours import bm25_weight, tfidf_weight

    listens = listens_of(rng, 40, 25)
    by_track = liked(listens.matrix).T.tocsr()
    for options, weighted in (
        (ItemKNNOptions(weighting="bm25", bm25_k1=1.2, bm25_b=0.6), bm25_weight(by_track, K1=1.2, B=0.6)),
        (ItemKNNOptions(weighting="tf-idf"), None),
    ):
        model = ItemKNN(replace(options, user_discount=0.0, length_power=0.0, neighbours=25)).fit(listens)
        if weighted is None:
            counts = by_track.copy()
            counts.data = counts.data**2  # implicit takes the root of a frequency
            weighted = tfidf_weight(counts)
        columns = weighted.toarray()
        expected = columns @ columns.T
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(model.similarity.toarray(), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="no such one; there are bm25"):
        ItemKNNOptions(weighting="bm52")


def test_recency_halves_by_places_from_the_newest() -> None:
    rows, tracks = np.array([0, 0, 0, 0, 1], np.int32), np.array([2, 0, 1, 2, 0], np.int32)
    times = np.array([1, 5, 3, 9, 4])
    weights = np.array([1, 1, -1, 1, 1], np.float32)
    listens = Interactions(rows, tracks, weights, 2, 3, times, Clock.ORDER)
    model = ItemKNN(ItemKNNOptions(half_life=1.0)).fit(listens)
    # Of user 0's likes track 2 was heard last, track 0 before it; track 1 is disliked.
    assert model.history.liked.indices.tolist() == [0, 2, 0]
    np.testing.assert_allclose(model.recency, [0.5, 1, 1])
    assert not len(ItemKNN(ItemKNNOptions(half_life=1.0)).fit(replace(listens, times=None, clock=Clock.NONE)).recency)


@pytest.mark.parametrize("model", [EASE, ItemKNN, RP3beta])
def test_a_long_half_life_is_none_and_a_short_one_hears_the_last_track_only(
    model: type[EASE] | type[ItemKNN] | type[RP3beta], rng: np.random.Generator
) -> None:
    listens, users = listens_of(rng, 40, 25), np.arange(40, dtype=np.int32)
    none, long, short = (model(model.options_type(half_life=half_life)).fit(listens) for half_life in (None, 1e9, 1e-3))
    np.testing.assert_allclose(none.user_scores(users), long.user_scores(users), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(none.scores_from(listens.matrix), short.scores_from(listens.matrix))
    likes = liked(listens.matrix)
    last = likes.copy()
    last.data = np.where(short.recency == 1, likes.data, 0)
    last.eliminate_zeros()
    np.testing.assert_allclose(short.user_scores(users), short.scores_from(last), rtol=1e-4, atol=1e-6)


def test_of_a_user_with_very_many_tracks_a_sample_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pairs of an eager user are at most those of the sample; all pairs of the others count."""
    monkeypatch.setattr(item_knn, "_MOST_TRACKS", 6)
    eager, other = np.arange(20), np.arange(20, 26)
    rows = np.concatenate([np.zeros(20), np.ones(6)]).astype(np.int32)
    listens = Interactions(rows, np.concatenate([eager, other]).astype(np.int32), np.ones(26, np.float32), 2, 26)
    near = ItemKNN().fit(listens).similarity.toarray() > 0
    assert near[:20, :20].sum() == 6 * 5
    assert near[20:, 20:].sum() == 6 * 5
