"""Genres into files' tags: shown by default, written on request, taken back exactly."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import soundfile

from crossfade.errors import AudioError, DataError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.genres.tag_writer import Change, Journal, read_genre, write_genre


@pytest.fixture(params=["flac", "mp3", "ogg", "wav", "aiff"])
def song(request, tmp_path, rng):
    path = tmp_path / f"song.{request.param}"
    soundfile.write(path, rng.normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_written_and_read_back(song):
    assert read_genre(song) == ()
    write_genre(song, ["jazz"])
    assert read_genre(song) == ("jazz",)
    samples = soundfile.read(song)[0]
    write_genre(song, ["folk", "blues"])
    assert read_genre(song) == ("folk", "blues")
    np.testing.assert_array_equal(soundfile.read(song)[0], samples)
    write_genre(song, [])
    assert read_genre(song) == ()


def test_undo_restores_what_was_there_first(song, tmp_path):
    write_genre(song, ["Blues"])
    journal = Journal(tmp_path / "journal.jsonl")
    journal.apply(Change(song, ("Blues",), ("jazz",)))
    journal.apply(Change(song, ("jazz",), ("rock",)))
    assert [reason for _, reason in journal.undo()] == [""]
    assert read_genre(song) == ("Blues",)
    assert not journal.path.exists()


def test_a_genre_changed_by_hand_is_left_alone(song, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.apply(Change(song, (), ("jazz",)))
    write_genre(song, ["my own"])
    assert [reason for _, reason in journal.undo()] == ["was changed since, to my own"]
    assert read_genre(song) == ("my own",)
    assert len(journal.changes()) == 1


def test_a_journal_cut_off_by_a_crash_still_works(song, tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.apply(Change(song, (), ("jazz",)))
    with journal.path.open("a") as file:
        file.write('{"path": "/half')
    assert len(journal.changes()) == 1
    journal.apply(Change(song, ("jazz",), ("rock",)))
    assert len(journal.changes()) == 2


def test_what_is_no_journal_or_no_audio_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="no such journal"):
        list(Journal(tmp_path / "nothing").undo())
    (tmp_path / "text").write_text("hello\nworld\n")
    with pytest.raises(DataError, match="line 1"):
        list(Journal(tmp_path / "text").undo())
    with pytest.raises(AudioError):
        read_genre(tmp_path / "text")


def test_the_command_shows_writes_and_undoes(tmp_path, rng, capsys, monkeypatch):
    path = tmp_path / "song.flac"
    soundfile.write(path, rng.normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    monkeypatch.setattr("crossfade.pipelines.genres.tag_writer.namer", lambda model: lambda path: "jazz")
    before = digest(path)
    journal = ["--journal", str(tmp_path / "journal.jsonl")]
    assert main(["tag", str(tmp_path), *journal]) == 0
    assert digest(path) == before
    shown = json.loads(capsys.readouterr().out)
    assert (shown["before"], shown["after"], shown["written"]) == ([], ["jazz"], False)
    assert main(["tag", str(tmp_path), "--write", *journal]) == 0
    assert read_genre(path) == ("jazz",)
    assert json.loads(capsys.readouterr().out)["written"]
    assert main(["tag", "--undo", *journal]) == 0
    assert read_genre(path) == ()


def test_a_sub_genre_is_written_beside_its_parent(tmp_path, rng, monkeypatch):
    path = tmp_path / "song.flac"
    soundfile.write(path, rng.normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    monkeypatch.setattr("crossfade.pipelines.genres.tag_writer.namer", lambda model: lambda path: "Rock > Punk")
    assert main(["tag", str(path), "--write", "--journal", str(tmp_path / "journal.jsonl")]) == 0
    assert read_genre(path) == ("Rock", "Punk")
