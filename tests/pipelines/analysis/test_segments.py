"""Segments, maps, and the commands that find them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("implicit")
pytest.importorskip("torch")

from sklearn.metrics import adjusted_rand_score

from crossfade.errors import DataError, UsageError
from crossfade.models.analysis.listener_clusters import SegmentOptions, Segments, lift
from crossfade.models.analysis.projection import flat_map
from crossfade.models.recommenders.als import ALS, ALSOptions
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.schema import SourceLog, conform, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.world import World, WorldOptions

QUICK = SegmentOptions(most=7, repeats=2)
WORLD = WorldOptions(users=300, tracks=300, artists=40, groups=4, styles=6, listens_per_user=60, seed=3)


def clouds(rng: np.random.Generator, groups: int = 4, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    truth = np.repeat(np.arange(groups), each)
    return (np.eye(8)[truth] + rng.normal(0, 0.1, (len(truth), 8))).astype(np.float32), truth


@pytest.fixture(scope="module")
def library_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segments") / "library"
    world = World(WORLD)
    with Library.open(folder, create=True) as library:
        library.add_tracks(world.track_table())
        library.add_vectors("sound", list(world.tracks.track_ids), world.tracks.sound)
        with writing(library, "world") as (part, _):
            sink(SourceLog(folder, conform(world.event_table().lazy())), part)
    return folder


@pytest.mark.parametrize("method", ["k-means", "mixture"])
def test_clear_groups_are_found_and_counted(method: str, rng: np.random.Generator) -> None:
    vectors, truth = clouds(rng)
    segments = Segments(replace(QUICK, method=method)).fit(vectors)
    assert adjusted_rand_score(truth, segments.labels) == 1
    chosen = [choice for choice in segments.choices if choice.chosen]
    assert [choice.count for choice in chosen] == [4] and chosen[0].stability == 1
    np.testing.assert_array_equal(segments.assign(vectors), segments.labels)


@pytest.mark.parametrize("method", ["k-means", "mixture"])
def test_what_was_learned_from_is_assigned_as_it_was_labelled(method: str, rng: np.random.Generator) -> None:
    """A mixture's groups of unlike width and size: `assign` knows covariances and weights, not only the centres."""
    vectors = np.zeros((600, 3), np.float32)
    vectors[:, :2] = rng.normal([4, 0], [0.05, 0.02], (600, 2))
    vectors[500:, :2] = rng.normal([4, 0.4], [0.05, 1.2], (100, 2))
    vectors[:, 2] = rng.normal(0, 0.1, 600)
    segments = Segments(replace(QUICK, method=method, count=2)).fit(vectors)
    np.testing.assert_array_equal(segments.assign(vectors), segments.labels)


def test_planted_groups_of_the_world_are_recovered() -> None:
    world = World(WorldOptions(users=500, tracks=500, artists=60, seed=1))
    vectors = ALS(ALSOptions(factors=32, threads=1)).fit(world.listens()).user_factors
    segments = Segments(SegmentOptions(most=8, repeats=2)).fit(vectors)
    assert adjusted_rand_score(world.user_groups, segments.labels) >= 0.8


def test_a_seeded_run_repeats_exactly_and_a_saved_one_too(rng: np.random.Generator, tmp_path: Path) -> None:
    vectors, _ = clouds(rng)
    first, second = Segments(QUICK).fit(vectors), Segments(QUICK).fit(vectors)
    np.testing.assert_array_equal(first.centers, second.centers)
    first.save(tmp_path)
    again = Segments.load(tmp_path)
    np.testing.assert_array_equal(again.assign(vectors), first.labels)
    assert again.choices == first.choices == second.choices


def test_a_loaded_mixture_assigns_as_the_saved_one(rng: np.random.Generator, tmp_path: Path) -> None:
    vectors, _ = clouds(rng)
    mixture = Segments(replace(QUICK, method="mixture")).fit(vectors)
    mixture.save(tmp_path)
    others = rng.normal(0, 1, (200, 8)).astype(np.float32)
    np.testing.assert_array_equal(Segments.load(tmp_path).assign(others), mixture.assign(others))


def test_who_has_no_vector_is_in_no_segment(rng: np.random.Generator) -> None:
    vectors, _ = clouds(rng)
    vectors[:3] = 0
    segments = Segments(QUICK).fit(vectors)
    assert segments.labels[:3].tolist() == [-1, -1, -1] and (segments.labels[3:] >= 0).all()
    assert segments.assign(vectors[:1]).tolist() == [-1]


def test_no_segment_is_empty_and_the_largest_comes_first(rng: np.random.Generator) -> None:
    vectors = np.repeat(np.eye(3, 8, dtype=np.float32), [5, 9, 2], axis=0)
    sizes = np.bincount(Segments(replace(QUICK, count=6)).fit(vectors).labels)
    assert sizes.tolist() == [9, 5, 2]


def test_what_cannot_be_parted_is_refused(rng: np.random.Generator) -> None:
    vectors, _ = clouds(rng)
    with pytest.raises(DataError, match="1 different vectors"):
        Segments().fit(np.ones((10, 4), np.float32))
    with pytest.raises(DataError, match="0 different vectors"):
        Segments().fit(np.zeros((10, 4), np.float32))
    with pytest.raises(DataError, match="not numbers"):
        Segments().fit(np.where(vectors > 0.9, np.nan, vectors))
    with pytest.raises(DataError, match="4 dimensions"):
        Segments(QUICK).fit(vectors).assign(np.ones((1, 4), np.float32))
    with pytest.raises(UsageError, match="count: 0"):
        SegmentOptions(count=0)
    with pytest.raises(UsageError, match="method tree"):
        SegmentOptions(method="tree")


def test_lift_is_one_for_what_everybody_has_and_damped_for_what_few_have() -> None:
    everybody = np.array([500.0, 500.0, 1.0])
    np.testing.assert_allclose(lift(everybody, everybody), 1)
    found = lift(np.array([90.0, 10.0, 1.0]), everybody, doubt=0)
    assert found[0] > 1 > found[1] and found[2] > found[0]
    assert lift(np.array([90.0, 10.0, 1.0]), everybody, doubt=1000)[2] < 2
    np.testing.assert_array_equal(lift(np.zeros(2), np.zeros(2)), 0)


def test_maps_keep_groups_together_and_repeat(rng: np.random.Generator) -> None:
    vectors, truth = clouds(rng, groups=3)
    positions, method = flat_map(vectors, method="pca")
    assert method == "pca" and positions.shape == (120, 2)
    within = max(positions[truth == group].std(axis=0).max() for group in range(3))
    assert within < positions.std(axis=0).min() / 2
    np.testing.assert_array_equal(flat_map(vectors, method="pca")[0], positions)
    vectors[5] = 0
    assert not flat_map(vectors, method="pca")[0][5].any()
    assert not flat_map(np.zeros((4, 3), np.float32))[0].any()
    with pytest.raises(UsageError, match="umap, tsne, pca"):
        flat_map(vectors, method="mds")


@pytest.mark.slow
def test_umap_separates_groups(rng: np.random.Generator) -> None:
    pytest.importorskip("umap")
    vectors, truth = clouds(rng, groups=3)
    positions, method = flat_map(vectors)
    assert method == "umap"
    assert adjusted_rand_score(truth, Segments(replace(QUICK, count=3)).fit(positions).labels) > 0.3


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_command_describes_and_writes(
    library_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.models.analysis.projection.find_spec", lambda name: None)
    assert main(["segments", "--library", str(library_folder), "--count", "4", "--out", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    found = lines(output.out)
    assert sum(int(str(line["size"])) for line in found) == 300 and len(found) == 4
    assert all(line["genres"] and line["artists"] and line["tracks"] for line in found)
    assert "silhouette" in output.err
    table = pl.read_parquet(tmp_path / "listeners.parquet")
    assert table.columns == ["id", "segment", "x", "y"] and table.null_count().row(0) == (0, 0, 0, 0)
    world = World(WORLD)
    truth = dict(zip(world.user_ids, world.user_groups.tolist(), strict=True))
    labels = [truth[name] for name in table.get_column("id")]
    assert adjusted_rand_score(labels, table.get_column("segment").to_numpy()) >= 0.8
    assert (tmp_path / "map-of-listeners.png").stat().st_size > 1000
    newcomers = pl.read_parquet(tmp_path / "listeners-newcomers.parquet")
    assert newcomers.columns == ["segment", "rank", "track_id"]
    assert set(newcomers["segment"]) == {None, 0, 1, 2, 3}
    ask = ["segments", "--library", str(library_folder), "--count", "4", "-k", "8", "--json", "--newcomer"]
    assert main([*ask, "any"]) == 0
    anybody = lines(capsys.readouterr().out)
    assert len({line["track_id"] for line in anybody}) == 8 and {line["segment"] for line in anybody} == {0, 1, 2, 3}
    assert main([*ask, "2"]) == 0
    mine = [line["track_id"] for line in lines(capsys.readouterr().out)]
    assert mine == newcomers.filter(pl.col("segment") == 2)["track_id"][:8].to_list()
    assert main([*ask, "4"]) == 2 and "segment 4: there are 0 to 3" in capsys.readouterr().err
    assert main([*ask, "x"]) == 2 and "--newcomer x: has to be the number" in capsys.readouterr().err
    assert main(["segments", "--library", str(library_folder), "--of", "tracks", "--count", "3", "--json"]) == 0
    assert len(lines(capsys.readouterr().out)) == 3


def test_the_autoencoder_learns_a_library_and_learns_on(
    library_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.models.analysis.projection.find_spec", lambda name: None)
    first, second = tmp_path / "first", tmp_path / "second"
    shared = ["autoencoder", "--library", str(library_folder), "--epochs", "1", "--json"]
    assert main([*shared, "--out", str(first), "--noise", "0.2"]) == 0
    epoch, summary = lines(capsys.readouterr().out)
    assert epoch["epoch"] == 1 and epoch["saved"] is True and summary["count"] == World(WORLD).event_table().height
    assert pl.read_parquet(first / "strangest.parquet").height == 20
    assert {path.stem for path in first.glob("*.png")} >= {"errors", "bottleneck-by-error", "bottleneck-by-genre"}
    for name, count in (("users", WORLD.users), ("tracks", WORLD.tracks)):
        vectors = pl.read_parquet(first / f"{name}.parquet")
        assert vectors.columns == ["id", "bottleneck"] and 0.9 * count < vectors.drop_nulls().height <= count
    assert main([*shared, "--out", str(second), "--continue-from", str(first)]) == 0
    assert lines(capsys.readouterr().out)[0]["train_loss"] < epoch["train_loss"]  # type: ignore[operator]
    wrong = [*shared, "--out", str(second), "--continue-from", str(first)]
    assert main([*wrong, "--ids", "embedded"]) == 2
    assert "was trained with numbers" in capsys.readouterr().err
    assert main([*wrong, "--noise", "2"]) == 2 and "noise: 2.0, outside 0 … 1" in capsys.readouterr().err
    assert main([*shared, "--out", str(second), "--continue-from", str(tmp_path)]) == 1
    assert "holds no trained autoencoder" in capsys.readouterr().err
    assert not list(first.glob(".events-*")) and not (first / "training.state").exists()
    by_bottleneck = ["segments", "--library", str(library_folder), "--bottleneck", str(first), "--count", "2", "--json"]
    assert main(by_bottleneck) == 0
    assert sum(int(str(line["size"])) for line in lines(capsys.readouterr().out)) == 300
    assert main([*shared, "--out", str(second), "--continue-from", str(tmp_path)]) == 1
    assert "holds no trained autoencoder" in capsys.readouterr().err
