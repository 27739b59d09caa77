"""What is particular to the neural recommenders; the contract suite holds what they share with the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from scipy.sparse import csr_matrix

from crossfade.errors import DataError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.models.evaluation.splits import Split, by_chance
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.nn.training_loop import Dropout, Epoch, Schedule, best_epoch, train
from crossfade.models.ranking.user_profile import last_tracks
from crossfade.models.recommenders.biases import Biases
from crossfade.models.recommenders.neural.neural_mf import NeuralMF, NeuralMFOptions, rating_options
from crossfade.models.recommenders.neural.sasrec import SASRec, SASRecOptions
from crossfade.models.recommenders.neural.two_tower import TwoTower, TwoTowerOptions
from crossfade.models.recommenders.neural.vae import MultVAE, VAEOptions
from crossfade.pipelines.evaluation.ratings import rating_rows

USERS, TRACKS = 40, 24


def two_camps(rng: np.random.Generator, *, users: int = USERS, tracks: int = TRACKS) -> Interactions:
    """Users like tracks of their own parity, and rate them 5; the others 2."""
    rows, columns = np.nonzero(rng.random((users, tracks)) < 0.5)
    alike = rows % 2 == columns % 2
    return Interactions(
        rows.astype(np.int32),
        columns.astype(np.int32),
        np.where(alike, 1, -0.5).astype(np.float32),
        users,
        tracks,
        rng.integers(0, 1000, len(rows)),
        Clock.TIME,
        np.where(alike, 5, 2).astype(np.float32) + rng.normal(0, 0.1, len(rows)).astype(np.float32),
    )


def catalogue(tracks: int = TRACKS, *, sound: bool = True) -> Catalogue:
    vectors = np.eye(2, dtype=np.float32)[np.arange(tracks) % 2] if sound else np.zeros((tracks, 0), np.float32)
    return Catalogue(tuple(map(str, range(tracks))), tuple((f"artist {t % 2}",) for t in range(tracks)), vectors)


def test_an_interrupted_fit_ends_as_if_it_had_not_been(rng: np.random.Generator, tmp_path: Path) -> None:
    listens, options = two_camps(rng), VAEOptions(epochs=8, factors=8, batch=8)
    everyone = np.arange(USERS, dtype=np.int32)
    whole = MultVAE(options).fit(listens).recommend(everyone, 5)

    for stop in (3, 11):  # in the search, and when all is learned once more
        calls = []

        def interrupt(point: Epoch, calls: list[Epoch] = calls, stop: int = stop) -> None:
            calls.append(point)
            if len(calls) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            MultVAE(options, checkpoint=tmp_path, watch=interrupt).fit(listens)
        later: list[Epoch] = []
        again = MultVAE(options, checkpoint=tmp_path, watch=later.append).fit(listens)
        assert later and len(later) < 16
        for found, expected in zip(again.recommend(everyone, 5), whole, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", [TwoTower, SASRec])
def test_a_checkpoint_belongs_to_a_catalogue_too(model: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    """The fingerprint of a checkpoint leaves out none of what the network is built from."""
    listens = two_camps(rng)
    seen: list[int] = []

    def interrupt(point: Epoch) -> None:
        seen.append(point.epoch)
        if len(seen) == 2:
            raise KeyboardInterrupt

    for sound, expected in ((1.0, [1, 2]), (1.0, [3, 4]), (1.5, [1, 2])):
        known = catalogue()
        known.sound[3, 0] = sound
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            model(known, checkpoint=tmp_path, watch=interrupt).fit(listens)
        assert seen == expected


@pytest.mark.parametrize("unknown", [1, 2])
def test_a_validation_loss_that_is_nan_at_first_does_not_stop_training(unknown: int) -> None:
    """Not a number is no loss to beat: the best epoch is one that is known to be good, however late it comes."""
    module = torch.nn.Linear(1, 1)
    held = iter([np.nan] * unknown + [0.5, 0.3, 0.4, np.nan])

    def validate() -> tuple[float, dict[str, float]]:
        return next(held), {}

    curve = train(
        module,
        lambda batch: module(batch).square().mean(),
        lambda rng: iter([torch.ones(2, 1)]),
        Schedule(epochs=unknown + 4, patience=3, learning_rate=0.1),
        seed=0,
        validate=validate,
    )
    assert len(curve) == unknown + 4
    assert best_epoch(curve) == unknown + 2
    assert [point.saved for point in curve] == [True] * unknown + [True, True, False, False]


def test_a_validation_loss_that_stays_nan_keeps_the_last_epoch() -> None:
    module = torch.nn.Linear(1, 1)
    curve = train(
        module,
        lambda batch: module(batch).square().mean(),
        lambda rng: iter([torch.ones(2, 1)]),
        Schedule(epochs=5, patience=2, learning_rate=0.1),
        seed=0,
        validate=lambda: (np.nan, {}),
    )
    assert best_epoch(curve) == 5


def test_a_vocabulary_that_has_grown_is_an_error_with_its_cure(rng: np.random.Generator) -> None:
    model = MultVAE(VAEOptions(epochs=2, factors=4)).fit(two_camps(rng))
    with pytest.raises(DataError, match="26 tracks, but the model has 24; train it again"):
        model.recommend_from(csr_matrix(np.ones((1, 26), np.float32)), 3)
    sequential = SASRec(options=SASRecOptions(epochs=1, factors=8)).fit(two_camps(rng))
    with pytest.raises(DataError, match="track 24: the model has 24 tracks"):
        sequential.recommend_after([[1, 24]], 3)


def test_a_new_user_with_the_same_order_of_listens_gets_what_one_of_the_training_gets(rng: np.random.Generator) -> None:
    listens = two_camps(rng)
    model = SASRec(options=SASRecOptions(epochs=2, factors=8)).fit(listens)
    users = np.arange(6, dtype=np.int32)
    newest, seen = last_tracks(listens, 50)[users], listens.matrix[users]
    newest[3:] = -1
    ids, scores = model.recommend_from(seen, 5, newest=newest)
    for found, expected in zip((ids, scores), model.recommend(users, 5), strict=True):
        np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-5)
    for found, expected in zip((ids, scores), model.recommend_from(seen, 5), strict=True):
        np.testing.assert_array_equal(found[3:], expected[3:])


def test_ratings_are_predicted_better_than_by_biases(rng: np.random.Generator) -> None:
    split = by_chance(two_camps(rng), rng)
    rows = {(row["model"], row["metric"]): row for row in rating_rows(split, rng, resamples=200)}
    assert rows["mf", "rmse"]["value"] < 0.7 * rows["bias", "rmse"]["value"]
    assert rows["mf", "rmse_gain"]["better"] and rows["mf", "mae"]["value"] < rows["constant", "mae"]["value"]
    assert not list(rating_rows(Split(split.train.take(np.zeros(len(split.train), bool)), split.test, ""), rng))


def test_a_new_user_is_embedded_from_a_few_ratings(rng: np.random.Generator) -> None:
    model = NeuralMF(rating_options(factors=4, batch=64)).fit(two_camps(rng))
    nobody, nothing = np.array([-1], np.int32), np.array([-1], np.int32)
    assert model.predict(nobody, nothing) == pytest.approx(model.mean)
    assert model.predict(nobody, np.zeros(1, np.int32)) == pytest.approx(model.mean + model.track_bias[0])
    ratings = csr_matrix(([5.0, 5.0, 2.0, 5.0, 2.0], ([0] * 5, [0, 2, 1, 4, 3])), shape=(1, TRACKS), dtype=np.float32)
    ids, _ = model.recommend_from(ratings, 6)
    assert (ids % 2 == 0).all() and not np.isin(ids, [0, 2, 4]).any()


def test_biases_are_shrunk_and_unknown_ones_zero() -> None:
    rows = np.zeros(3, np.int32)
    ratings = np.array([5, 5, 5], np.float32)
    listens = Interactions(rows, np.arange(3, dtype=np.int32), ratings, 2, 4, None, Clock.NONE, ratings)
    biases = Biases.fit(listens)
    assert biases.mean == 5 and biases.users.tolist() == [0, 0] and biases.tracks[3] == 0
    assert Biases.constant(listens).predict(rows, rows).tolist() == [5, 5, 5]


def test_who_and_what_is_unknown_has_no_bias() -> None:
    """`Biases.predict(-1)` is the mean, as in `NeuralMF.predict`, and not what the last user would say."""
    biases = Biases(3.0, np.array([0.5, 1.0], np.float32), np.array([0.25, -1.0], np.float32))
    users, tracks = np.array([-1, -1, 1, 0], np.int32), np.array([-1, 0, -1, 1], np.int32)
    assert biases.predict(users, tracks).tolist() == [3.0, 3.25, 4.0, 2.5]


def test_biases_of_late_follow_a_drift_and_need_times() -> None:
    """One user is mild at first and stern later; the others never change."""
    users = np.repeat(np.arange(4, dtype=np.int32), 100)
    tracks = np.tile(np.arange(100, dtype=np.int32), 4)
    ratings = np.full(400, 3, np.float32)
    ratings[:50], ratings[50:100] = 5, 1
    listens = Interactions(users, tracks, ratings, 4, 100, np.tile(np.arange(100), 4), Clock.ORDER, ratings)
    biases = Biases.fit(listens)
    late = biases.recent(listens, half=10)
    assert abs(biases.users[0]) < 0.1 and late.users[0] < -1 and np.abs(late.users[1:]).max() < 0.2
    timeless = Interactions(users, tracks, ratings, 4, 100, None, Clock.NONE, ratings)
    assert biases.recent(timeless) is biases


def test_objectives_that_predict_no_ratings_say_so(rng: np.random.Generator) -> None:
    model = NeuralMF(NeuralMFOptions(epochs=1, factors=4)).fit(two_camps(rng))
    with pytest.raises(UsageError, match="choose ratings"):
        model.predict(np.zeros(1, np.int32), np.zeros(1, np.int32))
    for objective, cure in (("stars", "there are softmax, ratings"), ("bpr", "BPR is the model bpr")):
        with pytest.raises(UsageError, match=f"objective {objective}: no such one; {cure}"):
            NeuralMFOptions(objective=objective)


def test_ratings_that_are_missing_or_no_numbers_are_refused(rng: np.random.Generator) -> None:
    listens = two_camps(rng)
    without = Interactions(listens.user_rows, listens.track_rows, listens.weights, USERS, TRACKS)
    with pytest.raises(DataError, match="ratings: the log has none"):
        NeuralMF(rating_options()).fit(without)
    assert listens.ratings is not None
    listens.ratings[3] = np.nan
    with pytest.raises(DataError, match="not a number"):
        NeuralMF(rating_options()).fit(listens)


def test_a_network_beside_the_dot_product_learns_too(rng: np.random.Generator, tmp_path: Path) -> None:
    model = NeuralMF(NeuralMFOptions(hidden=4, factors=8, epochs=30)).fit(two_camps(rng))
    everyone = np.arange(USERS, dtype=np.int32)
    ids, scores = model.recommend(everyone, 3)
    assert (ids % 2 == everyone[:, None] % 2)[ids >= 0].mean() > 0.8
    model.save(tmp_path)
    np.testing.assert_array_equal(NeuralMF.load(tmp_path).recommend(everyone, 3)[1], scores)


def test_what_comes_next_is_learned_from_order() -> None:
    """Everybody goes round the same circle of tracks, from different places."""
    starts = np.arange(60) % 12
    rows = np.repeat(np.arange(60, dtype=np.int32), 7)
    columns = ((starts[:, None] + np.arange(7)) % 12).ravel().astype(np.int32)
    order = np.tile(np.arange(7), 60)
    listens = Interactions(rows, columns, np.ones(len(rows), np.float32), 60, 12, order, Clock.ORDER)
    model = SASRec(options=SASRecOptions(factors=16, epochs=60, dropout=0.0)).fit(listens)
    ids, _ = model.recommend_after([[3, 4, 5], [10, 11], []], 1)
    assert ids[:2, 0].tolist() == [6, 0] and ids[2, 0] >= 0
    # A last block of one user's tracks is enough; nobody with two is not.
    with pytest.raises(DataError, match="nobody listened to two"):
        SASRec(options=SASRecOptions(epochs=1)).fit(listens.take(order == 0))
    with pytest.raises(DataError, match="neither time nor order"):
        SASRec().fit(Interactions(rows, columns, listens.weights, 60, 12))


def test_towers_place_a_cold_track_by_its_sound(rng: np.random.Generator) -> None:
    listens = two_camps(rng)
    warm = listens.take(listens.track_rows < 20)
    model = TwoTower(catalogue()).fit(warm)
    cold = np.arange(TRACKS) >= 20
    everyone = np.arange(USERS, dtype=np.int32)
    ids, _ = model.recommend(everyone, 1, candidates=cold)
    assert (ids[:, 0] % 2 == everyone % 2).all()


def test_without_sound_towers_and_sequences_do_as_well_as_they_can(rng: np.random.Generator) -> None:
    listens = two_camps(rng)
    for model in (
        TwoTower(catalogue(sound=False), TwoTowerOptions(epochs=3)),
        SASRec(catalogue(sound=False), SASRecOptions(epochs=3)),
    ):
        assert (model.fit(listens).recommend(np.arange(USERS, dtype=np.int32), 3)[0] >= 0).all()
    with pytest.raises(DataError, match="needs the catalogue"):
        TwoTower().fit(listens)
    with pytest.raises(DataError, match="30 tracks, but the listens are of 24"):
        SASRec(catalogue(30)).fit(listens)


def test_dropout_hides_a_share_and_keeps_the_mean() -> None:
    x = torch.ones(200, 100)
    layer = Dropout(0.25)
    found = layer(x)
    assert (found == 0).float().mean() == pytest.approx(0.25, abs=0.02) and found.max() == pytest.approx(4 / 3)
    assert not torch.equal(layer(x), found)
    assert layer.eval()(x) is x and Dropout(0.0)(x) is x


@pytest.mark.parametrize("share", [0.998, 0.999, 1 - 1e-9])
def test_the_largest_dropout_still_lets_something_through(share: float) -> None:
    """Rounded to a 256th it would be all, and the rest be multiplied by 256 / 0."""
    found = Dropout(share)(torch.ones(1000, 100))
    assert found.unique().tolist() == [0, 256]


@pytest.mark.parametrize("options", [VAEOptions, SASRecOptions, TwoTowerOptions])
@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_dropout_of_all_or_of_less_than_nothing_is_refused(options: Any, share: float) -> None:
    with pytest.raises(UsageError, match=r"dropout: .*, but has to be at least 0 and below 1"):
        options(dropout=share)


def test_one_listen_each_is_enough_to_learn_something() -> None:
    rows = np.arange(10, dtype=np.int32)
    listens = Interactions(rows, rows % 3, np.ones(10, np.float32), 10, 3)
    ids, _ = MultVAE(VAEOptions(epochs=2, factors=4)).fit(listens).recommend(rows, 1)
    assert (ids >= 0).all()
