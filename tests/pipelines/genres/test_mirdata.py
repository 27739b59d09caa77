"""Genres from a data set of mirdata: a small one of the same form, since mirdata is no dependency."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import music_like

from crossfade.errors import DataError, UsageError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.genres.labels import LabelledAudio, read_labels
from crossfade.pipelines.genres.options import LabelOptions


@dataclass
class Dataset:
    """As mirdata.core.Dataset, as far as it is used."""

    data_home: str
    tracks: list[SimpleNamespace]

    def load_tracks(self) -> dict[str, SimpleNamespace]:
        return {str(number): track for number, track in enumerate(self.tracks)}


def install(monkeypatch: pytest.MonkeyPatch, home: Path, tracks: list[dict[str, Any]]) -> None:
    """A module `mirdata` that knows the data set `small`."""

    def initialize(name: str, data_home: str | None = None, version: str = "default") -> Dataset:
        if name != "small":
            raise ValueError(f"Invalid dataset {name}")
        if version not in ("default", "mini"):
            raise ValueError(f"Invalid version {version}")
        folder = data_home or str(home)
        made = [SimpleNamespace(**{**track, "audio_path": f"{folder}/{track['file']}"}) for track in tracks]
        return Dataset(folder, made)

    monkeypatch.setitem(sys.modules, "mirdata", SimpleNamespace(initialize=initialize))


def read(source: str = "mirdata:small", **options: Any) -> LabelledAudio:
    return read_labels(Path(source), LabelOptions(**options))


def songs(folder: Path, count: int = 8) -> list[dict[str, Any]]:
    tracks = []
    for number in range(count):
        file = f"{number}.wav"
        folder.mkdir(exist_ok=True)
        samples = music_like(4, 16_000, np.random.default_rng(number), bpm=70 if number % 2 else 150)
        soundfile.write(folder / file, samples, 16_000)
        tracks.append({"file": file, "genre": ("jazz", "rock")[number % 2], "artist": f"artist {number // 4}"})
    return tracks


def test_a_data_set_is_trained_on_by_its_name(tmp_path, monkeypatch, capsys) -> None:
    install(monkeypatch, tmp_path / "home", songs(tmp_path / "home"))
    words = ["genres", "train", "mirdata:small", "--out", str(tmp_path / "M"), "--cache", str(tmp_path / "C")]
    assert main([*words, "--folds", "2", "--repeats", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert '"split": "artist"' in said.out
    assert '"leaky": false' in said.out
    assert main([*words[:2], "mirdata:small", *words[3:], "--audio", str(tmp_path / "nowhere")]) == 1
    assert "no audio with genres in" in capsys.readouterr().err


def test_artists_albums_and_splits_are_what_the_data_set_says(tmp_path, monkeypatch) -> None:
    tracks = songs(tmp_path)
    for number, track in enumerate(tracks):
        track |= {
            "artist": None,
            "artists": ["A & B", f"C{number}"],
            "split": ("train", "train", "test", "test")[number % 4],
        }
    install(monkeypatch, tmp_path, tracks)
    found = read("mirdata:small@mini")
    assert found.artists is not None
    assert found.artists[3] == "A & B & C3"
    assert found.splits == ("train", "train", "test", "test") * 2
    assert found.names == tuple(f"{number}.wav" for number in range(8))
    assert not found.multi_label
    tracks[0]["split"] = None
    install(monkeypatch, tmp_path, tracks)
    assert read().splits is None


@pytest.mark.parametrize("genres", [["jazz", "rock"], {"genres": ["jazz", "rock"], "sub_genres": ["be-bop"]}])
def test_several_genres(tmp_path, monkeypatch, genres) -> None:
    tracks = songs(tmp_path)
    tracks[0].pop("genre")
    tracks[0]["genres"] = genres
    install(monkeypatch, tmp_path, tracks)
    found = read()
    assert found.labels[0] == ("jazz", "rock")
    assert found.multi_label


def test_tracks_without_a_genre_are_left_out(tmp_path, monkeypatch) -> None:
    tracks = songs(tmp_path)
    tracks[0]["genre"] = None
    install(monkeypatch, tmp_path, tracks)
    assert len(read()) == 7


def test_what_is_missing_is_said_with_its_cure(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mirdata", None)
    with pytest.raises(UsageError, match=r"^mirdata:small: needs mirdata, .*; pip install mirdata$"):
        read()
    install(monkeypatch, tmp_path, [{"file": "none.wav", "genre": "jazz"}])
    for source, version in (("mirdata:small", ""), ("mirdata:small@mini", ", version='mini'")):
        with pytest.raises(DataError) as error:
            read(source)
        assert f"import mirdata; mirdata.initialize('small'{version}).download()" in str(error.value)
    for source in ("mirdata:smal", "mirdata:small@old", "mirdata:"):
        with pytest.raises(UsageError, match="mirdata has no such data set or version"):
            read(source)
    install(monkeypatch, tmp_path, [])
    with pytest.raises(DataError, match="no audio with genres"):
        read()


def test_an_index_that_was_not_downloaded(tmp_path, monkeypatch) -> None:
    install(monkeypatch, tmp_path, [])

    def load_tracks(dataset: Dataset) -> None:
        raise FileNotFoundError("This dataset's index must be downloaded. Did you run .download()?")

    monkeypatch.setattr(Dataset, "load_tracks", load_tracks)
    with pytest.raises(DataError, match=r"mirdata.initialize\('small'\).download\(\)"):
        read()
