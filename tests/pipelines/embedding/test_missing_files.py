"""`crossfade missing`: what is gone is said, and forgotten only when asked; listens keep their tracks."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from sounds import music_like

from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.schema import conform
from crossfade.pipelines.library.store import Library

RATE = 16_000


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `music` (in two folders) and its library `L`."""
    folder = tmp_path_factory.mktemp("missing")
    for number, name in enumerate(("a/0.wav", "a/1.wav", "a/2.wav", "b/3.wav")):
        (folder / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        samples = music_like(4, RATE, np.random.default_rng(number), bpm=80 + 10 * number)
        soundfile.write(folder / "music" / name, samples, RATE)
    shutil.copy(folder / "music/a/2.wav", folder / "music/b/copy.wav")
    places = [str(folder / "music" / name) for name in "ab"]
    assert main(["embed", *places, "--library", str(folder / "L"), "--workers", "1"]) == 0
    return folder


@pytest.fixture
def folder(embedded: Path, tmp_path: Path) -> Path:
    """A copy to break, with a library that knows it by its place."""
    shutil.copytree(embedded, tmp_path / "copy")
    with Library.open(tmp_path / "copy" / "L") as library, library.transaction() as db:
        for track_id, path in library.paths().items():
            new = path.replace(bytes(embedded), bytes(tmp_path / "copy"))
            db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (new, track_id))
    (tmp_path / "copy/L/places.json").write_text(json.dumps([str(tmp_path / "copy/music" / name) for name in "ab"]))
    return tmp_path / "copy"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[list[dict[str, object]], list[str]]:
    capsys.readouterr()
    assert main(list(map(str, words))) == 0
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err.splitlines()


def contents(folder: Path) -> dict[str, str | None]:
    with Library.open(folder / "L") as library:
        tracks = library.tracks()
    return dict(zip(tracks["track_id"], tracks["content_hash"], strict=True))


def test_what_is_gone_is_shown_and_forgotten_when_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert run(capsys, "missing", "--library", folder / "L") == ([], ["no files are missing"])
    for name in ("0.wav", "2.wav"):
        (folder / "music/a" / name).unlink()
    (summary,), errors = run(capsys, "embed", folder / "music", "--library", folder / "L", "--workers", 1)
    assert (summary["embedded"], summary["unchanged"], summary["missing"]) == (0, 3, 2)
    assert errors == [f"2 files gone whose tracks are still there: crossfade missing --library {folder / 'L'}"]
    shown, errors = run(capsys, "missing", "--library", folder / "L")
    assert [(one["track_id"], one["listened"], one["forgotten"]) for one in shown] == [
        ("0.wav", False, False),
        ("2.wav", False, False),
    ]
    assert errors == ["2 tracks; shown only: --forget"] and contents(folder) == before
    forgotten, errors = run(capsys, "missing", "--library", folder / "L", "--forget")
    assert forgotten == [one | {"forgotten": True} for one in shown] and errors == ["2 tracks forgotten"]
    assert contents(folder) == {name: before[name] for name in ("1.wav", "3.wav", "copy.wav")}
    with Library.open(folder / "L") as library:
        # The copy of one of them keeps its analysis; that of the other is gone.
        assert library.vector("copy.wav", "encoder") is not None
        assert library._query("SELECT count(*) FROM heard") == [(3,)]
    assert len(run(capsys, "similar", "1.wav", "--library", folder / "L")[0]) == 2


def test_tracks_that_were_listened_to_keep_what_is_known_of_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log, or in the events of a service; and a file that comes back is the same track."""
    with Library.open(folder / "L") as library:
        library.listens_folder.mkdir()
        listens = pl.DataFrame({"user_id": ["u"], "track_id": ["0.wav"]})
        conform(listens.lazy()).collect().write_parquet(library.listens_folder / "log.parquet")
    with sqlite3.connect(folder / "L" / "events.db") as db:
        db.execute("CREATE TABLE events (track_id TEXT)")
        db.execute("INSERT INTO events VALUES ('1.wav')")
    db.close()
    before = contents(folder)
    for name in ("0.wav", "1.wav", "2.wav"):
        (folder / "music/a" / name).rename(folder / name)
    (folder / "music/a/other.txt").write_text("not empty")
    found, errors = run(capsys, "missing", "--library", folder / "L", "--forget")
    assert [one["listened"] for one in found] == [True, True, False]
    assert errors == ["1 track forgotten, 2 kept for its listens"]
    after = contents(folder)
    assert after == {name: before[name] for name in ("0.wav", "1.wav", "3.wav", "copy.wav")}
    with Library.open(folder / "L") as library:
        assert library.path_of("0.wav") is None and library.vector("0.wav", "encoder") is not None
    assert run(capsys, "missing", "--library", folder / "L")[1] == ["no files are missing"]
    (folder / "0.wav").rename(folder / "music/a/back.wav")
    (summary,), _ = run(capsys, "embed", folder / "music/a", "--library", folder / "L", "--workers", 1)
    assert (summary["moved"], summary["embedded"]) == (1, 0) and contents(folder) == after


def test_a_folder_that_is_away_is_left_alone_unless_it_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty mount point is no reason to forget a collection."""
    shutil.rmtree(folder / "music/b")
    shutil.rmtree(folder / "music/a")
    (folder / "music/a").mkdir()
    found, errors = run(capsys, "missing", "--library", folder / "L", "--forget")
    assert found == [] and len(contents(folder)) == 5
    cure = f"crossfade missing {folder / 'music/b'} --library {folder / 'L'}"
    assert errors[1] == f"{folder / 'music/b'}: not there or empty, 2 tracks left alone; else {cure}"
    found, errors = run(capsys, "missing", folder / "music/b", "--library", folder / "L", "--forget")
    assert [one["track_id"] for one in found] == ["3.wav", "copy.wav"] and errors == ["2 tracks forgotten"]


def test_a_library_from_another_machine_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "L" / "places.json").unlink()
    shutil.rmtree(folder / "music")
    found, errors = run(capsys, "missing", "--library", folder / "L", "--forget")
    cure = f"crossfade missing FOLDER --library {folder / 'L'}"
    assert (found, errors) == ([], [f"not embedded on this machine, 5 tracks left alone; else {cure}"])
    assert len(contents(folder)) == 5


def test_a_playlist_leaves_out_what_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "music/a/1.wav").unlink()
    words = ("similar", "0.wav", "--library", folder / "L", "--m3u", folder / "like.m3u")
    found, errors = run(capsys, *words)
    assert errors == ["1 of 4 are not in the playlist: their files are gone"]
    lines = [line for line in (folder / "like.m3u").read_text().splitlines() if not line.startswith("#")]
    assert lines == [one["path"] for one in found if one["track_id"] != "1.wav"]
