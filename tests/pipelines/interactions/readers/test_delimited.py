"""Tables of listens with any columns: names, ids, times, what is dropped and counted."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from logs import bring, events, tracks

from crossfade.errors import DataError, UsageError
from crossfade.pipelines.interactions.schema import read_listens
from crossfade.pipelines.library.store import Library


def test_any_table_with_named_columns(library: Library, source: Path) -> None:
    file = source / "log.tsv"
    file.write_text("who\twhat\twhen\thow\tname\tby\n1\ta\t2020-01-01T00:00:00Z\t50\tT\tX|Y\n1\tb\t2020-01-01\t\tU\t\n")
    columns = {
        "user_id": "who",
        "track_id": "what",
        "time": "when",
        "played_percent": "how",
        "title": "name",
        "artist": "by",
    }
    bring(library, file, "csv", columns=columns)
    assert events(library, "time", "played_ratio") == [("1", "a", 1577836800, 0.5), ("1", "b", 1577836800, None)]
    assert tracks(library, "title", "artists") == {"a": ("T", ["X", "Y"]), "b": ("U", [])}


def test_blank_names_of_a_log_say_nothing(library: Library, source: Path) -> None:
    """What is known of a track stays, from the library and from the log's other rows."""
    library.add_tracks(pl.DataFrame({"track_id": ["a"], "title": ["Known"], "artists": [["X"]]}))
    file = source / "log.csv"
    file.write_text("user_id,track_id,title,artist\n1,a,,\n1,b,,\n2,b,Later,Y\n3,b,Last,Z\n")
    bring(library, file, "csv")
    assert tracks(library, "title", "artists") == {"a": ("Known", ["X"]), "b": ("Later", ["Y"])}


def test_a_gzipped_table_is_read(library: Library, source: Path) -> None:
    with gzip.open(source / "log.csv.gz", "wt") as file:
        file.write("user_id;track_id\n1;a\n2;b\n")
    bring(library, source, "csv")
    assert events(library) == [("1", "a"), ("2", "b")]
    (source / "log.csv.gz").write_bytes(b"user_id,track_id")
    with pytest.raises(DataError, match=r"log\.csv\.gz: Not a gzipped file"):
        bring(library, source, "csv")


def test_usual_column_names_are_recognised(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_text("User;Song;Timestamp;Liked;is_organic;play_count\n1;a;1577836800;1;true;\n1;b;1577836801;;0;3\n")
    bring(library, file, "csv")
    assert events(library, "time", "liked", "organic", "plays") == [
        ("1", "a", 1577836800, 1, True, None),
        ("1", "b", 1577836801, None, False, 3.0),
    ]


def test_mixed_id_types_join(library: Library, source: Path) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["1", "2"], "title": ["one", "two"]}))
    pl.DataFrame({"user_id": [1.0, 2.0], "track_id": [1.0, 2.0]}).write_parquet(source / "floats.parquet")
    pl.DataFrame({"user_id": [1, 3], "track_id": [1, 2]}).write_parquet(source / "integers.parquet")
    (source / "text.csv").write_text("user_id,track_id\n 1 ,1.0\n2,2\n")
    for file in sorted(source.iterdir()):
        assert bring(library, file, "csv").unknown_tracks == 0
    log = read_listens(library).collect()
    assert sorted(log["user_id"].unique()) == ["1", "2", "3"] and sorted(log["track_id"].unique()) == ["1", "2"]


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")])
def test_times_in_other_units_become_seconds(library: Library, source: Path, factor: int, unit: str) -> None:
    file = source / "log.parquet"
    pl.DataFrame(
        {"user_id": [1, 1], "track_id": [1, 2], "time": [1577836800 * factor, 1577836801 * factor]}
    ).write_parquet(file)
    assert bring(library, file, "csv").notes[0] == f"{file}: column time counts {unit}; taken as seconds"
    assert events(library, "time") == [("1", "1", 1577836800), ("1", "2", 1577836801)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-01T02:00:00+02:00", 1577836800),
        ("2020-01-01 00:00:00 UTC", 1577836800),
        ("2020-01-01T00:00:00.500Z", 1577836800),
        ("2020-01-01 00:00", 1577836800),
        ("2020-01-01", 1577836800),
        ("1577836800.0", 1577836800),
        ("-5", -5),
    ],
)
def test_times_may_be_written_out(library: Library, source: Path, text: str, expected: int) -> None:
    file = source / "log.csv"
    file.write_text(f"user_id,track_id,time\n1,a,{text}\n1,b,{text}\n")
    bring(library, file, "csv")
    assert events(library, "time") == [("1", "a", expected), ("1", "b", expected)]


def test_times_that_cannot_be_read_and_gaps_are_dropped_and_counted(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_text("user_id,track_id,time\n1,a,5\n1,b,yesterday\n1,c,\n")
    assert bring(library, file, "csv").dropped == {"no time": 1, "time cannot be read": 1}
    file.write_text("user_id,track_id,time\n1,a,\n1,b,\n")
    assert bring(library, file, "csv").dropped == {}


def test_text_that_is_not_utf8_is_refused_rather_than_garbled(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_bytes("user_id,track_id\n1,café\n1,cafè\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"log\.csv: not UTF-8 text"):
        bring(library, file, "csv")


def test_unknown_columns_are_named(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_text("who,track_id\n1,a\n")
    with pytest.raises(DataError, match=r"log\.csv: no column user_id among who, track_id; say which with --columns"):
        bring(library, file, "csv")
    with pytest.raises(DataError, match=r"log\.csv: no column whom among who, track_id"):
        bring(library, file, "csv", columns={"user_id": "whom"})
    with pytest.raises(UsageError, match="wer: no such column of a listening log"):
        bring(library, file, "csv", columns={"wer": "who"})


@pytest.mark.parametrize("text", ["", "user_id,track_id\n", "\x00\x01\x02"], ids=["empty", "header", "not text"])
def test_a_file_without_rows_is_refused(library: Library, source: Path, text: str) -> None:
    file = source / "log.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=r"log\.csv: ") as caught:
        bring(library, file, "csv")
    assert "\n" not in str(caught.value)
