"""Laws of the crossfade."""

from __future__ import annotations

import numpy as np
import pytest

from crossfade.errors import UsageError
from crossfade.models.hybrid.crossfade import Crossfade, HybridOptions
from crossfade.models.hybrid.prior import PriorOptions


@pytest.fixture
def vectors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)


def test_without_listeners_it_is_the_prior(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    als, prior = vectors
    np.testing.assert_array_equal(Crossfade(7.0).taste(als, prior, np.zeros(5, int)), prior)


def test_with_endless_listeners_it_is_als(vectors: tuple[np.ndarray, np.ndarray]) -> None:
    als, prior = vectors
    np.testing.assert_allclose(Crossfade(7.0).taste(als, prior, np.full(5, 10**9)), als, atol=1e-6)


def test_the_weight_rises_with_every_listener() -> None:
    weights = Crossfade(3.0).weights(np.arange(100))
    assert (np.diff(weights) > 0).all()
    assert weights[0] == 0
    assert weights[3] == 0.5


def test_only_tracks_without_listeners_have_a_gain() -> None:
    """The long tail of tracks with one listener is not new: what is predicted for new tracks is not said of it."""
    gains = Crossfade(3.0, cold_gain=4.0).gains(np.array([0, 1, 2, 1000]))
    np.testing.assert_array_equal(gains, [4, 1, 1, 1])


@pytest.mark.parametrize(("tau", "cold_gain"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)])
def test_nonsense_is_refused(tau: float, cold_gain: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Crossfade(tau, cold_gain)


def test_options_come_back_from_their_record() -> None:
    options = HybridOptions(
        prior=PriorOptions(sound="none", shrinkage=None), crossfade=Crossfade(3.0, 1.5), profile=0.5
    )
    assert options.record()["crossfade"] == {"tau": 3.0, "level": 1.5}
    assert HybridOptions.from_record(options.record()) == options
