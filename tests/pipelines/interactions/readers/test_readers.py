"""Readers, each on small files in its schema: the same listens whatever they come from, every bad input one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from logs import bring, events, lastfm, movielens, mpd, slice_file, tracks, yambda, yandex

from crossfade.errors import DataError, UsageError
from crossfade.pipelines.interactions.readers.yandex import EVENT_COLUMNS, ITEM_COLUMNS
from crossfade.pipelines.interactions.schema import SCHEMA
from crossfade.pipelines.library.store import Library


def test_mpd_tables(library: Library, source: Path) -> None:
    mpd(source)
    summary = bring(library, source, "mpd")
    assert events(library, "position", "time") == [("0", "10", 0, None), ("0", "11", 1, None), ("7", "11", 0, None)]
    assert tracks(library, "artists", "title") == {"10": (["A"], "x"), "11": (["B"], "y"), "12": ([], "z")}
    assert (summary.vectors, summary.catalogue_tracks, summary.unknown_tracks) == (2, 3, 0)
    sound = library.catalogue("features").sound
    # On a common scale: .5 and 2 lie one standard deviation from their mean.
    np.testing.assert_allclose(sound, np.repeat([[-1], [0], [1]], 10, axis=1), atol=1e-6)


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


@pytest.mark.parametrize("format", ["yandex", "yambda", "movielens", "lastfm", "mpd", "music4all-onion"])
def test_a_folder_without_the_files_is_an_error_that_names_them(library: Library, source: Path, format: str) -> None:
    (source / "something.txt").write_text("else")
    with pytest.raises(DataError, match=r"something\.txt"):
        bring(library, source, format)


def test_options_of_other_formats_are_wrong_usage(library: Library, source: Path) -> None:
    mpd(source)
    with pytest.raises(UsageError, match="only csv"):
        bring(library, source, "mpd", columns={"user_id": "x"})
    with pytest.raises(UsageError, match="only yandex"):
        bring(library, source, "mpd", out=source)
