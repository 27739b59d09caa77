"""Tempo: the beat of sounds made in code, and no sure answer where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import chirps, drums, hits_at_random, music_like, noise, pad, single_click, speech_like, tone

from crossfade.audio.tempo import SPECTROGRAM, Pulse, Tempo, pulse, tempo
from crossfade.models.encoders.musicnn import MusiCNN

RATE = SPECTROGRAM.sample_rate
TOLERANCE = 0.02
"""relative; half of what tempo's accuracy allows"""


def tempo_of(*parts: np.ndarray) -> Tempo | None:
    return tempo(sum((pulse(SPECTROGRAM.power(part[None])[0]) for part in parts), Pulse()))


def test_the_spectrogram_is_that_of_the_default_encoder() -> None:
    assert MusiCNN().log_mel == SPECTROGRAM


def near(found: float, bpm: float) -> bool:
    return abs(found / bpm - 1) < TOLERANCE


@pytest.mark.parametrize("seconds", [10, 27])
@pytest.mark.parametrize("bpm", [50, 60, 72, 85, 100, 120, 128, 160, 174, 200])
def test_the_tempo_of_a_beat_or_its_double_or_half_with_the_other_as_the_alternative(
    rng: np.random.Generator, bpm: float, seconds: float
) -> None:
    for samples in (drums(seconds, RATE, rng, bpm=bpm), music_like(seconds, RATE, rng, bpm=bpm)):
        found = tempo_of(samples)
        assert found is not None
        assert near(found.bpm, bpm) or near(found.alternative_bpm, bpm)
        assert any(near(found.bpm, bpm * factor) for factor in (0.5, 1, 2))


@pytest.mark.parametrize("bpm", [90, 110, 120, 132])
@pytest.mark.parametrize("beats", [3, 4])
def test_three_beats_in_a_bar_are_not_taken_for_four(rng: np.random.Generator, bpm: float, beats: int) -> None:
    found = tempo_of(drums(20, RATE, rng, bpm=bpm, beats=beats))
    assert found is not None
    assert any(near(found.bpm, bpm * factor) for factor in (0.5, 1, 2))


def test_level_changes_nothing_and_excerpts_are_as_good_as_one_stretch(rng: np.random.Generator) -> None:
    samples = drums(27, RATE, rng, bpm=97)
    whole, quiet = tempo_of(samples), tempo_of(1e-3 * samples)
    parts = tempo_of(samples[: 9 * RATE], samples[9 * RATE : 18 * RATE], samples[18 * RATE :])
    assert whole is not None and quiet is not None and parts is not None
    assert quiet.bpm == pytest.approx(whole.bpm, rel=1e-3)
    assert parts.bpm == pytest.approx(whole.bpm, rel=5e-3)
    assert near(whole.bpm, 97)


def test_a_beat_is_heard_through_noise(rng: np.random.Generator) -> None:
    found = tempo_of(0.2 * drums(27, RATE, rng, bpm=120) + noise(27, RATE, rng))
    assert found is not None and near(found.bpm, 120)


NO_BEAT = {
    "white noise": lambda rng: noise(27, RATE, rng),
    "pink noise": lambda rng: noise(9, RATE, rng, slope=0.5),
    "pad": lambda rng: pad(27, RATE),
    "pad and hiss": lambda rng: pad(27, RATE) + 0.02 * noise(27, RATE, rng),
    "drone": lambda rng: tone(110, 27, RATE),
    "silence": lambda rng: np.zeros(27 * RATE, np.float32),
    "a click": lambda rng: single_click(27, RATE),
    "calls": lambda rng: chirps(500, 1_500, 0.7, 27, RATE),
    "one second": lambda rng: music_like(1, RATE, rng),
    "a frame": lambda rng: noise(0.1, RATE, rng)[: SPECTROGRAM.fft_samples],
    "as long as the smoothing": lambda rng: noise(0.2, RATE, rng)[
        : SPECTROGRAM.fft_samples + 9 * SPECTROGRAM.hop_samples
    ],
}


@pytest.mark.parametrize("sound", NO_BEAT)
def test_what_has_no_beat_has_no_tempo(sound: str, rng: np.random.Generator) -> None:
    assert tempo_of(NO_BEAT[sound](rng)) is None


@pytest.mark.parametrize("seconds", [9, 27])
def test_speech_and_hits_at_random_are_never_sure_of_a_tempo(seconds: float) -> None:
    confidences = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        for samples in (speech_like(seconds, RATE, rng), hits_at_random(seconds, RATE, rng)):
            found = tempo_of(samples)
            confidences.append(found.confidence if found else 0.0)
    beat = tempo_of(drums(seconds, RATE, np.random.default_rng(0)))
    assert beat is not None and beat.confidence > 0.8
    assert np.median(confidences) < 0.5
    assert max(confidences) < 0.8
