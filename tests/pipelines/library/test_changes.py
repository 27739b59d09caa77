"""The change counter: every write of a track moves it, and what changed after it can be asked for."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import ROOT

from crossfade.pipelines.library.store import Library


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Track a was heard and has a vector; b is only named."""
    library = Library.open(tmp_path / "L", create=True)
    with library.transaction() as db:
        db.execute("INSERT INTO heard VALUES ('h', 1.0, x'0000803f', x'0000803f', '{}', NULL)")
        db.execute("INSERT INTO tracks (track_id, content_hash) VALUES ('a', 'h'), ('b', NULL)")
    library.add_vectors("one", ["a"], np.ones((1, 2), np.float32))
    return library


def sql(statement: str) -> Callable[[Library], None]:
    def write(library: Library) -> None:
        # As another process would: nothing of the library's own code has a part in it.
        with sqlite3.connect(library.folder / "library.db") as other:
            other.execute("PRAGMA foreign_keys = ON")
            other.execute(statement)
        other.close()

    return write


def title(library: Library) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["a"], "title": ["A"]}))


@pytest.mark.parametrize(
    ("write", "changed", "removed"),
    [
        (title, ["a"], []),
        (sql("UPDATE tracks SET path = x'2f' WHERE track_id = 'a'"), ["a"], []),
        (sql("UPDATE tracks SET content_hash = NULL WHERE track_id = 'a'"), ["a"], []),
        (sql("UPDATE heard SET embedding = x'00000040'"), ["a"], []),
        (sql("UPDATE heard SET genres = x'00000040'"), ["a"], []),
        (sql("INSERT OR REPLACE INTO heard VALUES ('h', 1.0, x'00000040', x'0000803f', '{}', NULL)"), ["a"], []),
        (sql("UPDATE vectors SET vector = x'0000000000000040'"), ["a"], []),
        (sql("INSERT OR REPLACE INTO vectors VALUES ('one', 1, x'0000000000000040')"), ["a"], []),
        (sql("DELETE FROM vectors"), ["a"], []),
        (sql("DELETE FROM tracks WHERE track_id = 'a'"), [], ["a"]),
        (sql("INSERT OR IGNORE INTO tracks (track_id) VALUES ('c')"), ["c"], []),
        (sql("UPDATE tracks SET track_id = 'c' WHERE track_id = 'a'"), ["c"], ["a"]),
    ],
)
def test_every_write_moves_the_change_counter(
    library: Library, write: Callable[[Library], None], changed: list[str], removed: list[str]
) -> None:
    """A count and a highest row see neither a new title nor a new embedding; a change counter does."""
    before = library.change_counter()
    write(library)
    after = library.change_counter()
    assert after != before and after.follows(before) and not before.follows(after)
    assert list(library.catalogue("encoder", after=before).track_ids) == changed
    assert library.removed(before) == removed
    assert len(library.catalogue("encoder", after=after)) == 0 and library.removed(after) == []


def test_the_same_row_written_again_is_no_change(library: Library) -> None:
    """A log that is imported again names all its tracks again: nothing has to be read for that."""
    title(library)
    before = library.change_counter()
    title(library)
    library.add_tracks(pl.DataFrame({"track_id": ["b"]}))
    assert library.change_counter() == before


def test_a_track_that_comes_back_in_another_s_row_is_a_change_of_both(library: Library) -> None:
    before = library.change_counter()
    sql("DELETE FROM tracks WHERE track_id = 'b'")(library)
    library.add_tracks(pl.DataFrame({"track_id": ["c"]}))
    assert library.catalogue("encoder", after=before).track_ids == ("c",) and library.removed(before) == ["b"]
    library.add_tracks(pl.DataFrame({"track_id": ["b"]}))
    assert library.catalogue("encoder", after=before).track_ids == ("c", "b") and library.removed(before) == []


def test_a_library_of_format_1_learns_to_count(tmp_path: Path) -> None:
    """The migration happens once, whoever opens it first; what was there is no change."""
    with sqlite3.connect(tmp_path / "library.db") as old:
        old.executescript((ROOT / "tests" / "formats" / "library_1.sql").read_text())
    old.close()
    with Library.open(tmp_path) as opened, Library.open(tmp_path) as again:
        assert opened.change_counter() == again.change_counter()
        before = opened.change_counter()
        again.add_tracks(pl.DataFrame({"track_id": ["by_model"], "title": ["A"]}))
        assert opened.change_counter().revision > before.revision
        assert opened.catalogue("encoder", after=before).track_ids == ("by_model",)


def test_counters_of_another_history_cannot_be_compared(library: Library, tmp_path: Path) -> None:
    """A copy that went its own way (a pull, a backup that was put back) has the same numbers for other changes."""
    library.close()
    shutil.copytree(library.folder, tmp_path / "copy")
    with Library.open(tmp_path / "copy") as copy, Library.open(library.folder) as original:
        before = original.change_counter()
        copy.begin_history()
        title(copy)
        assert not copy.change_counter().follows(before)
