"""The demo's synthesiser: a sound's parameters and a seed -> a waveform, in numpy alone.

Each instrument plays its notes into a stem; a stem is filtered, distorted or chorused as a whole; the stems are mixed,
put into a room and mastered. Every filter is a product of spectra, so nothing here loops over samples.
"""

from __future__ import annotations

import numpy as np

from . import instruments
from .composition import INSTRUMENTS, Composer, Note, Sound
from .instruments import SAMPLE_RATE, Samples, fast_length, hertz

LEVELS = dict(zip(INSTRUMENTS, (0.9, 0.55, 0.6, 0.55, 0.6, 0.5, 0.45, 0.6, 0.5), strict=True))
"""root mean square of each stem at full gain, before mastering"""


def render(sound: Sound, *, seconds: float, seed: int) -> Samples:
    """A piece with this sound; mono at `SAMPLE_RATE`, peak 1, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    score = Composer(sound, seconds, rng).compose()
    count = round(seconds * SAMPLE_RATE)
    mix = np.zeros(count, np.float32)
    for part, notes in score.items():
        stem = _stem(part, notes, sound, count, rng)
        loudness = float(np.sqrt(np.mean(stem**2)))
        if loudness > 0:
            mix += stem * np.float32(LEVELS[part] * getattr(sound, part) / loudness)
    return _master(mix, sound, rng)


def _stem(part: str, notes: list[Note], sound: Sound, count: int, rng: np.random.Generator) -> Samples:
    """[count] all notes of one instrument, through that instrument's own amplifier or body."""
    stem = np.zeros(count, np.float32)
    kit = instruments.drum_kit(sound.machine, sound.brightness, rng) if part == "drums" else {}
    cache: dict[tuple[int, int, str], Samples] = {}
    for note in notes:
        if part == "drums":
            samples = kit[note.manner]
        else:
            # Lengths in steps of 80 ms, so that repeated notes are rendered once.
            key = (note.pitch, int(np.ceil(note.seconds / 0.08)), note.manner)
            if key not in cache:
                cache[key] = _note(part, note, key[1] * 0.08, sound, rng)
            samples = cache[key]
        start = round(note.start_seconds * SAMPLE_RATE)
        end = min(count, start + len(samples))
        stem[start:end] += samples[: end - start] * np.float32(note.velocity)
    return _amplify(part, stem, sound, rng)


def _note(part: str, note: Note, seconds: float, sound: Sound, rng: np.random.Generator) -> Samples:
    frequency, bright = hertz(note.pitch), sound.brightness
    match part:
        case "bass":
            return instruments.bass(
                frequency, seconds, bright, electric=max(sound.machine, sound.distortion, 1 - 2 * sound.complexity, 0.0)
            )
        case "pluck":
            return instruments.pluck(frequency, max(seconds, 0.8), bright, rng)
        case "keys":
            return instruments.struck(frequency, max(seconds, 0.6), bright, hammer=1 - 0.6 * sound.machine)
        case "strings":
            return instruments.bowed(frequency, seconds, bright, rng)
        case "pad":
            return instruments.synth(frequency, seconds, bright, rng, attack_seconds=0.7)
        case "lead" if sound.machine > 0.5:
            return instruments.synth(frequency, seconds, bright, rng)
        case "lead":
            return instruments.blown(frequency, seconds, bright, rng)
        case "power":
            return instruments.power_chord(frequency, seconds, bright, rng, muted=note.manner == "muted")
        case _:
            return instruments.voice(frequency, seconds, bright, rng)


def _amplify(part: str, stem: Samples, sound: Sound, rng: np.random.Generator) -> Samples:
    bright = sound.brightness
    match part:
        case "power":
            return _amplifier(stem, sound.distortion, bright, rng)
        case "strings":  # a body's resonances, and the dull top of a section heard from the hall
            return _equalise(
                stem,
                (120, 9),
                low_pass=2_200 + 4_000 * bright,
                peaks=((290, 0.5, 1.5), (480, 0.5, 1.0), (2_600, 0.4, 0.6)),
            )
        case "pad":
            return _chorus(_equalise(stem, (90, 6), low_pass=500 + 3_500 * bright))
        case "lead" if sound.machine > 0.5:
            return _equalise(stem, (150, 6), low_pass=1_500 + 6_000 * bright)
        case "pluck":  # the air and the top plate of a guitar
            return _equalise(stem, (80, 6), low_pass=7_000, peaks=((105, 0.25, 1.2), (210, 0.3, 1.0)))
        case _:
            return stem


def _equalise(
    stem: Samples,
    high_pass: tuple[float, float],
    *,
    low_pass: float,
    peaks: tuple[tuple[float, float, float], ...] = (),
) -> Samples:
    """`high_pass` (corner in Hz, dB an octave), `low_pass` (24 dB an octave), `peaks` (Hz, octaves wide, gain)."""
    length = fast_length(len(stem) + 2_048)
    at = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 1).astype(np.float32)
    corner, slope = high_pass
    gain = 1 / (1 + (corner / at) ** (slope / 3)) / (1 + (at / low_pass) ** 4)
    for center, octaves, height in peaks:
        gain *= 1 + height * np.exp(-0.5 * (np.log2(at / center) / octaves) ** 2)
    return np.fft.irfft(np.fft.rfft(stem, length) * gain, length)[: len(stem)].astype(np.float32)


def _amplifier(stem: Samples, distortion: float, brightness: float, rng: np.random.Generator) -> Samples:
    """A valve amplifier and its cabinet: band-limited before the clipping, so that it does not alias, and after it."""
    # The hum and hiss of a real amplifier, which its gain lifts between the notes, is half of what "loud" sounds like.
    stem = stem + rng.normal(0, 0.025, len(stem)).astype(np.float32)
    stem = _equalise(stem, (110, 12), low_pass=5_000, peaks=((900, 1.0, 1.0),))
    drive = stem / max(1e-6, float(np.sqrt(np.mean(stem**2)))) * (0.3 + 14 * distortion**2)
    clipped = np.tanh(drive + 0.15) - np.tanh(np.float32(0.15))
    cabinet = ((110, 0.5, 0.8), (2_800, 0.6, 1.5 * brightness), (700, 1.0, -0.45 * distortion))
    return _equalise(clipped.astype(np.float32), (85, 12), low_pass=3_600 + 1_800 * brightness, peaks=cabinet)


def _chorus(stem: Samples) -> Samples:
    """Two copies whose delays drift."""
    at = np.arange(len(stem), dtype=np.float64)
    moved = sum(
        np.interp(at - SAMPLE_RATE * (0.012 + 0.005 * np.sin(2 * np.pi * rate * at / SAMPLE_RATE)), at, stem)
        for rate in (0.31, 0.47)
    )
    return np.asarray(stem + moved, np.float32)


def _master(mix: Samples, sound: Sound, rng: np.random.Generator) -> Samples:
    """The room, the tilt between dull and bright, and a soft limiter that works the harder the more is going on."""
    seconds = 0.3 + 3.2 * sound.reverb**1.5
    tail = round(seconds * SAMPLE_RATE)
    length = fast_length(len(mix) + tail)
    at = np.fft.rfftfreq(length, 1 / SAMPLE_RATE).astype(np.float32)
    decay = np.arange(tail, dtype=np.float32)
    room = rng.standard_normal(tail, np.float32) * np.exp(-6.9 * decay / tail)
    spectrum = np.fft.rfft(room, length) / (1 + (at / 3_500) ** 2)
    spectrum *= (0.02 + 0.9 * sound.reverb**1.5) / np.sqrt(np.sum(room**2))
    # Whatever has a microphone in front of it also has a small, bright room around it.
    near = rng.standard_normal(tail, np.float32) * np.exp(-decay / (0.06 * SAMPLE_RATE))
    near *= 0.7 * (1 - sound.machine) / np.sqrt(np.sum(near**2))
    spectrum += np.fft.rfft(near, length) / (1 + (at / 6_000) ** 2)
    tilt = (np.maximum(at, 60) / 1_000) ** (0.5 * (sound.brightness - 0.5))
    mixed = np.fft.irfft(np.fft.rfft(mix, length) * (1 + spectrum) * tilt, length)[: len(mix)]
    mixed /= max(1e-6, float(np.sqrt(np.mean(mixed**2))))
    push = 0.1 + 0.15 * sound.drums + 0.15 * sound.distortion
    limited = np.tanh(push * mixed).astype(np.float32)
    limited *= instruments.envelope(len(limited), 0.01, 0.4)
    return instruments.peak_normalized(limited)
