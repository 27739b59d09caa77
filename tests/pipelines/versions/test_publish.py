"""What is published is what is pulled, whatever breaks on the way."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from small_training import OPTIONS

from crossfade.errors import UsageError
from crossfade.models.storage import content_hash
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.commands.options import show_configuration
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.recommend import recommend
from crossfade.pipelines.training.batch_tables import ArtefactOptions
from crossfade.pipelines.training.train import train
from crossfade.pipelines.versions import publish as publishing
from crossfade.pipelines.versions.model_version import ModelVersion
from crossfade.pipelines.versions.publish import publish, pull
from crossfade.pipelines.versions.remote_storage import Destination, PublishError, destination, settings


@pytest.fixture
def library(trained_copy: Library) -> Library:
    return trained_copy


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
    train_it = ["train", "--library", str(library.folder), "--config", str(config)]
    told: list[str] = []

    def fail(*_: object) -> None:
        told.append(capsys.readouterr().err)
        raise PublishError("s3://music/nightly/current.json: the line went dead")

    monkeypatch.setattr(publishing, "publish", fail)
    assert main([*train_it, "--force"]) == 1
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
