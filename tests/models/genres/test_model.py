"""A genre model's folder: what is saved comes back, and what was changed is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import ROOT

from crossfade.errors import LibraryError, UsageError
from crossfade.models.genres import classical
from crossfade.models.genres.calibration import Calibration, fit_calibration
from crossfade.models.genres.heads import (
    NEVER,
    FeatureSlice,
    HeadClassifier,
    Normalisation,
    PooledFeatures,
    fit_head,
    fit_perceptron,
)
from crossfade.models.genres.model import CARD, WEIGHTS, Card, GenreModel
from crossfade.models.genres.vocabulary import rolled_up

FITS = {
    "ridge": classical.fit_ridge,
    "svm": classical.fit_svm,
    "forest": lambda x, y: classical.fit_forest(x, y, trees=5),
    "boosting": lambda x, y: classical.fit_boosting(x, y, rounds=3),
    "neighbours": classical.fit_neighbours,
    "perceptron": lambda x, y: fit_perceptron(x, y, epochs=3),
}
FORMATS = ROOT / "tests" / "formats"
CLASSES = ("blues", "jazz", "Rock > Punk")


def heard(rng, tracks=30, source="musicnn-msd"):
    return {source: [rng.normal(size=(rng.integers(1, 5), 6)).astype(np.float32) for _ in range(tracks)]}


def model(rng, fit, normalisation=Normalisation.STANDARD):
    sounds = heard(rng)
    targets = np.eye(3, dtype=bool)[np.arange(30) % 3]
    pooled = PooledFeatures((FeatureSlice("musicnn-msd", 0, 4),), "mean+std")
    head = fit_head(pooled.vectors(sounds), targets, normalisation, fit)
    return GenreModel(Card("probe", "encoder", CLASSES), HeadClassifier(pooled, head), Calibration(0.5, 0.4))


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("normalisation", Normalisation)
def test_saved_and_loaded_it_answers_the_same(name, normalisation, tmp_path, rng):
    pytest.importorskip("sklearn")
    made = model(rng, FITS[name], normalisation)
    made.save(tmp_path / "M")
    again = GenreModel.load(tmp_path / "M")
    sounds = heard(rng)
    np.testing.assert_array_equal(again.predict(sounds), made.predict(sounds))
    assert again.card == made.card
    assert again.sources == ("musicnn-msd",)


def test_the_cnn_too(tmp_path, rng):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    from crossfade.models.genres.networks import CnnShape, NetworkClassifier
    from crossfade.models.nn.training_loop import state_arrays

    shape = CnnShape(3, bands=16, channels=(4, 8))
    classifier = NetworkClassifier(shape, state_arrays(shape.network(pretrained=True)))
    made = GenreModel(Card("cnn", "cnn", CLASSES), classifier)
    made.save(tmp_path / "M")
    sounds = {"log-mel": [rng.random((2, 20, 16), np.float32) for _ in range(4)]}
    np.testing.assert_allclose(GenreModel.load(tmp_path / "M").predict(sounds), made.predict(sounds), atol=1e-6)


def test_an_isotonic_curve_comes_back(tmp_path, rng):
    made = model(rng, FITS["ridge"])
    sounds = heard(rng)
    scores = made.classifier.scores(sounds)
    curve = fit_calibration(scores, np.eye(3, dtype=bool)[rng.integers(0, 3, 30)], method="isotonic")
    made = GenreModel(made.card, made.classifier, curve)
    made.save(tmp_path / "M")
    np.testing.assert_array_equal(GenreModel.load(tmp_path / "M").predict(sounds), made.predict(sounds))


def test_the_perceptron_repeats_exactly(rng):
    pytest.importorskip("torch")
    features, targets = rng.normal(size=(20, 5)).astype(np.float32), np.eye(2, dtype=bool)[np.arange(20) % 2]
    one, same, other = (fit_perceptron(features, targets, epochs=3, seed=seed)(features) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_parents_are_rolled_up():
    assert rolled_up({"Rock > Punk": 0.5, "Rock > Indie": 0.3}, multi_label=True)["Rock"] == 0.5
    assert rolled_up({"a > b > c": 0.2, "a > b > d": 0.3, "a > e": 0.1})["a"] == pytest.approx(0.6)


def test_a_class_without_examples_is_never_the_answer(rng):
    features = rng.normal(size=(10, 4)).astype(np.float32)
    targets = np.zeros((10, 3), bool)
    targets[:5, 0] = targets[5:, 2] = True
    scores = fit_head(features, targets, Normalisation.STANDARD, classical.fit_ridge)(features)
    assert (scores[:, 1] == NEVER).all()
    assert Calibration()(scores)[:, 1].max() < 1e-6


def test_changed_files_are_refused(tmp_path, rng):
    folder = tmp_path / "M"
    model(rng, FITS["ridge"]).save(folder)
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(LibraryError, match="not the file the model was saved with"):
        GenreModel.load(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(LibraryError, match="cannot be read"):
        GenreModel.load(folder)
    (folder / WEIGHTS).write_bytes(weights)
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"classes": ["x", "y", "z"]}))
    with pytest.raises(LibraryError, match="was changed after"):
        GenreModel.load(folder)
    (folder / CARD).write_text(json.dumps(card | {"format_version": 99}))
    with pytest.raises(LibraryError, match="format version 99"):
        GenreModel.load(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(LibraryError, match="damaged"):
        GenreModel.load(folder)


def test_only_models_are_overwritten(tmp_path, rng):
    made = model(rng, FITS["ridge"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not overwritten"):
        made.save(tmp_path / "mine")
    made.save(tmp_path / "M")
    (tmp_path / "M" / "notes.txt").write_text("keep")
    made.save(tmp_path / "M")
    assert (tmp_path / "M" / "notes.txt").read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["M", "mine"]


def test_no_model_there(tmp_path):
    with pytest.raises(LibraryError, match="not a genre model"):
        GenreModel.load(tmp_path)


def test_a_probe_of_ten_thousand_vectors(rng):
    """Seconds, says the README; here only that it learns."""
    targets = np.eye(10, dtype=bool)[rng.integers(0, 10, 10_000)]
    features = (targets @ rng.normal(size=(10, 200)) + rng.normal(size=(10_000, 200)) * 2).astype(np.float32)
    head = fit_head(features, targets, Normalisation.DIRECTION, classical.fit_ridge)
    assert (head(features).argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.9


def test_a_model_of_an_older_version_loads_or_names_the_command_to_run():
    """Saved by the version before scikit-learn's estimators were kept by skops; never made anew."""
    vector = {"musicnn-msd": [np.array([[1, 2]], np.float32)]}
    found = GenreModel.load(FORMATS / "genre_model_1").predict(vector)
    np.testing.assert_allclose(found, [[1.76561370e-04, 9.99823439e-01]], rtol=1e-5)
    with pytest.raises(LibraryError, match="kept neighbours in another way; train it again"):
        GenreModel.load(FORMATS / "genre_model_1_neighbours")
