"""Loudness: pyloudnorm's within .5 LU on whatever part of a file is heard, of all its channels at its own rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from sounds import music_like, noise, tone

from crossfade.audio.decoding import Recording
from crossfade.audio.loudness import KFilter, Meter, channel_weights, integrated_lufs
from crossfade.audio.windows import Grid, excerpts, runs
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer

RATE = 44_100
GRID = Grid(window_samples=48_128, hop_samples=47_872)
GRID_RATE = 16_000
TOLERANCE = 0.5
"""LU: two designs of the K filter, and blocks that do not begin at the same sample"""


def reference(samples: np.ndarray, rate: int = RATE) -> float:
    """Of [n] or [n, channels], five of which are taken as L R C Ls Rs."""
    return float(pyloudnorm.Meter(rate).integrated_loudness(samples.astype(np.float64)))


def heard_part(samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    """What is heard by default of a track [n, …]: the runs of windows at its three places."""
    chosen = runs(GRID.count(len(samples) * GRID_RATE // rate))
    if len(chosen) == 1:
        return samples
    starts = [(run.start * GRID.hop_samples - GRID.margin) / GRID_RATE for run in chosen]
    length = (2 * GRID.hop_samples + GRID.window_samples) / GRID_RATE
    return np.concatenate([samples[round(start * rate) : round((start + length) * rate)] for start in starts])


def metered(path: Path, *, all_windows: bool = False) -> float | None:
    with Recording(path, GRID_RATE, metered=True) as recording:
        return integrated_lufs([part.clip.step_powers for part in excerpts(recording, GRID, all_windows=all_windows)])


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def wide(seconds: float, channels: int, rng: np.random.Generator, rate: int = RATE) -> np.ndarray:
    """Channels that have nothing in common, the first half twice as loud as the second. [n, channels]"""
    count = round(seconds * rate)
    made = np.stack([noise(seconds, rate, rng, slope=0.4) for _ in range(channels)], axis=1)
    return made * np.where(np.arange(count) < count // 2, 1.0, 0.5)[:, None].astype(np.float32)


@pytest.mark.parametrize("all_windows", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.4, 0.7, 2.9, 8.1, 20, 28, 40, 75])
def test_loudness_is_the_same_at_any_length(
    tmp_path: Path, rng: np.random.Generator, seconds: float, channels: int, all_windows: bool
) -> None:
    """Up to nine windows the power of the channels was lost, which made stereo noise 3 LU too quiet."""
    samples = wide(seconds, channels, rng)
    path = write(tmp_path / "a.flac", samples)
    expected = reference(samples if all_windows else heard_part(samples))
    assert metered(path, all_windows=all_windows) == pytest.approx(expected, abs=TOLERANCE)


def test_twice_as_much_of_the_same_noise_is_as_loud(tmp_path: Path, rng: np.random.Generator) -> None:
    """The same stereo noise read -22.0 at 20 s and -19.0 at 40 s."""
    samples = np.stack([noise(40, RATE, rng), noise(40, RATE, rng)], axis=1)
    short, long = write(tmp_path / "20.wav", samples[: 20 * RATE]), write(tmp_path / "40.wav", samples)
    assert metered(short) == pytest.approx(metered(long), abs=0.1)


def test_all_windows_means_the_loud_part_too(tmp_path: Path, rng: np.random.Generator) -> None:
    """With all windows, only the last seconds of each minute reached loudness and key: -53.6 instead of -13.0."""
    loud, quiet = music_like(40, RATE, rng), 1e-3 * tone(622.3, 22, RATE)
    samples = np.concatenate([loud, quiet])
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    description = AudioAnalyzer(1, all_windows=True).analyze(path).description
    assert description.loudness_lufs == pytest.approx(reference(samples), abs=TOLERANCE)
    assert description.key == "C major"


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_056, 48_000, 96_000, 192_000])
def test_loudness_is_metered_at_the_rate_of_the_file(tmp_path: Path, rng: np.random.Generator, rate: int) -> None:
    """White noise has most of its power where a rate of 16 kHz does not reach."""
    samples = np.stack([noise(12, rate, rng), noise(12, rate, rng)], axis=1)
    assert metered(write(tmp_path / "a.wav", samples, rate)) == pytest.approx(reference(samples, rate), abs=TOLERANCE)


def k_response(frequencies: np.ndarray, rate: int) -> np.ndarray:
    """Of both K filters' analogue prototypes, at what the bilinear transform makes of the frequencies in Hz."""

    def over(corner: float) -> np.ndarray:
        return 1j * np.tan(np.pi * frequencies / rate) / np.tan(np.pi * corner / rate)

    gain, q = 10 ** (3.999843853973347 / 20), 0.7071752369554196
    s = over(1681.974450955533)
    shelf = (gain * s**2 + gain**0.4996667741545416 / q * s + 1) / (s**2 + s / q + 1)
    s, q = over(38.13547087602444), 0.5003270373238773
    return shelf * s**2 / (s**2 + s / q + 1)


@pytest.mark.parametrize("rate", [8_000, 44_100, 44_056, 192_000])
def test_the_k_filter_by_blocks_is_the_standards(rate: int) -> None:
    """Its impulse response, cut off where it has died away; the second channel's impulse comes within a block."""
    impulses = np.zeros((rate, 2), np.float32)
    impulses[0, 0] = impulses[1_001, 1] = 1
    first, second = KFilter.at(rate)(impulses)
    np.testing.assert_allclose(second[1_001:], first[:-1_001], atol=1e-6)
    assert not second[:1_001].any()
    frequencies = np.arange(1, rate // 2, 7)
    found = np.fft.rfft(first.astype(np.float64))[frequencies]
    np.testing.assert_allclose(found, k_response(frequencies, rate), atol=1e-3)


@pytest.mark.parametrize("hertz", [25.0, 41.2, 45.0, 60.0, 997.0, 1_700.0, 10_000.0])
def test_tones_from_the_lowest_to_the_highest(hertz: float) -> None:
    samples = tone(hertz, 3, 48_000)
    meter = Meter(48_000, channel_weights(["FC"]))
    found = integrated_lufs([np.concatenate([meter(part[:, None]) for part in np.array_split(samples, 7)])])
    assert found == pytest.approx(reference(samples, 48_000), abs=TOLERANCE)


def test_the_reference_tone_silence_and_what_is_too_short() -> None:
    """BS.1770: 997 Hz at full scale in one channel reads -3.01; silence is gated; a block takes 400 ms."""

    def lufs(samples: np.ndarray) -> float | None:
        return integrated_lufs([Meter(48_000, channel_weights(["FC"]))(samples[:, None])])

    full = tone(997, 5, 48_000, amplitude=1.0)
    assert lufs(full) == pytest.approx(-3.01, abs=0.05)
    assert lufs(full / 10) == pytest.approx(-23.01, abs=0.05)
    assert lufs(np.concatenate([full, np.zeros(10 * 48_000, np.float32)])) == pytest.approx(-3.01, abs=0.3)
    assert lufs(np.zeros(48_000, np.float32)) is None
    assert lufs(full[: round(0.3 * 48_000)]) is None


def test_rhythm_is_gated_like_the_reference(tmp_path: Path, rng: np.random.Generator) -> None:
    """Beats and pauses shorter than a block: blocks overlap by three quarters, as the standard has them."""
    on = (np.arange(12 * RATE) % (1.3 * RATE)) < 0.25 * RATE
    samples = noise(12, RATE, rng) * np.where(on, 1.0, 0.01).astype(np.float32)
    assert metered(write(tmp_path / "a.wav", samples)) == pytest.approx(reference(samples), abs=TOLERANCE)


@pytest.mark.parametrize("options", [{}, {"format": "WAVEX"}, {"format": "FLAC"}, {"format": "OGG"}])
@pytest.mark.parametrize("lone", [None, 2, 3, 4])
def test_surround_counts_as_the_standard_says(
    tmp_path: Path, rng: np.random.Generator, options: dict[str, str], lone: int | None
) -> None:
    """Six channels: sides count 1.41, the low-frequency channel nothing; Vorbis keeps them in another order."""
    order = [0, 2, 1, 4, 5, 3] if options.get("format") == "OGG" else [0, 1, 2, 3, 4, 5]
    samples = wide(12, 6, rng)
    if lone is not None:
        samples *= np.where(np.arange(6) == lone, 1.0, 0.01).astype(np.float32)
    path = write(tmp_path / "a", samples[:, order], **{"format": "WAV", **options})
    expected = reference(np.delete(samples, 3, axis=1))
    assert metered(path) == pytest.approx(expected, abs=TOLERANCE)


def test_channels_whose_places_are_not_known_count_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = wide(6, 8, rng)
    each = [10 ** (reference(channel) / 10) for channel in samples.T]
    path = write(tmp_path / "a.wav", samples)
    assert metered(path) == pytest.approx(10 * np.log10(sum(each)), abs=TOLERANCE)


def test_real_recordings(shared: Path) -> None:
    for path in sorted((shared / "open_audio").glob("*.ogg")):
        samples, rate = soundfile.read(path)
        assert metered(path, all_windows=True) == pytest.approx(reference(samples, rate), abs=TOLERANCE), path.name
        assert metered(path) == pytest.approx(reference(heard_part(samples, rate), rate), abs=TOLERANCE), path.name
