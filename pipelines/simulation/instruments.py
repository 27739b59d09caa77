"""Instruments of the demo's synthesiser: one note or one drum hit -> samples, in numpy alone.

A note is a mono float32 array at `SAMPLE_RATE`, peak about 1. Frequencies are in Hz, durations in seconds,
and `brightness` (0 dull … 1 bright) moves each instrument's spectrum in the way that its player would.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 22_050
"""enough for the encoders, which listen at 16 kHz"""

Samples = NDArray[np.float32]


def hertz(pitch: float) -> float:
    """The frequency of a MIDI pitch (69 is A at 440 Hz)."""
    return float(440 * 2 ** ((pitch - 69) / 12))


def fast_length(count: int) -> int:
    """The next length that the FFT likes: a power of two, or 3, 5, 9 or 15 times one."""
    return min(int(odd * 2 ** np.ceil(np.log2(count / odd))) for odd in (1, 3, 5, 9, 15) if odd < count)


def _times(seconds: float) -> Samples:
    return np.arange(max(1, round(seconds * SAMPLE_RATE)), dtype=np.float32) / np.float32(SAMPLE_RATE)


def fade_out(samples: Samples, seconds: float = 0.02) -> Samples:
    """Ends the note without a click."""
    count = min(len(samples), round(seconds * SAMPLE_RATE))
    if count:
        samples[-count:] *= np.linspace(1, 0, count, dtype=np.float32)
    return samples


def peak_normalized(samples: NDArray[np.floating]) -> Samples:
    """The samples with a peak of 1; silence stays silence."""
    return np.asarray(samples / max(1e-6, float(np.abs(samples).max())), np.float32)


def envelope(count: int, attack_seconds: float, release_seconds: float) -> Samples:
    """[count] a smooth rise, a hold and a smooth fall."""
    shape = np.ones(count, np.float32)
    attack = min(count, max(1, round(attack_seconds * SAMPLE_RATE)))
    release = min(count, max(1, round(release_seconds * SAMPLE_RATE)))
    shape[:attack] *= np.sin(np.linspace(0, np.pi / 2, attack, dtype=np.float32)) ** 2
    shape[-release:] *= np.cos(np.linspace(0, np.pi / 2, release, dtype=np.float32)) ** 2
    return shape


def harmonics(cycles: NDArray[np.float64]) -> Iterator[Samples]:
    """The sine of 1, 2, 3 … times a phase, each from the one before by one complex product."""
    first = np.exp(2j * np.pi * (cycles % 1.0)).astype(np.complex64)
    turned = first.copy()
    while True:
        yield turned.imag
        turned *= first


def pluck(
    frequency: float, seconds: float, brightness: float, rng: np.random.Generator, *, sustain: float = 0.5
) -> Samples:
    """A plucked string after Karplus and Strong (1983).

    Their loop filter is applied in closed form: period m of the string is the first one with its spectrum multiplied by
    the filter's response m times, so that all periods come out of one inverse FFT. The period is as many
    samples as the FFT likes; reading it back at a fractional step tunes the string.
    """
    period = fast_length(max(8, round(SAMPLE_RATE / frequency)))
    step = frequency * period / SAMPLE_RATE
    periods = int(np.ceil(seconds * SAMPLE_RATE * step * 1.01 / period)) + 2
    numbers = np.arange(period // 2 + 1)
    burst = np.fft.rfft(rng.uniform(-1, 1, period))
    # Picking at a seventh of the string leaves out every seventh harmonic; a soft pick takes the top off.
    burst *= np.abs(np.sin(np.pi * numbers / 7)) / (1 + (numbers / (3 + 22 * brightness)) ** 2)
    burst[0] = 0
    loss = 10 ** (-3 / (frequency * (0.6 + 4.5 * sustain)))  # 60 dB in that many seconds
    response = loss * (1 - (0.35 - 0.25 * brightness) * (1 - np.cos(2 * np.pi * numbers / period)))
    wave = np.fft.irfft(burst * response ** np.arange(periods)[:, None], period, axis=1).ravel()
    # A plucked string starts a little sharp, and no two are in quite the same tune.
    times = _times(seconds)
    glide = step * 2 ** (rng.normal(0, 0.03) / 12) * (times + 0.006 * 0.05 * (1 - np.exp(-times / 0.05))) * SAMPLE_RATE
    note = np.interp(glide, np.arange(wave.size), wave).astype(np.float32)
    return fade_out(peak_normalized(note))


def struck(frequency: float, seconds: float, brightness: float, *, hammer: float = 0.5) -> Samples:
    """A struck string or tine: slightly stretched partials that die the faster the higher they are.

    `hammer` goes from an electric piano (0: few partials and a bell-like one) to a piano (1).
    """
    times = _times(seconds)
    note = np.zeros_like(times)
    partials = np.arange(1, int(min(14, 0.45 * SAMPLE_RATE / frequency)) + 1)
    stretch = partials * np.sqrt(1 + 4e-4 * partials**2)
    # A bell partial far above marks the electric piano; the hammer's position shapes the piano.
    levels = hammer * np.exp(-partials / (1.2 + 3.5 * brightness)) + (1 - hammer) * np.where(
        partials <= 2, 0.7 / partials**2, 0
    )
    for partial, level in zip(stretch, levels, strict=True):
        if level > 1e-3:
            decay = (1.2 + 1.1 * partial) * (frequency / 260) ** 0.5
            angle, fall = np.float32(2 * np.pi * frequency * partial), np.float32(-decay)
            note += np.float32(level) * np.exp(fall * times) * np.sin(angle * times)
    bell = (1 - hammer) * 0.35 * brightness
    if bell and 7 * frequency < 0.45 * SAMPLE_RATE:
        angle = np.float32(2 * np.pi * 7.03 * frequency)
        note += np.float32(bell) * np.exp(np.float32(-9) * times) * np.sin(angle * times)
    note *= envelope(len(note), 0.003, 0.08)
    return peak_normalized(note)


def saw(phase: NDArray[np.float64], step: float) -> Samples:
    """A sawtooth at `phase` (cycles), its jump rounded by PolyBLEP (Välimäki & Huovilainen 2007) against aliasing."""
    cycle = (phase % 1.0).astype(np.float32)
    wave = 2 * cycle - 1
    after, before = np.flatnonzero(cycle < step), np.flatnonzero(cycle > 1 - step)
    wave[after] += (cycle[after] / step - 1) ** 2
    wave[before] -= ((cycle[before] - 1) / step + 1) ** 2
    return wave


def bowed(
    frequency: float, seconds: float, brightness: float, rng: np.random.Generator, *, players: int = 3
) -> Samples:
    """Bowed strings: `players` sawtooths, each with its own tuning, vibrato and bow; the body is the stem's filter."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    note = np.zeros(times.size, np.float32)
    for _ in range(players):
        tuned = frequency * 2 ** (rng.normal(0, 0.06) / 12)
        rate, depth = rng.uniform(4.8, 6.2), rng.uniform(0.0025, 0.006) * np.minimum(1, times / 0.3)
        phase = tuned * (times + depth / (2 * np.pi * rate) * np.sin(2 * np.pi * rate * times)) + rng.random()
        note += saw(phase, tuned / SAMPLE_RATE)
    note += rng.normal(0, 0.05 + 0.1 * brightness, times.size).astype(np.float32)
    return np.asarray(note * envelope(times.size, min(0.12, seconds / 3), min(0.2, seconds / 3)) / players, np.float32)


def blown(frequency: float, seconds: float, brightness: float, rng: np.random.Generator) -> Samples:
    """A reed or horn: the louder the moment, the brighter it is; a scoop into the note, late vibrato, breath."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    glide = -0.6 * np.exp(-times / 0.03) + 0.22 * np.sin(2 * np.pi * 5.2 * times) * np.clip((times - 0.25) / 0.3, 0, 1)
    phase = np.cumsum(frequency * 2 ** (glide / 12)) / SAMPLE_RATE
    loud = envelope(times.size, min(0.05, seconds / 4), min(0.1, seconds / 3))
    note = np.zeros(times.size, np.float32)
    louder, level_now = np.cbrt(loud), loud.copy()
    top = int(min(16, 0.45 * SAMPLE_RATE / frequency))
    for partial, sine in zip(range(1, top + 1), harmonics(phase), strict=False):
        at = partial * frequency
        formant = np.exp(-(((at - 620) / 520) ** 2)) + 0.5 * np.exp(-(((at - 1500) / 700) ** 2))
        level_now *= louder
        note += np.float32((0.15 + formant) / partial ** (1.3 - 0.6 * brightness)) * level_now * sine
    note += 0.04 * loud * rng.normal(0, 1, times.size)
    return peak_normalized(note)


def synth(
    frequency: float, seconds: float, brightness: float, rng: np.random.Generator, *, attack_seconds: float = 0.005
) -> Samples:
    """A synthesiser voice: three detuned sawtooths; a slow attack makes it a pad."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    note = np.zeros(times.size, np.float32)
    for cents in (-9, 0, 8):
        tuned = frequency * 2 ** (cents / 1200)
        note += saw(tuned * times + rng.random(), tuned / SAMPLE_RATE)
    decay = np.exp(-times * (1.5 if attack_seconds < 0.1 else 0.0))
    return np.asarray(
        note * decay * envelope(times.size, attack_seconds, min(seconds / 2, 4 * attack_seconds + 0.04)) / 3, np.float32
    )


def power_chord(
    frequency: float, seconds: float, brightness: float, rng: np.random.Generator, *, muted: bool
) -> Samples:
    """Root, fifth and octave of an electric guitar before the amplifier; `muted` is the palm on the strings."""
    sustain = 0.02 if muted else 1.0
    tone = brightness * (0.35 if muted else 1.0)
    chord = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for interval, level in ((1.0, 1.0), (1.498, 0.8), (2.0, 0.6)):
        chord += level * pluck(frequency * interval, seconds, tone, rng, sustain=sustain)
    return np.asarray(chord / 2, np.float32)


def bass(frequency: float, seconds: float, brightness: float, *, electric: float = 0.5) -> Samples:
    """A bass note between an upright (0: round, dying away) and a synthesiser's (1: held, buzzing)."""
    times = _times(seconds)
    note = np.sin(2 * np.pi * frequency * times)
    for partial in range(2, 9):
        level = (0.2 + 0.6 * brightness) / partial**1.3 * np.exp(-(1 - electric) * 3 * partial * times)
        note += level * np.sin(2 * np.pi * partial * frequency * times + partial)
    note *= np.exp(-times * (2.5 - 2.2 * electric)) * envelope(len(note), 0.008, min(0.05, seconds / 3))
    return np.asarray(note / 1.5, np.float32)


def voice(frequency: float, seconds: float, brightness: float, rng: np.random.Generator) -> Samples:
    """A sung vowel: a pulse train with vibrato through three formants."""
    first, second, third = ((730, 1090, 2440), (530, 1840, 2480), (570, 840, 2410), (390, 1990, 2550))[rng.integers(4)]
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    glide = -0.5 * np.exp(-times / 0.05) + 0.3 * np.sin(2 * np.pi * 5.5 * times) * np.clip((times - 0.15) / 0.3, 0, 1)
    phase = np.cumsum(frequency * 2 ** (glide / 12)) / SAMPLE_RATE
    note = np.zeros(times.size, np.float32)
    top = int(min(24, 0.4 * SAMPLE_RATE / frequency))
    for partial, sine in zip(range(1, top + 1), harmonics(phase), strict=False):
        at = partial * frequency
        formants = sum(
            gain * np.exp(-0.5 * ((at - center) / width) ** 2)
            for gain, center, width in ((1.0, first, 90), (0.5 + 0.3 * brightness, second, 120), (0.3, third, 180))
        )
        note += np.float32((0.03 + formants) / partial**0.4) * sine
    note += rng.normal(0, 0.03, times.size).astype(np.float32)
    note *= envelope(times.size, min(0.05, seconds / 4), min(0.12, seconds / 3))
    return peak_normalized(note)


def drum_kit(machine: float, brightness: float, rng: np.random.Generator) -> dict[str, Samples]:
    """Hits by name, between an acoustic kit (`machine` 0) and a drum machine (1)."""

    def noise(seconds: float, low_hertz: float, high_hertz: float) -> Samples:
        count = round(seconds * SAMPLE_RATE)
        length = fast_length(count)
        spectrum = np.fft.rfft(rng.standard_normal(length, np.float32))
        at = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 1).astype(np.float32)
        spectrum *= 1 / (1 + (low_hertz / at) ** 4) / (1 + (at / high_hertz) ** 4)
        sound = np.fft.irfft(spectrum, length)[:count]
        return np.asarray(sound / np.abs(sound).max(), np.float32)

    def swept(seconds: float, start: float, end: float, fall_seconds: float) -> Samples:
        times = _times(seconds)
        phase = end * times + (start - end) * fall_seconds * (1 - np.exp(-times / fall_seconds))
        return np.asarray(np.sin(2 * np.pi * phase), np.float32)

    def decay(sound: Samples, seconds: float) -> Samples:
        return fade_out(sound * np.exp(-_times(len(sound) / SAMPLE_RATE)[: len(sound)] * np.float32(6.9 / seconds)))

    def ring(seconds: float, count: int, low_hertz: float) -> Samples:
        """Inharmonic metal: many partials at random."""
        times = _times(seconds)
        partials = rng.uniform(low_hertz, 9_500, count)
        angles = 2 * np.pi * partials[:, None].astype(np.float32) * times + rng.uniform(0, 6.28, (count, 1)).astype(
            np.float32
        )
        return np.asarray(np.sin(angles).sum(0) / np.sqrt(count), np.float32)

    top = 5_000 + 5_500 * brightness
    kick = decay(swept(0.4, 130 + 120 * machine, 62 - 16 * machine, 0.018 + 0.012 * machine), 0.3 + 0.25 * machine)
    kick[:600] += (0.5 - 0.3 * machine) * decay(noise(600 / SAMPLE_RATE, 2_000, top), 0.02)
    kick += 0.3 * (1 - machine) * decay(noise(0.4, 200, 900), 0.15)
    # A snare drum: three modes of the head, the wires, and the body of the noise.
    modes = ((188, 0.6, 0.3), (331, 0.4, 0.25), (476, 0.2, 0.2))
    head = sum(level * decay(swept(0.35, 1.1 * mode, mode, 0.01), fall) for mode, level, fall in modes)
    snare = head + 1.2 * decay(noise(0.35, 1_200, top), 0.28) + 0.6 * decay(noise(0.35, 400, 3_000), 0.12)
    clap = decay(noise(0.35, 900, 4_500), 0.18)
    metal = noise(0.14, 6_000, top + 2_000) + machine * 0.3 * ring(0.14, 12, 4_000)
    open_metal = noise(0.5, 5_500, top + 2_000)
    wash = noise(1.6, 3_000, top) + 0.5 * decay(noise(1.6, 700, 4_000), 1.2)
    return {
        "kick": kick,
        "snare": np.asarray((1 - 0.5 * machine) * snare + 0.5 * machine * clap, np.float32),
        "hat": decay(metal, 0.05 + 0.04 * (1 - machine)),
        "open": decay(open_metal, 0.45),
        "ride": decay(ring(0.9, 40, 2_500) * 0.15 + 0.5 * noise(0.9, 4_000, top), 0.9),
        "crash": decay(wash, 2.0),
        "tom": decay(swept(0.45, 150, 95, 0.06), 0.4),
        "brush": decay(noise(0.25, 1_500, 6_000), 0.3) * 0.7,
    }
