"""The commands that hear and search, as a user types them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest
import soundfile
from sounds import music_like, noise

from crossfade.models.genres.vocabulary import GENRES
from crossfade.pipelines.commands.console import Console
from crossfade.pipelines.commands.main import main

RATE = 16_000


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for number in range(6):
        samples = music_like(4, RATE, np.random.default_rng(number), bpm=70 + 20 * number)
        soundfile.write(folder / f"{number}.flac", samples, RATE)
    return folder


@pytest.fixture(scope="module")
def library(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    assert main(["embed", str(music), "--library", str(folder), "--workers", "1"]) == 0
    return folder


class Run:
    """A command's exit status, records and messages."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> None:
        capsys.readouterr()
        try:
            self.status: int | str | None = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            self.status = stop.code
        printed = capsys.readouterr()
        self.records: list[dict[str, Any]] = [json.loads(line) for line in printed.out.splitlines()]
        self.errors = printed.err.splitlines()


def test_classify_prints_a_line_per_file_in_order(capsys: pytest.CaptureFixture[str], music: Path) -> None:
    files = [music / "3.flac", music / "0.flac"]
    run = Run(capsys, "classify", *files)
    assert run.status == 0
    assert [record["path"] for record in run.records] == [str(file) for file in files]
    for record in run.records:
        assert list(record) == [
            *("path", "duration_seconds", "genres", "confident", "moods", "mood_lifts"),
            *("tempo_bpm", "tempo_alternative_bpm", "tempo_confidence", "key", "key_alternative", "key_confidence"),
            *("loudness_lufs", "loudness_spread_lu", "heard_seconds", "texture"),
        ]
        probabilities = [genre["probability"] for genre in record["genres"]]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=0.01)
        assert {genre["genre"] for genre in record["genres"]} == set(GENRES)


def test_classify_goes_on_after_a_bad_file(capsys: pytest.CaptureFixture[str], music: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("no music " * 100)
    run = Run(capsys, "classify", tmp_path / "none.mp3", tmp_path / "text.mp3", tmp_path, music / "0.flac")
    assert run.status == 1
    assert [record["path"] for record in run.records] == [str(music / "0.flac")]
    assert run.errors[0] == f"crossfade: {tmp_path / 'none.mp3'}: no such file"
    assert len(run.errors) == 3
    assert run.errors[2] == f"crossfade: {tmp_path}: a folder, not a file; run crossfade embed {tmp_path} --library L"


def test_embed_counts(capsys: pytest.CaptureFixture[str], music: Path, library: Path) -> None:
    run = Run(capsys, "embed", music, "--library", library)
    assert run.status == 0
    assert list(run.records[0]) == ["embedded", "unchanged", "failed", "seconds", "renamed", "moved", "missing"]
    assert (run.records[0]["embedded"], run.records[0]["unchanged"]) == (0, 6)


def test_failures_and_strict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "bad.mp3").write_text("no music " * 100)
    assert Run(capsys, "embed", tmp_path / "music", "--library", tmp_path / "L").status == 0
    assert Run(capsys, "embed", tmp_path / "music", "--library", tmp_path / "L", "--strict").status == 1
    run = Run(capsys, "failures", "--library", tmp_path / "L")
    assert run.records[0]["path"] == str(tmp_path / "music" / "bad.mp3")
    assert run.records[0]["reason"].startswith("cannot be decoded")


def test_a_missing_folder_is_wrong_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = Run(capsys, "embed", tmp_path / "none", "--library", tmp_path / "L")
    assert run.status == 2
    assert run.errors == [f"crossfade: {tmp_path / 'none'}: no such file or folder"]


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "none"],
        ["embed", ".", "--manifest", "none.csv"],
        ["embed", ".", "--genre-model", "none"],
        ["embed", ".", "--encoder", "./none"],
        ["listens", "none.csv", "--format", "csv"],
        ["listens", ".", "--format", "movielens", "--columns", "user_id=u"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_make_no_library(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(capsys, *words, "--library", tmp_path / "L")
    assert run.status in (1, 2) and len(run.errors) == 1
    assert not (tmp_path / "L").exists()


def test_a_folder_without_audio_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    run = Run(capsys, "embed", tmp_path / "empty", "--library", tmp_path / "L")
    assert (run.status, run.errors) == (0, [f"no audio files in {tmp_path / 'empty'}"])
    assert run.records[0]["embedded"] == 0


def test_similar_by_track_and_by_file(
    capsys: pytest.CaptureFixture[str], music: Path, library: Path, tmp_path: Path
) -> None:
    run = Run(capsys, "similar", "0.flac", "--library", library, "-k", "3")
    assert run.status == 0
    assert len(run.records) == 3
    assert list(run.records[0]) == ["track_id", "path", "artist", "title", "score"]
    scores = [record["score"] for record in run.records]
    assert scores == sorted(scores, reverse=True)
    assert "0.flac" not in {record["track_id"] for record in run.records}
    by_file = Run(capsys, "similar", music / "0.flac", "--library", library, "-k", "3")
    assert by_file.records == run.records
    # The same samples in another file, which has another content hash.
    samples, rate = soundfile.read(music / "0.flac")
    soundfile.write(tmp_path / "again.wav", samples, rate)
    again = Run(capsys, "similar", tmp_path / "again.wav", "--library", library, "-k", "3")
    assert [record["track_id"] for record in again.records] == [record["track_id"] for record in run.records]
    everything = Run(capsys, "similar", "0.flac", "--library", library, "-k", "99")
    assert len(everything.records) == 5


def test_similar_writes_a_playlist(
    capsys: pytest.CaptureFixture[str], music: Path, library: Path, tmp_path: Path
) -> None:
    playlist = tmp_path / "like.m3u"
    run = Run(capsys, "similar", "0.flac", "--library", library, "-k", "2", "--m3u", playlist)
    lines = playlist.read_text().splitlines()
    assert lines[0] == "#EXTM3U"
    assert [line for line in lines if not line.startswith("#")] == [record["path"] for record in run.records]


def test_a_playlist_that_cannot_be_written_is_told_before_the_search(
    capsys: pytest.CaptureFixture[str], library: Path, tmp_path: Path
) -> None:
    for playlist in (tmp_path, tmp_path / "none" / "like.m3u"):
        run = Run(capsys, "similar", "0.flac", "--library", library, "--m3u", playlist)
        assert (run.status, run.records, len(run.errors)) == (2, [], 1)
        assert run.errors[0].startswith(f"crossfade: --m3u {playlist}: ")


def test_similar_caps_artists(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = {
        "track_id": list("abcde"),
        "x": [1.0, 0.9, 0.8, 0.7, 0.1],
        "y": [0.0, 0.1, 0.3, 0.5, 0.9],
    }
    pl.DataFrame(table).write_parquet(tmp_path / "v.parquet")
    Run(capsys, "vectors", tmp_path / "v.parquet", "--name", "features", "--library", tmp_path / "L")
    from crossfade.pipelines.library.store import Library

    with Library.open(tmp_path / "L") as library:
        library.add_tracks(pl.DataFrame({"track_id": list("bcde"), "artists": [["X"], ["X"], ["X"], ["Y"]]}))
    run = Run(capsys, "similar", "a", "--library", tmp_path / "L", "--per-artist", "1")
    assert [record["track_id"] for record in run.records] == ["b", "e"]


def test_similar_to_nothing_known(capsys: pytest.CaptureFixture[str], library: Path, tmp_path: Path) -> None:
    run = Run(capsys, "similar", "no such track", "--library", library)
    assert run.status == 2
    assert "neither a track_id" in run.errors[0]
    for name in (str(tmp_path / "none"), "none.flac"):
        run = Run(capsys, "similar", name, "--library", library)
        assert (run.status, run.errors) == (2, [f"crossfade: {name}: no such file, nor a track_id of {library}"])
    run = Run(capsys, "similar", tmp_path, "--library", library)
    wanted = f"crossfade: {tmp_path}: a folder; name an audio file or a track_id of {library}"
    assert (run.status, run.errors) == (2, [wanted])
    (tmp_path / "text.mp3").write_text("no music " * 100)
    assert Run(capsys, "similar", tmp_path / "text.mp3", "--library", library).status == 1
    assert Run(capsys, "similar", "0.flac", "--library", tmp_path / "none").status == 1


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"name": ["a"]}, "no column track_id"),
        ({"track_id": ["a", "a"], "x": [1.0, 2.0]}, "track_id a occurs more than once"),
        ({"track_id": ["a", "b"], "v": [[1.0], [1.0, 2.0]]}, "column v: vectors of different lengths, 1 and 2"),
        ({"track_id": ["a"], "x": [float("nan")]}, "no row has a vector without null, NaN or infinity"),
        ({"track_id": ["a"], "v": [[1.0, None]]}, "no row has a vector without null, NaN or infinity"),
        ({"track_id": ["a"], "v": [["loud"]]}, "column v"),
        ({"track_id": ["a"]}, "needs one list column or numeric columns"),
    ],
)
def test_vectors_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, table: dict[str, list[Any]], why: str
) -> None:
    pl.DataFrame(table).write_parquet(tmp_path / "v.parquet")
    run = Run(capsys, "vectors", tmp_path / "v.parquet", "--name", "x", "--library", tmp_path / "L")
    assert run.status == 1
    assert len(run.errors) == 1
    assert "v.parquet" in run.errors[0]
    assert why in run.errors[0]


def test_vectors_in_and_everything_out(capsys: pytest.CaptureFixture[str], library: Path, tmp_path: Path) -> None:
    run = Run(capsys, "export", "--library", library, "--out", tmp_path / "out")
    assert run.records == [{"tracks": 6, "embeddings": 6, "genres": 6}]
    embeddings = tmp_path / "out" / "embeddings.parquet"
    again = Run(capsys, "vectors", embeddings, "--name", "copy", "--library", tmp_path / "L")
    assert again.records == [{"name": "copy", "tracks": 6, "dimensions": 200, "left_out": 0}]
    first = Run(capsys, "similar", "0.flac", "--library", library).records
    second = Run(capsys, "similar", "0.flac", "--library", tmp_path / "L").records
    assert [record["track_id"] for record in first] == [record["track_id"] for record in second]
    assert pl.read_parquet(tmp_path / "out" / "genres.parquet").columns == ["track_id", *GENRES]


GAPS = {
    "a list": {"v": [[1.0, 2.0], None, [3.0, None], [3.0, float("nan")], [float("inf"), 1.0], [5.0, 6.0]]},
    "columns": {"x": [1.0, None, 3.0, 3.0, float("inf"), 5.0], "y": [2.0, None, None, float("nan"), 1.0, 6.0]},
}


@pytest.mark.parametrize("kind", GAPS)
def test_rows_with_a_gap_are_tracks_without_a_vector(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str
) -> None:
    """A Parquet with NaN rows is not refused: the others come in, those are left out and counted."""
    pl.DataFrame({"track_id": list("abcdef"), **GAPS[kind]}).write_parquet(tmp_path / "v.parquet")
    run = Run(capsys, "vectors", tmp_path / "v.parquet", "--name", "x", "--library", tmp_path / "L")
    assert run.records == [{"name": "x", "tracks": 2, "dimensions": 2, "left_out": 4}]
    Run(capsys, "export", "--library", tmp_path / "L", "--out", tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "vectors_x.parquet")["track_id"].to_list() == ["a", "f"]


def test_any_name_of_vectors_can_be_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`find --encoder NAME/WITH-SLASH` leaves vectors of that name; export writes them into one file of its folder."""
    from crossfade.pipelines.library.store import Library

    with Library.open(tmp_path / "L", create=True) as library:
        for name in ("hub:laion/clap", "hub:laion%2Fclap", "../out"):
            library.add_vectors(name, ["a"], np.ones((1, 2), np.float32))
    run = Run(capsys, "export", "--library", tmp_path / "L", "--out", tmp_path / "out")
    assert (run.status, run.errors) == (0, [])
    names = {"vectors_hub%3Alaion%2Fclap", "vectors_hub%3Alaion%252Fclap", "vectors_..%2Fout"}
    assert run.records == [{"tracks": 1} | dict.fromkeys(sorted(names), 1)]
    assert {file.stem for file in (tmp_path / "out").iterdir()} == {"tracks", *names}
    assert {unquote(name) for name in names} == {"vectors_hub:laion/clap", "vectors_hub:laion%2Fclap", "vectors_../out"}


@pytest.mark.parametrize("name", ["encoder", "", " "])
def test_imported_vectors_need_a_name_other_than_the_encoders(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    pl.DataFrame({"track_id": ["a"], "x": [1.0]}).write_parquet(tmp_path / "v.parquet")
    run = Run(capsys, "vectors", tmp_path / "v.parquet", "--name", name, "--library", tmp_path / "L")
    assert run.status == 2
    assert len(run.errors) == 1 and "a name of their own" in run.errors[0]


def test_a_cut_off_parquet_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "v.parquet").write_bytes(b"PAR1 cut short")
    run = Run(capsys, "vectors", tmp_path / "v.parquet", "--name", "x", "--library", tmp_path / "L")
    assert run.status == 1
    assert len(run.errors) == 1


def test_paths_come_out_as_they_were_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "b\udcffd.mp3").write_text("no music")
    Run(capsys, "embed", folder, "--library", tmp_path / "L")
    run = Run(capsys, "failures", "--library", tmp_path / "L")
    assert os.fsencode(run.records[0]["path"]) == os.fsencode(folder / "b\udcffd.mp3")


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    console = Console(as_json=False, out=terminal)
    console.record(track_id="a", score=0.5)
    console.record(track_id="b", score=0.25, artist="X")
    console.close()
    lines = terminal.getvalue().splitlines()
    assert lines[0].split() == ["track_id", "score", "artist"]
    assert lines[2].split() == ["b", "0.25", "X"]


def test_help_is_instant() -> None:
    heavy = "torch, faiss, polars, onnxruntime, fastapi, sklearn, pandas, librosa, av"
    code = (
        "import sys\n"
        "from crossfade.pipelines.commands.main import application\n"
        "application().help_print([], console=__import__('rich.console').console.Console(quiet=True))\n"
        f"print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["classify"], ["embed", "--library", "L", "--workers", "1"]])
def test_hearing_imports_nothing_that_it_does_not_use(music: Path, tmp_path: Path, command: list[str]) -> None:
    """A song takes as long as the import of one of these."""
    heavy = "torch, faiss, polars, fastapi, scipy, sklearn, pandas, librosa, av, crossfade.models.genres.model"
    code = (
        "import sys\n"
        "from crossfade.pipelines.commands.main import main\n"
        "if __name__ == '__main__':\n"
        "    main(sys.argv[1:])\n"
        f"    print([name for name in '{heavy}'.split(', ') if name in sys.modules])"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    words = [sys.executable, script, *command, next(music.glob("*.flac"))]
    found = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.splitlines()[-1] == "[]"


def test_a_broken_pipe_is_quiet(library: Path) -> None:
    command = f"{sys.executable} -m crossfade.pipelines similar 0.flac --library {library} | true"
    found = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert found.stderr == ""


def test_noise_is_not_confident(capsys: pytest.CaptureFixture[str], tmp_path: Path, rng: np.random.Generator) -> None:
    soundfile.write(tmp_path / "noise.wav", noise(9, RATE, rng), RATE)
    assert Run(capsys, "classify", tmp_path / "noise.wav").records[0]["confident"] is False
