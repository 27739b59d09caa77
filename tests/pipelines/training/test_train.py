"""From a library to a trained version and its answers, through the functions and the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import planted

from crossfade.errors import DataError, LibraryError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.schema import SourceLog, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.explain import explain
from crossfade.pipelines.search.recommend import SCHEMA, recommend, recommend_liked, write_parquet
from crossfade.pipelines.training.train import TrainingOptions, train
from crossfade.pipelines.versions.model_version import ModelVersion

WORLD = planted(users=250, artists=50, each=6)
NOTHING_KNOWN = "silent stranger"


def filled(folder: Path) -> Library:
    """The planted world as a library; the last track has neither sound nor artist nor listens."""
    library = Library.open(folder, create=True)
    catalogue = WORLD.catalogue
    ids = [*catalogue.track_ids, NOTHING_KNOWN]
    library.add_tracks(pl.DataFrame({"track_id": ids, "artists": [*map(list, catalogue.artists), ["Various Artists"]]}))
    library.add_vectors("planted", catalogue.track_ids, catalogue.sound)
    listens = WORLD.train
    table = pl.DataFrame(
        {
            "user_id": [f"u{row}" for row in listens.user_rows],
            "track_id": [catalogue.track_ids[row] for row in listens.track_rows],
        }
    )
    with writing(library, "planted") as (part, _):
        sink(SourceLog(folder, table.lazy()), part)
    return library


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("library")
    with filled(place) as library:
        train(library, TrainingOptions(seed=1))
    return place


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    with Library.open(folder) as opened:
        yield opened


@pytest.fixture
def version(library: Library) -> ModelVersion:
    return ModelVersion.load(library)


def test_the_summary_holds_choices_and_validation_figures(library: Library) -> None:
    about = json.loads((library.current_version() / "training.json").read_text())
    assert about["tracks"] == (WORLD.train.listeners > 0).sum()
    assert about["catalogue"] == len(WORLD.catalogue) + 1
    assert {"ndcg_new_artist", "ndcg_known_artist", "ndcg_warm"} <= about["figures"].keys()
    assert about["choices"]["crossfade"]["tau"] > 0


def test_the_same_seed_trains_the_same_model(folder: Path, tmp_path: Path) -> None:
    with filled(tmp_path / "again") as again:
        train(again, TrainingOptions(seed=1))
        one = ModelVersion.load(again)
    with Library.open(folder) as first:
        np.testing.assert_array_equal(ModelVersion.load(first).hybrid.taste, one.hybrid.taste)


def remove_tracks(library: Library, *track_ids: str) -> None:
    with library.transaction() as db:
        db.executemany("DELETE FROM tracks WHERE track_id = ?", [(track_id,) for track_id in track_ids])


def similar(version: ModelVersion, track_id: str, k: int, *, blend: float = 0.0) -> list[str]:
    rows, _ = version.similar(track_id, k, blend=blend)
    return [version.track_ids[row] for row in rows]


def test_every_user_gets_k_new_tracks_each_with_a_reason(version: ModelVersion) -> None:
    frame = pl.concat(recommend(version, ["u3", "u1"], 10))
    assert frame["user_id"].to_list() == ["u3"] * 10 + ["u1"] * 10
    heard = {f"u{u} t{t}" for u, t in zip(WORLD.train.user_rows, WORLD.train.track_rows, strict=True)}
    shown = frame.select(pl.format("{} {}", "user_id", "track_id")).to_series().to_list()
    assert not heard & set(shown)
    reasons = frame.drop_nulls("because").select(pl.format("{} {}", "user_id", "because")).to_series().to_list()
    assert reasons
    assert set(reasons) <= heard


def test_an_unknown_user_gets_what_is_popular(version: ModelVersion) -> None:
    frame = pl.concat(recommend(version, ["nobody knows me"], 5))
    most = np.argsort(-WORLD.train.listeners, kind="stable")[0]
    assert frame["track_id"][0] == f"t{most}"
    assert frame["because"].null_count() == 5


def test_more_than_the_catalogue_holds(version: ModelVersion) -> None:
    frame = pl.concat(recommend(version, ["u0"], 10_000, allow_seen=True))
    assert frame["track_id"].n_unique() == len(frame) == len(WORLD.catalogue)
    assert NOTHING_KNOWN not in frame["track_id"]
    with pytest.raises(UsageError, match="k: 0"):
        list(recommend(version, ["u0"], 0))


def test_somebody_who_likes_a_cold_track_and_a_file(version: ModelVersion) -> None:
    cold = int(WORLD.new[0])
    file = Catalogue.of_one("song.ogg", WORLD.catalogue.sound[int(WORLD.new[1])])
    both = recommend_liked(version, [f"t{cold}", file], 5)
    assert len(both) == 5
    assert f"t{cold}" not in both["track_id"]
    assert set(both["because"].drop_nulls()) <= {f"t{cold}", "song.ogg"}
    with pytest.raises(UsageError, match="no such track"):
        recommend_liked(version, ["never heard of"], 5)


def test_a_new_track_is_found_and_recommended_without_training(version: ModelVersion) -> None:
    twin = int(np.argmax(WORLD.train.listeners))
    sound, artists = WORLD.catalogue.sound[twin : twin + 1], WORLD.catalogue.artists[twin]
    new = Catalogue(("brand new",), (artists,), sound)
    before, version = version, version.append_tracks(new)
    assert "brand new" in similar(version, f"t{twin}", 3) and similar(version, "brand new", 1) == [f"t{twin}"]
    other = before.append_tracks(replace(new, track_ids=("another",)))
    assert similar(other, "another", 1) == [f"t{twin}"]
    assert "brand new" not in other and "brand new" not in before and len(before) + 1 == len(version) == len(other)
    frame = pl.concat(recommend(version, ["u0"], 10_000))
    assert "brand new" in frame["track_id"]
    assert explain(version, "brand new")["listeners"] == 0
    with pytest.raises(UsageError, match="already"):
        version.append_tracks(new)


def test_an_unknown_file_is_placed_by_its_sound(version: ModelVersion) -> None:
    row = int(WORLD.new[2])
    for blend in (0.0, 0.5, 1.0):
        found, scores = version.similar_to(Catalogue.of_one("", WORLD.catalogue.sound[row]), 5, blend=blend)
        assert len(found) == 5
        if blend == 0:
            assert version.track_ids[found[0]] == f"t{row}"
            assert scores[0] == pytest.approx(1, abs=1e-5)
    with pytest.raises(LibraryError, match="7 dimensions, but the version was trained on 24"):
        version.similar_to(Catalogue.of_one("", np.ones(7, np.float32)), 5)
    with pytest.raises(UsageError, match="blend"):
        version.similar("t0", 5, blend=1.5)


def test_a_track_of_which_nothing_is_known_is_explained_and_never_an_answer(version: ModelVersion) -> None:
    said = explain(version, NOTHING_KNOWN)
    assert said["nearest_by_sound"] == said["nearest_by_taste"] == []
    assert "cannot be placed" in said["why"]
    assert similar(version, NOTHING_KNOWN, 3) == []


def test_explaining_adds_up(version: ModelVersion) -> None:
    warm = explain(version, f"t{int(np.argmax(WORLD.train.listeners))}")
    assert warm["weight"] == pytest.approx(warm["listeners"] / (warm["listeners"] + warm["tau"]), abs=1e-3)
    cold = explain(version, f"t{int(WORLD.known[0])}")
    assert cold["weight"] == 0
    assert cold["artist_tracks"] > 0
    assert len(cold["nearest_by_taste"]) == 5


def test_tracks_removed_after_the_training_are_no_answers(tmp_path: Path) -> None:
    with filled(tmp_path) as library:
        train(library)
        popular = f"t{int(np.argmax(WORLD.train.listeners))}"
        [before] = similar(ModelVersion.load(library), "t0", 1, blend=0.5)
        remove_tracks(library, popular, before)
        version = ModelVersion.load(library)
        shown = pl.concat(recommend(version, ["u0", "stranger"], 10_000, allow_seen=True))
        assert not {popular, before} & set(shown["track_id"])
        assert before not in similar(version, "t0", 500, blend=0.5)


def test_a_version_that_is_updated_is_the_one_that_is_loaded(folder: Path, tmp_path: Path) -> None:
    """Live = batch: a service that follows the library has what a program has that opens it now."""
    place = Path(shutil.copytree(folder, tmp_path / "L"))
    with Library.open(place) as library:
        first = ModelVersion.load(library)
        remove_tracks(library, "t3")
        library.add_tracks(pl.DataFrame({"track_id": ["new 1", "new 2"], "artists": [["artist 1"], ["nobody"]]}))
        library.add_vectors("planted", ["new 1"], WORLD.catalogue.sound[:1])
        updated = first.updated(library)
        assert updated is not None
        remove_tracks(library, "new 2")
        library.add_tracks(pl.DataFrame({"track_id": ["t3"]}))
        library.add_vectors("planted", ["t3"], WORLD.catalogue.sound[3:4])
        updated, loaded = updated.updated(library), ModelVersion.load(library)
        assert updated is not None
        alive = np.flatnonzero(updated.in_library)
        assert [updated.track_ids[row] for row in alive] == [*loaded.track_ids]
        assert loaded.in_library.all() and "t3" in updated and "new 2" not in updated and "new 2" not in first
        np.testing.assert_allclose(updated.index.vectors[alive], loaded.index.vectors, atol=1e-6)
        np.testing.assert_allclose(updated.hybrid.taste[alive], loaded.hybrid.taste, atol=1e-6)
        for name in ("t0", "new 1"):
            assert similar(updated, name, 9, blend=0.5) == similar(loaded, name, 9, blend=0.5)
        artists = WORLD.catalogue.artists[int(np.argmax(WORLD.train.listeners))]
        library.add_tracks(pl.DataFrame({"track_id": ["new 1"], "artists": [list(artists)]}))
        assert updated.updated(library) is None, "a cold track of another artist is placed anew"


def test_another_encoder_than_it_was_trained_on(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    file = library.current_version() / "training.json"
    about = json.loads(file.read_text()) | {"sound": "encoder", "encoder": "an older one"}
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **k: json.dumps(about) if path == file else _text(path))
    with pytest.raises(LibraryError, match="trained on an older one, but embedded with"):
        ModelVersion.load(library)


def _text(path: Path) -> str:
    with path.open() as file:
        return file.read()


def test_a_failed_training_leaves_the_old_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Library.open(folder) as library:
        before = library.current_version()
        versions = sorted(library.models.iterdir())

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ModelVersion, "save", full)
        with pytest.raises(OSError, match="No space"):
            train(library, TrainingOptions(seed=2))
        assert library.current_version() == before
        assert sorted(library.models.iterdir()) == versions


def test_a_log_of_other_tracks_and_an_untrained_library(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        with pytest.raises(LibraryError, match="not trained yet"):
            ModelVersion.load(library)
        library.add_tracks(pl.DataFrame({"track_id": ["a"]}))
        log = pl.DataFrame({"user_id": ["u"], "track_id": ["b"]})
        with writing(library, "x") as (part, _):
            sink(SourceLog(tmp_path, log.lazy()), part)
        with pytest.raises(DataError, match="none of the 1 tracks"):
            train(library)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def heard_everything(folder: Path) -> Path:
    with Library.open(folder, create=True) as library:
        library.add_tracks(pl.DataFrame({"track_id": ["a", "b"]}))
        log = pl.DataFrame({"user_id": ["u1", "u1", "u2"], "track_id": ["a", "b", "a"]})
        with writing(library, "x") as (part, _):
            sink(SourceLog(folder, log.lazy()), part)
        train(library)
    return folder


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--library", str(folder)]
    assert main(["recommend", "u1", "who?", "-k", "3", *where]) == 0
    said = lines(capsys.readouterr().out)
    assert [list(line) for line in said] == [["user_id", "track_id", "score", "because"]] * 6
    (tmp_path / "users").write_text("u1\n\nu2\n")
    out = tmp_path / "out.parquet"
    assert main(["recommend", "--users", str(tmp_path / "users"), "--out", str(out), *where]) == 0
    assert lines(capsys.readouterr().out) == [{"users": 2, "rows": 20}]
    assert len(pl.read_parquet(out)) == 20
    assert main(["recommend", "--like", "t1", "t2", "-k", "2", *where]) == 0
    assert len(lines(capsys.readouterr().out)) == 2
    assert main(["explain", "t1", *where]) == 0
    assert "why" in lines(capsys.readouterr().out)[0]
    assert main(["recommend", "u1", "--library", str(heard_everything(tmp_path / "small"))]) == 0
    said = capsys.readouterr()
    assert not said.out and "u1: nothing to recommend" in said.err
    for wrong in ("recommend", "recommend u1 --like t1", "explain t-1", "recommend u1 -k 0"):
        assert main([*wrong.split(), *where]) == 2
        assert capsys.readouterr().err.startswith("crossfade: ")


def test_the_train_command_samples_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path).close()
    assert main(["train", "--library", str(tmp_path), "--users-sample", "0.5"]) == 0
    (summary,) = lines(capsys.readouterr().out)
    assert summary["users"] == 125
    assert summary["users_sample"] == 0.5


def test_a_tiny_log_is_trained_without_a_validation_part(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        library.add_tracks(pl.DataFrame({"track_id": ["a", "b", "c"]}))
        log = pl.DataFrame({"user_id": ["u", "u", "v"], "track_id": ["a", "b", "a"]})
        with writing(library, "x") as (part, _):
            sink(SourceLog(tmp_path, log.lazy()), part)
        summary = train(library, replace(TrainingOptions(), seed=3))
        assert summary.figures == {}
        assert pl.concat(recommend(ModelVersion.load(library), ["v"], 3))["track_id"].to_list() == ["b"]


@pytest.mark.parametrize("has_mark", [True, False])
def test_an_embedding_that_changed_since_the_training_is_taken_up(folder: Path, tmp_path: Path, has_mark: bool) -> None:
    """A track that is heard again is compared by its new sound; its taste is its listeners' until the next training.

    Also in a version that was trained before there were marks.
    """
    place = Path(shutil.copytree(folder, tmp_path / "L"))
    with Library.open(place) as library:
        file = library.current_version() / "training.json"
        about = json.loads(file.read_text())
        file.write_text(json.dumps(about if has_mark else {**about, "changes": None}))
        before = ModelVersion.load(library)
        warm, cold = int(np.argmax(before.hybrid.listeners)), int(WORLD.new[0])
        library.add_vectors("planted", [f"t{warm}", f"t{cold}"], WORLD.catalogue.sound[[cold, warm]])
        after = ModelVersion.load(library)
    width = before.index.factors
    swapped, rows = np.array([cold, warm]), np.array([warm, cold])
    np.testing.assert_allclose(after.index.vectors[rows, width:], before.index.vectors[swapped, width:], atol=1e-6)
    np.testing.assert_array_equal(after.hybrid.taste[warm], before.hybrid.taste[warm])
    assert not np.allclose(after.hybrid.taste[cold], before.hybrid.taste[cold])
    others = np.setdiff1d(np.arange(len(before.track_ids)), rows)
    np.testing.assert_allclose(after.index.vectors[others], before.index.vectors[others], atol=1e-6)


def test_recommendations_are_written_as_they_come(tmp_path: Path) -> None:
    """Those of a million users do not fit into memory: what came first is on disk before the last is asked for."""
    file, rows = tmp_path / "out" / "recs.parquet", 20_000
    written: list[int] = []

    def frames(count: int) -> Iterator[pl.DataFrame]:
        for number in range(count):
            written.append(sum(part.stat().st_size for part in file.parent.glob("*.part")))
            names = {"user_id": [f"u{number}"] * rows, "track_id": [f"{number}/{row}" for row in range(rows)]}
            yield pl.DataFrame(names).with_columns(score=pl.lit(0.5), because=pl.lit(None)).cast(dict(SCHEMA))

    assert write_parquet(frames(60), file) == 60 * rows
    assert written[0] == 0 < written[-1]
    table = pl.read_parquet(file)
    named = [f"{number}/{row}" for number in range(60) for row in range(rows)]
    assert table.schema == SCHEMA and table["track_id"].to_list() == named

    def broken() -> Iterator[pl.DataFrame]:
        yield from frames(1)
        raise UsageError("k: 0")

    with pytest.raises(UsageError, match="k: 0"):
        write_parquet(broken(), file)
    assert len(pl.read_parquet(file)) == 60 * rows and list(file.parent.iterdir()) == [file]
    assert write_parquet(iter(()), file) == 0 and pl.read_parquet(file).schema == SCHEMA
