"""What holds for every recommender of the registry."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from crossfade.errors import DataError, LibraryError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.recommenders.base import Recommender
from crossfade.models.recommenders.popular import Popular
from crossfade.models.recommenders.registry import REGISTRY, in_order, make
from crossfade.models.recommenders.search_space import draw

EVERYONE = np.arange(60, dtype=np.int32)
COLD_USERS, COLD_TRACKS = EVERYONE[-3:], np.arange(46, 50)
MODELS = tuple(REGISTRY)
PERSONAL = tuple(name for name in MODELS if "popular" not in name)


DAY_SECONDS = 86_400


def popular_of(name: str) -> str:
    """The model whose answers cold users get."""
    return "popular" if name in ("popular", "personal-popular") else "recent-popular"


def checkerboard(users: int = 40, tracks: int = 20) -> tuple[Interactions, Catalogue]:
    """User u likes the tracks of its own parity, all but one: track 2 * (u // 2) + parity (mod tracks) is left to find.

    Sound and artist tell the parities apart, too.
    """
    board = np.arange(users)[:, None] % 2 == np.arange(tracks) % 2
    board[np.arange(users), missing(users, tracks)] = False
    rows, columns = np.nonzero(board)
    times = 1_500_000_000 + rng_times(len(rows))
    listens = Interactions(
        rows.astype(np.int32),
        columns.astype(np.int32),
        np.ones(len(rows), np.float32),
        users,
        tracks,
        times,
        Clock.TIME,
    )
    return listens, catalogue_of(np.eye(2)[np.arange(tracks) % 2], [f"artist {track % 2}" for track in range(tracks)])


def missing(users: int = 40, tracks: int = 20) -> np.ndarray:
    """[U] the track that each user of the checkerboard has not listened to."""
    row = np.arange(users)
    return (2 * (row // 2) + row % 2) % tracks


def scattered(
    rng: np.random.Generator, users: int = 60, tracks: int = 50, *, cold_users: int = 3, cold_tracks: int = 4
) -> tuple[Interactions, Catalogue]:
    """Listens by chance, popular tracks first, with dislikes and repeats; the last users and tracks are cold."""
    popularity = 1 / np.arange(1, tracks - cold_tracks + 1)
    count = users * 8
    rows = rng.integers(0, users - cold_users, count).astype(np.int32)
    columns = rng.choice(tracks - cold_tracks, count, p=popularity / popularity.sum()).astype(np.int32)
    # Every warm user and track has a listen.
    rows[: users - cold_users] = np.arange(users - cold_users)
    columns[-(tracks - cold_tracks) :] = np.arange(tracks - cold_tracks)
    weights = rng.choice(np.array([1, 2, -0.25], np.float32), count, p=[0.6, 0.3, 0.1])
    weights[: users - cold_users] = weights[-(tracks - cold_tracks) :] = 1
    listens = Interactions(rows, columns, weights, users, tracks, 1_500_000_000 + rng_times(count, rng), Clock.TIME)
    return listens, catalogue_of(rng.normal(size=(tracks, 6)), [f"artist {track % 9}" for track in range(tracks)])


def rng_times(count: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """[N] seconds over a hundred days."""
    return (rng or np.random.default_rng(0)).integers(0, 100 * DAY_SECONDS, count)


def catalogue_of(sound: np.ndarray, artists: list[str]) -> Catalogue:
    ids = tuple(f"t{row}" for row in range(len(sound)))
    return Catalogue(ids, tuple((name,) for name in artists), sound.astype(np.float32))


@cache
def world() -> tuple[Interactions, Catalogue]:
    return scattered(np.random.default_rng(5))


@cache
def fitted(name: str) -> Recommender:
    listens, catalogue = world()
    return hasty(name, catalogue).fit(listens)


def hasty(name: str, catalogue: Catalogue) -> Recommender:
    """With few epochs, where quality is not the question."""
    model = willing(name, catalogue)
    options = getattr(model, "options", None)
    if hasattr(options, "epochs"):
        model.options = replace(options, epochs=4)
    return model


def willing(name: str, catalogue: Catalogue) -> Recommender:
    """Learns from as little as there is here."""
    model = make(name, catalogue)
    if name == "ranked":
        model.options = replace(model.options, ranker=replace(model.options.ranker, least_positives=20))
    return model


@cache
def on_checkerboard(name: str) -> Recommender:
    listens, catalogue = checkerboard()
    return willing(name, catalogue).fit(listens)


@pytest.mark.parametrize("name", MODELS)
def test_answers_have_shapes_types_and_order(name: str) -> None:
    model = fitted(name)
    assert isinstance(model, Recommender) and model.name == name
    for ids, scores in (model.recommend(EVERYONE, 7), model.similar(np.arange(60, dtype=np.int32) % 50, 7)):
        assert ids.shape == scores.shape == (60, 7)
        assert ids.dtype == np.int32 and scores.dtype == np.float32
        np.testing.assert_array_equal(ids < 0, scores == -np.inf)
        assert not np.isnan(scores).any()
        assert np.all(scores[:, 1:] <= scores[:, :-1])
        for row in ids:
            tracks = row[row >= 0]
            assert len(set(tracks.tolist())) == len(tracks)
    empty = model.recommend(EVERYONE[:0], 7)
    assert empty[0].shape == empty[1].shape == (0, 7)


@pytest.mark.parametrize("name", MODELS)
def test_one_user_gets_what_a_batch_gets(name: str) -> None:
    together, scores = fitted(name).recommend(EVERYONE, 5)
    for user in (0, 30, 59):
        alone, alone_scores = fitted(name).recommend(EVERYONE[[user]], 5)
        np.testing.assert_allclose(alone_scores[0], scores[user], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(alone[0], together[user])


@pytest.mark.parametrize("name", MODELS)
def test_seen_tracks_are_left_out_unless_allowed(name: str) -> None:
    seen = world()[0].matrix.toarray() != 0
    ids, _ = fitted(name).recommend(EVERYONE, 50)
    assert not any(seen[user, ids[user][ids[user] >= 0]].any() for user in EVERYONE)
    again, _ = fitted(name).recommend(EVERYONE[:50], 50, allow_seen=True)
    assert any(seen[user, again[user][again[user] >= 0]].any() for user in EVERYONE[:50])


@pytest.mark.parametrize("name", MODELS)
def test_candidates_limit_the_answers(name: str) -> None:
    few = np.zeros(50, bool)
    few[[1, 2, 40, 49]] = True
    ids, _ = fitted(name).recommend(EVERYONE, 10, candidates=few, allow_seen=True)
    assert set(np.unique(ids)) <= {-1, 1, 2, 40, 49}
    free, _ = fitted(name).recommend(EVERYONE, 50, allow_seen=True)
    # A ranker's features are relative to the candidates: among fewer of them the order may be another one.
    for user in EVERYONE if name != "ranked" else ():
        wanted = [track for track in free[user] if track >= 0 and few[track]]
        assert ids[user][: len(wanted)].tolist() == wanted
    nobody, scores = fitted(name).recommend(EVERYONE, 3, candidates=np.zeros(50, bool))
    assert (nobody == -1).all() and (scores == -np.inf).all()


@pytest.mark.parametrize("name", MODELS)
def test_more_answers_than_tracks_end_in_nothing(name: str) -> None:
    ids, scores = fitted(name).recommend(EVERYONE, 80)
    assert ids.shape == scores.shape == (60, 80) and (ids[:, 50:] == -1).all()
    ids, _ = fitted(name).similar(EVERYONE[:3], 80)
    assert ids.shape == (3, 80) and (ids[:, 49:] == -1).all()


@pytest.mark.parametrize("name", MODELS)
def test_cold_and_unknown_users_get_the_popular_tracks(name: str) -> None:
    unknown = np.array([-1], np.int32)
    ids, _ = fitted(name).recommend(np.concatenate([COLD_USERS, unknown]), 5)
    expected, _ = fitted(popular_of(name)).recommend(unknown, 5)
    np.testing.assert_array_equal(ids, np.repeat(expected, 4, axis=0))


@pytest.mark.parametrize("name", MODELS)
def test_only_content_recommends_cold_tracks(name: str) -> None:
    cold = np.zeros(50, bool)
    cold[COLD_TRACKS] = True
    ids, _ = fitted(name).recommend(EVERYONE[:-3], 4, candidates=cold)
    assert (ids >= 0).any() == REGISTRY[name].by_content


@pytest.mark.parametrize("name", MODELS)
def test_a_track_is_not_similar_to_itself(name: str) -> None:
    rows = np.arange(50, dtype=np.int32)
    ids, _ = fitted(name).similar(rows, 49)
    assert not (ids == rows[:, None]).any()


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_answers_as_before(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    model.save(tmp_path)
    again = type(model).load(tmp_path)
    for before, after in (
        (model.recommend(EVERYONE, 9), again.recommend(EVERYONE, 9)),
        (model.similar(EVERYONE[:50], 9), again.similar(EVERYONE[:50], 9)),
    ):
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])
    header = json.loads((tmp_path / f"{name}.json").read_text())
    assert header["model"] == name and header["format_version"] == 1 and header["arrays"]
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_damaged_or_newer_model_is_a_clear_error(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    with pytest.raises(LibraryError, match="no such file"):
        type(model).load(tmp_path)
    model.save(tmp_path)
    header, arrays = tmp_path / f"{name}.json", tmp_path / f"{name}.safetensors"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LibraryError, match="train the model again"):
        type(model).load(tmp_path)
    arrays.write_bytes(whole)
    header.write_text(header.read_text().replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(LibraryError, match="format version 99"):
        type(model).load(tmp_path)
    header.write_text("[]")
    with pytest.raises(LibraryError, match="not the header"):
        type(model).load(tmp_path)


def test_arrays_of_another_model_are_refused(tmp_path: Path) -> None:
    fitted("popular").save(tmp_path)
    Popular().fit(checkerboard()[0]).save(tmp_path / "other")
    (tmp_path / "other" / "popular.safetensors").replace(tmp_path / "popular.safetensors")
    with pytest.raises(LibraryError, match="does not match"):
        Popular.load(tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_a_seeded_fit_repeats_exactly(name: str) -> None:
    listens, catalogue = world()
    again = hasty(name, catalogue).fit(listens)
    for first, second in zip(fitted(name).recommend(EVERYONE, 9), again.recommend(EVERYONE, 9), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", MODELS)
def test_one_user_and_one_track_are_enough_or_one_line(name: str) -> None:
    for users, tracks in ((1, 12), (12, 1)):
        rows, columns = np.nonzero(np.ones((users, tracks)))
        weights, times = np.ones(12, np.float32), np.arange(12, dtype=np.int64)
        log = Interactions(
            rows.astype(np.int32), columns.astype(np.int32), weights, users, tracks, times=times, clock=Clock.TIME
        )
        catalogue = catalogue_of(np.ones((tracks, 4), np.float32), ["a"] * tracks)
        try:
            model = hasty(name, catalogue).fit(log)
        except DataError:
            continue
        ids, _ = model.recommend(np.zeros(1, np.int32), 5, allow_seen=True)
        assert ids.shape == (1, 5) and ids.max() < tracks


@pytest.mark.parametrize("name", MODELS)
def test_nothing_liked_is_nothing_to_learn(name: str) -> None:
    listens, catalogue = world()
    with pytest.raises(DataError, match="nothing to learn from"):
        make(name, catalogue).fit(listens.take(listens.weights < 0))


@pytest.mark.parametrize("name", PERSONAL)
def test_the_checkerboard_is_completed(name: str) -> None:
    users = np.arange(40, dtype=np.int32)
    ids, _ = on_checkerboard(name).recommend(users, 1)
    np.testing.assert_array_equal(ids[:, 0], missing())


@pytest.mark.parametrize("name", PERSONAL)
def test_similar_tracks_of_the_checkerboard_share_their_parity(name: str) -> None:
    tracks = np.arange(20, dtype=np.int32)
    ids, _ = on_checkerboard(name).similar(tracks, 9)
    assert (ids % 2 == tracks[:, None] % 2).all()


@pytest.mark.parametrize("name", PERSONAL)
def test_a_new_user_is_known_from_a_handful_of_listens(name: str) -> None:
    user_items = csr_matrix(np.eye(20, dtype=np.float32)[[4, 7]] + np.eye(20, dtype=np.float32)[[8, 11]])
    ids, _ = on_checkerboard(name).recommend_from(user_items, 8)
    assert (ids % 2 == [[0], [1]]).all()
    assert not np.isin(ids[0], [4, 8]).any() and not np.isin(ids[1], [7, 11]).any()


@pytest.mark.parametrize("name", MODELS)
def test_a_new_user_without_listens_gets_the_popular_tracks(name: str) -> None:
    ids, _ = fitted(name).recommend_from(csr_matrix((1, 50), dtype=np.float32), 5)
    expected = fitted(popular_of(name)).recommend_from
    np.testing.assert_array_equal(ids, expected(csr_matrix((1, 50), dtype=np.float32), 5)[0])


@pytest.mark.parametrize("name", MODELS)
def test_what_a_search_space_draws_are_options(name: str) -> None:
    kind = REGISTRY[name].load()
    assert bool(kind.search_space) == (name not in ("popular", "personal-popular", "ranked"))
    for seed in range(20):
        drawn = draw(kind.search_space, np.random.default_rng(seed))
        # The hybrid's own options are chosen by its fit.
        options = kind().arguments_with(drawn)["als" if name == "hybrid" else "options"]
        assert {option: getattr(options, option) for option in drawn} == drawn


def test_unknown_names_are_refused_and_baselines_always_there() -> None:
    with pytest.raises(UsageError, match="no such model; there are popular"):
        in_order(["als", "alz"])
    assert in_order(["popular"]) == ["popular", "recent-popular", "item-knn", "ease", "als"]
