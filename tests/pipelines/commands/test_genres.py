"""The genre commands, on sounds made here: what they print, what they refuse, and what they leave behind."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import soundfile

import crossfade
from crossfade.models.genres.model import GenreModel
from crossfade.pipelines.audio_analysis.feature_sources import FeatureCache, extract
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.genres.dataset import prepare, protocols
from crossfade.pipelines.genres.evaluate import evaluate
from crossfade.pipelines.genres.labels import read_labels
from crossfade.pipelines.genres.methods import method_named
from crossfade.pipelines.report.sections.models import genre_model_figures

pytest.importorskip("sklearn")

RATE = 16_000


def sound(genre, rng):
    """Three seconds: noise, chords or clicks."""
    time = np.arange(int(3.2 * RATE)) / RATE
    pitch = rng.uniform(180, 260)
    made = {
        "noise": lambda: rng.normal(size=len(time)),
        "chords": lambda: sum(np.sin(2 * np.pi * pitch * ratio * time) for ratio in (1, 1.25, 1.5)),
        "clicks": lambda: (np.sin(2 * np.pi * rng.uniform(3, 5) * time) > 0.98) * rng.normal(size=len(time)),
    }[genre]()
    return (0.2 * made / np.abs(made).max()).astype(np.float32)


GENRES = ("noise", "chords", "clicks")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    rng = np.random.default_rng(5)
    rows = []
    for genre in GENRES:
        for number in range(6):
            name = f"{genre}/{number}.flac"
            (folder / genre).mkdir(exist_ok=True)
            soundfile.write(folder / name, sound(genre, rng), RATE)
            rows.append((name, genre, f"{genre} artist {number // 2}", ("train", "train", "test")[number % 3]))
    write_labels(folder / "labels.csv", [row[:3] for row in rows])
    write_labels(folder / "split.csv", rows)
    return folder


def write_labels(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "genre", "artist", "split")[: len(rows[0])])
        writer.writerows(rows)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(cache, capsys):
    def command(*words):
        fitting = [] if words[0] == "evaluate" else ["--repeats", "1", "--cache", str(cache)]
        status = main(["genres", *map(str, words), *fitting])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err

    return command


def test_train_evaluate_and_use(collection, run, tmp_path):
    status, lines, _ = run("train", collection / "labels.csv", "--out", tmp_path / "M", "--folds", 3)
    assert status == 0
    assert [(line["split"], line["leaky"]) for line in lines] == [("artist", False), ("random", True)]
    assert all(line["model"] == "probe" and line["family"] == "encoder" for line in lines)
    assert lines[0]["accuracy"] == 1
    assert {path.name for path in (tmp_path / "M").iterdir()} == {
        "model.json",
        "weights.safetensors",
        "confusion.png",
        "wrong.csv",
    }
    status, lines, err = run("evaluate", collection / "labels.csv", "--genre-model", tmp_path / "M")
    assert (status, lines[0]["accuracy"], lines[0]["leaky"]) == (0, 1, True)
    assert "leaky" in err
    status, lines, _ = run("evaluate", "--genre-model", tmp_path / "M")
    assert [line["split"] for line in lines] == ["artist", "random"]
    assert set(lines[0]["per_class"]) == set(GENRES)
    # The report shows all that it looks for in a card: a key that no card has would be an error here.
    shown, by_genre, _ = genre_model_figures(tmp_path / "M")
    columns = ["split", "accuracy", "low", "high", "macro_f1", "ece", "tracks"]
    assert shown.frame.to_dicts() == [{name: line[name] for name in columns} for line in lines]
    first = by_genre.frame.row(0, named=True)
    assert first == {"split": "artist", "genre": first["genre"], **lines[0]["per_class"][first["genre"]]}
    found = crossfade.classify(collection / "noise" / "0.flac", genre_model=tmp_path / "M").genres
    assert found[0].name == "noise"
    assert sum(one.probability for one in found) == pytest.approx(1, abs=1e-3)


def test_a_given_split_is_kept(collection, run, tmp_path):
    # Each artist has tracks on both sides of this one.
    _, lines, _ = run("train", collection / "split.csv", "--out", tmp_path / "M")
    assert [(line["split"], line["leaky"]) for line in lines] == [("given", True)]
    assert GenreModel.load(tmp_path / "M").card.tracks == 12


def test_a_folder_without_artists_is_leaky(collection, run, tmp_path):
    _, lines, _ = run("train", collection, "--out", tmp_path / "M", "--folds", 2)
    assert [(line["split"], line["leaky"]) for line in lines] == [("random", True)]


@pytest.mark.parametrize(
    "needs",
    [
        {"probe": [], "cnn": ["torch", "torchaudio"]},
        # librosa compiles itself for half a minute where it is new.
        pytest.param(
            {name: ["librosa", "scikit-learn", "skops"] for name in ("svm", "neighbours")}, marks=pytest.mark.slow
        ),
    ],
    ids=",".join,
)
def test_compare_prints_a_line_for_each_model_and_split(collection, run, needs):
    words = ["--models", ",".join(needs), "--folds", 2, "--epochs", 2]
    status, lines, _ = run("compare", collection / "labels.csv", *words)
    assert status == 0
    assert [(line["model"], line["split"]) for line in lines] == [
        (model, split) for model in needs for split in ("artist", "random")
    ]
    for line in lines:
        assert {"accuracy", "macro_f1", "ece", "leaky", "train_seconds", "seconds_per_track"} <= set(line)
        assert line["size_bytes"] > 0
        assert line["extra_dependencies"] == needs[line["model"]]


def test_the_cnn_leaves_a_learning_curve_and_no_checkpoints(collection, run, tmp_path, monkeypatch):
    monkeypatch.setattr("crossfade.pipelines.commands.console.EVERY_SECONDS", 0)
    words = ["--model", "cnn", "--epochs", 2]
    status, _, err = run("train", collection / "split.csv", "--out", tmp_path / "M", *words)
    assert status == 0
    assert (tmp_path / "M" / "learning.png").stat().st_size > 1000
    assert "cnn: 0 of 1 trainings; epoch 2 of at most 2: loss" in err
    assert [path.name for path in tmp_path.iterdir()] == ["M"]


def test_what_cannot_be_decoded_is_left_out_and_named(collection, run, tmp_path, cache):
    rows = [(f"{genre}/{n}.flac", genre, f"{genre}{n}") for genre in GENRES for n in range(4)]
    silent = collection / "silent.flac"
    soundfile.write(silent, np.zeros(RATE * 2, np.float32), RATE)
    write_labels(collection / "some.csv", [*rows, ("silent.flac", "noise", "nobody")])
    status, _, err = run("train", collection / "some.csv", "--out", tmp_path / "M", "--folds", 2)
    assert status == 0
    assert "left out: silent.flac: silent" in err
    soundfile.write(collection / "silent2.flac", np.zeros(RATE * 3, np.float32), RATE)
    write_labels(collection / "all.csv", [*rows, ("silent.flac", "hush", "nobody"), ("silent2.flac", "hush", "no one")])
    status, _, err = run("train", collection / "all.csv", "--out", tmp_path / "N")
    assert status == 1
    assert "class 'hush': none of its 2 files could be heard (silent)" in err
    status, _, err = run("train", collection / "all.csv", "--out", tmp_path / "N", "--folds", 2, "--skip-classes")
    assert status == 0
    assert "classes left out: hush" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "magic"], "--model magic: not one of probe"),
        (["--folds", "1"], '"1" for --folds. Must be >= 2'),
        (["--error-rate", "2"], '"2.0" for --error-rate. Must be < 1'),
    ],
)
def test_wrong_usage(collection, run, tmp_path, words, message):
    status, _, err = run("train", collection / "labels.csv", "--out", tmp_path / "M", *words)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_an_unknown_class_in_an_evaluation(collection, run, tmp_path):
    run("train", collection / "split.csv", "--out", tmp_path / "M")
    rows = [(f"noise/{n}.flac", ("polka", "noise")[n % 2], f"{n}") for n in range(4)]
    write_labels(collection / "polka.csv", rows)
    status, _, err = run("evaluate", collection / "polka.csv", "--genre-model", tmp_path / "M")
    assert status == 1
    assert "class 'polka' is not known to the model" in err


def test_artists_can_be_learnt(collection, run, tmp_path):
    status, lines, _ = run(
        "train", collection / "labels.csv", "--out", tmp_path / "M", "--target", "artist", "--folds", 2
    )
    assert status == 0
    assert len(GenreModel.load(tmp_path / "M").card.classes) == 9
    assert lines[0]["leaky"]


def test_features_are_cached_by_content(collection, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    labels = read_labels(collection / "labels.csv")
    first = prepare(labels, ["musicnn-msd"], cache)
    monkeypatch.setattr(
        "crossfade.pipelines.audio_analysis.feature_sources.extract", lambda *_: pytest.fail("read again")
    )
    again = prepare(labels, ["musicnn-msd"], cache)
    for one, other in zip(first.features["musicnn-msd"], again.features["musicnn-msd"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.data_hash == again.data_hash


def test_no_artist_is_on_both_sides(collection, cache):
    prepared = prepare(read_labels(collection / "labels.csv"), ["musicnn-msd"], FeatureCache(cache))
    artist, random = protocols(prepared, folds=3, repeats=2)
    groups = prepared.groups
    assert (artist.name, artist.leaky, random.leaky) == ("artist", False, True)
    for fold in artist.folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])


@pytest.mark.slow
def test_real_clips(shared, tmp_path_factory):
    """The regression guard: random folds flatter (leaky), folds of unheard artists do not."""
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    labels = read_labels(shared / "gtzan_mini" / "labels.csv")
    probe, svm = method_named("probe"), method_named("svm")
    prepared = prepare(labels, [*probe.sources, *svm.sources], cache)
    artist, random = protocols(prepared, repeats=5)
    assert artist.skipped == ("classical", "reggae", "rock")
    assert evaluate(prepared, probe, artist).figures.accuracy >= 0.62
    assert evaluate(prepared, probe, random).figures.accuracy >= 0.88
    _, once = protocols(prepared)
    assert evaluate(prepared, svm, once).figures.accuracy >= 0.70


def test_a_patch_has_one_shape_in_training_and_use(collection):
    patches = extract(collection / "noise" / "0.flac", "log-mel")
    assert patches.shape[1:] == (115, 96)


def test_several_labels_and_sub_genres(collection, run, tmp_path):
    both = {"noise": "loud|Noise > white", "chords": "Tonal > chords", "clicks": "loud|Noise > clicks"}
    rows = [(f"{genre}/{n}.flac", both[genre], f"{genre} artist {n // 2}") for genre in GENRES for n in range(6)]
    write_labels(collection / "several.csv", rows)
    status, lines, _ = run("train", collection / "several.csv", "--out", tmp_path / "M", "--folds", 3)
    assert (status, lines[0]["accuracy"]) == (0, 1)
    assert lines[0]["roc_auc"] == lines[0]["pr_auc"] == 1 and lines[0]["one_class_tags"] == []
    assert GenreModel.load(tmp_path / "M").card.multi_label
    write_labels(collection / "noise.csv", rows[:6])
    status, lines, _ = run("evaluate", collection / "noise.csv", "--genre-model", tmp_path / "M")
    assert status == 0 and lines[0]["roc_auc"] is None and {"loud", "Tonal > chords"} < set(lines[0]["one_class_tags"])
    assert lines[0]["per_class"]["loud"]["roc_auc"] is None
    classified = crossfade.classify(collection / "noise" / "1.flac", genre_model=tmp_path / "M")
    found = {one.name: one.probability for one in classified.genres}
    assert min(found["loud"], found["Noise"]) > 0.5 > found["Tonal"]
