"""What an analysis says of files that are no ordinary songs: low confidence or nothing, never a sure wrong answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import chords, drums, melody, music_like, noise, pad, single_click

from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer, Description

RATE = 44_100
SURE = 0.6
SONG = ((0, 4, 7), (-3, 0, 4), (5, 9, 12), (-5, -1, 2)) * 3


@pytest.fixture(scope="module")
def analyzer() -> AudioAnalyzer:
    return AudioAnalyzer(1)


def described(analyzer: AudioAnalyzer, folder: Path, samples: np.ndarray) -> Description:
    soundfile.write(folder / "a.flac", np.clip(samples, -1, 1), RATE)
    return analyzer.analyze(folder / "a.flac").description


def test_a_song_has_both_of_all_that_was_heard(analyzer: AudioAnalyzer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    song = np.tile(chords(SONG, RATE, seconds_each=1.0) + 0.3 * drums(12, RATE, rng, bpm=120), 5)
    found = described(analyzer, tmp_path, song)
    assert found.tempo_bpm == pytest.approx(120, rel=0.02) and found.tempo_confidence > SURE
    assert found.key == "C major" and found.key_confidence > SURE
    assert found.heard_seconds == pytest.approx(27, abs=0.5)
    assert found.loudness_spread_lu == pytest.approx(0, abs=1)


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_a_short_clip(analyzer: AudioAnalyzer, tmp_path: Path, seconds: float) -> None:
    found = described(analyzer, tmp_path, music_like(seconds, RATE, np.random.default_rng(0), bpm=100))
    assert found.heard_seconds == pytest.approx(seconds, abs=0.1)
    assert found.loudness_spread_lu is None
    if seconds < 2:
        assert found.tempo_bpm is None
    else:
        assert found.tempo_bpm in (pytest.approx(100, rel=0.02), pytest.approx(50, rel=0.02))


def test_drums_have_a_tempo_and_no_sure_key(analyzer: AudioAnalyzer, tmp_path: Path) -> None:
    found = described(analyzer, tmp_path, drums(20, RATE, np.random.default_rng(0), bpm=95))
    assert 95 in (pytest.approx(found.tempo_bpm, rel=0.02), pytest.approx(found.tempo_alternative_bpm, rel=0.02))
    assert found.key is None or found.key_confidence < SURE


def test_a_voice_alone_has_no_sure_tempo_of_its_vibrato(analyzer: AudioAnalyzer, tmp_path: Path) -> None:
    """Notes of changing lengths, by one singer."""
    rng = np.random.default_rng(1)
    notes = [melody((step,), RATE, seconds_each=rng.uniform(0.3, 1.4)) for step in (0, 2, 4, 5, 7, 4, 2, 0, -1, 0) * 2]
    found = described(analyzer, tmp_path, np.concatenate(notes))
    assert found.tempo_bpm is None or found.tempo_confidence < SURE


@pytest.mark.parametrize("sound", ["pad", "noise", "click"])
def test_what_has_no_beat_has_no_tempo(analyzer: AudioAnalyzer, tmp_path: Path, sound: str) -> None:
    samples = {
        "pad": pad(20, RATE),
        "noise": noise(20, RATE, np.random.default_rng(0)),
        "click": single_click(20, RATE),
    }[sound]
    found = described(analyzer, tmp_path, samples)
    assert found.tempo_bpm is found.tempo_alternative_bpm is found.tempo_confidence is None
    assert (found.key is None) == (sound != "pad")
