"""Tempo: the period at which a track's onsets repeat, and how sure that is.

Onset strength is the log-compressed spectral flux of mel bands (Klapuri, ICASSP 1999; Böck & Widmer, DAFx 2013) over a
window of 128 ms: long enough to see the soft onsets of bowed and sung notes too. Its autocorrelation is read at a
period and at that period's next multiples, as a comb (Scheirer, JASA 1998; Percival & Tzanetakis, TASLP 2014), which
tells a beat from its subdivisions; a log-normal prior around 120 BPM (Ellis, JNMR 2007) chooses among the octaves.

Shapes: N samples, F frames, L lags, T tempi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .decoding import Clip
from .log_mel import LogMel

Floats = NDArray[np.float32]
Correlation = NDArray[np.float64]

SPECTROGRAM = LogMel(sample_rate=8_000, fft_samples=1_024, hop_samples=128, bands=40)
FRAME_RATE = SPECTROGRAM.sample_rate / SPECTROGRAM.hop_samples
SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
_COMPRESSION = 1_000.0
"""of power relative to the clip's mean, so that the level of a recording changes nothing"""
_TREND_SECONDS = 1.0
"""onsets count by what they stand out from within this time"""
_TEETH = 5
"""a period and its multiples that are looked at"""
_LAGS_PER_FRAME = 4
_LONGEST_SECONDS = _TEETH * 60 / SLOWEST_BPM
_PRIOR_BPM = 120.0
_PRIOR_OCTAVES = 1.2
_TEMPI = np.exp(np.arange(np.log(SLOWEST_BPM), np.log(FASTEST_BPM), 0.005))
"""[T] BPM"""
_PRIOR = np.exp(-0.5 * (np.log2(_TEMPI / _PRIOR_BPM) / _PRIOR_OCTAVES) ** 2)
_SAME_OCTAVES = 0.1
"""tempi that are nearer are one"""


@dataclass(frozen=True)
class Tempo:
    """The tempo of a track, and the one that it is if not that: mostly twice or half as fast."""

    bpm: float
    alternative_bpm: float
    strength: float
    """0 … 1: how much of the onsets repeats with the period"""
    lead: float
    """how much better the tempo fits than the alternative, as a share"""


def onset_strength(clip: Clip) -> Floats:
    """[F] at `FRAME_RATE`, how much louder the bands of a clip at 8 kHz become, less the mean over a second around."""
    if len(clip.samples) <= SPECTROGRAM.fft_samples:
        return np.zeros(0, np.float32)
    power = SPECTROGRAM.power(clip.samples[None])[0]
    power *= np.float32(_COMPRESSION / max(float(power.mean()), 1e-20))
    level = np.log1p(power, out=power)
    flux = np.maximum(0, np.diff(level, axis=0)).mean(axis=1)
    width = round(_TREND_SECONDS * FRAME_RATE) | 1
    trend = np.convolve(flux, np.ones(width, np.float32) / width, "same")[: len(flux)]
    return np.asarray(flux - trend, np.float32)


def pulse(clip: Clip) -> Correlation:
    """[L] autocorrelation of the onset strength of a clip at 8 kHz; add up those of a track's clips.

    `_LAGS_PER_FRAME` lags a frame. A lag is made up for being seen less often than lag 0, at most twofold.
    """
    onsets = onset_strength(clip)
    count = round(_LONGEST_SECONDS * FRAME_RATE) + 1
    if len(onsets) < 2:
        return np.zeros(count * _LAGS_PER_FRAME)
    size = 2 ** int(np.ceil(np.log2(2 * max(len(onsets), count))))
    spectrum = np.abs(np.fft.rfft(onsets.astype(np.float64), size)) ** 2
    # A longer inverse transform interpolates between the lags.
    found = np.fft.irfft(spectrum, size * _LAGS_PER_FRAME)[: count * _LAGS_PER_FRAME] * _LAGS_PER_FRAME
    lags = np.arange(len(found)) / _LAGS_PER_FRAME
    return np.asarray(found / np.maximum(1 - lags / len(onsets), 0.5), np.float64)


def tempo(correlation: Correlation) -> Tempo | None:
    """The tempo, from the sum of a track's pulses [L]; None where nothing repeats."""
    if correlation[0] <= 0:
        return None
    fit = _fit(correlation / correlation[0])
    weighted = fit * _PRIOR
    best = int(np.argmax(weighted))
    others = np.abs(np.log2(_TEMPI / _TEMPI[best])) > _SAME_OCTAVES
    peaks = np.r_[False, (weighted[1:-1] >= weighted[:-2]) & (weighted[1:-1] >= weighted[2:]), False]
    second = int(np.argmax(np.where(others & peaks, weighted, -np.inf)))
    if fit[best] <= 0:
        return None
    lead = 1 - max(0.0, float(weighted[second])) / float(weighted[best])
    return Tempo(_refined(weighted, best), _refined(weighted, second), float(fit[best]), lead)


def _fit(correlation: Correlation) -> NDArray[np.float64]:
    """[T] the mean of the autocorrelation at each tempo's period and its multiples."""
    lags = 60 * FRAME_RATE * _LAGS_PER_FRAME / _TEMPI
    at = np.arange(len(correlation))
    return np.asarray(np.mean([np.interp(lags * tooth, at, correlation) for tooth in range(1, _TEETH + 1)], axis=0))


def _refined(weighted: NDArray[np.float64], best: int) -> float:
    """BPM at the top of a parabola through a peak and its neighbours."""
    if not 0 < best < len(weighted) - 1:
        return float(_TEMPI[best])
    left, middle, right = weighted[best - 1 : best + 2]
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(_TEMPI[best] * (_TEMPI[1] / _TEMPI[0]) ** np.clip(offset, -0.5, 0.5))
