"""`crossfade neural`: a model in a folder, its embeddings in files, and answers to somebody it never met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from crossfade.pipelines.commands.main import main

USERS, TRACKS = 30, 16


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users like tracks of their own parity, and rate them 5; the others 2."""
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(rng.random((USERS, TRACKS)) < 0.6)
    folder = tmp_path_factory.mktemp("neural")
    log = pl.DataFrame(
        {
            "user_id": [f"u{row}" for row in rows],
            "track_id": [f"t{column}" for column in columns],
            "rating": np.where(rows % 2 == columns % 2, 5.0, 2.0),
            "time": 1_600_000_000 + rng.permutation(len(rows)),
        }
    )
    log.write_csv(folder / "log.csv")
    arguments = ["listens", str(folder / "log.csv"), "--format", "csv", "--library", str(folder / "library"), "--json"]
    assert main(arguments) == 0
    return folder / "library"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_ratings_are_learned_and_an_unknown_user_gets_recommendations(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("neural", "train", "mf", "--library", str(library), "--out", str(tmp_path), "--objective", "ratings")
    train += ("--epochs", "40")
    *epochs, summary = run(capsys, *train, "--refit")
    assert summary["refitted"] and summary["validation_rmse"] < 1.2 and summary["users"] == USERS
    assert epochs[summary["best_epoch"] - 1]["saved"]
    # The search for the best epoch, then as many epochs with all ratings.
    assert len(epochs) == summary["epochs"] + summary["best_epoch"]
    tracks, users = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("tracks", "users"))
    assert tracks.columns == users.columns == ["id", "embedding", "bias"]
    assert (tracks.height, users.height) == (TRACKS, USERS) and tracks["embedding"].list.len().unique().to_list() == [
        64
    ]
    assert pl.read_parquet(tmp_path / "epochs.parquet").height == summary["epochs"]
    assert (tmp_path / "epochs.png").stat().st_size > 1000 and not (tmp_path / "unfinished").exists()
    ask = ("neural", "recommend", str(tmp_path), "--heard", "t0=5,t2=5,t1=2,t3=2,t4=5")
    found = [line["track_id"] for line in run(capsys, *ask, "-k", "3")]
    assert len(found) == 3 and not {"t0", "t2", "t4"} & set(found)
    (line,) = run(capsys, *ask, "--embedding")
    assert len(line["embedding"]) == 64


def test_what_comes_next_after_some_tracks(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ("neural", "train", "sasrec", "--library", str(library), "--out", str(tmp_path), "--epochs", "1")
    *_, summary = run(capsys, *train)
    assert not summary["refitted"] and not (tmp_path / "users.parquet").exists()
    assert len(run(capsys, "neural", "recommend", str(tmp_path), "--heard", "t1,t3", "-k", "4")) == 4
    assert main(["neural", "recommend", str(tmp_path), "--heard", "t1", "--embedding"]) == 2
    assert "sasrec: has no embeddings of users" in capsys.readouterr().err


def test_what_cannot_be_done_is_one_line(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["neural", "train", "vae", "--library", str(library), "--out", str(tmp_path)]
    assert main([*train, "--objective", "ratings"]) == 2
    assert "--objective ratings: only mf has a choice" in capsys.readouterr().err
    assert main([*train, "--epochs", "2", "--json"]) == 0
    ask = ["neural", "recommend", str(tmp_path)]
    assert main([*ask, "--heard", "t1,new"]) == 1
    assert "new: the model knows no such track; it may be newer than the training" in capsys.readouterr().err
    assert main([*ask, "--heard", "t1=x"]) == 2
    assert main(["neural", "recommend", str(library), "--heard", "t1"]) == 1
    assert "holds no neural model; learn one with crossfade neural train" in capsys.readouterr().err
