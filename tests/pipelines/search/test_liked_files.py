"""A library of real audio with listens: liked files, and a track that came after the training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import music_like, noise, tone

from crossfade.models.genres.model import GenreModel
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.versions.model_version import ModelVersion

RATE = 16_000
Lines = list[dict[str, Any]]


def write(file: Path, number: int) -> Path:
    """Beats for even numbers, noises for odd ones."""
    rng = np.random.default_rng(number)
    samples = noise(4, RATE, rng, slope=0.1 * (number % 5)) if number % 2 else music_like(4, RATE, rng)
    soundfile.write(file, samples, RATE)
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, Lines, str]:
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, [json.loads(line) for line in printed.out.splitlines()], printed.err


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("heard")
    music = place / "music"
    music.mkdir()
    for number in range(8):
        write(music / f"{number}.flac", number)
    rows = [f"u{user},{2 * place + user % 2}.flac" for user in range(12) for place in range(3)]
    (place / "log.csv").write_text("\n".join(["user,track", *rows]) + "\n")
    folder = place / "L"
    where = ["--library", str(folder)]
    assert main(["embed", str(music), "--workers", "1", *where]) == 0
    columns = ["--columns", "user_id=user,track_id=track"]
    assert main(["listens", str(place / "log.csv"), "--format", "csv", *columns, *where]) == 0
    assert main(["train", *where]) == 0
    return folder


def test_a_liked_file_that_is_not_in_the_library(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    liked = write(tmp_path / "liked.wav", 102)
    status, found, _ = run(capsys, "recommend", "--like", liked, "-k", 3, "--library", library)
    assert status == 0
    assert len(found) == 3
    status, both, _ = run(capsys, "recommend", "--like", liked, "0.flac", "-k", 3, "--library", library)
    assert status == 0
    assert "0.flac" not in {line["track_id"] for line in both}
    assert {line["because"] for line in both} <= {str(liked), "0.flac", None}


def test_a_silent_liked_file_is_one_line_that_names_it(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, 0 * tone(440, 3, RATE), RATE)
    status, found, said = run(capsys, "recommend", "--like", silent, "--library", library)
    assert status != 0
    assert found == []
    (line,) = [line for line in said.splitlines() if line.startswith("crossfade: ")]
    assert str(silent) in line
    assert "silent" in line.replace(str(silent), "")


def test_a_track_that_came_after_the_training(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "late.flac", 8)
    assert run(capsys, "embed", tmp_path, "--library", library, "--workers", "1")[0] == 0
    for blend in (0, 0.5):
        _, found, _ = run(capsys, "similar", "0.flac", "--blend", blend, "-k", 8, "--library", library)
        assert "late.flac" in {line["track_id"] for line in found}
    _, found, _ = run(capsys, "recommend", "u0", "-k", 9, "--library", library)
    assert "late.flac" in {line["track_id"] for line in found}
    _, (story,), _ = run(capsys, "explain", "late.flac", "--library", library)
    assert story["listeners"] == 0
    assert story["heard"]


def test_genres_of_another_vocabulary_say_nothing_to_a_trained_version(
    library: Path, genre_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library gets a genre model after its training: it goes on answering, by sound and without wrong columns."""
    folder = shutil.copytree(library, tmp_path / "L")
    with Library.open(folder) as opened:
        version = ModelVersion.load(opened)
        one = opened.catalogue().take(np.array([0]))
        assert version.adapt(one) is one
        renamed = replace(one, genre_names=tuple(f"other {name}" for name in one.genre_names))
        assert version.adapt(renamed).genre_probabilities.size == 0
        opened.use_vocabulary(AudioAnalyzer(model=GenreModel.load(genre_model)))
    stranger = write(tmp_path / "stranger.wav", 104)
    for command in (["similar", stranger, "--blend", ".5"], ["recommend", "--like", stranger]):
        status, found, said = run(capsys, *command, "-k", 3, "--library", folder)
        assert (status, len(found)) == (0, 3), said
    assert run(capsys, "train", "--library", folder)[0] == 0
    with Library.open(folder) as opened:
        assert ModelVersion.load(opened).metadata["genres"] == ["loud", "quiet"]
