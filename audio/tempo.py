"""Tempo: the period at which a track's onsets repeat, and how sure that is.

Onset strength is the log-compressed spectral flux of mel bands (Klapuri, ICASSP 1999; Böck & Widmer, DAFx 2013), each
smoothed over 160 ms: long enough to see the soft onsets of bowed and sung notes too. Its autocorrelation is read at a
period and at that period's next multiples, as a comb (Scheirer, JASA 1998; Percival & Tzanetakis, TASLP 2014), which
tells a beat from its subdivisions; a log-normal prior around 120 BPM (Ellis, JNMR 2007) chooses among the octaves.

Shapes: F frames, M mel bands, L lags, T tempi.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .log_mel import LogMel

Floats = NDArray[np.float32]
Correlation = NDArray[np.float64]

SPECTROGRAM = LogMel()
"""whose power is read: MusiCNN's, which is there anyway"""
FRAME_RATE = SPECTROGRAM.sample_rate / SPECTROGRAM.hop_samples
SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
_COMPRESSION = 1_000.0
"""of power relative to the clip's mean, so that the level of a recording changes nothing"""
_SMOOTHING = (np.hanning(12)[1:-1] ** 2).astype(np.float32)
"""weights of the frames around one: 160 ms; half as many frames find less"""
_TREND_SECONDS = 1.0
"""onsets count by what they stand out from within this time"""
_TEETH = (4, 4, 4, 3, 2, 1)
"""weights of a period and its multiples: the mean of combs of three to six teeth"""
_LAGS_PER_FRAME = 4
_LAGS = round(len(_TEETH) * 60 / SLOWEST_BPM * FRAME_RATE + 1) * _LAGS_PER_FRAME
"""as many as the slowest tempo's comb is long"""
_PRIOR_BPM, _PRIOR_OCTAVES = 120.0, 1.1
_TEMPI = np.exp(np.arange(np.log(SLOWEST_BPM), np.log(FASTEST_BPM), 0.005))
"""[T] BPM"""
_PRIOR = np.exp(-0.5 * (np.log2(_TEMPI / _PRIOR_BPM) / _PRIOR_OCTAVES) ** 2)
_SAME_OCTAVES = 0.1
"""tempi that are nearer are one"""
_LEAST_DEPTH = 0.02
"""root mean square of the onset strength; noise and calls have .017, pads next to nothing, songs .03 and more"""
_LEAST_SALIENCE, _DOUBTFUL_SALIENCE = 0.1, 0.45
"""of the fit, times the root of the seconds heard, since chance repeats that much less: speech and hits at random
moments have .4 on average, a click less than .1"""
_LEAD_SCALE, _LEAD_OFFSET = 5.0, 0.5
"""logistic regression of being right on how far the best tempo is ahead of the second"""


@dataclass(frozen=True)
class Tempo:
    """The tempo of a track, and the one that it is if not that: mostly twice or half as fast."""

    bpm: float
    alternative_bpm: float
    confidence: float
    """0 … 1, how likely the tempo is what a musician would tap, within 4 %; of answers at .8, four in five are right"""


def onset_strength(power: Floats) -> Floats:
    """How much louder the bands become from frame to frame, less the mean over a second around.

    Frames so near to an end that they can't be smoothed have none. Shape: [F, M] -> [max(0, F - 10)]
    """
    count = len(power) - len(_SMOOTHING) + 1
    if count < 2:
        return np.zeros(0, np.float32)
    smooth = sum(weight * power[start : start + count] for start, weight in enumerate(_SMOOTHING))
    smooth *= np.float32(_COMPRESSION / max(float(smooth.mean()), 1e-20))
    smooth += 1
    flux = np.maximum(0, np.diff(np.log(smooth, out=smooth), axis=0)).mean(axis=1)
    width = round(_TREND_SECONDS * FRAME_RATE) | 1
    trend = np.convolve(flux, np.ones(width, np.float32) / width, "same")[: len(flux)]
    return np.asarray(flux - trend, np.float32)


@dataclass(frozen=True, eq=False)
class Pulse:
    """How the onsets of clips repeat; those of a track's clips add up, `sum(pulses, Pulse())`."""

    correlation: Correlation = field(default_factory=lambda: np.zeros(_LAGS))
    """[L] summed autocorrelation of the onset strength, `_LAGS_PER_FRAME` lags a frame"""
    frames: int = 0

    def __add__(self, other: Pulse) -> Pulse:
        return Pulse(self.correlation + other.correlation, self.frames + other.frames)


def pulse(power: Floats) -> Pulse:
    """Of the mel power of consecutive frames. A lag is made up for being seen less often than lag 0, at most twofold.

    Shape: [F, M]
    """
    onsets = onset_strength(power).astype(np.float64)
    if len(onsets) == 0:
        return Pulse()
    size = 2 ** int(np.ceil(np.log2(len(onsets) + _LAGS / _LAGS_PER_FRAME)))
    power = np.abs(np.fft.rfft(onsets, size)) ** 2
    # A longer inverse transform interpolates between the lags.
    found = np.fft.irfft(power, size * _LAGS_PER_FRAME)[:_LAGS] * _LAGS_PER_FRAME
    seen = 1 - np.arange(_LAGS) / (_LAGS_PER_FRAME * len(onsets))
    return Pulse(found / np.maximum(seen, 0.5), len(onsets))


def tempo(pulse: Pulse) -> Tempo | None:
    """The tempo of the sum of a track's pulses; None where nothing begins, or nothing repeats."""
    if pulse.correlation[0] <= pulse.frames * _LEAST_DEPTH**2:
        return None
    fit = _fit(pulse.correlation / pulse.correlation[0])
    weighted = fit * _PRIOR
    best = int(np.argmax(weighted))
    salience = fit[best] * np.sqrt(pulse.frames / FRAME_RATE)
    if salience < _LEAST_SALIENCE:
        return None
    peak = np.r_[False, (weighted[1:-1] >= weighted[:-2]) & (weighted[1:-1] >= weighted[2:]), False]
    other = np.abs(np.log2(_TEMPI / _TEMPI[best])) > _SAME_OCTAVES
    second = int(np.argmax(np.where(peak & other, weighted, -np.inf)))
    lead = 1 - max(0.0, weighted[second] / weighted[best])
    beat = salience**2 / (salience**2 + _DOUBTFUL_SALIENCE**2)
    right = 1 / (1 + np.exp(-_LEAD_SCALE * lead - _LEAD_OFFSET))
    return Tempo(_refined(weighted, best), _refined(weighted, second), float(beat * right))


def _fit(correlation: Correlation) -> NDArray[np.float64]:
    """[T] the autocorrelation at each tempo's period and its multiples, weighted."""
    lags = 60 * FRAME_RATE * _LAGS_PER_FRAME / _TEMPI
    at = np.arange(len(correlation))
    teeth = [np.interp(lags * tooth, at, correlation) for tooth in range(1, len(_TEETH) + 1)]
    return np.asarray(np.average(teeth, axis=0, weights=_TEETH))


def _refined(weighted: NDArray[np.float64], best: int) -> float:
    """BPM at the top of a parabola through a peak and its neighbours."""
    if not 0 < best < len(weighted) - 1:
        return float(_TEMPI[best])
    left, middle, right = weighted[best - 1 : best + 2]
    bend = left - 2 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(_TEMPI[best] * (_TEMPI[1] / _TEMPI[0]) ** np.clip(offset, -0.5, 0.5))
