"""Sounds made in code: what tests and the constants of `confident` stand on, instead of recordings."""

from __future__ import annotations

from collections.abc import Sequence

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


def single_click(seconds: float, rate: int) -> Floats:
    """Silence, and one click in the middle."""
    samples = np.zeros(round(seconds * rate), np.float32)
    samples[len(samples) // 2] = 0.9
    return samples


def pad(seconds: float, rate: int, *, root: float = 220.0) -> Floats:
    """A chord of A major that swells slowly, without a beat."""
    time = np.arange(round(seconds * rate)) / rate
    voices = ((1, 0.0, 0.13), (5 / 4, 1.0, 0.09), (3 / 2, 2.0, 0.17), (1 / 2, 0.3, 0.05))
    swelling = (np.sin(2 * np.pi * root * ratio * time + at) * (1 + 0.3 * np.sin(2 * np.pi * slow * time))
                for ratio, at, slow in voices)  # fmt: skip
    return (0.1 * sum(swelling)).astype(np.float32)


def drums(seconds: float, rate: int, rng: np.random.Generator, *, bpm: float = 120.0, beats: int = 4) -> Floats:
    """Kick on the first beat of a bar (of four, on the third too), snare on the others, hats on every half beat."""
    samples = np.zeros(round(seconds * rate))
    time = np.arange(rate // 4) / rate
    hat = 0.15 * rng.normal(size=len(time)) * np.exp(-60 * time)
    snare = 0.5 * rng.normal(size=len(time)) * np.exp(-18 * time)
    kick = 0.8 * np.sin(2 * np.pi * (50 * time - 8 / 30 * np.exp(-30 * time))) * np.exp(-12 * time)
    for half, start in enumerate(np.arange(0, seconds, 30 / bpm)):
        on_beat, beat = half % 2 == 0, half // 2 % beats
        hit = hat + (0 if not on_beat else kick if beat == 0 or (beats == 4 and beat == 2) else snare)
        end = min(len(samples), round(start * rate) + len(hit))
        samples[round(start * rate) : end] += hit[: end - round(start * rate)]
    return samples.astype(np.float32)


def hits_at_random(seconds: float, rate: int, rng: np.random.Generator) -> Floats:
    """Drum hits about three times a second, at moments that have nothing to do with each other."""
    samples = 0.003 * rng.normal(size=round(seconds * rate))
    time = np.arange(rate // 3) / rate
    for start in rng.integers(0, len(samples), round(3 * seconds)):
        end = min(len(samples), start + len(time))
        samples[start:end] += (0.4 * rng.normal(size=len(time)) * np.exp(-12 * time))[: end - start]
    return samples.astype(np.float32)


def melody(semitones: Sequence[int], rate: int, *, seconds_each: float = 0.5, tonic: float = 220.0) -> Floats:
    """One voice with vibrato and overtones, a note after the other, in semitones above the tonic."""
    notes = np.repeat(np.array(semitones), round(seconds_each * rate))
    time = np.arange(len(notes)) / rate
    pitch = tonic * 2 ** ((notes + 0.2 * np.sin(2 * np.pi * 5 * time)) / 12)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sung = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 6))
    return (0.15 * sung * np.sin(np.pi * (time % seconds_each) / seconds_each) ** 0.3).astype(np.float32)


def chords(
    progression: Sequence[Sequence[int]], rate: int, *, seconds_each: float = 1.0, tonic: float = 261.6
) -> Floats:
    """Chords of plucked strings, one after the other, in semitones above the tonic."""
    time = np.arange(round(seconds_each * rate)) / rate
    bars = [
        sum(np.sin(2 * np.pi * harmonic * tonic * 2 ** (note / 12) * time) / harmonic for note in chord
            for harmonic in range(1, 8)) for chord in progression
    ]  # fmt: skip
    return (0.08 * np.concatenate(bars) * np.exp(-np.tile(time, len(bars)) / seconds_each)).astype(np.float32)
