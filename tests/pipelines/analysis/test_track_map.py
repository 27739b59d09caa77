"""A library's map is kept, until the library has doubled or is compared by other vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossfade.models.analysis.track_map import TrackMap
from crossfade.models.arrays import Floats
from crossfade.pipelines.analysis.track_map import library_map
from crossfade.pipelines.library.store import Library


def vectors(count: int) -> Floats:
    return np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)


def test_it_is_laid_out_anew_when_the_library_has_doubled(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        first = library_map(library, "mine", vectors(20))
        assert library_map(library, "mine", vectors(39)).same_as(first)
        assert library_map(library, "mine", vectors(40)).tracks == 40
        assert library_map(library, "other", vectors(40)).of == "other"
        assert library_map(library, "other", vectors(40)[:, :4]).anchors.shape == (40, 4)


def test_another_encoder_s_vectors_are_another_map(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        library.claim_encoder("small")
        assert library_map(library, "encoder", vectors(10)).of == "small"


def test_a_damaged_one_is_replaced(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        first = library_map(library, "mine", vectors(20))
        (tmp_path / f"{TrackMap.name}.safetensors").write_bytes(b"broken")
        assert library_map(library, "mine", vectors(20)).same_as(first)
        assert TrackMap.load(tmp_path).same_as(first)


def test_nothing_is_kept_of_an_empty_library(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        assert not len(library_map(library, None, np.zeros((3, 0), np.float32)).anchors)
    assert not list(tmp_path.glob("track_map*"))
