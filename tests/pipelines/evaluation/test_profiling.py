"""What a recommender takes: the rows, and what they may depend on."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crossfade.models.catalogue import Catalogue
from crossfade.models.interactions import Interactions
from crossfade.models.recommenders.popular import Popular
from crossfade.models.recommenders.registry import REGISTRY
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.commands.neural import NAMES
from crossfade.pipelines.evaluation.profiling import NEEDS, SHARES, Fitting, code_lines, growth_rows, size_on_disk

USERS, TRACKS = 200, 100


@pytest.fixture
def listens(rng: np.random.Generator) -> Interactions:
    rows, columns = np.nonzero(rng.random((USERS, TRACKS)) < 0.1)
    weights = np.ones(len(rows), np.float32)
    return Interactions(rows.astype(np.int32), columns.astype(np.int32), weights, USERS, TRACKS)


def test_every_model_has_its_lines_and_its_needs_are_what_it_imports() -> None:
    assert set(NEEDS) <= set(REGISTRY)
    for name, entry in REGISTRY.items():
        text = inspect.getsource(importlib.import_module(entry.module, "crossfade.models.recommenders"))
        assert 20 < code_lines(name) <= len(text.splitlines())
        assert ("import torch" in text) == ("torch" in NEEDS.get(name, ()))
    assert {name for name, needs in NEEDS.items() if "torch" in needs} == set(NAMES)


def test_a_fit_is_watched(listens: Interactions) -> None:
    fitting = Fitting(Popular(), listens)
    rows = {row["metric"]: row for row in fitting.rows("popular")}
    assert rows["bytes"]["value"] == size_on_disk(fitting.model) > 0
    assert rows["fit_seconds"]["value"] >= 0 <= rows["fit_cpu_seconds"]["value"]
    assert rows["extra_dependencies"]["value"] == 0 and rows["extra_dependencies"]["needs"] == []
    assert fitting.peak_bytes is None or fitting.peak_bytes >= 0


def test_memory_is_what_the_fit_held(listens: Interactions) -> None:
    class Greedy(Popular):
        def fit(self, listens: Interactions) -> Greedy:
            np.ones(50_000_000, np.uint8).sum()
            super().fit(listens)
            return self

    peak = Fitting(Greedy(), listens).peak_bytes
    if peak is None:
        pytest.skip("this system tells nothing of peaks")
    assert 45_000_000 < peak < 100_000_000


def test_growth_is_fitted_to_three_sizes(listens: Interactions) -> None:
    pytest.importorskip("implicit")
    empty = Catalogue(tuple(map(str, range(TRACKS))), ((),) * TRACKS, np.zeros((TRACKS, 0), np.float32))
    rows = list(growth_rows(["popular", "item-knn"], listens, empty))
    assert {(row["model"], row["metric"]) for row in rows} == {
        (model, f"growth_with_{axis}") for model in ("popular", "item-knn") for axis in ("users", "tracks")
    }
    assert all(len(row["seconds"]) == len(SHARES) and np.isfinite(row["value"]) for row in rows)


def test_the_table_shows_costs_and_ratings(
    listens: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("implicit")
    # Without torch only the baselines predict ratings, which is quick.
    monkeypatch.setattr("crossfade.pipelines.evaluation.ratings.find_spec", lambda name: None)
    frame = pl.DataFrame(
        {
            "user_id": listens.user_rows,
            "track_id": listens.track_rows,
            "rating": listens.track_rows % 5 + 1.0,
            "time": np.arange(len(listens)),
        }
    )
    frame.write_csv(tmp_path / "log.csv")
    library = str(tmp_path / "library")
    assert main(["listens", str(tmp_path / "log.csv"), "--format", "csv", "--library", library]) == 0
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    table = tmp_path / "rows.jsonl"
    asked = (
        f"evaluate --library {library} --models popular --scenarios warm --protocol within-user --growth --out {table}"
    )
    assert main(asked.split()) == 0
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    costs = {(row["model"], row["metric"]) for row in rows if row["slice"] == "cost"}
    assert ("popular", "growth_with_users") in costs and ("item-knn", "code_lines") in costs
    ratings = {(row["model"], row["metric"]): row["value"] for row in rows if row["slice"] == "ratings"}
    assert ratings["bias", "rmse"] < ratings["constant", "rmse"]
    shown = capsys.readouterr().out
    for word in ("on disk, MB", "lines of code", "implicit", "time ~ users^", "model of ratings", "against bias"):
        assert word in shown
