"""Embedding a collection: resumable, nothing lost, and tracks that keep who they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import music_like

from crossfade.audio.errors import DataError, LibraryError
from crossfade.models.classical import fit_ridge
from crossfade.models.classifiers import HeadClassifier, Part, Recipe
from crossfade.models.genre_model import Card, GenreModel
from crossfade.models.heads import Normalisation, fit_head
from crossfade.pipelines.embedding import BATCH_TRACKS, EmbedOptions, EmbedSummary, embed
from crossfade.pipelines.library import Library
from crossfade.pipelines.workers import WorkerDied, in_workers

RATE = 16_000
VECTOR_TOLERANCE = 1e-5


def song(path: Path, seed: int, seconds: float = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, music_like(seconds, RATE, np.random.default_rng(seed), bpm=80 + 10 * seed), RATE)
    return path


def run(library: Path, *places: Path, **options: Any) -> EmbedSummary:
    with Library.open(library, create=True) as opened:
        return embed(opened, places, EmbedOptions(workers=1, **options), lambda done, total: None)


def paths(library: Path) -> dict[str, str | None]:
    with Library.open(library) as opened:
        rows = opened.query("SELECT track_id, path FROM tracks")
    return {track_id: path and Path(os.fsdecode(path)).name for track_id, path in rows}


def failures(library: Path) -> dict[str, str]:
    with Library.open(library) as opened:
        rows = opened.query("SELECT path, reason FROM failures")
    return {Path(os.fsdecode(path)).name: reason for path, reason in rows}


def counts(summary: EmbedSummary) -> tuple[int, int, int]:
    return summary.embedded, summary.unchanged, summary.failed


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    for number, name in enumerate(("a/one.wav", "a/two.wav", "b/one.wav")):
        song(folder / name, number)
    return folder


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    return tmp_path / "L"


def test_a_second_run_does_nothing_and_a_changed_file_is_heard_again(music: Path, lib: Path) -> None:
    assert counts(run(lib, music)) == (3, 0, 0)
    assert paths(lib) == {"a/one.wav": "one.wav", "a/two.wav": "two.wav", "b/one.wav": "one.wav"}
    assert counts(run(lib, music)) == (0, 3, 0)
    os.utime(music / "a/one.wav")
    assert counts(run(lib, music)) == (0, 3, 0)
    song(music / "a/one.wav", 9)
    assert counts(run(lib, music)) == (1, 2, 0)
    assert len(paths(lib)) == 3


def test_a_track_keeps_its_id_when_its_file_moves(music: Path, lib: Path) -> None:
    run(lib, music)
    (music / "a/two.wav").rename(music / "renamed.wav")
    assert counts(run(lib, music))[2] == 0
    assert paths(lib)["a/two.wav"] == "renamed.wav"
    assert len(paths(lib)) == 3


def test_the_same_audio_twice_is_two_tracks_with_one_embedding(music: Path, lib: Path) -> None:
    shutil.copy(music / "a/one.wav", music / "copy.wav")
    assert counts(run(lib, music)) == (4, 0, 0)
    with Library.open(lib) as opened:
        assert opened.query("SELECT count(*) FROM heard") == [(3,)]
        catalogue = opened.catalogue()
    by_id = dict(zip(catalogue.track_ids, catalogue.sound, strict=True))
    np.testing.assert_array_equal(by_id["copy.wav"], by_id["a/one.wav"])


def test_failures_have_reasons_and_are_retried_when_they_change(music: Path, lib: Path) -> None:
    (music / "bad.mp3").write_text("no music " * 50)
    (music / "labels.csv").write_text("path,genre\n")
    assert counts(run(lib, music)) == (3, 0, 1)
    assert failures(lib)["bad.mp3"].startswith("cannot be decoded")
    assert counts(run(lib, music)) == (0, 3, 1)
    assert counts(run(lib, music, retry=True)) == (0, 3, 1)
    song(music / "good.wav", 5).rename(music / "bad.mp3")
    assert counts(run(lib, music)) == (1, 3, 0)
    assert failures(lib) == {}


def test_two_folders_with_the_same_names_are_all_kept(music: Path, lib: Path) -> None:
    run(lib, music / "a", music / "b")
    assert set(paths(lib)) == {"one.wav", "two.wav", "b/one.wav"}
    assert counts(run(lib, music / "a", music / "b")) == (0, 3, 0)


def test_odd_names_are_kept_as_bytes(tmp_path: Path, lib: Path) -> None:
    folder = tmp_path / "odd"
    for number, name in enumerate((b"new\nline.wav", b"not \xff utf8.wav", "žluťoučký.wav".encode())):
        song(folder / "plain.wav", number).rename(folder / os.fsdecode(name))
    assert counts(run(lib, folder)) == (3, 0, 0)
    assert counts(run(lib, folder)) == (0, 3, 0)
    with Library.open(lib) as opened:
        stored = {path for (path,) in opened.query("SELECT path FROM tracks")}
        assert opened.tracks()["track_id"].to_list() == [
            r"new" + "\n" + "line.wav",
            r"not \xff utf8.wav",
            "žluťoučký.wav",
        ]
    assert os.fsencode(folder) + b"/not \xff utf8.wav" in stored


def test_a_manifest_names_tracks(music: Path, lib: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "path,track_id,title,artist,genre,released_at\n"
        "a/one.wav,T1,One,X; Y,jazz,1971\n"
        "a/two.wav,T1,Two,X,,\n"
        "gone.wav,T3,,,,\n"
    )
    assert counts(run(lib, music, manifest=manifest)) == (2, 0, 2)
    reasons = failures(lib)
    assert reasons["two.wav"].startswith("track_id T1 is already ")
    assert "manifest.csv, line 3" in reasons["two.wav"]
    assert reasons["gone.wav"].startswith("no such file")
    with Library.open(lib) as opened:
        track = opened.tracks().row(0, named=True)
    assert (track["track_id"], track["title"], track["artists"], track["genres"]) == ("T1", "One", ["X", "Y"], ["jazz"])
    assert track["released_at"] == 31_536_000


def test_a_manifest_without_its_columns_is_refused(music: Path, lib: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,track_id\n")
    with pytest.raises(DataError, match=r"manifest\.csv: no column path; found file, track_id"):
        run(lib, music, manifest=manifest)


def test_ids_from_a_tag(tmp_path: Path, lib: Path) -> None:
    import mutagen

    path = tmp_path / "music" / "a.flac"
    song(path, 1)
    tagged = mutagen.File(path)
    tagged["musicbrainz_trackid"], tagged["artist"], tagged["title"] = ["mb-1"], ["X", "Y"], ["Song"]
    tagged.save()
    run(lib, path.parent, id_field="musicbrainz_trackid")
    with Library.open(lib) as opened:
        track = opened.tracks().row(0, named=True)
    assert (track["track_id"], track["title"], track["artists"]) == ("mb-1", "Song", ["X", "Y"])


def test_a_library_of_another_encoder_is_refused(music: Path, lib: Path) -> None:
    with Library.open(lib, create=True) as opened, opened.transaction() as db:
        db.execute("INSERT INTO about VALUES ('encoder', 'clap')")
    with pytest.raises(LibraryError, match="embedded with clap, not musicnn-msd"):
        run(lib, music)


@pytest.fixture
def genre_model(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Two genres of its own, told from the default encoder's windows."""
    windows = [rng.normal(size=(3, 250)).astype(np.float32) for _ in range(20)]
    recipe = Recipe((Part("musicnn-msd", 0, 200),), "mean")
    targets = np.eye(2, dtype=bool)[np.arange(20) % 2]
    head = fit_head(recipe.vectors({"musicnn-msd": windows}), targets, Normalisation.STANDARD, fit_ridge)
    GenreModel(Card("probe", "encoder", ("loud", "quiet")), HeadClassifier(recipe, head)).save(tmp_path / "M")
    return tmp_path / "M"


def test_a_genre_model_names_the_whole_library_and_stays(music: Path, lib: Path, genre_model: Path) -> None:
    run(lib, music)
    with Library.open(lib) as opened:
        before = opened.catalogue()
    assert counts(run(lib, music, genre_model=genre_model)) == (3, 0, 0)
    song(music / "new.wav", 7)
    assert counts(run(lib, music)) == (1, 3, 0)
    with Library.open(lib) as opened:
        after = opened.catalogue()
        assert opened.about("genres") == '["loud", "quiet"]'
    assert after.genre_probabilities.shape == (4, 2)
    np.testing.assert_allclose(after.genre_probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(after.sound[:3], before.sound)


def _square_or_die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def _nothing() -> None: ...


def test_a_crash_is_blamed_on_the_culprit_alone() -> None:
    results = dict(in_workers(_square_or_die, range(8), count=2, prepare=_nothing))
    assert isinstance(results.pop(3), WorkerDied)
    assert results == {number: number * number for number in range(8) if number != 3}


def snapshot(lib: Path) -> tuple[set[tuple[Any, ...]], dict[str, np.ndarray]]:
    with Library.open(lib) as opened:
        rows = set(opened.query("SELECT content_hash, path FROM tracks")) | set(
            opened.query("SELECT path, reason FROM failures")
        )
        vectors = {
            digest: np.frombuffer(blob, np.float32)
            for digest, blob in opened.query("SELECT content_hash, embedding FROM heard")
        }
    return rows, vectors


@pytest.mark.slow
def test_a_killed_run_is_carried_on_to_the_same_library(tmp_path: Path) -> None:
    """Killed after a commit and before the end: what was committed is kept, and only the rest is heard."""
    folder, lib = tmp_path / "music", tmp_path / "L"
    for number in range(2 * BATCH_TRACKS):
        song(folder / f"{number:02}.wav", number, seconds=3)
    (folder / "bad.mp3").write_text("no music")
    run(tmp_path / "whole", folder)
    expected, vectors = snapshot(tmp_path / "whole")
    command = [sys.executable, "-m", "crossfade.pipelines", "embed", str(folder), "--library", str(lib), "--json"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not ((lib / "library.db").exists() and _tracks(lib)):
        pass
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = _tracks(lib)
    assert 0 < kept < 2 * BATCH_TRACKS
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["unchanged"], summary["embedded"]) == (kept, 2 * BATCH_TRACKS - kept)
    found, resumed = snapshot(lib)
    assert found == expected
    assert resumed.keys() == vectors.keys()
    for digest, vector in vectors.items():
        np.testing.assert_allclose(resumed[digest], vector, atol=VECTOR_TOLERANCE)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_heard_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    for number in range(60):
        song(folder / f"{number:02}.wav", number, seconds=3)
    command = [sys.executable, "-m", "crossfade.pipelines", "embed", str(folder), "--library", str(tmp_path / "L")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    database = tmp_path / "L" / "library.db"
    while process.poll() is None and (not database.exists() or not _tracks(tmp_path / "L")):
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130
    assert "the same command carries on" in messages
    assert "Traceback" not in messages
    assert _tracks(tmp_path / "L") >= 1


def _tracks(lib: Path) -> int:
    try:
        with Library.open(lib) as opened:
            return int(opened.query("SELECT count(*) FROM tracks")[0][0])
    except LibraryError:
        return 0
