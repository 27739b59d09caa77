"""Sounds made in code: what tests and the constants of `confident` stand on, instead of recordings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def tone(hertz: float, seconds: float, rate: int, *, amplitude: float = 0.3) -> Floats:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, rate: int, rng: np.random.Generator, *, slope: float = 0.0) -> Floats:
    """White noise, or with a slope of .5 pink."""
    count = round(seconds * rate)
    spectrum = np.fft.rfft(rng.normal(size=count)) / np.maximum(1, np.arange(count // 2 + 1)) ** slope
    samples = np.fft.irfft(spectrum, count)
    return (0.3 * samples / np.abs(samples).max()).astype(np.float32)


def chirps(low: float, high: float, per_second: float, seconds: float, rate: int) -> Floats:
    """Calls that rise and pause, as a bird's."""
    time = np.arange(round(seconds * rate)) / rate
    phase = (time * per_second) % 1
    sung = 0.3 * np.sin(2 * np.pi * np.cumsum(low + (high - low) * phase) / rate)
    return (sung * np.sin(np.pi * np.minimum(1, phase / 0.6)) ** 2).astype(np.float32)


def speech_like(seconds: float, rate: int, rng: np.random.Generator) -> Floats:
    """Voiced syllables, about four a second, with changing formants and pauses between phrases."""
    count = round(seconds * rate)
    pitch = 130 * (1 + 0.15 * np.sin(2 * np.pi * 0.4 * np.arange(count) / rate))
    buzz = 2 * ((np.cumsum(pitch) / rate) % 1) - 1 + 0.1 * rng.normal(size=count)
    spoken = np.zeros(count)
    start = 0
    while start < count:
        length = int(rate * rng.uniform(0.15, 0.35))
        piece = buzz[start : start + int(length * rng.uniform(0.5, 0.8))]
        frequencies = np.fft.rfftfreq(len(piece), 1 / rate)
        centres = rng.uniform((300, 900, 2300), (800, 2200, 3000))
        gain = sum(1 / (1 + ((frequencies - centre) / 80) ** 2) for centre in centres)
        voiced = np.fft.irfft(np.fft.rfft(piece) * gain, len(piece)) * np.hanning(len(piece))
        spoken[start : start + len(piece)] = voiced
        start += length + int(rate * rng.uniform(0.2, 0.6) * (rng.random() < 0.12))
    return (0.3 * spoken / np.abs(spoken).max()).astype(np.float32)


def clicks(seconds: float, rate: int) -> Floats:
    samples = np.zeros(round(seconds * rate), np.float32)
    samples[:: rate // 3] = 0.9
    return samples


def music_like(seconds: float, rate: int, rng: np.random.Generator, *, bpm: float = 120.0) -> Floats:
    """Chords in C with a beat: no masterpiece, but it has what music has."""
    count = round(seconds * rate)
    time = np.arange(count) / rate
    beat = 60 / bpm
    chords = ((261.6, 329.6, 392.0), (349.2, 440.0, 523.3), (392.0, 493.9, 587.3), (261.6, 329.6, 392.0))
    which = (time // (2 * beat)).astype(int) % len(chords)
    played = np.zeros(count)
    for voice in range(3):
        hertz = np.array([chord[voice] for chord in chords])[which]
        phase = 2 * np.pi * np.cumsum(hertz) / rate
        played += sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 8))
    drum = rng.normal(size=count) * np.exp(-(time % beat) * 25)
    return (0.08 * played + 0.25 * drum).astype(np.float32)
