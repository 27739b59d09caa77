"""Equal tuning: what trials are made of, what is chosen, what is left out, and that the test is not looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from crossfade.errors import DataError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.models.evaluation.splits import within_users
from crossfade.models.interactions import Clock, Interactions
from crossfade.models.recommenders.base import History, popularity
from crossfade.models.recommenders.popular import Popular
from crossfade.models.recommenders.registry import REGISTRY, Entry
from crossfade.models.recommenders.search_space import Choice, Range, SearchSpace
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.evaluation.evaluate import evaluate
from crossfade.pipelines.evaluation.options import EvaluationOptions
from crossfade.pipelines.evaluation.profiling import Row
from crossfade.pipelines.evaluation.protocols import plan
from crossfade.pipelines.evaluation.tuning import Tuner, Validation, plan_of, tuned
from crossfade.pipelines.library.progress import silent

USERS, TRACKS = 120, 60
TRIALS = 6


@dataclass(frozen=True)
class NoisyOptions:
    noise: float = 0.9
    """of the scores, over those of the most popular track"""
    mode: str = "works"
    seed: int = 0


class Noisy(Popular):
    """Popular with random numbers added: the fewer, the better."""

    name = "noisy"
    options_type = NoisyOptions  # type: ignore[assignment]
    search_space: ClassVar[SearchSpace] = {"noise": Range(0, 4)}
    fitted: ClassVar[list[Interactions]] = []

    def __init__(self, options: Any = None) -> None:
        self.options: Any = options or NoisyOptions()

    def fit(self, interactions: Interactions) -> Noisy:
        self.fitted.append(interactions)
        options: Any = self.options
        if options.mode == "fails":
            raise DataError("mode: fails")
        if options.mode == "large":
            raise MemoryError
        noise = np.random.default_rng(options.seed).random(TRACKS) * options.noise
        scores = popularity(interactions) / interactions.listeners.max() + noise
        self.history = replace(History.of(interactions), popularity=scores.astype(np.float32))
        return self


class Fragile(Noisy):
    name = "fragile"
    search_space: ClassVar[SearchSpace] = {"noise": Range(0, 4), "mode": Choice(("works", "fails", "large"))}


class Broken(Noisy):
    name = "broken"
    search_space: ClassVar[SearchSpace] = {"mode": Choice(("fails",))}

    def __init__(self, options: Any = None) -> None:
        super().__init__(options or NoisyOptions(mode="fails"))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Noisy, Fragile, Broken):
        monkeypatch.setitem(REGISTRY, kind.name, Entry(__name__, kind.__name__))
    Noisy.fitted.clear()


@pytest.fixture
def listens(rng: np.random.Generator) -> Interactions:
    """Tracks differ much in popularity."""
    rows, columns = np.nonzero(rng.random((USERS, TRACKS)) < np.linspace(0.02, 0.8, TRACKS) ** 2)
    times = 1_500_000_000 + rng.integers(0, 10_000_000, len(rows))
    weights = np.ones(len(rows), np.float32)
    return Interactions(rows.astype(np.int32), columns.astype(np.int32), weights, USERS, TRACKS, times, Clock.TIME)


CATALOGUE = Catalogue(tuple(map(str, range(TRACKS))), ((),) * TRACKS, np.zeros((TRACKS, 0), np.float32))
OPTIONS = EvaluationOptions(models=("noisy",), scenarios=("warm",), protocol="within-user", ks=(10,), resamples=20)


def rows_of(listens: Interactions, **changes: Any) -> tuple[list[Row], list[str]]:
    texts: list[str] = []
    return list(evaluate(listens, CATALOGUE, replace(OPTIONS, **changes), message=texts.append)), texts


def test_every_model_has_the_same_trials_and_the_better_one_is_kept(listens: Interactions) -> None:
    rows, texts = rows_of(listens, tune=TRIALS)
    (tuning,) = (row for row in rows if row["slice"] == "tuning" and row["model"] == "noisy")
    assert tuning["trials"] == TRIALS and tuning["failed"] == 0 and tuning["seconds"] > 0
    assert tuning["value"] >= tuning["defaults"]
    labels = {row["model"]: row["tuning"] for row in rows if row["slice"] == "warm" and "against" not in row}
    expected = f"tuned, {TRIALS} trials"
    assert labels == {
        "noisy": expected,
        "popular": "nothing to tune",
        "recent-popular": expected,
        "item-knn": expected,
        "ease": expected,
        "als": expected,
    }
    assert "warm: popular has nothing to tune" in texts
    assert sum("validation NDCG@10" in text for text in texts) == 5
    json.dumps(rows, allow_nan=False)
    assert {row["tuning"] for row in rows_of(listens)[0] if row["slice"] == "warm" and "against" not in row} == {
        "defaults"
    }


def test_trials_learn_from_training_listens_only_and_the_last_fit_from_all_of_them(listens: Interactions) -> None:
    rows_of(listens, tune=TRIALS)
    (scenario,) = plan(listens, CATALOGUE, protocol="within-user", scenarios=("warm",))
    train = scenario.split.train
    *trials, last = Noisy.fitted
    assert len(trials) == TRIALS and last.matrix.nnz == train.matrix.nnz
    part = within_users(train, np.random.default_rng(0)).train
    for fitted in trials:
        assert abs(fitted.matrix - part.matrix).nnz == 0


@pytest.mark.parametrize("protocol", ["auto", "temporal", "within-user", "random"])
def test_the_validation_part_is_cut_as_the_test_is(listens: Interactions, protocol: str) -> None:
    rows_of(listens, tune=1, protocol=protocol)
    validation, final = Noisy.fitted
    assert len(validation) < len(final)
    if protocol == "temporal":
        assert validation.times is not None and final.times is not None
        assert validation.times.max() < np.quantile(final.times, 0.81)


@pytest.mark.parametrize("scenario", ["cold", "listeners"])
def test_the_other_scenarios_are_tuned_on_their_own_slices(listens: Interactions, scenario: str) -> None:
    options = replace(OPTIONS, models=("noisy",), scenarios=(scenario,), tune=3)
    rows = list(evaluate(listens, CATALOGUE, options))
    assert {row["scenario"] for row in rows if row["slice"] == "tuning"} == {scenario}


def test_what_only_the_test_has_is_no_candidate_of_the_validation(listens: Interactions) -> None:
    options = replace(OPTIONS, scenarios=("cold",), tune=1)
    (cold,) = plan_of(listens, CATALOGUE, options)
    validation = Tuner(cold, (), CATALOGUE, options, silent, silent)._validation
    assert validation is not None
    (everything,) = (part for part in validation.slices if part.name == "all")
    unheard = (listens.listeners > 0) & (cold.split.train.listeners == 0)
    assert everything.candidates is not None and unheard.any() and not (everything.candidates & unheard).any()


def validation_of(listens: Interactions) -> Validation:
    (scenario,) = plan(listens, CATALOGUE, protocol="within-user", scenarios=("warm",))
    return Validation.of(scenario, np.random.default_rng(0))


def test_more_trials_begin_as_fewer_do(listens: Interactions) -> None:
    made: list[Mapping[str, Any]] = []

    def make(values: Mapping[str, Any]) -> Noisy:
        made.append(values)
        return Noisy(replace(NoisyOptions(), **values))

    validation = validation_of(listens)
    few = tuned("noisy", make, validation, 3, 0)
    more = tuned("noisy", make, validation, 8, 0)
    # The first of each is asked for its space.
    assert made[1:4] == made[5:8] and made[1] == {}
    assert few is not None and more is not None and few.ndcg is not None and more.ndcg is not None
    assert more.ndcg >= few.ndcg == max(few.ndcg, few.default_ndcg or 0)


def test_failed_trials_are_left_out_and_said(listens: Interactions) -> None:
    rows, texts = rows_of(listens, models=("fragile",), tune=12)
    (tuning,) = (row for row in rows if row["slice"] == "tuning" and row["model"] == "fragile")
    failed = [text for text in texts if "fragile: trial" in text]
    assert 0 < tuning["failed"] == len(failed) < 12
    assert any("mode: fails" in text for text in failed) and any("MemoryError" in text for text in failed)
    assert tuning["chosen"].get("mode", "works") == "works"


def test_a_model_without_a_valid_trial_is_one_line(listens: Interactions) -> None:
    rows, texts = rows_of(listens, models=("broken",), tune=2)
    assert "warm: broken left out; none of its 2 trials is valid" in texts
    assert not any(row["model"] == "broken" for row in rows)


def test_without_a_validation_part_models_keep_their_defaults(listens: Interactions) -> None:
    """Each user has one track to find and one to learn from: nothing is left to hold out."""
    assert listens.times is not None
    order = np.lexsort((listens.times, listens.user_rows))
    ordered = listens.take(order)
    first = np.arange(len(ordered)) - np.searchsorted(ordered.user_rows, ordered.user_rows)
    rows, texts = rows_of(ordered.take(first < 2), models=(), tune=4)
    assert any(text.startswith("warm: not tuned, since there is no validation part: ") for text in texts)
    assert {row["tuning"] for row in rows if row["slice"] == "warm" and "tuning" in row} == {"defaults"}


def test_seeds_are_averaged_and_their_spread_is_shown(listens: Interactions) -> None:
    def found(**changes: Any) -> dict[str, Row]:
        rows, _ = rows_of(listens, **changes)
        return {row["model"]: row for row in rows if row["slice"] == "warm" and row["metric"] == "ndcg"}

    both = found(seeds=2)
    assert len(Noisy.fitted) == 2
    first = found()["noisy"]
    second = found(model_arguments={"noisy": {"options": NoisyOptions(seed=1)}})["noisy"]
    assert second["tuning"] == "as given" and "seed_spread" not in first and first["seeds"] == 1
    assert both["noisy"]["value"] == pytest.approx((first["value"] + second["value"]) / 2, abs=2e-6)
    expected = np.std([first["value"], second["value"]], ddof=1)
    assert both["noisy"]["seed_spread"] == pytest.approx(expected, abs=2e-6) and expected > 0
    assert both["noisy"]["seeds"] == 2 and both["popular"]["seeds"] == 1
    assert "seed_spread" not in both["popular"]


def test_every_model_can_be_made_with_what_its_space_draws_and_with_another_seed() -> None:
    from crossfade.models.recommenders.search_space import draw

    rng = np.random.default_rng(0)
    for name in set(REGISTRY) - {"noisy", "fragile", "broken"}:
        pytest.importorskip("torch")
        model = EvaluationOptions().make(name, CATALOGUE)
        values = draw(model.search_space, rng)
        if model.first_seed is not None:
            values["seed"] = model.first_seed + 7
        other = EvaluationOptions().make(name, CATALOGUE, values)
        assert other.arguments_with({}) == model.arguments_with(values)
        if model.first_seed is not None:
            assert other.first_seed == model.first_seed + 7


def test_bad_numbers_are_one_line_each() -> None:
    for wrong in ({"tune": -1}, {"seeds": 0}):
        with pytest.raises(UsageError, match="or more"):
            replace(OPTIONS, **wrong)  # type: ignore[arg-type]


def test_an_interrupted_evaluation_keeps_what_was_measured(
    listens: Interactions, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, library, out = tmp_path / "log.csv", str(tmp_path / "library"), tmp_path / "rows.jsonl"
    columns = {"user_id": listens.user_rows, "track_id": listens.track_rows, "time": listens.times}
    pl.DataFrame(columns).write_csv(log)
    assert main(["listens", str(log), "--format", "csv", "--library", library]) == 0

    def interrupted(self: Noisy, interactions: Interactions) -> Noisy:
        raise KeyboardInterrupt

    monkeypatch.setattr(Noisy, "fit", interrupted)
    asked = [
        "evaluate",
        "--library",
        library,
        "--models",
        "noisy",
        "--scenarios",
        "warm",
        "--tune",
        "2",
        "--out",
        str(out),
    ]
    capsys.readouterr()
    assert main(asked) == 130
    printed = capsys.readouterr()
    assert printed.out == out.read_text() and printed.err.endswith("crossfade: interrupted\n")
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert {"popular", "item-knn"} <= {
        row["model"] for row in rows if row["slice"] == "warm" and row["metric"] == "ndcg"
    }
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(asked) == 130
    shown = capsys.readouterr().out
    assert "tuned, 2 trials" in shown and "nothing to tune" in shown
    assert main([*asked, "--tune", "-3"]) == 2
    assert "tune: -3, but has to be 0 or more" in capsys.readouterr().err
