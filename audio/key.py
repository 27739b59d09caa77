"""Key: the major or minor key whose profile fits the pitches best, and how sure that is.

A spectrum on a logarithmic frequency axis, less its mean over an octave around each pitch, which takes away noise and
drums (Mauch & Dixon, ISMIR 2010), is folded to three bins a semitone, so that a recording's tuning is found along
the way. What correlates best with it (Krumhansl 1990; Gómez 2006) is the key.

Shapes: F frames, P pitches in thirds of a semitone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .decoding import Clip
from .log_mel import power_spectra

Floats = NDArray[np.float32]
Chroma = NDArray[np.float64]

PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SAMPLE_RATE = 8_000
BINS = 3
"""a semitone"""
_FFT_SAMPLES = 2_048
_HOP_SAMPLES = 1_024
_LOWEST, _OCTAVES = 40, 5
"""MIDI number of the lowest pitch that counts, E2 at 82 Hz: below, a semitone is narrower than a bin of the FFT"""
_SUBTRACTED = 0.7
"""of the mean around a pitch; all of it would make much of the little that stands out of drums and clicks"""
_QUIET = 0.25
"""of a clip's mean level: below it, frames weigh less"""
_MARGIN = 6
"""semitones above and below that are looked at for the mean around a pitch"""

_PROFILES = (
    # Faraldo, "Tonality estimation in electronic dance music" (PhD thesis, UPF 2018): medians of the chroma of some
    # thousand recordings whose key is known, as they are (braw) and with all that is small set to zero (bgate).
    (
        (1.0, 0.1573, 0.42, 0.157, 0.5296, 0.3669, 0.1632, 0.7711, 0.1676, 0.3827, 0.2113, 0.2965),
        (1.0, 0.233, 0.3615, 0.3905, 0.2925, 0.3777, 0.1961, 0.7425, 0.2701, 0.2161, 0.4228, 0.2272),
    ),
    (
        (1.0, 0.0, 0.42, 0.0, 0.53, 0.37, 0.0, 0.77, 0.0, 0.38, 0.21, 0.30),
        (1.0, 0.0, 0.36, 0.39, 0.0, 0.38, 0.0, 0.74, 0.27, 0.0, 0.42, 0.23),
    ),
    # Albrecht & Shanahan, "The use of large corpora to train a new type of key-finding algorithm" (Music Perception
    # 2013): shares of the notes in some hundred scores.
    (
        (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
        (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
    ),
)
"""of major and minor from the tonic on; their standardised mean is taken"""
_MINOR_HANDICAP = 0.02
"""added to the correlations with minor: pieces in minor borrow from major, and the fifth harmonic of a tone is a major
third. Between what recordings (.04) and synthesised pieces (0) ask for."""
_LEAST_CONTRAST, _DOUBTFUL_CONTRAST = 0.15, 0.17
"""standard deviation of the pitch classes over their mean; noise has .07 at most, drums .2, songs .2 and more"""
_TEMPERATURE, _NO_KEY_FIT = 0.08, 0.5
"""of a softmax over the correlations, with one more answer, that there is no key; speech correlates by .5 at best"""
KEYS = tuple(f"{pitch} {mode}" for mode in ("major", "minor") for pitch in PITCHES)


@dataclass(frozen=True)
class Key:
    """The key of a track, such as `F# minor`, and the one that it is if not that."""

    name: str
    alternative: str
    confidence: float
    """0 … 1, how likely the key is exactly right; most others are neighbours, a fifth away or relative"""


def chroma(clip: Clip) -> Chroma:
    """[12 * BINS] strength of the pitch classes in a clip at `SAMPLE_RATE`; add up those of a track's clips.

    From a third of a semitone below C at A = 440 Hz on. Zeros where the clip is too short.
    """
    if len(clip.samples) < _FFT_SAMPLES:
        return np.zeros(12 * BINS)
    frames = np.lib.stride_tricks.sliding_window_view(clip.samples, _FFT_SAMPLES)[::_HOP_SAMPLES]
    spectra = np.sqrt(power_spectra(frames))
    pitches, around = _log_frequency()
    strength = np.sqrt(spectra @ pitches)
    margin = _MARGIN * BINS
    standing_out = np.maximum(0, strength[:, margin:-margin] - _SUBTRACTED * (strength @ around))
    folded = standing_out.reshape(len(frames), _OCTAVES, 12 * BINS).sum(axis=1)
    # Frames weigh about the same, except where nothing stands out, as in a drum's, and where it is quiet.
    peak = folded.max(axis=1, keepdims=True)
    level = _OCTAVES * strength.mean(axis=1, keepdims=True)
    folded /= np.maximum(peak + level + _QUIET * level.mean(), 1e-9)
    return np.roll(folded.sum(axis=0, dtype=np.float64), _LOWEST % 12 * BINS)


def key(profile: Chroma) -> Key | None:
    """From the sum of a track's chroma; None where no pitch stands out, as of drums and noise."""
    classes = _in_tune(profile)
    contrast = classes.std() / max(classes.mean(), 1e-12)
    if contrast < _LEAST_CONTRAST:
        return None
    centred = classes - classes.mean()
    fits = _profiles() @ (centred / np.linalg.norm(centred)) + np.repeat([0.0, _MINOR_HANDICAP], 12)
    best = int(fits.argmax())
    second = int(np.where(np.arange(len(fits)) == best, -np.inf, fits).argmax())
    others = np.exp((np.append(fits, _NO_KEY_FIT) - fits[best]) / _TEMPERATURE)
    pitched = contrast**4 / (contrast**4 + _DOUBTFUL_CONTRAST**4)
    return Key(KEYS[best], KEYS[second], float(pitched / others.sum()))


def _in_tune(profile: Chroma) -> Chroma:
    """[12] the bins that a recording's own tuning puts in the middle of the semitones."""
    phase = np.angle(np.sum(profile * np.exp(2j * np.pi * (np.arange(12 * BINS) - 1) / BINS)))
    return np.roll(profile, -round(float(phase) / (2 * np.pi) * BINS))[1::BINS]


@lru_cache
def _profiles() -> NDArray[np.float64]:
    """[24, 12] of `KEYS`, each of mean 0 and norm 1."""
    rolled = np.array([[np.roll(mode, tonic) for mode in modes for tonic in range(12)] for modes in _PROFILES])
    return _standardized(_standardized(rolled).sum(axis=0))


def _standardized(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = profiles - profiles.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=-1, keepdims=True))


@lru_cache
def _log_frequency() -> tuple[Floats, Floats]:
    """Which bins of a spectrum belong to which pitch [F bins, P], and the mean over the octave around [P, P - margins].

    A pitch has the width of a bin of its axis, or of the spectrum's where that is wider.
    """
    count = 12 * _OCTAVES + 2 * _MARGIN
    pitch = _LOWEST - _MARGIN + (np.arange(count * BINS) - 1) / BINS
    hertz = np.arange(1, _FFT_SAMPLES // 2 + 1) * SAMPLE_RATE / _FFT_SAMPLES
    distance = np.abs(12 * np.log2(hertz / 440)[:, None] + 69 - pitch)
    spacing = 12 / np.log(2) * hertz[0] / (440 * 2 ** ((pitch - 69) / 12))
    width = np.maximum(1 / BINS, spacing)
    weights = np.where(distance < width, np.cos(np.pi / 2 * distance / width) ** 2, 0)
    weights = np.vstack([np.zeros(len(pitch)), weights / weights.sum(axis=0)])
    inner = np.arange(12 * _OCTAVES * BINS) + _MARGIN * BINS
    near = np.abs(np.arange(len(pitch))[:, None] - inner) <= _MARGIN * BINS
    return weights.astype(np.float32), (near / near.sum(axis=0)).astype(np.float32)
