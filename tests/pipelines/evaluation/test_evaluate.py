"""crossfade evaluate: the rows, their slices, and what is said where there is nothing to say."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crossfade.errors import DataError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.models.evaluation.bootstrap import RESAMPLES
from crossfade.models.evaluation.user_groups import ACTIVITY_GROUPS, MAINSTREAM_GROUPS
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.recommenders.neural import neural_mf
from crossfade.models.recommenders.registry import BASELINES
from crossfade.pipelines import python_api
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.evaluation.evaluate import _learning, evaluate
from crossfade.pipelines.evaluation.options import EvaluationOptions
from crossfade.pipelines.evaluation.profiling import Row
from crossfade.pipelines.evaluation.protocols import SCENARIOS, plan
from crossfade.pipelines.evaluation.slices import GROUPS, LISTEN_GROUPS, OF_USERS, USER_GROUPS
from crossfade.pipelines.interactions.cleaning import CleaningOptions
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.report.context import ReportData, ReportOptions
from crossfade.pipelines.report.exhibits import Gap
from crossfade.pipelines.report.page import _best_models
from crossfade.pipelines.report.sections.evaluation import SHOWN, exhibits

USERS, TRACKS = 300, 250
KINDS = 5


@pytest.fixture(scope="module")
def world() -> tuple[Interactions, Catalogue]:
    """Five kinds of track; a user likes one kind and little else; sound tells the kinds apart."""
    rng = np.random.default_rng(3)
    kind_of_track, kind_of_user = np.arange(TRACKS) % KINDS, np.arange(USERS) % KINDS
    chance = np.where(kind_of_user[:, None] == kind_of_track, 0.4, 0.02)
    rows, columns = np.nonzero(rng.random((USERS, TRACKS)) < chance)
    times = 1_500_000_000 + rng.integers(0, 10_000_000, len(rows))
    listens = Interactions(
        rows.astype(np.int32),
        columns.astype(np.int32),
        np.ones(len(rows), np.float32),
        USERS,
        TRACKS,
        times,
        Clock.TIME,
    )
    sound = np.eye(KINDS)[kind_of_track] + 0.1 * rng.normal(size=(TRACKS, KINDS))
    # Each artist keeps to one kind; every fifth artist has one track only.
    artists = tuple(
        (f"solo {track}",) if track % 7 == 0 else (f"{track % KINDS}-{track // 40}",) for track in range(TRACKS)
    )
    return listens, Catalogue(tuple(f"t{track}" for track in range(TRACKS)), artists, sound.astype(np.float32))


OPTIONS = EvaluationOptions(models=("als", "content"), ks=(5, 20), resamples=100)


@pytest.fixture(scope="module")
def table(world: tuple[Interactions, Catalogue]) -> list[Row]:
    return list(evaluate(*world, OPTIONS))


def test_a_model_that_cannot_be_fitted_is_left_out(world: tuple[Interactions, Catalogue]) -> None:
    listens, catalogue = world
    few, said = listens.take(listens.user_rows < 12), list[str]()
    options = replace(OPTIONS, models=("ranked",), scenarios=("warm",))
    rows = list(evaluate(few, catalogue, options, message=said.append))
    assert {row["model"] for row in rows} == set(BASELINES)
    (reason,) = [line for line in said if "left out" in line]
    assert re.match(r"warm: ranked left out; ranker: \d+ .* needed", reason)


def test_the_report_finds_all_that_it_looks_for(table: list[Row], tmp_path: Path) -> None:
    """Intervals and figures reach the report: each name it reads from an evaluation's rows is one that is written."""
    curve = [SimpleNamespace(epoch=n, train_loss=1 / n, validation_loss=2 / n) for n in (1, 2)]
    learned = _learning("mf", cast(Any, SimpleNamespace(curve=curve)))
    file = tmp_path / "evaluation.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*table, *learned]))
    with Library.open(tmp_path / "library", create=True) as library:
        rows = ReportData(library, ReportOptions(evaluation=file), library.tracks(), None).evaluation
    assert rows is not None
    known, new = _best_models(rows)
    assert "known tracks" in known and "new tracks of known artists" in new
    shown = {exhibit.name: exhibit for exhibit in exhibits(rows) if not isinstance(exhibit, Gap)}
    names = ["quality", "winners", "quality_over_n"]
    groups = ["quality_by_listeners", "quality_by_tracks", "popularity_shift"]
    exposure = ["coverage", "popularity_bias", "exposure"]
    assert [*shown] == [*names, *groups, *exposure, "train_curves", "validation_curves", "evaluation"]
    assert shown["quality_by_listeners"].frame["group"].unique(maintain_order=True).to_list() == ["all", *USER_GROUPS]
    assert not shown["exposure"].frame.null_count().sum_horizontal().item()
    for name in (*names, *groups):
        assert not shown[name].frame.select("value", "low", "high").null_count().sum_horizontal().item()
    for metric, _ in SHOWN:
        (column,) = [name for name in shown["evaluation"].frame.columns if re.fullmatch(rf"{metric}@\d+", name)]
        for name in (column, f"{column} low", f"{column} high"):
            assert shown["evaluation"].frame.filter(pl.col("slice") == "warm")[name].null_count() == 0


def value(rows: list[Row], model: str, slice: str, metric: str, k: int) -> float:
    (row,) = (
        row
        for row in rows
        if (row["model"], row["slice"], row["metric"], row["k"]) == (model, slice, metric, k) and "against" not in row
    )
    return float(row["value"])


def test_rows_keep_the_contract(table: list[Row]) -> None:
    for row in table:
        assert list(row)[:7] == ["model", "slice", "metric", "k", "value", "low", "high"]
        assert {"split", "within_user", "allow_seen"} <= row.keys()
        if row["value"] is not None and row["low"] is not None:
            assert row["low"] <= row["value"] <= row["high"]
    json.dumps(table, allow_nan=False)
    keys = [(row["model"], row["slice"], row["metric"], row["k"], row.get("against")) for row in table]
    assert len(set(keys)) == len(keys)


def test_options_name_what_there_is() -> None:
    options = EvaluationOptions()
    assert options.scenarios == SCENARIOS and options.resamples == RESAMPLES


def test_every_metric_has_its_formula_on_the_page(table: list[Row]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert not {row["metric"] for row in table if f"`{row['metric']}`" not in page}


def test_every_model_has_every_slice_and_the_baselines_are_there(table: list[Row]) -> None:
    slices = {
        model: {row["slice"] for row in rows}
        for model, rows in groupby(sorted(table, key=lambda row: row["model"]), key=lambda row: row["model"])
    }
    assert slices.keys() == {*BASELINES, "content"}
    cold = {"cold track", "cold track, known artist", "cold track, new artist", "cold user", "cold user, 5 listens"}
    cold.add("cold user, four fifths of the listens")
    expected = {"warm", "all", "warm track", "cost", *cold, *(f"n = {n}" for n in (0, 1, 2, 5, 10))}
    expected |= {f"warm, {group}" for group in GROUPS if group not in LISTEN_GROUPS}
    assert all(found == expected for found in slices.values())


def test_what_is_known_of_the_world_shows(table: list[Row]) -> None:
    recall = {model: value(table, model, "warm", "recall", 20) for model in ("popular", "item-knn", "als", "content")}
    assert min(recall["item-knn"], recall["als"], recall["content"]) > 1.5 * recall["popular"]
    assert value(table, "als", "cold track", "recall", 20) == 0
    assert value(table, "content", "cold track, new artist", "recall", 20) > 0.5
    handful = value(table, "als", "cold user, 5 listens", "ndcg", 20)
    assert handful > 1.5 * value(table, "als", "cold user", "ndcg", 20)
    assert value(table, "als", "n = 0", "recall", 5) == 0 < value(table, "als", "n = 10", "recall", 5)
    assert value(table, "als", "warm", "unseen_share", 20) == 1


def test_cold_and_warm_tracks_are_compared(world: tuple[Interactions, Catalogue], table: list[Row]) -> None:
    """ALS never recommends a cold track; content recommends them as it does others."""
    assert value(table, "als", "all", "cold_share", 20) == 0
    assert value(table, "als", "cold track", "ndcg_cold_to_warm", 5) == 0
    assert value(table, "content", "all", "cold_share", 20) > 0.1
    assert value(table, "content", "all", "cold_share_ratio", 20) > 0.3
    (ratio,) = (
        row for row in table if (row["model"], row["metric"]) == ("content", "ndcg_cold_to_warm") and row["k"] == 5
    )
    sides = [value(table, "content", name, "ndcg", 5) for name in ("cold track", "warm track")]
    assert ratio["value"] == pytest.approx(sides[0] / sides[1], abs=1e-4)
    assert ratio["low"] < ratio["value"] < ratio["high"]


def test_gains_are_paired_and_judged(table: list[Row]) -> None:
    gains = [row for row in table if row["metric"] == "ndcg_gain" and row["slice"] == "warm" and row["k"] == 20]
    models = len(BASELINES) + 1
    assert len(gains) == models * (models - 1) / 2
    for row in gains:
        sides = [value(table, name, "warm", "ndcg", 20) for name in (row["model"], row["against"])]
        assert row["value"] == pytest.approx(sides[0] - sides[1], abs=2e-6)
        assert row["better"] == (row["low"] > 0) and row["worse"] == (row["high"] < 0)
    assert next(row for row in gains if {row["model"], row["against"]} == {"als", "popular"})["better"]


def test_it_repeats_and_scenarios_do_not_depend_on_each_other(
    world: tuple[Interactions, Catalogue], table: list[Row]
) -> None:
    options = EvaluationOptions(models=("als", "content"), scenarios=("cold",), ks=(5, 20), resamples=100)
    alone = [row for row in evaluate(*world, options) if row["slice"] != "cost"]
    slices = {row["slice"] for row in alone}
    assert alone == [row for row in table if row["slice"] in slices]


def test_groups_of_listeners_divide_the_warm_ones(table: list[Row]) -> None:
    """Their means, weighted by their sizes, are the mean of all."""
    for groups in (ACTIVITY_GROUPS, MAINSTREAM_GROUPS):
        for metric in OF_USERS:
            whole = next(row for row in table if (row["model"], row["slice"], row["metric"]) == ("als", "warm", metric))
            parts = [
                next(row for row in table if (row["model"], row["slice"], row["metric"]) == ("als", name, metric))
                for name in (f"warm, {group}" for group in groups)
            ]
            assert sum(part["users"] for part in parts) == whole["users"]
            mean = sum(part["users"] * part["value"] for part in parts) / whole["users"]
            assert mean == pytest.approx(whole["value"], abs=2e-6)


def test_seen_tracks_may_be_allowed(world: tuple[Interactions, Catalogue]) -> None:
    options = EvaluationOptions(models=(), scenarios=("warm",), allow_seen=True, ks=(20,), resamples=20)
    rows = list(evaluate(*world, options))
    assert value(rows, "popular", "warm", "unseen_share", 20) < 1
    assert all(row["allow_seen"] for row in rows)


def test_within_user_splits_say_so(world: tuple[Interactions, Catalogue]) -> None:
    options = EvaluationOptions(models=(), scenarios=("warm",), protocol="within-user", ks=(5,), resamples=20)
    assert all(row["within_user"] and "within-user" in row["split"] for row in evaluate(*world, options))


def test_a_gap_parts_training_from_test(world: tuple[Interactions, Catalogue]) -> None:
    listens, catalogue = world
    options = EvaluationOptions(models=(), scenarios=("warm",), protocol="temporal", gap_days=10, ks=(5,), resamples=20)
    (scenario,) = plan(
        listens, catalogue, scenarios=("warm",), protocol="temporal", allow_seen=False, seed=0, gap_seconds=864_000
    )
    assert scenario.split.train.times is not None and scenario.split.test.times is not None
    assert scenario.split.test.times.min() - scenario.split.train.times.max() >= 864_000
    assert {row["split"] for row in evaluate(listens, catalogue, options)} == {"temporal"}
    said: list[str] = []
    ordered = replace(listens, clock=Clock.ORDER)
    list(evaluate(ordered, catalogue, replace(options, protocol="auto"), message=said.append))
    assert any("no gap" in text for text in said)
    with pytest.raises(UsageError, match="gap"):
        replace(options, protocol="within-user")


def test_whole_artists_are_new(world: tuple[Interactions, Catalogue]) -> None:
    listens, catalogue = world
    (scenario,) = plan(listens, catalogue, scenarios=("cold",), protocol="auto", allow_seen=False, seed=0)
    (part,) = (part for part in scenario.slices if part.name == "cold track, new artist")
    assert part.candidates is not None
    warm = {name for track in np.flatnonzero(scenario.split.train.listeners) for name in catalogue.artists[track]}
    new = [catalogue.artists[track][0] for track in np.flatnonzero(part.candidates)]
    assert not warm & set(new)
    assert len(set(new)) < len(new), "an artist with many tracks is among them"


def test_predicted_ratings_are_judged(
    world: tuple[Interactions, Catalogue], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = partial(neural_mf.rating_options, epochs=2)
    monkeypatch.setattr(neural_mf, "rating_options", hasty)
    listens, catalogue = world
    generous = listens.user_rows % 3
    rated = replace(listens, ratings=(2 + generous + rng.normal(scale=0.3, size=len(listens))).astype(np.float32))
    options = EvaluationOptions(models=("als",), scenarios=("warm",), ks=(5,), resamples=50)
    found = {
        (row["model"], row["metric"]): row for row in evaluate(rated, catalogue, options) if row["slice"] == "ratings"
    }
    models = ("constant", "bias", "mf")
    assert found.keys() >= {(model, metric) for model in models for metric in ("rmse", "mae")}
    assert found["bias", "rmse"]["high"] < 0.4 < 0.7 < found["constant", "rmse"]["low"]


def test_what_cannot_be_evaluated_is_an_error(world: tuple[Interactions, Catalogue]) -> None:
    listens, catalogue = world
    mute = Catalogue(catalogue.track_ids, catalogue.artists, np.zeros((TRACKS, 0), np.float32))
    said: list[str] = []
    options = EvaluationOptions(models=("content", "bpr"), scenarios=("cold",), ks=(5,), resamples=20)
    rows = list(evaluate(listens, mute, options, message=said.append))
    assert "content: left out; no track has sound" in said
    assert not [row for row in rows if row["metric"] == "diversity_sound"]
    lonely = listens.take(np.unique(listens.user_rows, return_index=True)[1])
    with pytest.raises(DataError, match="nobody to ask"):
        list(evaluate(lonely, mute, EvaluationOptions(models=(), scenarios=("warm",), protocol="within-user")))
    for wrong in ({"models": ("alz",)}, {"scenarios": ("hot",)}, {"protocol": "sideways"}):
        with pytest.raises(UsageError, match="no such"):
            list(evaluate(listens, catalogue, EvaluationOptions(**wrong)))
    with pytest.raises(UsageError, match="1 or more"):
        EvaluationOptions(ks=(0, 5))


def test_the_command(
    world: tuple[Interactions, Catalogue],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listens, _ = world
    log, library = tmp_path / "log.csv", str(tmp_path / "library")
    users = [f"u{row}" for row in listens.user_rows]
    tracks = [f"t{row}" for row in listens.track_rows]
    pl.DataFrame({"user_id": users, "track_id": tracks, "time": listens.times}).write_csv(log)
    assert main(["listens", str(log), "--format", "csv", "--library", library]) == 0
    capsys.readouterr()
    out = tmp_path / "rows.jsonl"
    asked = f"evaluate --library {library} --models als --scenarios warm -k 5,10 --out {out}".split()
    assert main(asked) == 0
    printed = capsys.readouterr()
    assert printed.out == out.read_text()
    assert "warm: als fitted" in printed.err
    trained = tmp_path / "library" / "models" / "v1"
    trained.mkdir(parents=True)
    cleaning = asdict(CleaningOptions(users_sample=0.5))
    (trained / "training.json").write_text(json.dumps({"cleaning": cleaning}))
    (trained.parent / "current").write_text("v1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(asked) == 0
    shown = capsys.readouterr()
    assert "ndcg@10" in shown.out and "better than" in shown.out and "item-knn" in shown.out
    for table in ("ndcg@10 of listeners", "recall@10 of tracks", "exposure, lists of 10"):
        assert table in shown.out
    assert "cleaned and weighed as for v1" in shown.err
    assert json.loads(out.read_text().splitlines()[-1])["users"] <= USERS / 2
    assert main([*asked, "-k", "ten"]) == 2
    assert "has to be whole numbers" in capsys.readouterr().err
    assert main(["evaluate", "--library", str(tmp_path / "nowhere")]) == 1
    assert "no library here" in capsys.readouterr().err


def test_the_old_spellings_of_protocols_and_scenarios_work(world: tuple[Interactions, Catalogue]) -> None:
    listens, _ = world
    columns = {"user_id": listens.user_rows, "item_id": listens.track_rows, "time": listens.times}
    items = pl.DataFrame(columns | {"weight": listens.weights}).filter(pl.col("user_id") < 40)
    asked = {"models": ["popular"], "ks": (5,), "resamples": 20}
    with pytest.warns(DeprecationWarning, match="protocol='within-user'|now called scenarios"):
        old = python_api.evaluate(items, split="user", trials=("warm",), **asked)
    new = python_api.evaluate(items, protocol="within-user", scenarios=("warm",), **asked)
    assert_frame_equal(*(rows.filter(pl.col("slice") != "cost") for rows in (old, new)))
