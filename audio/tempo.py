"""Tempo: the strongest periodicity of spectral flux, weighted towards tempi that people tap.

Ellis, "Beat tracking by dynamic programming" (JNMR 2007): autocorrelation of the onset strength under a log-normal
prior around 120 BPM.

Shapes: W windows, F frames, M mel bands.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SLOWEST_BPM, FASTEST_BPM = 40.0, 220.0
_PRIOR_BPM = 120.0
_PRIOR_OCTAVES = 0.9
_LEAST_SECONDS = 4.0
_LEAST_STRENGTH = 0.15
"""of the autocorrelation; the strongest of the lags of pure noise over 9 s stays below it"""


def pulse(log_mel: Floats, frame_rate: float) -> NDArray[np.float64]:
    """Autocorrelation of the onsets in neighbouring windows, by lag in frames; add up those of a track's excerpts.

    Zeros where the windows are too short. `frame_rate` is in frames per second.
    Shape: [W, F, M] -> [lags]
    """
    lags = int(frame_rate * 60 / SLOWEST_BPM) + 2
    frames = log_mel.reshape(-1, log_mel.shape[-1])
    if len(frames) < _LEAST_SECONDS * frame_rate:
        return np.zeros(lags)
    onsets = np.maximum(0, np.diff(frames, axis=0)).mean(axis=1)
    onsets = onsets - _smoothed(onsets, round(frame_rate))
    spectrum = np.abs(np.fft.rfft(onsets, 2 * len(onsets))) ** 2
    return np.asarray(np.fft.irfft(spectrum)[:lags], np.float64)


def tempo_bpm(correlation: NDArray[np.float64], frame_rate: float) -> float | None:
    """Beats per minute from the sum of a track's pulses [lags]; None where there is no clear one."""
    if correlation[0] <= 0:
        return None
    bpm = 60 * frame_rate / np.arange(1, len(correlation))
    prior = np.exp(-0.5 * (np.log2(bpm / _PRIOR_BPM) / _PRIOR_OCTAVES) ** 2)
    weighted = np.where((bpm >= SLOWEST_BPM) & (bpm <= FASTEST_BPM), correlation[1:] / correlation[0] * prior, -np.inf)
    lag = int(np.argmax(weighted)) + 1
    if correlation[lag] / correlation[0] < _LEAST_STRENGTH or lag + 1 == len(correlation):
        return None
    # A parabola through the peak and its neighbours finds what lies between two lags.
    left, middle, right = correlation[lag - 1 : lag + 2]
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(60 * frame_rate / (lag + np.clip(offset, -0.5, 0.5)))


def _smoothed(values: Floats, width: int) -> NDArray[np.float64]:
    return np.convolve(values, np.ones(width) / width, "same")
