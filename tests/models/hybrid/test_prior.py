"""Laws of the content prior, and what it is worth in a world whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from planted import Planted, planted

from crossfade.errors import DataError
from crossfade.models.arrays import l2_normalize
from crossfade.models.catalogue import Catalogue
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.prior import ARTIST_VARIANCE_RATIO, ContentPrior, PriorOptions
from crossfade.models.hybrid.sound_features import SoundMap
from crossfade.models.recommenders.als import ALS, ALSOptions
from crossfade.models.recommenders.content import Content

SMALL_ALS = ALSOptions(factors=16, iterations=8)


def small(artists: tuple[tuple[str, ...], ...], sound: np.ndarray) -> Catalogue:
    return Catalogue(tuple(str(t) for t in range(len(artists))), artists, sound.astype(np.float32))


def test_without_sound_it_is_the_shrunk_mean_of_the_artists_other_tracks(rng: np.random.Generator) -> None:
    catalogue = small((("a",), ("a",), ("b",), ("a",)), np.zeros((4, 0)))
    vectors = rng.normal(size=(4, 3)).astype(np.float32)
    warm = np.array([True, True, True, False])
    prior = ContentPrior(PriorOptions(sound="none", shrinkage=2.0)).fit(vectors, warm, catalogue)
    mean = vectors[:3].mean(axis=0)
    for cold, expected in (
        (3, mean + (vectors[0] - mean + vectors[1] - mean) / (2 + 2)),
        (0, mean + (vectors[1] - mean) / (1 + 2)),
        (2, mean),
    ):
        np.testing.assert_allclose(prior.of_catalogue[cold], expected, atol=1e-5)


@pytest.mark.parametrize("artist_count", [0, 8])
def test_leaving_a_track_out_is_fitting_without_it(artist_count: int, rng: np.random.Generator) -> None:
    """The closed form against generalised least squares in full, for a linear map with its mean held fixed."""
    sound = rng.normal(size=(40, 4))
    sound -= sound.mean(axis=0)
    vectors = (sound @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(40, 3))).astype(np.float32)
    vectors -= vectors.mean(axis=0)
    artists = tuple((f"artist {row % artist_count}",) if artist_count and row % 5 else () for row in range(40))
    catalogue = small(artists, sound)
    options = PriorOptions(sound="linear", penalty=3.0, shrinkage=None)
    fitted = ContentPrior(options).fit(vectors, np.ones(40, bool), catalogue)
    columns = fitted.columns.astype(np.float64)
    rest = np.arange(40) != 7
    together = catalogue.artist_matrix[rest] @ catalogue.artist_matrix[rest].T
    precision = np.linalg.inv(np.eye(39) + together.toarray() / ARTIST_VARIANCE_RATIO)
    gram = columns[rest].T @ precision @ columns[rest] + 3.0 * np.eye(4)
    expected = columns[7] @ np.linalg.solve(gram, columns[rest].T @ precision @ vectors[rest])
    np.testing.assert_allclose(fitted.of_catalogue[7], expected, atol=1e-4)


def test_an_artist_who_releases_more_of_the_same_teaches_little_more() -> None:
    """Fifty tracks of one artist and one of another sound alike: a newcomer's leans to both."""
    sound = np.repeat([1.0, 1.0, -1.0], (50, 1, 51))[:, None]
    vectors = np.repeat([[1, 0], [0, 1], [-50 / 51, -1 / 51]], (50, 1, 51), axis=0).astype(np.float32)

    def share_of_the_second(artists: tuple[tuple[str, ...], ...]) -> float:
        prior = ContentPrior(PriorOptions(sound="linear")).fit(vectors, np.ones(102, bool), small(artists, sound))
        first, second = prior.predict(Catalogue.of_one("new", np.ones(1, np.float32)))[0][0]
        return float(second / first)

    assert share_of_the_second(((),) * 102) < 0.05
    assert share_of_the_second((("a",),) * 50 + (("b",),) + (("c",),) * 51) > 0.2


def test_predicting_a_cold_track_is_the_same_inside_and_outside_the_catalogue() -> None:
    world = planted(users=200)
    als = ALS(SMALL_ALS).fit(world.train)
    prior = ContentPrior(PriorOptions(attention=1.0)).fit(als.track_factors, als.history.warm_tracks, world.catalogue)
    rows = world.known[:5]
    outside, known = prior.predict(world.catalogue.take(rows))
    assert known.all()
    np.testing.assert_allclose(outside, prior.of_catalogue[rows], atol=1e-4)


@pytest.mark.parametrize("debias", [0.5, 1.0])
def test_debiasing_takes_the_length_and_leaves_the_direction(debias: float) -> None:
    """Inside the catalogue and outside, and in a model that was saved."""
    world = planted(users=120, artists=40, each=6)
    als = ALS(SMALL_ALS).fit(world.train)
    plain = ContentPrior().fit(als.track_factors, als.history.warm_tracks, world.catalogue)
    prior = plain.with_options(debias=debias)
    before, after = plain.of_catalogue, prior.of_catalogue
    lengths = np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(l2_normalize(after), l2_normalize(before), atol=1e-5)
    typical = np.median(lengths[als.history.warm_tracks])
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), lengths ** (1 - debias) * typical**debias, rtol=1e-4)
    loaded = ContentPrior.from_arrays(prior.arrays(), prior.metadata(), prior.options)
    np.testing.assert_array_equal(
        loaded.predict(world.catalogue.take(world.new))[0], prior.predict(world.catalogue.take(world.new))[0]
    )
    np.testing.assert_allclose(prior.predict(world.catalogue.take(world.new))[0], after[world.new], atol=1e-4)


def test_attention_listens_to_the_artists_tracks_that_sound_alike(rng: np.random.Generator) -> None:
    loud, quiet = np.full(4, 1.0), np.full(4, -1.0)
    catalogue = small((("a",), ("a",), ("a",)), np.stack([loud, quiet, quiet]))
    vectors = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    warm = np.array([True, True, False])
    options = PriorOptions(sound="linear", penalty=1e6, shrinkage=0.01)
    even = ContentPrior(options).fit(vectors, warm, catalogue).of_catalogue[2]
    keen = ContentPrior(replace(options, attention=3.0)).fit(vectors, warm, catalogue).of_catalogue[2]
    np.testing.assert_allclose(even, [0.5, 0.5], atol=0.02)
    assert keen[1] > 0.9


def test_various_artists_is_no_artist(rng: np.random.Generator) -> None:
    catalogue = small((("Various Artists",),) * 3 + (("a",),), np.zeros((4, 0)))
    vectors = rng.normal(size=(4, 3)).astype(np.float32)
    warm = np.array([True, True, False, True])
    prior = ContentPrior(PriorOptions(sound="none")).fit(vectors, warm, catalogue)
    np.testing.assert_allclose(prior.of_catalogue[2], vectors[warm].mean(axis=0), atol=1e-6)
    assert not prior.can_predict(np.zeros(3, bool), prior.artist_rows((("Various Artists",), (), ("stranger",)))).any()


def test_an_artist_with_hundreds_of_tracks_and_several_artists_a_track(rng: np.random.Generator) -> None:
    artists = (("a",),) * 700 + (("a", "b"), ("b", "c", "a"), ())
    catalogue = small(artists, rng.normal(size=(703, 5)))
    vectors = rng.normal(size=(703, 4)).astype(np.float32)
    warm = np.ones(703, bool)
    warm[[699, 701]] = False
    found = ContentPrior(PriorOptions(attention=1.0)).fit(vectors, warm, catalogue).of_catalogue
    assert np.isfinite(found).all()


def test_sound_of_another_width_is_refused() -> None:
    world = planted(users=200)
    als = ALS(SMALL_ALS).fit(world.train)
    prior = ContentPrior().fit(als.track_factors, als.history.warm_tracks, world.catalogue)
    with pytest.raises(DataError, match="7 dimensions, but the prior was trained on 24"):
        prior.predict(Catalogue.of_one("new", np.ones(7, np.float32)))


@cache
def measured(link: float, seed: int = 0) -> tuple[Planted, dict[str, tuple[float, float]]]:
    """Recall of known and of new artists' cold tracks: of the hybrid, of artist means and of sound alone."""
    world = planted(seed, link=link)
    hybrid = Hybrid(world.catalogue, als=SMALL_ALS).fit(world.train)
    als = hybrid.als
    warm = als.history.warm_tracks
    plain = ContentPrior(PriorOptions(sound="none", shrinkage=1e-6)).fit(als.track_factors, warm, world.catalogue)
    content = Content(world.catalogue).fit(world.train)
    users = np.arange(world.train.user_count, dtype=np.int32)
    ids, scores = content.recommend(users, len(world.catalogue))
    by_sound = np.full((len(users), len(world.catalogue)), -np.inf, np.float32)
    np.put_along_axis(by_sound, np.maximum(ids, 0).astype(np.intp), scores, axis=1)
    found = {
        "hybrid": hybrid.scores(als.user_factors, hybrid.history.liked),
        "artist mean": als.user_factors @ plain.of_catalogue.T,
        "content": by_sound,
    }
    return world, {
        name: (world.recall(scores, world.known), world.recall(scores, world.new)) for name, scores in found.items()
    }


def test_the_prior_beats_the_artist_mean_and_the_cosine_of_sound() -> None:
    _, found = measured(0.9)
    assert found["hybrid"][0] >= 1.1 * found["artist mean"][0]
    assert found["hybrid"][1] >= 1.1 * found["content"][1]


def test_a_track_whose_genres_are_unknown_stands_at_their_mean(rng: np.random.Generator) -> None:
    """Tracks that still have the genres of another vocabulary come as zeros, which are no probabilities."""
    sound, genres = (rng.normal(size=(20, width)).astype(np.float32) for width in (5, 3))
    genres[12:] = 0
    sound_map = SoundMap.fit(sound, genres)
    np.testing.assert_allclose(sound_map.means[5:], genres[:12].mean(axis=0), rtol=1e-6)
    found, has_sound = sound_map.columns(sound, genres)
    assert has_sound.all()
    np.testing.assert_array_equal(found[12:, 5:], 0)
    np.testing.assert_array_equal(sound_map.columns(sound)[0][12:], found[12:])
