"""The library folder: what goes in comes out, all or nothing, and errors say what to do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import ROOT

from crossfade.errors import DataError, LibraryError, UsageError
from crossfade.models.genres.vocabulary import GENRES, Vocabulary
from crossfade.pipelines.audio_analysis.analyzer import Description, TrackAnalysis
from crossfade.pipelines.library.folder_layout import read_manifest, write_manifest
from crossfade.pipelines.library.schema import FORMAT
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.library.tracks import StoredFile


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.open(tmp_path / "L", create=True)


def test_tracks_come_back_as_they_went_in(library: Library) -> None:
    frame = pl.DataFrame(
        {"track_id": ["a", "b"], "title": ["A", None], "artists": [["X", "Y"], []], "released_at": [5, None]}
    )
    library.add_tracks(frame)
    assert library.tracks().select(frame.columns).equals(frame)


def test_absent_columns_stay_as_they_were(library: Library) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["a"], "title": ["A"], "artists": [["X"]]}))
    library.add_tracks(pl.DataFrame({"track_id": ["a"], "album": ["First"]}))
    assert library.tracks().select("title", "artists", "album").row(0) == ("A", ["X"], "First")


def test_blank_cells_change_nothing(library: Library) -> None:
    """A log's blank cells do not overwrite the titles and artists that are known."""
    known = {"track_id": "a", "title": "A", "artists": ["X"], "album": "First", "genres": ["g"], "released_at": 0}
    library.add_tracks(pl.DataFrame([known]))
    for blank, nothing in ((None, None), ("", []), (" ", [""])):
        cells = {"title": [blank], "artists": [nothing], "album": [blank], "genres": [nothing], "released_at": [None]}
        for track_id in ("a", "b"):
            library.add_tracks(pl.DataFrame({"track_id": [track_id], **cells}))
    first, second = library.tracks().select(list(known)).rows(named=True)
    assert first == known
    assert second == {"track_id": "b", "artists": [], "genres": []} | dict.fromkeys(("title", "album", "released_at"))


def test_tracks_without_audio_and_vectors_without_tracks_are_first_class(library: Library) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["silent"]}))
    library.add_vectors("features", ["new"], np.ones((1, 3), np.float32))
    catalogue = library.catalogue()
    assert catalogue.track_ids == ("silent", "new")
    assert catalogue.has_sound.tolist() == [False, True]
    assert catalogue.sound.shape == (2, 3)


def test_several_sets_of_vectors_need_a_name(library: Library) -> None:
    for name in ("one", "two"):
        library.add_vectors(name, ["a"], np.ones((1, 2), np.float32))
    with pytest.raises(UsageError, match="one, two"):
        library.catalogue()
    with pytest.raises(UsageError, match="three: no such vectors"):
        library.catalogue("three")
    assert library.catalogue("two").sound.shape == (1, 2)


@pytest.mark.parametrize("vectors", [np.ones((2, 3)), np.full((1, 3), np.nan), np.ones((1, 4))])
def test_vectors_that_do_not_fit_are_refused(library: Library, vectors: np.ndarray) -> None:
    library.add_vectors("features", ["a"], np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match="vectors features"):
        library.add_vectors("features", ["b"], vectors)
    assert library.track_ids() == ["a"]


def test_features_are_standardised_with_constants_that_stay(library: Library, rng: np.random.Generator) -> None:
    raw = rng.normal([120, -7], [30, 2], (50, 2)).astype(np.float32)
    library.add_vectors("features", [str(n) for n in range(50)], raw, features=True)
    first = library.catalogue().sound
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(first.std(axis=0), 1, atol=1e-5)
    library.add_vectors("features", ["far"], raw[:1] * 100, features=True)
    np.testing.assert_array_equal(library.catalogue().sound[:50], first)
    np.testing.assert_array_equal(library.vector("0", "features"), first[0])


def test_a_transaction_is_all_or_nothing(library: Library) -> None:
    with pytest.raises(KeyboardInterrupt), library.transaction() as db:
        db.execute("INSERT INTO tracks (track_id) VALUES ('a')")
        raise KeyboardInterrupt
    assert library.track_ids() == []


def test_missing_newer_and_foreign_libraries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="no library here; `crossfade embed"):
        Library.open(tmp_path / "none")
    with Library.open(tmp_path / "newer", create=True) as library, library.transaction() as db:
        db.execute("UPDATE about SET value = ? WHERE key = 'format'", (str(FORMAT + 1),))
    with pytest.raises(LibraryError, match="newer Crossfade"):
        Library.open(tmp_path / "newer")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "library.db").write_text("not a database " * 100)
    with pytest.raises(LibraryError, match="not a database"):
        Library.open(tmp_path / "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(LibraryError, match="not a folder"):
        Library.open(tmp_path / "file", create=True)


@pytest.mark.parametrize("made", ["new", "format 1"])
def test_no_deletion_reads_a_whole_table(made: str, tmp_path: Path) -> None:
    """Whatever points at rows that are deleted is found by an index: forgetting a thousand tracks took minutes."""
    if made == "format 1":
        with closing(sqlite3.connect(tmp_path / "library.db")) as old:
            old.executescript((ROOT / "tests" / "formats" / "library_1.sql").read_text())
    with Library.open(tmp_path, create=True) as library:
        pointers = library._query(
            """SELECT tables.name, "from" FROM sqlite_master tables, pragma_foreign_key_list(tables.name)
            WHERE "table" IN ('tracks', 'heard')"""
        )
        first_columns = library._query(
            """SELECT tables.name, columns.name FROM sqlite_master tables, pragma_index_list(tables.name) indices,
            pragma_index_info(indices.name) columns WHERE seqno = 0"""
        )
    assert len(pointers) == 3 and set(pointers) <= set(first_columns)


def test_a_library_of_format_1_opens_and_each_track_keeps_its_own_genres(tmp_path: Path) -> None:
    """An older library opens; what an upload stored in the built-in genres is told by its width and set right."""
    old = sqlite3.connect(tmp_path / "library.db")
    old.executescript((ROOT / "tests" / "formats" / "library_1.sql").read_text())
    old.close()
    for _ in range(2):
        with Library.open(tmp_path) as library:
            assert library.about("format") == str(FORMAT)
            assert library.vocabulary() == Vocabulary(("loud", "quiet"), "5f2c", Path("/models/own"))
            assert library.genres_of("by_model") == {"loud": 0.75, "quiet": 0.25}
            assert library.genres_of("uploaded") == dict.fromkeys(GENRES, 1 / 16)
            assert library.genres_of("unnamed") == library.genres_of("silent") == {}
            catalogue = library.catalogue()
            assert catalogue.genre_names == ("loud", "quiet")
            assert catalogue.genre_probabilities.tolist() == [[0.75, 0.25], [0, 0], [0, 0], [0, 0]]
            assert catalogue.sound.tolist() == [[1, 2], [2, 2], [3, 2], [0, 0]]
            assert library.analyzed_files() == {StoredFile(b"/m/a.wav", 10, 20)}
            assert list(library.failures().values()) == ["not audio"]


def test_a_migration_that_breaks_leaves_the_older_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema of the version before changes in one transaction or not at all."""
    old = sqlite3.connect(tmp_path / "library.db")
    old.executescript((ROOT / "tests" / "formats" / "library_1.sql").read_text())
    before = list(old.iterdump())
    monkeypatch.setattr("crossfade.pipelines.library.schema.GENRES", {"no JSON"})
    monkeypatch.setattr("crossfade.pipelines.library.schema.BUILT_IN", None)
    with pytest.raises((AttributeError, TypeError)):
        Library.open(tmp_path)
    assert list(old.iterdump()) == before


def heard(genres: list[float], vocabulary: Vocabulary, width: int = 3) -> TrackAnalysis:
    said = Description(True, [])
    return TrackAnalysis(1.0, np.ones(width, np.float32), np.array(genres, np.float32), said, vocabulary)


def test_genre_vectors_belong_to_a_vocabulary_and_are_as_wide_as_it(library: Library) -> None:
    """Class names are stored with the vectors; the width is checked where they are written."""
    two, three = Vocabulary(("a", "b"), "1"), Vocabulary(("b", "c", "d"), "2")
    with library.transaction() as db:
        library.add_analysis("x", heard([0.25, 0.75], two))
        library.add_analysis("y", heard([0.5, 0.25, 0.25], three))
        db.execute("INSERT INTO tracks (track_id, content_hash) VALUES ('x', 'x'), ('y', 'y')")
    assert library.vocabulary() == two
    assert library.genres_of("y") == {"b": 0.5, "c": 0.25, "d": 0.25}
    assert library.catalogue().genre_probabilities.tolist() == [[0.25, 0.75], [0, 0]]
    assert library.genre_table().rows() == [("x", 0.25, 0.75, None, None), ("y", None, 0.5, 0.25, 0.25)]
    for wrong in (heard([1.0], two), heard([0.5, 0.5], two, width=4)):
        with pytest.raises(LibraryError), library.transaction():
            library.add_analysis("z", wrong)
    assert library._query("SELECT count(*) FROM heard") == [(2,)]


def test_renamed_tracks_may_take_each_others_ids_and_keep_what_is_known_of_both(library: Library) -> None:
    """A track that only a log knew takes in the file whose id it is."""
    library.add_tracks(pl.DataFrame({"track_id": ["a", "b", "c", "log"], "title": ["A", "B", "C", "L"]}))
    library.add_vectors("v", ["c"], np.ones((1, 2), np.float32))
    with library.transaction() as db:
        db.execute("UPDATE tracks SET path = CAST(track_id AS BLOB) WHERE track_id != 'log'")
        library.rename_tracks({"a": "b", "b": "a", "c": "log"})
    rows = library._query("SELECT track_id, path, title FROM tracks ORDER BY track_id")
    assert rows == [("a", b"b", "B"), ("b", b"a", "A"), ("log", b"c", "L")]
    assert library.catalogue("v").has_sound.tolist() == [False, False, True]


def test_a_full_disk_is_one_line_and_the_library_stays_whole(library: Library) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["kept"]}))
    pages = library._query("PRAGMA page_count")[0][0]
    library._query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LibraryError, match=r"library\.db: database or disk is full"):
        library.add_tracks(pl.DataFrame({"track_id": [str(i) * 100 for i in range(1000)]}))
    assert library.track_ids() == ["kept"]


def test_versions_become_current_in_one_step(library: Library) -> None:
    with pytest.raises(LibraryError, match="not trained yet; run crossfade train"):
        library.current_version()
    first, second = library.new_version(), library.new_version()
    library.publish_version(first)
    assert library.current_version() == first
    library.publish_version(second)
    assert library.current_version() == second


def test_a_dead_writer_leaves_the_library_readable(tmp_path: Path) -> None:
    with Library.open(tmp_path, create=True) as library:
        library.add_tracks(pl.DataFrame({"track_id": ["a"]}))
        torn = sqlite3.connect(tmp_path / "library.db", isolation_level=None)
        torn.execute("BEGIN IMMEDIATE")
        torn.execute("INSERT INTO tracks (track_id) VALUES ('b')")
        torn.close()
        assert library.track_ids() == ["a"]


def test_a_manifest_is_read_as_it_was_written_and_a_newer_one_is_refused() -> None:
    """Those of a version's folder, of what is published, and the pointer to it are one format."""
    text = write_manifest("v1", files={"é": {"bytes": 1, "hash": "a"}})
    assert read_manifest(text, "here") == {
        "format_version": 1,
        "version": "v1",
        "files": {"é": {"bytes": 1, "hash": "a"}},
    }
    with pytest.raises(LibraryError, match="here: published by a newer Crossfade"):
        read_manifest(text.replace('"format_version": 1', '"format_version": 2'), "here")
