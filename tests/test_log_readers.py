"""Readers, each on small files in its schema: the same listens whatever they come from, every bad input one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crossfade.audio.errors import DataError, UsageError
from crossfade.models import confidence
from crossfade.models.listens import Clock
from crossfade.pipelines import listening_log
from crossfade.pipelines.command_line import main
from crossfade.pipelines.library import Library
from crossfade.pipelines.listening_log import SCHEMA, listed_ids, mixed_clocks, read_listens, to_listens
from crossfade.pipelines.log_import import ImportOptions, ImportSummary, import_log
from crossfade.pipelines.mpd_log import AUDIO_FEATURES
from crossfade.pipelines.yandex_log import EVENT_COLUMNS, ITEM_COLUMNS


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.open(tmp_path / "library", create=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def bring(library: Library, path: Path, format: str, **options: Any) -> ImportSummary:
    return import_log(library, path, ImportOptions(format=format, **options))


def events(library: Library, *columns: str) -> list[tuple[Any, ...]]:
    return sorted(read_listens(library).select("user_id", "track_id", *columns).collect().rows(), key=str)


def tracks(library: Library, *columns: str) -> dict[str, Any]:
    table = library.tracks()
    return dict(zip(table["track_id"], table.select(columns).rows() if columns[1:] else table[columns[0]], strict=True))


# The formats


def mpd(folder: Path) -> None:
    pl.DataFrame({"playlist_id": [0, 0, 7], "position": [1, 0, 0], "track_id": [11, 10, 11]}).write_parquet(
        folder / "playlist_tracks.parquet"
    )
    features: dict[str, list[float | None]] = {name: [0.5, None, 2.0] for name in AUDIO_FEATURES}
    pl.DataFrame(
        {
            "track_id": [10, 11, 12],
            "spotify_id": ["a", "b", "c"],
            "artist": ["A", "B", None],
            "title": ["x", "y", "z"],
            **features,
            "key": [1.0, None, 2.0],
            "mode": [1.0, None, 0.0],
        }
    ).write_parquet(folder / "tracks.parquet")


def test_mpd_tables(library: Library, source: Path) -> None:
    mpd(source)
    summary = bring(library, source, "mpd")
    assert events(library, "position", "time") == [("0", "10", 0, None), ("0", "11", 1, None), ("7", "11", 0, None)]
    assert tracks(library, "artists", "title") == {"10": (["A"], "x"), "11": (["B"], "y"), "12": ([], "z")}
    assert (summary.vectors, summary.catalogue_tracks, summary.unknown_tracks) == (2, 3, 0)
    sound = library.catalogue("features").sound
    # On a common scale: .5 and 2 lie one standard deviation from their mean.
    np.testing.assert_allclose(sound, np.repeat([[-1], [0], [1]], 10, axis=1), atol=1e-6)


def slice_file(folder: Path) -> Path:
    entry = {
        "pos": 0,
        "artist_name": "Missy Elliott",
        "track_uri": "spotify:track:0UaMYEvWZi0ZqiDOoHU3YI",
        "artist_uri": "spotify:artist:2wIVse2owClT7go1WT98tk",
        "track_name": "Lose Control",
        "album_uri": "spotify:album:6vV5UrXcfyQD1wu4Qo2I9K",
        "duration_ms": 226863,
        "album_name": "The Cookbook",
    }
    playlist = {"name": "Throwbacks", "pid": 5, "modified_at": 1493424000, "num_tracks": 2}
    slices = {
        "info": {},
        "playlists": [{**playlist, "tracks": [entry, {**entry, "pos": 1, "track_uri": "spotify:track:2"}]}],
    }
    file = folder / "mpd.slice.0-999.json"
    file.write_text(json.dumps(slices))
    return file


@pytest.mark.parametrize("whole_folder", [True, False])
def test_mpd_slices(library: Library, source: Path, whole_folder: bool) -> None:
    file = slice_file(source)
    bring(library, source if whole_folder else file, "mpd")
    assert events(library, "position") == [("5", "0UaMYEvWZi0ZqiDOoHU3YI", 0), ("5", "2", 1)]
    assert tracks(library, "artists", "title", "album")["2"] == (["Missy Elliott"], "Lose Control", "The Cookbook")


def test_a_slice_cut_short_is_named(library: Library, source: Path) -> None:
    file = slice_file(source)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match=r"mpd\.slice\.0-999\.json: not a slice .* is it whole"):
        bring(library, source, "mpd")


RATINGS = """userId,movieId,rating,timestamp,,,,
1,31,2.5,1260759144,,,,
1,1029,3,1260759179,,3.45,,3.54
2,31,4,835355493,,,,
"""
MOVIES = """movieId,title,genres
31,Dangerous Minds (1995),Drama
1029,"Dumbo, ""D"" (1941)",Animation|Children
5,?,(no genres listed)
"""


def movielens(folder: Path) -> None:
    (folder / "ratings.csv").write_text(RATINGS)
    (folder / "movies.csv").write_text(MOVIES)


def test_movielens(library: Library, source: Path) -> None:
    movielens(source)
    bring(library, source, "movielens")
    assert events(library, "rating", "time")[0] == ("1", "1029", 3.0, 1260759179)
    described = tracks(library, "title", "genres", "released_at")
    assert described["1029"] == ('Dumbo, "D" (1941)', ["Animation", "Children"], -915148800)
    assert described["5"] == ("?", [], None)


def test_ratings_that_are_not_numbers_are_dropped_and_counted(library: Library, source: Path) -> None:
    movielens(source)
    with (source / "ratings.csv").open("a") as file:
        file.write("3,31,NaN,1260759144,,,,\n3,31,,1260759144,,,,\n3,31,good,1260759144,,,,\n,31,5,1260759144,,,,\n")
    assert bring(library, source, "movielens").dropped == {"no user": 1, "rating is not a number": 3}
    assert len(events(library)) == 3


def lastfm(folder: Path, encoding: str = "utf-8") -> None:
    (folder / "user_artists.dat").write_bytes(
        b"userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t11690\r\n3\t51\t7\r\n"
    )
    text = 'id\tname\turl\tpictureURL\n51\tBjörk\thttp://x\thttp://y\n52\t"Weird Al\thttp://x\t\n53\tC\t\t\n'
    (folder / "artists.dat").write_bytes(text.encode(encoding))
    header = ",".join(["id", "name", *AUDIO_FEATURES, "key", "mode"])
    (folder / "artist_audio_features.csv").write_text(
        f"{header}\n51,Björk,{','.join('1' * 10)},9,1\n53,C,{','.join('3' * 10)},9,1\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_lastfm(library: Library, source: Path, encoding: str) -> None:
    lastfm(source, encoding)
    bring(library, source, "lastfm")
    assert events(library, "plays", "time") == [
        ("2", "51", 13883.0, None),
        ("2", "52", 11690.0, None),
        ("3", "51", 7.0, None),
    ]
    described = {"51": (["Björk"], "Björk"), "52": (['"Weird Al'], '"Weird Al'), "53": (["C"], "C")}
    assert tracks(library, "artists", "title") == described
    np.testing.assert_allclose(library.catalogue().sound, np.repeat([[-1], [0], [1]], 10, axis=1), atol=1e-6)


def yandex(folder: Path) -> None:
    lists = pl.List(pl.Int64)
    pl.DataFrame(
        {
            "track_id": [26, 38, 135],
            "albums": [[3, 4], [1], []],
            "artists": [[16], [16, 17], [16]],
            "genres": [[11, 21], [999], None],
        },
        schema={"track_id": pl.Int64, "albums": lists, "artists": lists, "genres": lists},
    ).write_parquet(folder / "tracks.parquet")
    names = [
        (3, "album", "Same"),
        (4, "album", "Same"),
        (1, "album", "Other"),
        (16, "artist", "E"),
        (17, "artist", "F"),
        (11, "genre", "pop"),
        (21, "genre", "folk"),
        (26, "track", "T26"),
        (38, "track", "T38"),
        (16, "track", "not an artist"),
        (11, "artist", "not a genre"),
    ]
    pl.DataFrame(names, schema=["id", "type", "name"], orient="row").write_parquet(folder / "catalog_names.parquet")
    pl.DataFrame(
        {
            "user_id": [0, 0, 1, 2],
            "track_id": [26, 38, 26, 7],
            "track_seq": [1, 2, 1, 1],
            "started_at": [datetime(2022, 7, day) for day in (17, 18, 19, 20)],
        },
        schema_overrides={"user_id": pl.Int32, "track_id": pl.Int32, "track_seq": pl.Int16},
    ).write_parquet(folder / "interactions.parquet")


def test_yandex(library: Library, source: Path) -> None:
    yandex(source)
    summary = bring(library, source, "yandex")
    assert events(library, "time", "position")[0] == ("0", "26", 1658016000, 1)
    described = tracks(library, "title", "artists", "album", "genres")
    assert described["26"] == ("T26", ["E"], "Same", ["pop", "folk"])
    assert described["38"] == ("T38", ["E", "F"], "Other", ["other_genre_999"])
    assert described["135"] == (None, ["E"], None, [])
    assert summary.unknown_tracks == 1 and described["7"] == (None, [], None, [])


def test_yandex_tables(library: Library, source: Path, tmp_path: Path) -> None:
    yandex(source)
    bring(library, source, "yandex", out=tmp_path / "tables")
    items = pl.read_parquet(tmp_path / "tables" / "items.parquet")
    played = pl.read_parquet(tmp_path / "tables" / "events.parquet")
    assert tuple(items.columns) == ITEM_COLUMNS and tuple(played.columns) == EVENT_COLUMNS
    assert items.row(0) == (26, ["Same"], ["E"], ["pop", "folk"], "T26", 2, 1.0)
    assert items["num_users"].to_list() == [2, 1, 0]
    assert played.row(1) == (0, 38, 2, datetime(2022, 7, 18), 0.5, 1)
    assert len(played) == 4
    bring(library, source, "yandex")
    assert (library.folder / "yandex" / "items.parquet").is_file()


def yambda_events(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns).with_columns(pl.col("uid", "item_id", "timestamp").cast(pl.UInt32))


def yambda(folder: Path) -> None:
    yambda_events(
        uid=[10, 10, 20],
        item_id=[1, 1, 2],
        timestamp=[5, 10, 15],
        is_organic=[1, 0, 1],
        played_ratio_pct=[100, 10, 49],
        track_length_seconds=[100, 100, 200],
    ).write_parquet(folder / "listens.parquet")
    for kind, time in (("likes", 20), ("unlikes", 25), ("dislikes", 30)):
        yambda_events(uid=[20], item_id=[2], timestamp=[time], is_organic=[1]).write_parquet(folder / f"{kind}.parquet")
    pl.DataFrame(
        {
            "item_id": [1, 2, 9],
            "embed": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
            "normalized_embed": [[0.5, 0.25], [1.0, 0.0], [0.0, 1.0]],
        }
    ).write_parquet(folder / "embeddings.parquet")
    pl.DataFrame({"artist_id": [8, 7, 9], "item_id": [1, 1, 9]}).write_parquet(folder / "artist_item_mapping.parquet")
    pl.DataFrame({"album_id": [3], "item_id": [2]}).write_parquet(folder / "album_item_mapping.parquet")


def test_yambda(library: Library, source: Path) -> None:
    yambda(source)
    summary = bring(library, source, "yambda")
    assert events(library, "time", "played_ratio", "liked", "organic") == [
        ("10", "1", 10, pytest.approx(0.1), None, False),
        ("10", "1", 5, 1.0, None, True),
        ("20", "2", 15, pytest.approx(0.49), None, True),
        ("20", "2", 20, None, 1, True),
        ("20", "2", 25, None, 0, True),
        ("20", "2", 30, None, -1, True),
    ]
    assert tracks(library, "artists", "album") == {"1": (["7", "8"], None), "2": ([], "3")}
    assert (summary.vectors, summary.unknown_tracks) == (2, 0)
    catalogue = library.catalogue("yambda")
    assert dict(zip(catalogue.track_ids, catalogue.sound.tolist(), strict=True)) == {"1": [0.5, 0.25], "2": [1, 0]}


def test_yambda_events_in_one_table_are_the_same_events(library: Library, source: Path, tmp_path: Path) -> None:
    yambda(source)
    bring(library, source, "yambda")
    parts = [
        pl.read_parquet(source / f"{kind}s.parquet").with_columns(event_type=pl.lit(kind))
        for kind in ("listen", "like", "unlike", "dislike")
    ]
    together = tmp_path / "flat" / "50m"
    together.mkdir(parents=True)
    pl.concat(parts, how="diagonal_relaxed").write_parquet(together / "multi_event.parquet")
    (source / "embeddings.parquet").rename(tmp_path / "embeddings.parquet")
    with Library.open(tmp_path / "other", create=True) as other:
        assert bring(other, together, "yambda").vectors == 2
        assert events(other, *SCHEMA.names()[2:]) == events(library, *SCHEMA.names()[2:])


def test_the_sequential_layout_is_refused(library: Library, source: Path) -> None:
    pl.DataFrame({"uid": [1], "item_id": [[1, 2]], "timestamp": [[1, 2]]}).write_parquet(source / "listens.parquet")
    with pytest.raises(DataError, match="sequential layout"):
        bring(library, source, "yambda")


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


# The join


def test_mixed_id_types_join(library: Library, source: Path) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["1", "2"], "title": ["one", "two"]}))
    pl.DataFrame({"user_id": [1.0, 2.0], "track_id": [1.0, 2.0]}).write_parquet(source / "floats.parquet")
    pl.DataFrame({"user_id": [1, 3], "track_id": [1, 2]}).write_parquet(source / "integers.parquet")
    (source / "text.csv").write_text("user_id,track_id\n 1 ,1.0\n2,2\n")
    for file in sorted(source.iterdir()):
        assert bring(library, file, "csv").unknown_tracks == 0
    log = read_listens(library).collect()
    assert sorted(log["user_id"].unique()) == ["1", "2", "3"] and sorted(log["track_id"].unique()) == ["1", "2"]


def test_mixed_id_types_join_within_a_source(library: Library, source: Path) -> None:
    yandex(source)
    for name, column, dtype in (("interactions", "track_id", pl.String), ("catalog_names", "id", pl.Float64)):
        table = pl.read_parquet(source / f"{name}.parquet")
        table.with_columns(pl.col(column).cast(dtype)).write_parquet(source / f"{name}.parquet")
    assert bring(library, source, "yandex").unknown_tracks == 1
    assert tracks(library, "title", "artists")["38"] == ("T38", ["E", "F"])
    items = pl.read_parquet(library.folder / "yandex" / "items.parquet")
    assert items["num_users"].to_list() == [2, 1, 0] and items["name"].to_list() == ["T26", "T38", None]


def test_ids_that_are_no_ids_are_refused_in_one_line(library: Library, source: Path) -> None:
    yandex(source)
    table = pl.read_parquet(source / "catalog_names.parquet").with_columns(id=pl.lit("odd"))
    table.write_parquet(source / "catalog_names.parquet")
    with pytest.raises(DataError, match=r"catalog_names|source") as caught:
        bring(library, source, "yandex")
    assert "\n" not in str(caught.value)


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


def test_unknown_tracks_are_kept_and_counted_or_dropped_and_counted(library: Library, source: Path) -> None:
    library.add_tracks(pl.DataFrame({"track_id": ["a"], "title": ["A"]}))
    file = source / "log.csv"
    file.write_text("user_id,track_id\n1,a\n1,stranger\n2,stranger\n")
    kept = bring(library, file, "csv")
    assert kept.unknown_tracks == 1 and kept.figures.listens == 3 and "1 tracks" in kept.notes[-1]
    assert bring(library, file, "csv").unknown_tracks == 1
    dropped = bring(library, file, "csv", known_only=True)
    assert dropped.dropped == {"unknown track": 2} and events(library) == [("1", "a")]


def test_matching_brings_listens_to_the_tracks_that_were_heard(library: Library, source: Path) -> None:
    heard = {"track_id": ["x.flac", "y.flac"], "title": ["X", "Y (Remastered 2009)"], "artists": [["A"], ["The B"]]}
    library.add_tracks(pl.DataFrame(heard))
    file = source / "log.csv"
    file.write_text("user_id,track_id,artist,title\n1,101,a,x\n1,102,B,Y\n2,103,C,Z\n")
    for _ in range(2):
        summary = bring(library, file, "csv", match=True)
        assert summary.record()["match"] == {"matched": 2, "ambiguous": 0, "unmatched": 1}
        assert events(library) == [("1", "x.flac"), ("1", "y.flac"), ("2", "103")]
    assert tracks(library, "title") == {"x.flac": "X", "y.flac": "Y (Remastered 2009)", "103": "Z"}


def test_matching_needs_names(library: Library, source: Path) -> None:
    file = source / "log.csv"
    file.write_text("user_id,track_id\n1,a\n")
    with pytest.raises(DataError, match="needs artists and titles"):
        bring(library, file, "csv", match=True)


# Into the library


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
    monkeypatch.setattr(confidence, "_BLOCK_EVENTS", 300)
    parts = to_listens(read_listens(library), users, track_ids)
    for name in ("user_rows", "track_rows", "weights", "times", "ratings"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_sources_that_know_times_and_sources_that_do_not_are_told(library: Library, source: Path) -> None:
    for name, text in (("timed", "user_id,track_id,time\n1,a,1577836800\n"), ("untimed", "user_id,track_id\n2,a\n")):
        assert mixed_clocks(library) is None
        (source / name).write_text(text)
        bring(library, source / name, "csv", source=name)
    said = mixed_clocks(library)
    assert said is not None and "timed with times; untimed with neither" in said
    assert to_listens(read_listens(library), ["1", "2"], ["a"]).clock is Clock.NONE


def test_a_library_without_listens_says_how_to_get_some(library: Library) -> None:
    with pytest.raises(DataError, match="no listens yet; crossfade listens PATH"):
        read_listens(library)


# Bad input


WRITERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "mpd": (mpd, "playlist_tracks.parquet"),
    "yandex": (yandex, "interactions.parquet"),
    "yambda": (yambda, "listens.parquet"),
}


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99], ids=["empty", "half", "almost"])
def test_a_parquet_file_cut_short_is_one_line_with_its_name(
    library: Library, source: Path, format: str, keep: float
) -> None:
    write, name = WRITERS[format]
    write(source)
    file = source / name
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(DataError, match=rf"{name}: not a whole Parquet file .* again$") as caught:
        bring(library, source, format)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", WRITERS)
def test_a_missing_column_is_named_with_those_there_are(library: Library, source: Path, format: str) -> None:
    write, name = WRITERS[format]
    write(source)
    table = pl.read_parquet(source / name)
    column = "track_id" if "track_id" in table.columns else "item_id"
    table.rename({column: "odd"}).write_parquet(source / name)
    with pytest.raises(DataError, match=rf"{name}: no column {column} among .*odd"):
        bring(library, source, format)


@pytest.mark.parametrize("format", ["yandex", "yambda", "movielens", "lastfm", "mpd"])
def test_a_folder_without_the_files_says_which_are_missing(library: Library, source: Path, format: str) -> None:
    (source / "something.txt").write_text("else")
    with pytest.raises(DataError, match=r"something\.txt"):
        bring(library, source, format)


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


def test_options_of_other_formats_are_wrong_usage(library: Library, source: Path) -> None:
    mpd(source)
    with pytest.raises(UsageError, match="only csv"):
        bring(library, source, "mpd", columns={"user_id": "x"})
    with pytest.raises(UsageError, match="only yandex"):
        bring(library, source, "mpd", out=source)


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
