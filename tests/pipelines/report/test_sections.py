"""Sound, genres and models in the report: every number is that of a direct query."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
import soundfile
from polars.testing import assert_frame_equal

from crossfade.models.genres.vocabulary import Vocabulary
from crossfade.pipelines.audio_analysis.analyzer import Description, TrackAnalysis
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.evaluation.slices import GROUPS
from crossfade.pipelines.interactions.schema import conform
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.report.context import ReportOptions
from crossfade.pipelines.report.page import Report, write_report
from crossfade.pipelines.simulation.world import World, WorldOptions

pytestmark = pytest.mark.slow
Numbers = Mapping[str, pl.DataFrame]
TRACKS = 120


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldOptions(users=100, tracks=TRACKS, artists=20, listens_per_user=30, days=100, seed=4))


@pytest.fixture(scope="module")
def heard(world: World) -> pl.DataFrame:
    """What an encoder might have said: embeddings with a copy among them, genre probabilities, loudness and tempo."""
    rng = np.random.default_rng(0)
    labels = world.track_table()["genres"].list.first().to_list()
    names = sorted({label.lower() for label in labels})
    logits = rng.normal(size=(TRACKS, len(names)))
    logits[np.arange(TRACKS), [names.index(label.lower()) for label in labels]] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    embeddings = np.asarray(world.tracks.sound, np.float32).copy()
    embeddings[7] = embeddings[3]
    return pl.DataFrame(
        {
            "track_id": list(world.tracks.track_ids),
            "label": labels,
            "embedding": embeddings.tolist(),
            "probabilities": probabilities.astype(np.float32).tolist(),
            "heard": [names[row] for row in probabilities.argmax(axis=1)],
            "loudness_lufs": rng.normal(-15, 4, TRACKS),
            "tempo_bpm": [None if row % 9 == 0 else float(rng.normal(110, 20)) for row in range(TRACKS)],
        }
    )


@pytest.fixture(scope="module")
def library(world: World, heard: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Trained and evaluated; every track has a file."""
    folder = tmp_path_factory.mktemp("numbers") / "library"
    opened = Library.open(folder, create=True)
    opened.add_tracks(world.track_table())
    opened.listens_folder.mkdir()
    conform(world.event_table().lazy()).collect().write_parquet(opened.listens_folder / "log.parquet")
    names = sorted({label.lower() for label in heard["label"]})
    with opened.transaction() as db:
        for number, row in enumerate(heard.iter_rows(named=True)):
            file = folder / f"{number}.wav"
            soundfile.write(file, np.random.default_rng(number).normal(size=16_000) / 10, 16_000)
            description = Description(True, [], tempo_bpm=row["tempo_bpm"], loudness_lufs=row["loudness_lufs"])
            embedding, probabilities = (np.array(row[name], np.float32) for name in ("embedding", "probabilities"))
            genres = Vocabulary(tuple(names), "of this test")
            opened.add_analysis(f"{number}", TrackAnalysis(180.0, embedding, probabilities, description, genres))
            db.execute(
                "UPDATE tracks SET content_hash = ?, path = ? WHERE track_id = ?",
                (f"{number}", os.fsencode(file), row["track_id"]),
            )
    shown = ["--library", str(folder), "--json"]
    assert main(["train", *shown]) == 0
    table = ["--models", "als", "--scenarios", "warm,cold", "-k", "5,10", "--out", str(folder / "evaluation.jsonl")]
    assert main(["evaluate", *shown, *table]) == 0
    return opened


@pytest.fixture(scope="module")
def written(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(library, tmp_path_factory.mktemp("out"), ReportOptions(top=3))


@pytest.fixture(scope="module")
def numbers(written: Report) -> Numbers:
    folder = written.page.parent / "numbers"
    return {file.stem: pl.read_parquet(file) for file in folder.iterdir()}


@pytest.fixture(scope="module")
def evaluation(library: Library) -> pl.DataFrame:
    lines = (library.folder / "evaluation.jsonl").read_text().splitlines()
    return pl.DataFrame([json.loads(line) for line in lines], infer_schema_length=None)


def unit(vectors: list[list[float]]) -> np.ndarray:
    array = np.array(vectors, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_copies_are_found(numbers: Numbers, heard: pl.DataFrame) -> None:
    vectors = unit(heard["embedding"].to_list())
    cosines = np.triu(vectors @ vectors.T, 1)
    pairs = {frozenset((heard["track_id"][int(a)], heard["track_id"][int(b)])) for a, b in np.argwhere(cosines > 0.995)}
    found = numbers["near_duplicates"]
    assert {frozenset(pair) for pair in found.select("track_id", "other_id").rows()} == pairs
    assert frozenset((heard["track_id"][3], heard["track_id"][7])) in pairs


def test_typical_and_odd_tracks_are_the_nearest_and_the_farthest(numbers: Numbers, heard: pl.DataFrame) -> None:
    found = numbers["gallery"]
    assert found["genre"].n_unique() == min(6, heard["label"].n_unique())
    for genre in found["genre"].unique():
        own = heard.filter(pl.col("label") == genre)
        vectors = unit(own["embedding"].to_list())
        nearness = vectors @ vectors.mean(axis=0)
        for kind, value in (("typical", nearness.max()), ("odd", nearness.min())):
            row = found.row(by_predicate=(pl.col("genre") == genre) & (pl.col("kind") == kind), named=True)
            assert row["nearness"] == pytest.approx(float(value), rel=1e-5)
            assert row["track_id"] == own["track_id"][int(np.abs(nearness - value).argmin())]


def test_loudness_and_tempo(numbers: Numbers, heard: pl.DataFrame) -> None:
    for name, width in (("loudness_lufs", 1.0), ("tempo_bpm", 5.0)):
        known = heard[name].drop_nulls()
        direct = (known / width).floor().value_counts().rename({name: "low", "count": "tracks"})
        direct = direct.with_columns(pl.col("low") * width).sort("low")
        assert_frame_equal(numbers[name].select("low", "tracks"), direct, check_dtypes=False)


def test_every_track_is_on_both_maps_with_its_genre(numbers: Numbers, heard: pl.DataFrame) -> None:
    for name in ("sound_map", "taste_map"):
        assert set(numbers[name]["track_id"]) == set(heard["track_id"])
    genres = heard.select("track_id", genre="label")
    coloured = numbers["sound_map"].join(genres, on="track_id").filter(pl.col("colour") != "all others")
    assert (coloured["colour"] == coloured["genre"]).all()
    places = [numbers[name].sort("track_id").select("x", "y") for name in ("sound_map", "taste_map")]
    assert_frame_equal(*places)


def test_labels_against_sound(numbers: Numbers, heard: pl.DataFrame) -> None:
    direct = heard.group_by("label", "heard").agg(tracks=pl.len())
    direct = direct.with_columns(share=pl.col("tracks") / pl.col("tracks").sum().over("label"))
    found = numbers["label_confusion"].filter(pl.col("tracks") > 0)
    assert_frame_equal(found.sort("label", "heard"), direct.sort("label", "heard"), check_dtypes=False)
    sums = numbers["label_confusion"].group_by("label").agg(pl.col("share").sum())["share"]
    assert np.allclose(sums, 1)

    names = sorted({label.lower() for label in heard["label"]})
    own = [row["probabilities"][names.index(row["label"].lower())] for row in heard.iter_rows(named=True)]
    first = heard["probabilities"].list.max()
    direct = heard.select("track_id", own=pl.Series(own), probability=first, heard="heard", label="label")
    direct = direct.filter(pl.col("heard") != pl.col("label").str.to_lowercase())
    found = numbers["doubtful_labels"]
    margin = found["probability"] - found["own"]
    assert margin.is_sorted(descending=True)
    columns = ["track_id", "own", "probability"]
    assert_frame_equal(
        found.select(columns).sort("track_id"), direct.select(columns).sort("track_id"), check_dtypes=False
    )


def test_calibration_counts_what_agrees(numbers: Numbers, heard: pl.DataFrame) -> None:
    sure = heard.with_columns(
        sure=pl.col("probabilities").list.max().cast(pl.Float64),
        agrees=pl.col("heard") == pl.col("label").str.to_lowercase(),
    )
    measured = numbers["calibration"].filter(pl.col("what") == "measured")
    assert measured["tracks"].sum() == len(heard)
    for row in measured.iter_rows(named=True):
        low = np.floor(row["claimed"] * 5) / 5
        inside = sure.filter(pl.col("sure").is_between(low, low + 0.2, closed="left"))
        assert (len(inside), inside["agrees"].mean()) == (row["tracks"], pytest.approx(row["right"]))
        assert row["least"] <= row["right"] <= row["most"]


def test_quality_is_that_of_the_evaluation(numbers: Numbers, evaluation: pl.DataFrame) -> None:
    ndcg = evaluation.filter((pl.col("metric") == "ndcg") & (pl.col("k") == 10)).drop_nulls("value")
    grouped = pl.col("slice").is_in([f"warm, {group}" for group in GROUPS])
    for name, value in numbers["quality_by_listeners"].group_by("group"):
        wanted = "warm" if name == ("all",) else f"warm, {name[0]}"
        assert sorted(value["value"]) == sorted(ndcg.filter(pl.col("slice") == wanted)["value"])
    ndcg = ndcg.filter(~grouped)
    columns = ["slice", "model", "value", "low", "high"]
    assert_frame_equal(numbers["quality"].select(columns), ndcg.select(columns), check_row_order=False)
    for name, metric in (("coverage", "catalogue_coverage"), ("popularity_bias", "popularity_bias")):
        rows = evaluation.filter((pl.col("metric") == metric) & (pl.col("slice") == "warm"))
        assert_frame_equal(
            numbers[name].select("model", "k", "value"), rows.select("model", "k", "value"), check_row_order=False
        )
    for row in numbers["winners"].iter_rows(named=True):
        here = ndcg.filter(pl.col("slice") == row["slice"])
        assert row["value"] == here["value"].max()
        assert here.filter(pl.col("model") == row["model"])["value"].item() == row["value"]
        gains = evaluation.filter(
            (pl.col("metric") == "ndcg_gain") & (pl.col("k") == 10) & (pl.col("slice") == row["slice"])
        )
        for rival in filter(None, row["rivals"].split(", ")):
            both = pl.col("model", "against").is_in([row["model"], rival])
            pair = gains.filter(pl.all_horizontal(both))
            assert not pair["better"].item() and not pair["worse"].item()


def test_the_crossfade_and_the_ranker_are_those_of_the_version(numbers: Numbers, library: Library) -> None:
    tau = json.loads((library.current_version() / "training.json").read_text())["choices"]["crossfade"]["tau"]
    voice = numbers["crossfade"].filter(pl.col("voice") == "its listeners")
    assert np.allclose(voice["weight"], voice["n"] / (voice["n"] + tau))
    direct = dict(pl.read_parquet(library.current_version() / "artefacts" / "feature_importance.parquet").iter_rows())
    shown = dict(numbers["feature_importance"].iter_rows())
    assert shown == {name: pytest.approx(direct[name]) for name in shown}
    assert sorted(shown.values()) == pytest.approx(sorted(direct.values())[-20:])
    header = json.loads((library.current_version() / "ranker.json").read_text())
    curve = numbers["ranker_curve"].filter(pl.col("part") == "learned from")
    assert np.allclose(curve["loss"], header["facts"]["curve"]["learn"])


def test_listeners_get_what_recommend_gives(
    numbers: Numbers, library: Library, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    found = numbers["listeners_sample"]
    titles = dict(world.track_table().select("track_id", "title").iter_rows())
    for user_id in found["user_id"].unique():
        own = found.filter(pl.col("user_id") == user_id)
        capsys.readouterr()
        assert main(["recommend", user_id, "--library", str(library.folder), "-k", "5", "--json"]) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for row, answer in zip(own.sort("rank").iter_rows(named=True), answers, strict=True):
            assert row["recommended"].startswith(titles[answer["track_id"]])
            assert row["because"].startswith(titles[answer["because"]])
            assert row["score"] == pytest.approx(answer["score"], rel=1e-4)
        events = world.event_table().filter(pl.col("user_id") == user_id)
        most = events.group_by("track_id").len().sort("len", descending=True)["len"].head(5).to_list()
        assert own.sort("rank")["listens"].drop_nulls().to_list() == most


def test_groups_of_listeners_are_all_listeners(numbers: Numbers, world: World) -> None:
    events = world.event_table()
    assert numbers["segments"]["listeners"].sum() == events["user_id"].n_unique()
    assert numbers["segments"]["share"].sum() == pytest.approx(1)
    labelled = events.join(world.track_table().explode("genres", empty_as_null=True), on="track_id")
    assert numbers["segment_genres"]["listens"].sum() == len(labelled)
    sums = numbers["segment_genres"].group_by("name").agg(pl.col("share").sum())["share"]
    assert np.allclose(sums, 1)
