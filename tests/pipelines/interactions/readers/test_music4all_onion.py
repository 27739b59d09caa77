"""Music4All-Onion: listens or counts, packed or not, names where there are some, and sound by `crossfade vectors`."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import pytest
from logs import bring, events, tracks

from crossfade.errors import DataError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.readers import music4all_onion
from crossfade.pipelines.library import table_blocks
from crossfade.pipelines.library.store import Library

ONE, TWO, THREE = "0009fFIM1eYThaPg", "000u2hlDcDNHhsgT", "00CH4HJdxQQQbJfu"
LISTENS = f"""user_id\ttrack_id\ttimestamp
user_000007\t{ONE}\t2019-02-20 14:05:00
user_000007\t{ONE}\t2020-01-31 00:00:01
user_012345\t{TWO}\t2020-03-19 23:59:59
"""
COUNTS = f"user_id\ttrack_id\tcount\nuser_000007\t{ONE}\t2\nuser_012345\t{TWO}\t1\n"


def packed(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.bz2").write_bytes(bz2.compress(text.encode()))


def base(folder: Path) -> None:
    """The tables of Music4All itself."""
    (folder / "id_information.csv").write_text(
        f"id\tartist\tsong\talbum_name\n{ONE}\tCafé Tacvba\tEco\tRe, again\n"
        f"{TWO}\t\tUntitled\t\n{THREE}\tX\tUnheard\tY\n"
    )
    (folder / "id_genres.csv").write_text(f"id\tgenres\n{ONE}\trock, latin\n")
    (folder / "id_metadata.csv").write_text(
        f"id\tspotify_id\tpopularity\trelease\n{ONE}\t3eo\t54.0\t1994\n{TWO}\t4\t1\t\n"
    )


@pytest.mark.parametrize("block_bytes", [1, 40, 1 << 20])
def test_listens_with_times(library: Library, source: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many blocks the file is unpacked in."""
    monkeypatch.setattr(table_blocks.table_blocks, "__kwdefaults__", {"separator": "\t", "block_bytes": block_bytes})
    packed(source, music4all_onion.LISTENS, LISTENS)
    packed(source, music4all_onion.COUNTS, COUNTS)
    base(source)
    summary = bring(library, source, "music4all-onion")
    assert events(library, "time", "plays") == [
        ("user_000007", ONE, 1550671500, None),
        ("user_000007", ONE, 1580428801, None),
        ("user_012345", TWO, 1584662399, None),
    ]
    assert tracks(library, "title", "artists", "album", "genres", "released_at") == {
        ONE: ("Eco", ["Café Tacvba"], "Re, again", ["rock", "latin"], 757382400),
        TWO: ("Untitled", [], None, [], None),
        THREE: ("Unheard", ["X"], "Y", [], None),
    }
    assert (summary.unknown_tracks, summary.dropped, summary.notes) == (0, {}, ())


@pytest.mark.parametrize("whole_folder", [True, False])
def test_counts_unpacked_and_without_names(library: Library, source: Path, whole_folder: bool) -> None:
    (source / music4all_onion.COUNTS).write_text(COUNTS)
    summary = bring(library, source if whole_folder else source / music4all_onion.COUNTS, "music4all-onion")
    assert events(library, "time", "plays") == [("user_000007", ONE, None, 2.0), ("user_012345", TWO, None, 1.0)]
    assert any("no id_information.csv" in note for note in summary.notes)


def test_bad_rows_are_dropped_and_counted(library: Library, source: Path) -> None:
    packed(source, music4all_onion.LISTENS, LISTENS + f"\t{ONE}\t2019-02-20 14:05:00\nu\t{ONE}\tsoon\nu\t{ONE}\t\n")
    dropped = bring(library, source, "music4all-onion").dropped
    assert dropped == {"no user": 1, "time cannot be read": 1, "no time": 1} and len(events(library)) == 3


def test_what_is_wrong_with_the_files_is_one_line(library: Library, source: Path) -> None:
    (source / "something.txt").write_text("else")
    with pytest.raises(DataError, match=r"neither userid_trackid_timestamp\.tsv\.bz2 nor .*something\.txt"):
        bring(library, source, "music4all-onion")
    whole = bz2.compress(LISTENS.encode())
    for content, what in (
        (whole[: len(whole) // 2], "not a whole table"),
        (b"", "not a whole table"),
        (b"PK", "not a whole table"),
        (bz2.compress(b"user_id\ttrack\ttimestamp\nu\tt\t1\n"), "no column track_id among user_id, track, timestamp"),
        (bz2.compress(b"user_id\ttrack_id\nu\tt\n"), "no column timestamp or count among"),
    ):
        (source / f"{music4all_onion.LISTENS}.bz2").write_bytes(content)
        with pytest.raises(DataError, match=rf"userid_trackid_timestamp\.tsv\.bz2: .*{what}") as caught:
            bring(library, source, "music4all-onion")
        assert "\n" not in str(caught.value)


def test_a_feature_file_becomes_vectors(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed(source, music4all_onion.LISTENS, LISTENS)
    packed(source, "id_musicnn.tsv", f"id\trock\tpop\n{ONE}\t0.5\t1e-3\n{TWO}\t1\t2.5\n{THREE}\t\t0.25\n")
    library = str(tmp_path / "library")
    assert main(["listens", str(source), "--format", "music4all-onion", "--library", library]) == 0
    capsys.readouterr()
    assert main(["vectors", str(source / "id_musicnn.tsv.bz2"), "--name", "musicnn", "--library", library]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "musicnn", "tracks": 2, "dimensions": 2, "left_out": 1}
    with Library.open(Path(library)) as opened:
        assert opened.catalogue("musicnn").has_sound.tolist() == [True, True]
    (source / "id_tags_dict.tsv").write_text(f"id\ttags\n{ONE}\t{{'pop': 100}}\n")
    assert main(["vectors", str(source / "id_tags_dict.tsv"), "--name", "tags", "--library", library]) == 1
    assert "no row has a vector" in capsys.readouterr().err
