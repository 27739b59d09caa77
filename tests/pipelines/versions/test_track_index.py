"""The kept index of a library that is not trained: the same answers as a new one, whatever became of either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crossfade.pipelines.library.store import Library
from crossfade.pipelines.versions import track_index
from crossfade.pipelines.versions.track_index import TrackIndex

TRACKS, WIDTH = 60, 8
IDS = [f"t{row}" for row in range(TRACKS)]


@pytest.fixture
def filled(library: Library, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(track_index, "_KEPT_FROM", 1)
    library.add_vectors("sound", IDS, rng.normal(size=(TRACKS, WIDTH)).astype(np.float32))
    TrackIndex.of_sound(library)
    return library


def kept_files(library: Library) -> list[Path]:
    return sorted((library.folder / "search").rglob("tracks.*"))


def nothing(library: Library) -> None: ...


def came(library: Library) -> None:
    library.add_vectors("sound", ["new", "newer"], np.eye(2, WIDTH, dtype=np.float32))


def went(library: Library) -> None:
    with library.transaction() as db:
        db.execute("DELETE FROM vectors WHERE track_row = (SELECT track_row FROM tracks WHERE track_id = 't4')")
        db.execute("DELETE FROM tracks WHERE track_id = 't4'")


def sounds_otherwise(library: Library) -> None:
    library.add_vectors("sound", ["t9"], np.ones((1, WIDTH), np.float32))


def others(library: Library) -> None:
    library.begin_history()


def cut_short(library: Library) -> None:
    file = next(file for file in kept_files(library) if file.suffix == ".safetensors")
    file.write_bytes(file.read_bytes()[:-5])


def of_another_write(library: Library) -> None:
    """As when two processes wrote it at once, and one file of each remained."""
    header = next(file for file in kept_files(library) if file.suffix == ".json")
    text = header.read_text()
    came(library)
    sounds_otherwise(library)
    TrackIndex.of_sound(library)
    header.write_text(text)


@pytest.mark.parametrize("change", [nothing, came, went, sounds_otherwise, others, cut_short, of_another_write])
def test_it_answers_as_a_new_one(filled: Library, change: Callable[[Library], None], monkeypatch) -> None:
    change(filled)
    kept = TrackIndex.of_sound(filled)
    monkeypatch.setattr(track_index, "_KEPT_FROM", 10**6)
    for file in kept_files(filled):
        file.unlink()
    new = TrackIndex.of_sound(filled)
    for asked in ("t0", "t9", "t59", *(name for name in ("new",) if name in new)):
        found, expected = (
            ([index.track_ids[row] for row in rows], scores)
            for index in (kept, new)
            for rows, scores in [index.similar(asked, 10)]
        )
        assert found[0] == expected[0]
        np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    assert ("t4" in kept) == ("t4" in new) == (change is not went)


def test_it_is_read_where_nothing_changed_and_written_where_enough_did(filled: Library) -> None:
    before = [file.stat().st_mtime_ns for file in kept_files(filled)]
    TrackIndex.of_sound(filled)
    assert [file.stat().st_mtime_ns for file in kept_files(filled)] == before and len(before) == 2
    came(filled)
    TrackIndex.of_sound(filled)
    after = [file.stat().st_mtime_ns for file in kept_files(filled)]
    assert after != before and "new" in TrackIndex.of_sound(filled)


def test_a_library_that_cannot_be_written_to_answers_all_the_same(library: Library, monkeypatch) -> None:
    monkeypatch.setattr(track_index, "_KEPT_FROM", 1)
    library.add_vectors("sound", IDS, np.eye(TRACKS, WIDTH, dtype=np.float32))
    (library.folder / "search").write_text("in the way")
    assert len(TrackIndex.of_sound(library).similar("t0", 3)[0]) == 3
