"""Music detection: three measures of a spectrogram by which speech, single calls, tones and noise are no music.

Saunders, "Real-time discrimination of broadcast speech/music" (ICASSP 1996) and Scheirer & Slaney (ICASSP 1997) are
where the share of low-energy frames comes from. The limits below were set on sounds made in code (noise, tones,
chirps, clicks, speech-like syllables: `tests/sounds.py`), not on recordings.

Shapes: W windows, F frames, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .log_mel import LogMel

Floats = NDArray[np.float32]

MOST_GAPS = 0.35
LEAST_OCCUPANCY = 0.3
LEAST_CHANGE_DB = 1.5
_FLOOR = np.float32(1e-10)
_LEAST_SHARE = np.float32(10 ** (-50 / 10))
"""of the peak's power: 50 dB below it"""


@dataclass(frozen=True)
class Texture:
    """Three measures of a spectrogram."""

    gaps: float
    """share of frames with less than half the amplitude of the second around them; pauses between words or calls"""
    occupancy: float
    """share of the time-frequency plane within 50 dB of its peak; low for tones and calls"""
    change_db: float
    """how much a band's level moves within a window, over steps of about a quarter second; low for steady noise"""

    @property
    def musical(self) -> bool:
        return self.gaps <= MOST_GAPS and self.occupancy >= LEAST_OCCUPANCY and self.change_db >= LEAST_CHANGE_DB


def texture(power: Floats, options: LogMel) -> Texture:
    """The texture of a track's windows, of their mel power. Shape: [W, F, M]"""
    amplitude = np.sqrt(power.sum(axis=2))
    frame_rate = options.sample_rate / options.hop_samples
    around = np.ones(round(frame_rate)) / round(frame_rate)
    local = np.stack([np.convolve(row, around, "same") for row in amplitude])
    audible = power + _FLOOR > (power.max() + _FLOOR) * _LEAST_SHARE
    step = round(0.27 * frame_rate)
    steps = power.shape[1] // step
    coarse = power[:, : steps * step].reshape(len(power), steps, step, -1).mean(axis=2)
    moved = (10 * np.log10(coarse + _FLOOR)).std(axis=1).mean(axis=0)
    return Texture(float(np.mean(amplitude < 0.5 * local)), float(np.mean(audible)), float(np.median(moved)))
