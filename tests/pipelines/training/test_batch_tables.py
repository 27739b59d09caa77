"""The tables that `train` writes for other systems, and that they agree with the commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_training import OPTIONS, WORLD

from crossfade.errors import UsageError
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.ranking.diversity import RerankingOptions
from crossfade.models.ranking.two_stage import TwoStageRecommender
from crossfade.models.recommenders.registry import make
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.cleaning import clean
from crossfade.pipelines.interactions.schema import listed_ids, read_listens, to_listens
from crossfade.pipelines.interactions.user_deletion import EVER, forget, user_hash
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.recommend import recommend, recommend_one
from crossfade.pipelines.training.batch_tables import ACTIVE_SECONDS, ArtefactOptions, listed_users
from crossfade.pipelines.training.train import train
from crossfade.pipelines.versions.model_version import ModelVersion

TABLES = {
    "top_popular": "item_id users_top users_top_norm num_users_norm name albums artists genres",
    "personal_als": "user_id item_id rank score",
    "recommendations": "user_id item_id rank score",
    "similar": "item_id similar_item_id rank score",
    "user_features": "user_id listening_month tracks_listened tracks_per_month",
}


@pytest.fixture
def library(trained_copy: Library) -> Library:
    return trained_copy


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


def test_a_library_in_a_folder_with_brackets(trained_folder: Path, tmp_path: Path) -> None:
    """They are a pattern to polars, unless it is told otherwise."""
    folder = Path(shutil.copytree(trained_folder, tmp_path / "Music [old]"))
    with Library.open(folder) as library:
        before = ModelVersion.load(library).user_ids
        train(library, replace(OPTIONS, seed=3))
        with library.rewriting():
            forget(library, {user_hash(str(before[0])): EVER})
        assert before[0] not in ModelVersion.load(library).user_ids


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


@pytest.mark.parametrize("lists", ["all", "active", "none"])
def test_who_has_lists(library: Library, lists: str) -> None:
    """Of the world's year the last 90 days count; the tables keep their form where nobody has any."""
    train(library, replace(OPTIONS, artefacts=replace(OPTIONS.artefacts, lists=lists)))
    events = read_listens(library).collect()
    recent = events.filter(pl.col("time") > pl.col("time").max() - ACTIVE_SECONDS)["user_id"]
    users = {"all": set(events["user_id"]), "active": set(recent), "none": set()}[lists]
    for name in ("personal_als", "recommendations"):
        table = pl.read_parquet(library.current_version() / "artefacts" / f"{name}.parquet")
        assert table.columns == TABLES[name].split()
        assert set(table["user_id"]) == users


def test_a_user_who_left_has_no_lists_unless_all_have_them() -> None:
    day = 86_400
    listens = Interactions(
        np.array([0, 1, 1], np.int32), np.zeros(3, np.int32), np.ones(3, np.float32), 3, 1,
        times=np.array([0, 0, 200]) * day, clock=Clock.TIME,
    )  # fmt: skip
    assert listed_users(listens, "active").tolist() == [False, True, False]
    assert listed_users(listens, "all").all() and not listed_users(listens, "none").any()
    assert listed_users(replace(listens, times=None, clock=Clock.NONE), "active").all()
    with pytest.raises(UsageError, match="lists: some"):
        ArtefactOptions(lists="some")
