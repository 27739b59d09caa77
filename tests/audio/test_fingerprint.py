"""Laws of audio fingerprints: another encoding of a recording is the same, another recording is not.

The recordings are the demo's synthesiser's; scripts/experiments/measure_duplicates has real ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from sounds import clicks, music_like, noise, tone

from crossfade.audio.fingerprint import (
    BANDS,
    COPY,
    NO_MATCH,
    SAMPLE_RATE,
    Match,
    fingerprint,
    fingerprint_of,
    match,
    pack,
    unpack,
)
from crossfade.errors import AudioError
from crossfade.pipelines.simulation.composition import STYLES
from crossfade.pipelines.simulation.instruments import SAMPLE_RATE as RENDERED_RATE
from crossfade.pipelines.simulation.synthesizer import render

SECONDS = 12


@pytest.fixture(scope="module")
def pieces() -> dict[str, np.ndarray]:
    """One of each style, at the fingerprint's rate."""
    return {
        style: soxr.resample(render(sound, seconds=SECONDS, seed=1), RENDERED_RATE, SAMPLE_RATE)
        for style, sound in STYLES.items()
    }


def compared(one: np.ndarray, other: np.ndarray) -> Match:
    return match(fingerprint(one), fingerprint(other), most_offset_seconds=1.3)


def encoded(samples: np.ndarray, file: Path, level: float | None = None) -> np.ndarray:
    options = {} if level is None else {"compression_level": level, "bitrate_mode": "CONSTANT"}
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format=file.suffix[1:].upper(), **options) as out:
        out.write(0.9 * samples / np.abs(samples).max())
    return soundfile.read(file, dtype="float32")[0]


@pytest.mark.parametrize("style", STYLES)
def test_versions_of_a_recording_are_the_same(pieces: dict[str, np.ndarray], style: str, tmp_path: Path) -> None:
    piece = pieces[style]
    spectrum = np.fft.rfft(piece)
    tilt = 10 ** (np.linspace(3, -3, len(spectrum)) / 20)
    for other, offset in (
        (0.1 * piece, 0),
        (piece[SAMPLE_RATE // 2 :], -0.5),
        (piece[3_777:], -0.472),
        (np.concatenate([np.zeros(4_000, np.float32), piece]), 0.5),
        (np.fft.irfft(spectrum * tilt, len(piece)).astype(np.float32), 0),
        (soxr.resample(piece, 1000, 1002), 0),
        (encoded(piece, tmp_path / "a.ogg"), 0),
        (encoded(piece, tmp_path / "a.mp3", 0.5), 0),
    ):
        found = compared(piece, other)
        assert found.same and found.agreement > 0.85
        assert found.offset_seconds == pytest.approx(offset, abs=0.1)
        back = compared(other, piece)
        assert back.same and back.offset_seconds == pytest.approx(-found.offset_seconds, abs=0.04)
    assert compared(piece, piece) == COPY


def test_other_recordings_are_not(pieces: dict[str, np.ndarray]) -> None:
    """Other pieces of the same instruments, tempo and scale, other styles, and other places of the same piece."""
    for style, piece in pieces.items():
        again = render(STYLES[style], seconds=SECONDS, seed=2)
        assert not compared(piece, soxr.resample(again, RENDERED_RATE, SAMPLE_RATE)).same
        assert not any(compared(piece, other).same for other in pieces.values() if other is not piece)
        first, second = np.array_split(piece, 2)
        assert not match(fingerprint(first), fingerprint(second), most_offset_seconds=1).same


def test_other_drums_under_the_same_chords_are_another_recording(rng: np.random.Generator) -> None:
    one, other = (music_like(SECONDS, SAMPLE_RATE, np.random.default_rng(seed)) for seed in (1, 2))
    assert compared(one, 0.5 * one).same and not compared(one, other).same
    assert not compared(noise(SECONDS, SAMPLE_RATE, rng), noise(SECONDS, SAMPLE_RATE, rng)).same


def test_a_song_without_its_loudest_instrument_is_another_recording(pieces: dict[str, np.ndarray]) -> None:
    for style, without in (("folk", "pluck"), ("jazz", "bass"), ("metal", "power")):
        bare = render(replace(STYLES[style], **{without: 0.0}), seconds=SECONDS, seed=1)
        assert not compared(pieces[style], soxr.resample(bare, RENDERED_RATE, SAMPLE_RATE)).same


@pytest.mark.parametrize(
    "nothing",
    [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(10 * SAMPLE_RATE, np.float32),
        tone(440, 2, SAMPLE_RATE),
        tone(440, 20, SAMPLE_RATE) + tone(660, 20, SAMPLE_RATE),
    ],
    ids=["no samples", "less than a frame", "silence", "too short", "a drone"],
)
def test_where_nothing_changes_nothing_is_said(nothing: np.ndarray, pieces: dict[str, np.ndarray]) -> None:
    assert compared(nothing, nothing) == NO_MATCH
    assert compared(nothing, pieces["jazz"]) == compared(pieces["jazz"], nothing) == NO_MATCH


def test_silence_around_says_nothing(pieces: dict[str, np.ndarray]) -> None:
    """Two pieces that are silent for the same half have only the other half to be told by."""
    silence = np.zeros(10 * SAMPLE_RATE, np.float32)
    one, other = (np.concatenate([pieces[style], silence]) for style in ("jazz", "folk"))
    assert compared(one, one).same and not compared(one, other).same


def test_packed_it_is_the_same_and_small(pieces: dict[str, np.ndarray]) -> None:
    for samples in (*pieces.values(), np.zeros(0, np.float32), clicks(5, SAMPLE_RATE)):
        signs = fingerprint(samples)
        np.testing.assert_array_equal(unpack(pack(signs)), signs)
        assert len(pack(signs)) < signs.size / 4 + 50 and signs.shape[1] == BANDS - 1


def test_of_a_file_it_is_that_of_its_samples(pieces: dict[str, np.ndarray], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", pieces["jazz"], SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(fingerprint_of(tmp_path / "a.wav"), fingerprint(pieces["jazz"]))
    (tmp_path / "b.wav").write_bytes(b"nothing")
    with pytest.raises(AudioError):
        fingerprint_of(tmp_path / "b.wav")
