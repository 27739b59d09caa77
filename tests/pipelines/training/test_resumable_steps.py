"""`train` as steps: what runs, what is not run again, and what is left of a step that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_training import OPTIONS

from crossfade.errors import DataError
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.recommend import recommend
from crossfade.pipelines.training.batch_tables import ArtefactOptions, VersionLists
from crossfade.pipelines.training.engine import LocalEngine
from crossfade.pipelines.training.train import train
from crossfade.pipelines.versions.model_version import ModelVersion

OF_USERS = VersionLists.of_users


@pytest.fixture
def library(trained_copy: Library) -> Library:
    return trained_copy


def log_of(library: Library) -> list[tuple[str, str]]:
    """(stage, state) of each line of the log."""
    lines = (library.folder / "execution_log.txt").read_text().splitlines()
    return [(line.split()[1], line.split()[2]) for line in lines]


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


def test_a_log_without_a_listen_is_an_error(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library, pytest.raises(DataError, match="no listens yet"):
        train(library, OPTIONS)


def stop_at(rows: int, asked: list[int]) -> Callable[..., object]:
    """In place of `VersionLists.of_users`: makes lists until so many users have asked, then is interrupted."""

    def of_users(lists: VersionLists, users: np.ndarray) -> object:
        if len(asked) >= rows:
            raise KeyboardInterrupt
        asked.extend(users.tolist())
        return OF_USERS(lists, users)

    return of_users


def test_a_killed_training_goes_on_where_it_was(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, before, first, then = replace(OPTIONS, seed=3), library.current_version(), [], []
    monkeypatch.setattr(LocalEngine, "rows_per_part", 30)
    monkeypatch.setattr(VersionLists, "of_users", stop_at(60, first))
    with pytest.raises(KeyboardInterrupt):
        train(library, changed)
    assert library.current_version() == before and len(library.versions()) == 1
    monkeypatch.setattr(VersionLists, "of_users", stop_at(10**6, then))
    train(library, changed)
    states = [("hybrid", "resumed"), ("ranking", "resumed"), ("artefacts", "run")]
    assert log_of(library)[-3:] == states
    assert len(first) == 60 and not set(first) & set(then)
    folder = library.current_version() / "artefacts"
    assert not list(folder.glob(".*"))
    train(library, changed, force=True)
    for name in ("recommendations", "personal_als", "similar"):
        in_one_go = library.current_version() / "artefacts" / f"{name}.parquet"
        assert pl.read_parquet(folder / f"{name}.parquet").equals(pl.read_parquet(in_one_go))


def test_what_a_killed_training_left_of_no_use_goes(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VersionLists, "of_users", stop_at(0, []))
    with pytest.raises(KeyboardInterrupt):
        train(library, replace(OPTIONS, seed=3))
    assert len(list(library.models.glob("*-*"))) == 2
    monkeypatch.undo()
    train(library, replace(OPTIONS, seed=4))
    assert sorted(library.models.glob("*-*")) == sorted(library.versions())
    assert ("hybrid", "resumed") not in log_of(library)
