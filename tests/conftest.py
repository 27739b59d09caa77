"""Where tests find real data, and what a missing need means: a skip at home, a failure under CROSSFADE_REQUIRE."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# The arrays of the tests are small: threads would wait for one another longer than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from crossfade.models.genres.classical import fit_ridge
from crossfade.models.genres.heads import FeatureSlice, HeadClassifier, Normalisation, PooledFeatures, fit_head
from crossfade.models.genres.model import Card, GenreModel
from crossfade.pipelines.library.store import Library

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("CROSSFADE_SHARED", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow begins first, those of no folder (notebooks, wheel, docs) before all: no process waits at the end.

    Modules stay whole, since they share what they make.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, len(item.path.parts) if item.path in slow else 0))


def need(name: str, present: bool, why: str) -> None:
    """Skips with the reason, or fails where CROSSFADE_REQUIRE (a comma-separated list) names this need."""
    if present:
        return
    if name in os.environ.get("CROSSFADE_REQUIRE", "").split(","):
        pytest.fail(f"{name} is required here: {why}")
    pytest.skip(f"{name}: {why}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real audio and listening data, which is not part of the repository."""
    need("shared", SHARED.is_dir(), f"no folder {SHARED.name} beside the checkout (or CROSSFADE_SHARED)")
    return SHARED


@pytest.fixture(scope="module", autouse=True)
def frozen_objects() -> None:
    """What pytest and the imported packages hold is left out of later collections, which are much quicker then."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """An empty one."""
    return Library.open(tmp_path / "library", create=True)


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of `small_training`, which is never changed."""
    from small_training import trained_library

    return trained_library(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def trained_copy(trained_folder: Path, tmp_path: Path) -> Iterator[Library]:
    """A copy of it that the test may change."""
    shutil.copytree(trained_folder, tmp_path / "library")
    with Library.open(tmp_path / "library") as opened:
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder, for what is imported."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def genre_model(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two genres of its own, told from the default encoder's windows."""
    windows = [rng.normal(size=(3, 250)).astype(np.float32) for _ in range(20)]
    pooled = PooledFeatures((FeatureSlice("musicnn-msd", 0, 200),), "mean")
    targets = np.eye(2, dtype=bool)[np.arange(20) % 2]
    head = fit_head(pooled.vectors({"musicnn-msd": windows}), targets, Normalisation.STANDARD, fit_ridge)
    GenreModel(Card("probe", "encoder", ("loud", "quiet")), HeadClassifier(pooled, head)).save(tmp_path / "M")
    return tmp_path / "M"
