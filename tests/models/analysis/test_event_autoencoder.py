"""The autoencoder over single events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from crossfade.errors import DataError, UsageError
from crossfade.models.analysis.event_autoencoder import (
    AutoencoderOptions,
    ErrorSummary,
    FeatureAutoencoder,
)
from crossfade.models.nn.training_loop import Epoch

USERS, TRACKS = 30, 50
QUICK = AutoencoderOptions(epochs=4, batch=256, dropout=0.0)


def events(rng: np.random.Generator, count: int = 2000) -> np.ndarray:
    users, tracks = rng.integers(USERS, size=count), rng.integers(TRACKS, size=count)
    # A track is played to its end by every other user.
    ratios = np.where((users + tracks) % 2 == 0, 1.0, 0.1) + rng.normal(0, 0.02, count)
    return np.column_stack([ratios, ratios > 0.5, users, tracks]).astype(np.float32)


def fitted(rows: np.ndarray, options: AutoencoderOptions = QUICK) -> FeatureAutoencoder:
    return FeatureAutoencoder(options).fit(rows, USERS, TRACKS)


def test_the_original_network_has_its_numbers_of_parameters(rng: np.random.Generator) -> None:
    model = fitted(events(rng), replace(QUICK, epochs=1))
    assert sum(parameter.numel() for parameter in model.module.parameters()) == 22_692
    assert model.encode(events(rng)[:7]).shape == (7, 32) and model.reconstruct(events(rng)[:7]).shape == (7, 4)


@pytest.mark.parametrize("ids", ["numbers", "embedded"])
def test_learning_lowers_the_error_and_the_best_epoch_is_kept(ids: str, rng: np.random.Generator) -> None:
    rows = events(rng)
    model = fitted(rows, replace(QUICK, ids=ids, epochs=8))
    held = [point.validation_loss for point in model.curve]
    assert held[-1] is not None and held[0] is not None and min(held) < 0.5 * held[0]  # type: ignore[type-var]
    assert model.curve[int(np.argmin(held))].saved
    assert np.nanmean(model.errors(rows[-200:])) == pytest.approx(min(held), rel=1e-5)  # type: ignore[type-var]


@pytest.mark.parametrize("ids", ["numbers", "embedded"])
def test_saved_and_loaded_it_answers_the_same(ids: str, rng: np.random.Generator, tmp_path: Path) -> None:
    rows = events(rng)
    model = fitted(rows, replace(QUICK, ids=ids))
    model.save(tmp_path)
    np.testing.assert_array_equal(FeatureAutoencoder.load(tmp_path).errors(rows), model.errors(rows))


def test_a_seeded_run_repeats_exactly(rng: np.random.Generator) -> None:
    rows = events(rng)
    np.testing.assert_array_equal(fitted(rows).errors(rows), fitted(rows).errors(rows))


def test_an_interrupted_training_ends_as_if_it_had_not_been(rng: np.random.Generator, tmp_path: Path) -> None:
    rows = events(rng)

    def interrupt(point: Epoch) -> None:
        if point.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureAutoencoder(QUICK, checkpoint=tmp_path / "state", watch=interrupt).fit(rows, USERS, TRACKS)
    seen: list[int] = []
    again = FeatureAutoencoder(QUICK, checkpoint=tmp_path / "state", watch=lambda point: seen.append(point.epoch))
    again.fit(rows, USERS, TRACKS)
    assert seen == [3, 4]
    np.testing.assert_array_equal(again.errors(rows), fitted(rows).errors(rows))


def test_a_checkpoint_of_other_data_is_passed_over(rng: np.random.Generator, tmp_path: Path) -> None:
    """Its fingerprint is of the events themselves, not only of their number and moments."""
    rows = events(rng)
    seen: list[int] = []

    def fit(rows: np.ndarray) -> list[int]:
        seen.clear()
        model = FeatureAutoencoder(QUICK, checkpoint=tmp_path / "state", watch=lambda point: seen.append(point.epoch))
        model.fit(rows, USERS, TRACKS)
        return seen

    assert fit(rows) == [1, 2, 3, 4] and fit(rows) == []
    swapped = rows.copy()
    swapped[[3, 4], 0] = rows[[4, 3], 0]
    assert fit(swapped) == [1, 2, 3, 4]
    assert fit(rows[:-100]) == [1, 2, 3, 4]


def test_with_noise_hidden_values_are_found_again(rng: np.random.Generator) -> None:
    rows = events(rng, 4000)
    hidden = rows.copy()
    hidden[:, 0] = np.nan
    plain, denoising = (fitted(rows, replace(QUICK, epochs=10, noise=noise)) for noise in (0.0, 0.4))

    def error(model: FeatureAutoencoder) -> float:
        return float(np.mean((model.reconstruct(hidden)[:, 0] - model.scaling(rows)[:, 0]) ** 2))

    assert error(denoising) < error(plain)


def test_missing_values_and_constant_columns_are_no_trouble(rng: np.random.Generator) -> None:
    rows = events(rng)
    rows[:, 1] = 3.0
    rows[::5, 0] = np.nan
    errors = fitted(rows).errors(rows)
    assert np.isfinite(errors).all()
    rows[:, 0] = np.nan
    assert np.isfinite(fitted(rows).errors(rows)).all()


def test_a_grown_vocabulary_learns_on_with_embedded_ids_only(rng: np.random.Generator) -> None:
    rows = events(rng)
    embedded = fitted(rows, replace(QUICK, ids="embedded"))
    grown = rows.copy()
    grown[::3, 2] += 5
    with pytest.raises(DataError, match="outside 0…29"):
        fitted(grown)
    assert np.isfinite(embedded.errors(grown)).all()
    embedded.resume(grown, USERS + 5, TRACKS)
    assert np.isfinite(embedded.errors(grown)).all() and embedded.scaling.users == USERS + 5
    with pytest.raises(DataError, match="keep their rows"):
        embedded.resume(rows, USERS, TRACKS)
    with pytest.raises(DataError, match="has grown to 35"):
        fitted(rows).resume(grown, USERS + 5, TRACKS)


def test_learning_on_starts_from_what_is_known(rng: np.random.Generator) -> None:
    rows = events(rng)
    model = fitted(rows)
    before = model.curve
    model.resume(rows, USERS, TRACKS)
    assert model.curve[0].train_loss < before[0].train_loss


def test_learning_on_resumes_too(rng: np.random.Generator, tmp_path: Path) -> None:
    rows = events(rng)
    fitted(rows).save(tmp_path)

    def interrupt(point: Epoch) -> None:
        if point.epoch == 2:
            raise KeyboardInterrupt

    whole = FeatureAutoencoder.load(tmp_path).resume(rows, USERS, TRACKS)
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        FeatureAutoencoder.load(tmp_path).resume(rows, USERS, TRACKS, checkpoint=state, watch=interrupt)
    seen: list[int] = []
    again = FeatureAutoencoder.load(tmp_path)
    again.resume(rows, USERS, TRACKS, checkpoint=state, watch=lambda point: seen.append(point.epoch))
    assert seen == [3, 4]
    np.testing.assert_array_equal(again.errors(rows), whole.errors(rows))


def test_what_cannot_be_learned_from_is_refused(rng: np.random.Generator) -> None:
    rows = events(rng)
    rows[3, 0] = np.inf
    with pytest.raises(DataError, match="played_ratio: infinite"):
        fitted(rows)
    with pytest.raises(DataError, match="too few"):
        fitted(events(rng)[:1])
    with pytest.raises(DataError, match="rows of played_ratio"):
        fitted(events(rng)[:, :3])
    with pytest.raises(UsageError, match="ids names"):
        AutoencoderOptions(ids="names")
    with pytest.raises(UsageError, match=r"noise: 1\.5"):
        AutoencoderOptions(noise=1.5)


def test_the_summary_of_errors() -> None:
    summary = ErrorSummary.of(np.array([0, 1, 2, 3, 4, np.nan], np.float32))
    assert (summary.count, summary.mean, summary.minimum, summary.maximum) == (5, 2, 0, 4)
    assert summary.quartiles == (1, 2, 3) and summary.standard_deviation == pytest.approx(np.sqrt(2))
    with pytest.raises(DataError, match="no event"):
        ErrorSummary.of(np.array([np.nan], np.float32))
