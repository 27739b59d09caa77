"""The log of a library: what an import replaces and adds, and the arrays that models take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from logs import bring, events, lastfm, mpd, tracks, yambda

from crossfade.errors import DataError
from crossfade.models.interactions import Clock
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions import schema as listening_log
from crossfade.pipelines.interactions.schema import (
    SourceLog,
    listed_ids,
    mixed_clocks,
    read_listens,
    sink,
    to_listens,
    writing,
)
from crossfade.pipelines.library.store import Library


def test_unknown_tracks_are_kept_and_counted_or_dropped_and_counted(library: Library, source: Path) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["a"], "title": ["A"]}))
    file = source / "log.csv"
    file.write_text("user_id,track_id\n1,a\n1,stranger\n2,stranger\n")
    kept = bring(library, file, "csv")
    assert kept.unknown_tracks == 1 and kept.figures.listens == 3 and "1 tracks" in kept.notes[-1]
    assert bring(library, file, "csv").unknown_tracks == 1
    dropped = bring(library, file, "csv", known_only=True)
    assert dropped.dropped == {"unknown track": 2} and events(library) == [("1", "a")]


def test_matching_brings_listens_to_embedded_tracks(library: Library, source: Path) -> None:
    heard = {"track_id": ["x.flac", "y.flac"], "title": ["X", "Y (Remastered 2009)"], "artists": [["A"], ["The B"]]}
    library.add_tracks(pl.DataFrame(heard))
    file = source / "log.csv"
    file.write_text("user_id,track_id,artist,title\n1,101,a,x\n1,102,B,Y\n2,103,C,Z\n")
    for _ in range(2):
        summary = bring(library, file, "csv", match="artist,title")
        assert summary.record()["match"] == {"matched": 2, "ambiguous": 0, "unmatched": 1}
        assert events(library) == [("1", "x.flac"), ("1", "y.flac"), ("2", "103")]
    assert tracks(library, "title") == {"x.flac": "X", "y.flac": "Y (Remastered 2009)", "103": "Z"}


def test_matching_needs_names(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_text("user_id,track_id\n1,a\n")
    with pytest.raises(DataError, match="needs artists and titles"):
        bring(library, file, "csv", match="artist,title")


def test_the_same_source_replaces_its_part_and_another_is_added(library: Library, source: Path) -> None:
    file, other = source / "log.csv", source / "other.csv"
    file.write_text("user_id,track_id\n1,a\n2,a\n")
    other.write_text("user_id,track_id\n3,b\n")
    bring(library, file, "csv")
    bring(library, other, "csv")
    assert len(events(library)) == 3
    file.write_text("user_id,track_id\n4,a\n")
    bring(library, file, "csv")
    assert events(library) == [("3", "b"), ("4", "a")]


def test_a_failed_import_leaves_the_log_as_it_was(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_text("user_id,track_id\n1,a\n")
    bring(library, file, "csv")
    file.write_text("user_id,track_id\n,a\n1,\n")
    with pytest.raises(DataError, match=r"no listens in it; dropped \(no track: 1, no user: 1\)"):
        bring(library, file, "csv")
    assert events(library) == [("1", "a")]
    assert [entry.suffix for entry in library.listens_folder.iterdir()] == [".parquet"]


def test_the_log_becomes_arrays(library: Library, source: Path) -> None:
    yambda(source)
    bring(library, source, "yambda")
    users, _ = listed_ids(read_listens(library))
    listens = to_listens(read_listens(library), users, ["2", "1", "never heard"])
    assert (listens.user_count, listens.track_count, listens.clock) == (2, 3, Clock.TIME)
    assert listens.times is not None and listens.times.tolist() == [5, 10, 15, 20, 25, 30]
    assert listens.matrix.toarray().tolist() == [[0, 1, 0], [-1, 0, 0]]
    assert listens.listeners.tolist() == [0, 1, 0]
    assert listens.organic is None
    told = to_listens(read_listens(library), users, ["2", "1"], organic=True)
    assert told.organic is not None and told.organic.tolist() == [1, 0, 1, 1, 1, 1]
    assert told.take(told.organic == 0).organic is not None and told.joined(told).organic is not None
    file = source / "listens.csv"
    file.write_text("user_id,track_id,time,organic\n10,1,1577836800,\n10,1,1577836801,no\n")
    bring(library, file, "csv")
    told = to_listens(read_listens(library), users, ["2", "1"], organic=True)
    assert told.organic is not None and told.organic.tolist() == [1, 0, -1, 0, 1, 1, 1, 1]


def test_order_and_nothing_are_clocks_too(library: Library, source: Path, tmp_path: Path) -> None:
    mpd(source)
    bring(library, source, "mpd")
    users, track_ids = listed_ids(read_listens(library))
    assert to_listens(read_listens(library), users, track_ids).clock is Clock.ORDER
    other = tmp_path / "lastfm"
    other.mkdir()
    lastfm(other)
    with Library.open(tmp_path / "other", create=True) as second:
        bring(second, other, "lastfm")
        users, track_ids = listed_ids(read_listens(second))
        listens = to_listens(read_listens(second), users, track_ids)
    assert listens.clock is Clock.NONE and listens.times is None
    np.testing.assert_allclose(listens.weights, np.log2([13884, 11691, 8]), rtol=1e-6)


def test_arrays_made_in_blocks_are_the_same_arrays(
    library: Library, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(library, shared / "ml-latest-small", "movielens")
    users, track_ids = listed_ids(read_listens(library))
    whole = to_listens(read_listens(library), users, track_ids)
    monkeypatch.setattr(listening_log, "_BLOCK_EVENTS", 1000)
    parts = to_listens(read_listens(library), users, track_ids)
    for name in ("user_rows", "track_rows", "weights", "times", "ratings"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_sources_with_times_and_sources_without_are_named(library: Library, source: Path) -> None:
    for name, text in (("timed", "user_id,track_id,time\n1,a,1577836800\n"), ("untimed", "user_id,track_id\n2,a\n")):
        assert mixed_clocks(library) is None
        (source / name).write_text(text)
        bring(library, source / name, "csv", source=name)
    said = mixed_clocks(library)
    assert said is not None and "timed with times; untimed with neither" in said
    assert to_listens(read_listens(library), ["1", "2"], ["a"]).clock is Clock.NONE


def test_a_library_without_listens_is_an_error_with_the_command(library: Library) -> None:
    with pytest.raises(DataError, match="no listens yet; crossfade listens PATH"):
        read_listens(library)


def test_the_command_prints_counts_and_reasons(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = source / "log.csv"
    file.write_text("user_id,track_id,rating\n1,a,5\n1,b,nan\n2,a,4\n")
    library = str(tmp_path / "new")
    assert main(["listens", str(file), "--format", "csv", "--library", library]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["users"], record["tracks"], record["listens"], record["density"]) == (2, 1, 2, 1)
    assert record["dropped"] == {"rating is not a number": 1}
    assert main(["listens", str(source / "none.csv"), "--format", "csv", "--library", library]) == 1
    assert capsys.readouterr().err == f"crossfade: {source / 'none.csv'}: no such file or folder\n"
    assert main(["listens", str(file), "--format", "csv", "--library", library, "--columns", "user_id"]) == 2


@pytest.mark.parametrize(
    ("folder", "format", "users", "listens", "vectors"),
    [
        ("mpd-5core", "mpd", 5456, 349860, 20224),
        ("hetrec-lastfm-2k", "lastfm", 1892, 92834, 4675),
        ("ml-latest-small", "movielens", 671, 100004, 0),
    ],
)
def test_the_real_thing(
    library: Library, shared: Path, folder: str, format: str, users: int, listens: int, vectors: int
) -> None:
    summary = bring(library, shared / folder, format)
    assert (summary.figures.users, summary.figures.listens, summary.vectors) == (users, listens, vectors)
    assert summary.unknown_tracks == 0 and summary.dropped == {}


def test_a_log_in_a_folder_with_brackets_is_read(tmp_path: Path) -> None:
    with Library.open(tmp_path / "Music [1]", create=True) as library:
        with writing(library, "one") as (part, _):
            sink(SourceLog(tmp_path, pl.LazyFrame({"user_id": ["a"], "track_id": ["t"]})), part)
        assert read_listens(library).collect()["track_id"].to_list() == ["t"]


def test_a_part_of_another_schema_is_named(library: Library) -> None:
    with writing(library, "one") as (part, _):
        pl.DataFrame({"user_id": [1], "track_id": ["t"]}).write_parquet(part)
    with pytest.raises(DataError, match=r"one\.parquet: not a listening log of this program \(user_id Int64"):
        read_listens(library)
