"""The examples run as they stand, by the public API alone."""

from __future__ import annotations

import ast
import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from sounds import music_like

EXAMPLES = ROOT / "examples"
RATE = 16_000


def run(script: str, *arguments: Path | str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(3):
        samples = music_like(5, RATE, np.random.default_rng(seed), bpm=90 + 20 * seed)
        soundfile.write(folder / f"{seed}.flac", samples, RATE)
    (folder / "broken.mp3").write_bytes(b"no audio")
    return folder


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda script: script.stem)
def test_it_imports_nothing_below_the_public_api(script: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in imports if (node.module or "").startswith("crossfade")]


def test_genres_of_a_folder(music: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("genres_of_a_folder.py", music))))
    assert [Path(row["path"]).name for row in rows] == ["0.flac", "1.flac", "2.flac"]
    assert all(row["genre"] and 0 < float(row["probability"]) <= 1 for row in rows)


def test_playlist_like_a_song(music: Path) -> None:
    lines = run("playlist_like_a_song.py", music / "0.flac", music).splitlines()
    assert lines[0] == "#EXTM3U"
    assert {Path(line).name for line in lines[1:]} >= {"1.flac", "2.flac"}
    assert all(Path(line).is_file() for line in lines[1:])


def test_recommend_from_a_table(tmp_path: Path) -> None:
    log = tmp_path / "plays.csv"
    rows = [(user, item) for user in range(20) for item in range(10) if (user + item) % 2 == 0 and item != user % 10]
    log.write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in rows))
    for model in ("als", "item-knn"):
        answers = csv.DictReader(io.StringIO(run("recommend_from_a_table.py", log, model)))
        found = {(int(row["user_id"]), int(row["item_id"])) for row in answers}
        assert len({user for user, _ in found}) == 20
        assert not found & set(rows)
