"""`crossfade duplicates`: all versions of a recording and nothing else, and what is said where files are gone."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import crossfade
from crossfade.models.arrays import l2_normalize
from crossfade.pipelines.commands import terminal_layout
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search import duplicates
from crossfade.pipelines.search.duplicates import find_duplicates, likely_pairs, most_offset
from crossfade.pipelines.simulation.composition import STYLES
from crossfade.pipelines.simulation.instruments import SAMPLE_RATE
from crossfade.pipelines.simulation.synthesizer import render

SECONDS = 12
STYLES_MADE = ("electronic", "folk")


def write(file: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, level: float | None = None) -> None:
    options = {} if level is None else {"compression_level": level, "bitrate_mode": "CONSTANT"}
    with soundfile.SoundFile(file, "w", rate, 1, format=file.suffix[1:].upper(), **options) as out:
        out.write(samples)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `music` and its library `L`: six versions of two pieces, and what resembles these."""
    folder = tmp_path_factory.mktemp("duplicates")
    music = folder / "music"
    music.mkdir()
    for style in STYLES_MADE:
        piece = 0.5 * render(STYLES[style], seconds=SECONDS, seed=1)
        tilt = 10 ** (np.linspace(2, -4, len(piece) // 2 + 1) / 20)
        equalised = np.fft.irfft(np.fft.rfft(piece) * tilt, len(piece)).astype(np.float32)
        write(music / f"{style}.flac", piece)
        write(music / f"{style} high.mp3", piece, level=0.0)
        write(music / f"{style} low.mp3", piece, level=0.7)
        write(music / f"{style} soft.ogg", 0.3 * piece)
        write(music / f"{style} trimmed.mp3", piece[SAMPLE_RATE // 2 :], level=0.5)
        write(music / f"{style} other master.wav", soxr.resample(equalised, SAMPLE_RATE, 16_000), 16_000)
        write(music / f"another {style}.flac", 0.5 * render(STYLES[style], seconds=SECONDS, seed=2))
        for part, half in enumerate(np.array_split(render(STYLES[style], seconds=2 * SECONDS, seed=3), 2)):
            write(music / f"{style} part {part}.flac", 0.5 * half)
    write(music / "silence.flac", 1e-3 * np.sin(np.arange(SECONDS * SAMPLE_RATE) / 10))
    write(music / "drone.flac", 0.3 * np.sin(np.arange(SECONDS * SAMPLE_RATE) / 10))
    assert main(["embed", str(music), "--library", str(folder / "L"), "--workers", "1"]) == 0
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A library of its own over the same music, which is never changed."""
    shutil.copytree(made / "L", tmp_path / "L")
    return tmp_path / "L"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[dict[str, object]], list[str]]:
    capsys.readouterr()
    status = main(list(map(str, words)))
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err.splitlines()


def names(group: dict[str, object]) -> list[str]:
    return [Path(version["path"]).name for version in group["versions"]]


def test_all_versions_are_found_and_nothing_else(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, groups, errors = run(capsys, "duplicates", "--library", copied, "--workers", 1)
    assert status == 0 and len(groups) == 2 and errors[0].startswith("2 recordings in 12 files")
    for group, style in zip(groups, STYLES_MADE, strict=True):
        assert sorted(names(group)) == sorted(
            f"{style}{rest}"
            for rest in (".flac", " high.mp3", " low.mp3", " soft.ogg", " trimmed.mp3", " other master.wav")
        )
        assert 0.8 <= group["agreement"] <= 1
        # The best first: lossless by the sample rate, then by the bit rate.
        assert Path(group["keep"]).name == names(group)[0] == f"{style}.flac"
        assert names(group)[1] == f"{style} other master.wav"
        rates = [version["bitrate_kbps"] for version in group["versions"] if not version["lossless"]]
        assert rates == sorted(rates, reverse=True) and group["versions"][0]["format"] == "FLAC"
    assert run(capsys, "duplicates", "--library", copied)[1] == groups


def test_fingerprints_outlive_the_files(copied: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was fingerprinted is compared all the same; a file that is gone before, or has changed, is not."""
    moved = made.parent / f"{made.name} away"
    known = run(capsys, "duplicates", "--library", copied, "--workers", 1)[1]
    with Library.open(copied) as library, library.transaction() as db:
        soft = "SELECT content_hash FROM tracks WHERE CAST(path AS TEXT) LIKE '%soft.ogg'"
        db.execute(f"DELETE FROM fingerprints WHERE content_hash IN ({soft})")
    made.rename(moved)
    try:
        status, groups, errors = run(capsys, "duplicates", "--library", copied)
    finally:
        moved.rename(made)
    assert status == 0 and [len(group["versions"]) for group in groups] == [5, 5]
    assert all(version["format"] is None for group in groups for version in group["versions"])
    assert {name for group in groups for name in names(group)} < {name for group in known for name in names(group)}
    assert errors[1].startswith("2 tracks could not be compared, their files are gone or changed: ")


def test_similar_can_leave_them_out(
    copied: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Versions of the query, of a track or of a file outside, and all but one of any other recording."""

    def found(*words: object) -> list[str]:
        return [Path(one["path"]).name for one in run(capsys, "similar", *words, "--library", copied, "-k", 30)[1]]

    with_all = found(made / "music" / "folk.flac")
    assert len(with_all) == 19 and {"folk low.mp3", "folk trimmed.mp3"} < set(with_all)
    without = found(made / "music" / "folk.flac", "--no-duplicates")
    assert not any(name.startswith("folk") and "part" not in name for name in without)
    assert len([name for name in without if name.startswith("electronic") and "part" not in name]) == 1
    assert without == [name for name in with_all if name in without] and "another folk.flac" in without
    samples, rate = soundfile.read(made / "music" / "folk.flac", dtype="float32")
    write(tmp_path / "outside.ogg", 0.4 * samples, rate)
    outside = found(tmp_path / "outside.ogg", "--no-duplicates")
    assert [len([name for name in outside if name.startswith(style)]) for style in STYLES_MADE] == [3, 2]
    with crossfade.Library(copied) as library:
        nearest = library.similar(made / "music" / "folk.flac", k=30, duplicates=False)
        assert [Path(one.path or "").name for one in nearest] == without
        assert len(library.similar(made / "music" / "folk.flac", k=30)) == 19


def test_similar_keeps_the_version_that_duplicates_would_keep(
    copied: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One rule: the best file, wherever it ranks; with it gone, the best of those that are there."""

    def found(track: str) -> list[str]:
        words = ("similar", made / "music" / track, "--no-duplicates", "--library", copied, "-k", 30)
        return [Path(one["path"]).name for one in run(capsys, *words)[1]]

    _, groups, _ = run(capsys, "duplicates", "--library", copied)
    versions = {name for group in groups for name in names(group)}
    kept = {names(group)[0] for group in groups}
    for track in ("drone.flac", "another folk.flac"):
        assert versions & set(found(track)) == kept == {"electronic.flac", "folk.flac"}
    assert versions & set(found("folk low.mp3")) == {"electronic.flac"}
    moved = (made / "music" / "folk.flac").rename(made / "away.flac")
    try:
        assert versions & set(found("drone.flac")) == {"electronic.flac", "folk other master.wav"}
    finally:
        moved.rename(made / "music" / "folk.flac")


def test_the_terminal_says_which_to_keep_and_which_are_gone() -> None:
    """Paths whole, since they are copied."""
    version = {"track_id": "t", "duration_seconds": 61.0, "bitrate_kbps": None}
    fields = {
        "versions": [
            version | {"path": "/music/" + "long/" * 30 + "a.flac", "format": "FLAC"},
            version | {"path": "/music/b.mp3", "format": "MP3", "bitrate_kbps": 128},
            version | {"path": None, "format": None},
        ]
    }
    lines = terminal_layout.duplicate_group(fields, 80).split("\n")
    assert [line.split()[:2] for line in lines] == [["keep", "1:01"], ["1:01", "MP3"], ["gone", "1:01"], []]
    assert lines[0].endswith("  /music/" + "long/" * 30 + "a.flac") and "128 kbps  /music/b.mp3" in lines[1]


def test_an_interrupted_run_keeps_what_it_made(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupted(path: Path) -> np.ndarray:
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fingerprint_of(path)

    fingerprint_of = duplicates.fingerprint_of
    monkeypatch.setattr(duplicates, "fingerprint_of", interrupted)
    monkeypatch.setattr(duplicates, "_FEW_FILES", 100)
    with Library.open(copied) as library:
        with pytest.raises(KeyboardInterrupt):
            find_duplicates(library)
        assert len(library.fingerprinted()) == 3
        moves: list[tuple[int, int | None, str]] = []
        assert len(find_duplicates(library, progress=lambda *move: moves.append(move)).groups) == 2
    assert moves[0] == (1, 17) and moves[-1][0] == moves[-1][1] and moves[-1][2] == "comparing"


def test_nothing_to_compare(tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty library, one of imported vectors, which have no length, and one of a single track."""
    with Library.open(tmp_path / "L", create=True) as library:
        library.add_vectors("features", ["a", "b"], np.ones((2, 3), np.float32))
    status, groups, errors = run(capsys, "duplicates", "--library", tmp_path / "L")
    assert (
        (status, groups) == (1, [])
        and len(errors) == 1
        and "nothing in it is embedded; run crossfade embed" in errors[0]
    )
    run(capsys, "embed", made / "music" / "drone.flac", "--library", tmp_path / "one", "--workers", 1)
    assert run(capsys, "duplicates", "--library", tmp_path / "one")[:2] == (0, [])


def test_copies_of_a_file_need_no_fingerprint(tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "music").mkdir()
    for name in ("a.flac", "b.flac"):
        shutil.copy(made / "music" / "drone.flac", tmp_path / "music" / name)
    run(capsys, "embed", tmp_path / "music", "--library", tmp_path / "L", "--workers", 1)
    _, (group,), errors = run(capsys, "duplicates", "--library", tmp_path / "L")
    assert errors == ["1 recording in 2 files; compared 0 pairs of tracks of like length and sound"]
    assert names(group) == ["a.flac", "b.flac"] and group["agreement"] == 1


def test_likely_pairs_are_those_of_each_other_s_length(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of any size the nearest of like length, by brute force; none without a length or a vector."""
    seconds, vectors = rng.uniform(5, 300, 200), l2_normalize(rng.normal(size=(200, 8)))
    seconds[[3, 50]], vectors[[4, 60]] = np.nan, 0
    expected = set()
    for row in range(200):
        apart = np.abs(seconds - seconds[row]) > most_offset(seconds, seconds[row])
        cosines = np.where(
            apart | np.isnan(seconds) | ~vectors.any(axis=1) | (np.arange(200) == row), -np.inf, vectors @ vectors[row]
        )
        if np.isfinite(seconds[row]) and vectors[row].any():
            order = np.argsort(-cosines, kind="stable")[: duplicates.MATES]
            expected |= {tuple(sorted((row, int(other)))) for other in order if cosines[other] > -np.inf}
    for cells in (1, 1_000, 1 << 22):
        monkeypatch.setattr(duplicates, "_BLOCK_CELLS", cells)
        pairs = likely_pairs(seconds, vectors)
        assert {pair[:2] for pair in pairs} == expected and len(pairs) == len(expected)
        some = {pair[:2] for row in (7, 8, 9) for pair in likely_pairs(seconds, vectors, of=[row])}
        assert {pair[:2] for pair in likely_pairs(seconds, vectors, of=[9, 7, 8])} == some <= expected
        assert all(pair.cosine >= other.cosine for pair, other in pairwise(pairs))
    assert likely_pairs(seconds[:1], vectors[:1]) == likely_pairs(seconds[:0], vectors[:0]) == []
