"""Key: the major or minor key whose profile fits the pitches best.

Krumhansl, "Cognitive Foundations of Musical Pitch" (1990): correlation of a pitch-class profile with probe-tone
ratings.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .decoding import Clip

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_FFT_SECONDS = 0.256
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 2100.0
_LEAST_CORRELATION = 0.3


def chroma(clip: Clip) -> NDArray[np.float64]:
    """[12] amplitude of each pitch class from C on, every frame weighing the same; zeros where the clip is too short.

    Add up those of a track's clips.
    """
    size = 2 ** round(np.log2(_FFT_SECONDS * clip.sample_rate))
    if len(clip.samples) < size:
        return np.zeros(12)
    frames = np.lib.stride_tricks.sliding_window_view(clip.samples, size)[:: size // 2]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(size).astype(np.float32)))
    bins, classes = _pitch_classes(size, clip.sample_rate)
    # A local maximum is a partial; what lies between is noise and leakage, which would flatten the profile.
    inner = spectra[:, bins]
    peaks = np.where((inner > spectra[:, bins - 1]) & (inner >= spectra[:, bins + 1]), inner, 0)
    profile = peaks @ classes
    loudest = profile.max(axis=1, keepdims=True)
    return np.asarray((profile / np.maximum(loudest, 1e-9)).sum(axis=0), np.float64)


def key_name(profile: NDArray[np.float64]) -> str | None:
    """Such as `F# minor`, from the sum of a track's chroma [12]; None where no key fits, as for noise and drums."""
    if np.ptp(profile) == 0:
        return None
    scores = [
        (float(np.corrcoef(np.roll(ratings, tonic), profile)[0, 1]), f"{PITCHES[tonic]} {mode}")
        for mode, ratings in (("major", _MAJOR), ("minor", _MINOR))
        for tonic in range(12)
    ]
    score, name = max(scores)
    return name if score >= _LEAST_CORRELATION else None


@lru_cache
def _pitch_classes(size: int, sample_rate: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Bins between the lowest and highest pitch, and which pitch class each is [bins, 12]."""
    frequencies = np.arange(size // 2 + 1) * sample_rate / size
    bins = np.flatnonzero((frequencies >= _LOWEST_HZ) & (frequencies <= _HIGHEST_HZ))
    semitones = np.round(12 * np.log2(frequencies[bins] / 440.0)).astype(int) + 9
    return bins, np.eye(12)[semitones % 12]
