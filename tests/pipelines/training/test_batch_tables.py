"""`train` as stages: what is written, what is not run again, what a product takes away, and publishing it all."""

from __future__ import annotations

import json
import shutil
import sqlite3
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_training import OPTIONS

from crossfade.errors import DataError, UsageError
from crossfade.models.ranking.diversity import RerankingOptions
from crossfade.models.ranking.two_stage import TwoStageRecommender
from crossfade.models.recommenders.registry import make
from crossfade.models.storage import content_hash
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.commands.options import read_configuration, show_configuration
from crossfade.pipelines.interactions.cleaning import clean
from crossfade.pipelines.interactions.schema import SourceLog, listed_ids, read_listens, sink, to_listens, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.recommend import recommend, recommend_one
from crossfade.pipelines.simulation.world import World, WorldOptions
from crossfade.pipelines.training.batch_tables import ArtefactOptions
from crossfade.pipelines.training.train import TrainingOptions, train
from crossfade.pipelines.versions import publish as publishing
from crossfade.pipelines.versions.model_version import ModelVersion
from crossfade.pipelines.versions.publish import publish, pull
from crossfade.pipelines.versions.remote_storage import Destination, PublishError, destination, settings

WORLD = World(WorldOptions(users=100, tracks=120, artists=25, listens_per_user=40, seed=5))
TABLES = {
    "top_popular": "item_id users_top users_top_norm num_users_norm name albums artists genres",
    "personal_als": "user_id item_id rank score",
    "recommendations": "user_id item_id rank score",
    "similar": "item_id similar_item_id rank score",
    "user_features": "user_id listening_month tracks_listened tracks_per_month",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    with Library.open(folder, create=True) as library:
        library.add_tracks(WORLD.track_table())
        library.add_vectors("world", WORLD.tracks.track_ids, WORLD.tracks.sound)
        with writing(library, "world") as (part, _):
            sink(SourceLog(folder, WORLD.event_table().lazy()), part)
        train(library, OPTIONS)
    return folder


@pytest.fixture
def library(original: Path, tmp_path: Path) -> Iterator[Library]:
    shutil.copytree(original, tmp_path / "library")
    with Library.open(tmp_path / "library") as opened:
        yield opened


def log_of(library: Library) -> list[tuple[str, str]]:
    """(stage, state) of each line of the log."""
    lines = (library.folder / "execution_log.txt").read_text().splitlines()
    return [(line.split()[1], line.split()[2]) for line in lines]


# -- stages ----------------------------------------------------------------------------------------------------------


def test_a_second_training_does_nothing(library: Library) -> None:
    before = library.current_version()
    summary = train(library, OPTIONS)
    assert library.current_version() == before
    assert summary.version == before.name
    assert summary.unchanged == ("hybrid", "ranking", "artefacts")
    assert summary.listens > 0
    assert log_of(library) == [(name, state) for state in ("run", "unchanged") for name in summary.unchanged]


def test_only_what_depends_on_a_change_runs_again(library: Library) -> None:
    first = library.current_version()
    ranker = replace(OPTIONS.ranking.ranker, iterations=11)
    changed = replace(OPTIONS, ranking=replace(OPTIONS.ranking, ranker=ranker))
    assert train(library, changed).unchanged == ("hybrid",)
    assert (library.current_version() / "als.safetensors").samefile(first / "als.safetensors")
    shorter = replace(changed, artefacts=replace(OPTIONS.artefacts, per_user=3))
    summary = train(library, shorter)
    assert summary.unchanged == ("hybrid", "ranking")
    assert summary.ranker == "classifier"
    assert summary.candidate_recall
    table = pl.read_parquet(library.current_version() / "artefacts" / "recommendations.parquet")
    assert table["rank"].max() == 3
    manifest = json.loads((library.current_version() / "artefacts" / "manifest.json").read_text())
    assert manifest["version"] == library.current_version().name
    assert json.loads((first / "training.json").read_text())["version"] == first.name


def test_a_new_listen_or_track_runs_everything(library: Library) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["brand new"], "title": ["Brand new"], "artists": [["Nobody"]]}))
    assert train(library, OPTIONS).unchanged == ()


def test_threads_make_no_difference(library: Library) -> None:
    ranker = replace(OPTIONS.ranking.ranker, threads=2)
    again = replace(OPTIONS, ranking=replace(OPTIONS.ranking, ranker=ranker), als=replace(OPTIONS.als, threads=2))
    assert len(train(library, again).unchanged) == 3


def test_force_runs_everything(library: Library) -> None:
    before = library.current_version()
    assert train(library, OPTIONS, force=True).unchanged == ()
    assert library.current_version() != before


def test_a_lost_file_is_made_again(library: Library) -> None:
    (library.current_version() / "artefacts" / "similar.parquet").unlink()
    assert train(library, OPTIONS).unchanged == ("hybrid", "ranking")
    assert (library.current_version() / "artefacts" / "similar.parquet").exists()


def test_a_stage_that_fails_leaves_the_version(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    before, versions = library.current_version(), sorted(library.models.iterdir())

    def fail(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossfade.pipelines.training.train.write_artefacts", fail)
    with pytest.raises(OSError, match="No space"):
        train(library, replace(OPTIONS, artefacts=ArtefactOptions(top=3)))
    assert library.current_version() == before
    assert sorted(library.models.iterdir()) == versions
    assert log_of(library)[-1] == ("artefacts", "failed:")


def test_with_too_little_for_a_ranker_the_hybrid_recommends(library: Library) -> None:
    said: list[str] = []
    ranker = replace(OPTIONS.ranking.ranker, least_positives=10**6)
    summary = train(library, replace(OPTIONS, ranking=replace(OPTIONS.ranking, ranker=ranker)), message=said.append)
    assert "1000000 are needed" in summary.ranker
    assert len(said) == 1
    version = ModelVersion.load(library)
    assert version.two_stage is None
    assert len(pl.concat(recommend(version, ["1"], 5))) == 5
    manifest = json.loads((library.current_version() / "artefacts" / "manifest.json").read_text())
    assert "ranker" not in manifest["models"]


def test_what_is_evaluated_is_what_is_served(library: Library) -> None:
    """`ranked`, made and fitted as `crossfade evaluate` does it, `recommend` and the service give the same lists."""
    log, _ = clean(read_listens(library), OPTIONS.cleaning)
    catalogue, (users, _) = library.catalogue(), listed_ids(log)
    assert catalogue.album_counts is not None
    listens = to_listens(log, users, catalogue.track_ids, OPTIONS.cleaning.confidence)
    evaluated = make("ranked", catalogue, als=OPTIONS.als, options=OPTIONS.ranking, seed=OPTIONS.seed).fit(listens)
    served, rows = ModelVersion.load(library), np.arange(12, dtype=np.int32)
    assert served.user_ids == users.to_list()
    ids, scores = evaluated.recommend(rows, 10)
    lists = pl.concat(recommend(served, users.to_list()[:12], 10)).group_by("user_id", maintain_order=True)
    for row, ((_,), table) in zip(rows.tolist(), lists, strict=True):
        history = served.hybrid.user_history(row)
        live, live_scores = recommend_one(served, history, 10, user_row=row)
        assert table["track_id"].to_list() == [catalogue.track_ids[track] for track in ids[row]]
        np.testing.assert_array_equal(live, ids[row])
        np.testing.assert_array_equal(table["score"].to_numpy(), scores[row])
        np.testing.assert_array_equal(live_scores, scores[row])


def test_a_version_whose_ranking_has_its_former_name_opens(library: Library) -> None:
    version = library.current_version()
    before = pl.concat(recommend(ModelVersion.load(library), ["1", "2"], 5))
    header = version / "ranked.json"
    header.write_text(header.read_text().replace('"model": "ranked"', '"model": "ranking"'))
    for file in [header, version / "ranked.safetensors"]:
        file.rename(file.with_stem("ranking"))
    assert pl.concat(recommend(ModelVersion.load(library), ["1", "2"], 5)).equals(before)
    TwoStageRecommender.forget_users(version, np.array([0]))
    assert (ModelVersion.load(library).two_stage.generator.last[0] == -1).all()


# -- artefacts -------------------------------------------------------------------------------------------------------


def test_the_tables(library: Library) -> None:
    folder = library.current_version() / "artefacts"
    for name, columns in TABLES.items():
        table = pl.read_parquet(folder / f"{name}.parquet")
        assert table.columns == columns.split()
        assert len(table)
    top = pl.read_parquet(folder / "top_popular.parquet")
    assert len(top) == 10
    assert top["users_top"].is_sorted(descending=True)
    assert top["users_top_norm"][0] == 1
    users = pl.read_parquet(folder / "user_features.parquet")
    rate = users["tracks_listened"] / users["listening_month"]
    assert (rate - users["tracks_per_month"]).abs().max() < 1e-4
    assert not list(folder.glob("*.part"))
    importance = pl.read_parquet(folder / "feature_importance.parquet")
    assert importance["importance"].sum() == pytest.approx(100)
    assert (folder / "feature_importance.png").read_bytes().startswith(b"\x89PNG")


def test_recommendations_are_those_of_the_command(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.read_parquet(library.current_version() / "artefacts" / "recommendations.parquet")
    user = table["user_id"][0]
    assert main(["recommend", user, "-k", "8", "--library", str(library.folder)]) == 0
    said = [json.loads(line)["track_id"] for line in capsys.readouterr().out.splitlines()]
    assert said == table.filter(pl.col("user_id") == user)["item_id"].to_list()
    assert main(["recommend", user, "-k", "8", "--library", str(library.folder), "--per-artist", "1"]) == 0
    fewer = [json.loads(line)["track_id"] for line in capsys.readouterr().out.splitlines()]
    artists = dict(zip(WORLD.tracks.track_ids, WORLD.tracks.artists, strict=True))
    names = [name for track in fewer for name in artists[track] if name != "Various Artists"]
    assert len(set(names)) == len(names)


def test_the_configuration_decides_how_lists_are_made(library: Library) -> None:
    train(library, replace(OPTIONS, reranking=RerankingOptions(per_artist=1)))
    assert ModelVersion.load(library).reranking.per_artist == 1


def test_top_popular_of_some_days(library: Library) -> None:
    some = replace(OPTIONS.artefacts, since="2024-03-01", until="2024-04-01")
    train(library, replace(OPTIONS, artefacts=some))
    top = pl.read_parquet(library.current_version() / "artefacts" / "top_popular.parquet")
    events = WORLD.event_table().filter(
        (pl.col("time") >= 1_709_251_200) & (pl.col("time") < 1_711_929_600), track_id=top["item_id"][0]
    )
    assert 0 < top["users_top"][0] <= events["user_id"].n_unique()
    with pytest.raises(UsageError, match="no listens between"):
        train(library, replace(OPTIONS, artefacts=replace(OPTIONS.artefacts, until="1999-01-01")))
    with pytest.raises(UsageError, match="since: yesterday"):
        ArtefactOptions(since="yesterday")


# -- configuration ---------------------------------------------------------------------------------------------------


def test_what_is_shown_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "train.toml"
    file.write_text(show_configuration(OPTIONS))
    assert read_configuration(file, TrainingOptions()) == OPTIONS
    assert main(["train", "--config", str(file), "--top", "7", "--show-config"]) == 0
    file.write_text(capsys.readouterr().out)
    assert read_configuration(file, TrainingOptions()).artefacts == replace(OPTIONS.artefacts, top=7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tau = 3", "tau: no such option"),
        ("[ranking.ranker]\ntrees = 5", "ranking.ranker.trees: no such option"),
        ('seed = "one"', "seed: 'one'; it has to be int"),
        ("cleaning = 5", "it is a table"),
        ("[reranking]\ndiversity = 5", "it has to be from 0 to 1"),
        ('[ranking.ranker]\nobjective = "x"', "objective: x"),
        ("seed = ", "not TOML"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "train.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_configuration(file, TrainingOptions())
    with pytest.raises(UsageError, match="No such file"):
        read_configuration(tmp_path / "none.toml", TrainingOptions())


# -- publishing ------------------------------------------------------------------------------------------------------


def place(tmp_path: Path) -> Destination:
    return Destination((tmp_path / "remote").as_uri(), {})


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_is_published_is_what_is_pulled(library: Library, tmp_path: Path) -> None:
    done = {folder.folder: folder for folder in publish(library, place(tmp_path))}
    assert set(done) == {"data", "model", "recommendations", "pictures"}
    assert all(folder.moved == folder.files for folder in done.values())
    assert all(not folder.moved for folder in publish(library, place(tmp_path)))
    elsewhere = tmp_path / "elsewhere"
    version, _ = pull(place(tmp_path), elsewhere)
    assert version == library.current_version().name
    assert files_of(elsewhere / "models" / version) == files_of(library.current_version())
    with Library.open(elsewhere) as other:
        assert other.tracks().equals(library.tracks())
        here, there = (pl.concat(recommend(ModelVersion.load(one), ["1", "2"], 5)) for one in (library, other))
        assert here.equals(there)
        assert train(other, OPTIONS).unchanged == ("hybrid", "ranking", "artefacts")
    again = {folder.folder: folder.moved for folder in pull(place(tmp_path), elsewhere)[1]}
    assert again == {"data": 1, "model": 0, "recommendations": 0, "pictures": 0}


def test_an_interrupted_upload_leaves_the_former_version(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(library, place(tmp_path))
    first = library.current_version().name
    train(library, replace(OPTIONS, artefacts=ArtefactOptions(top=5)), force=True)
    uploaded: list[str] = []
    upload = Destination.upload

    def stumble(self: Destination, file: Path, name: str) -> None:
        if len(uploaded) == 3:
            raise PublishError("the line went dead")
        uploaded.append(name)
        upload(self, file, name)

    with monkeypatch.context() as patch:
        patch.setattr(Destination, "upload", stumble)
        with pytest.raises(PublishError, match="line went dead"):
            publish(library, place(tmp_path))
    assert pull(place(tmp_path), tmp_path / "one")[0] == first
    assert not list(library.folder.glob(".publishing-*"))
    done = publish(library, place(tmp_path))
    assert sum(folder.files - folder.moved for folder in done) >= 3
    assert pull(place(tmp_path), tmp_path / "two")[0] == library.current_version().name


def test_a_damaged_upload_is_noticed(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Destination, "digest", lambda self, name: "another")
    with pytest.raises(PublishError, match="not what was uploaded"):
        publish(library, place(tmp_path))
    with pytest.raises(PublishError, match="nothing was published"):
        pull(place(tmp_path), tmp_path / "elsewhere")


def test_a_damaged_place_changes_nothing(library: Library, tmp_path: Path) -> None:
    publish(library, place(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    pull(place(tmp_path), elsewhere)
    before = files_of(elsewhere / "models")
    train(library, OPTIONS, force=True)
    publish(library, place(tmp_path))
    manifest = json.loads((tmp_path / "remote" / "manifests" / f"{library.current_version().name}.json").read_text())
    entry = next(e for path, e in manifest["files"].items() if path.endswith("training.json"))
    (tmp_path / "remote" / entry["at"]).write_text("{}")
    with pytest.raises(PublishError, match="damaged"):
        pull(place(tmp_path), elsewhere)
    assert files_of(elsewhere / "models") == before
    (tmp_path / "remote" / "current.json").write_text("nonsense")
    with pytest.raises(PublishError, match=r"current\.json: damaged"):
        pull(place(tmp_path), elsewhere)


def test_a_manifest_cannot_write_outside_of_the_library(library: Library, tmp_path: Path) -> None:
    publish(library, place(tmp_path))
    file = next((tmp_path / "remote" / "manifests").iterdir())
    manifest = json.loads(file.read_text())
    manifest["files"][f"models/{manifest['version']}/../../../evil"] = next(iter(manifest["files"].values()))
    file.write_text(json.dumps(manifest))
    pointer = {"format_version": 1, "version": manifest["version"], "hash": content_hash(file.read_bytes())}
    (tmp_path / "remote" / "current.json").write_text(json.dumps(pointer))
    with pytest.raises(PublishError, match="no file of a library"):
        pull(place(tmp_path), tmp_path / "elsewhere")


def test_a_library_of_its_own_is_left_alone(library: Library, tmp_path: Path) -> None:
    publish(library, place(tmp_path))
    with Library.open(tmp_path / "mine", create=True) as mine:
        mine.add_tracks(pl.DataFrame({"track_id": ["mine"]}))
        before = mine.change_counter()
    with pytest.raises(UsageError, match="a library of its own"):
        pull(place(tmp_path), tmp_path / "mine")
    with sqlite3.connect(tmp_path / "mine" / "library.db") as db:
        assert db.execute("SELECT track_id FROM tracks").fetchall() == [("mine",)]
    db.close()
    pull(place(tmp_path), tmp_path / "mine", replace=True)
    with Library.open(tmp_path / "mine") as mine:
        assert "mine" not in mine.track_ids()
        # Whoever followed its tracks has to read them all.
        assert not mine.change_counter().follows(before)
        before = mine.change_counter()
    pull(place(tmp_path), tmp_path / "mine")
    with Library.open(tmp_path / "mine") as mine:
        assert not mine.change_counter().follows(before)


def test_where_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_BUCKET_NAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text("# mine\nexport S3_BUCKET_NAME='from-file'\nS3_ENDPOINT_URL=http://x\nOTHER=1\n")
    assert settings(tmp_path) == {"S3_BUCKET_NAME": "from-file", "S3_ENDPOINT_URL": "http://x"}
    monkeypatch.setenv("S3_BUCKET_NAME", "from-environment")
    assert destination(None, settings(tmp_path)) == "s3://from-environment"
    assert destination("s3://asked/for/", settings(tmp_path)) == "s3://asked/for"
    assert destination(None, {}) is None
    assert destination(str(tmp_path), {}) == tmp_path.as_uri()
    with pytest.raises(UsageError, match="zzz"):
        Destination("zzz://x", {})


def test_publish_prints_where_it_uploaded(
    library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S3_BUCKET_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    where = ["--library", str(library.folder)]
    assert main(["publish", *where]) == 2
    assert "set S3_BUCKET_NAME" in capsys.readouterr().err
    assert main(["publish", str(tmp_path / "remote"), *where]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["to"].rpartition("/")[2] for line in lines} == {"data", "model", "recommendations", "pictures"}
    assert main(["pull", str(tmp_path / "remote"), "--library", str(tmp_path / "pulled")]) == 0
    config = tmp_path / "train.toml"
    config.write_text(show_configuration(OPTIONS))
    capsys.readouterr()
    assert main(["train", *where, "--config", str(config)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["unchanged"] == ["hybrid", "ranking", "artefacts"]
    assert "not published: S3_BUCKET_NAME is not set" in said.err


def test_train_prints_where_it_publishes_and_whether_it_did(
    library: Library, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bucket and prefix are named before the upload; one that fails does not hide the training."""
    monkeypatch.delenv("S3_BUCKET_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("S3_BUCKET_NAME=music/nightly\n")
    config = tmp_path / "train.toml"
    config.write_text(show_configuration(OPTIONS))
    train_it = ["train", "--library", str(library.folder), "--config", str(config), "--force"]
    told: list[str] = []

    def fail(*_: object) -> None:
        told.append(capsys.readouterr().err)
        raise PublishError("s3://music/nightly/current.json: the line went dead")

    monkeypatch.setattr(publishing, "publish", fail)
    assert main(train_it) == 1
    said = capsys.readouterr()
    assert "bucket music, prefix nightly (S3_BUCKET_NAME in .env" in told[0] and "--no-publish" in told[0]
    assert "crossfade: trained, but not published: s3://music/nightly/current.json: the line went dead" in said.err
    assert main([*train_it, "--no-publish"]) == 0
    assert len(told) == 1 and "publish" not in capsys.readouterr().err
    # What is trained is printed before anything is uploaded.
    monkeypatch.setattr(publishing, "publish", lambda *_: told.append(capsys.readouterr().out) or [])
    assert main(train_it) == 0
    assert json.loads(told[1])["version"] == library.current_version().name


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of an S3 server on loopback that has the bucket `music`."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    chosen = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "S3_ENDPOINT_URL": address}
    for name, value in {**chosen, "S3_BUCKET_NAME": "music", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    client.create_bucket(Bucket="music")
    client.close()
    yield address
    check_keys_after(address, "inf")
    server.stop()


def check_keys_after(address: str, requests: str) -> None:
    """From when on the server looks at keys; it begins by taking any."""
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{address}/moto-api/reset-auth", requests.encode(), headers)
    urllib.request.urlopen(request).close()


def test_s3(library: Library, tmp_path: Path, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--library", str(library.folder)]
    config = tmp_path / "train.toml"
    config.write_text(show_configuration(OPTIONS))
    assert main(["train", *where, "--config", str(config)]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[1]["to"].startswith("s3://music/")
    assert main(["publish", *where]) == 0
    assert all(json.loads(line)["uploaded"] == 0 for line in capsys.readouterr().out.splitlines())
    assert main(["pull", "--library", str(tmp_path / "pulled")]) == 0
    with Library.open(tmp_path / "pulled") as pulled:
        assert files_of(pulled.current_version()) == files_of(library.current_version())
    capsys.readouterr()
    assert main(["publish", "s3://no-such-bucket/x", *where]) == 1
    assert "does the bucket exist?" in capsys.readouterr().err
    check_keys_after(bucket, "0")
    assert main(["publish", *where]) == 1
    assert "check AWS_ACCESS_KEY_ID" in capsys.readouterr().err


def test_a_log_without_a_listen_is_an_error(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library, pytest.raises(DataError, match="no listens yet"):
        train(library, OPTIONS)
