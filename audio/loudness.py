"""Loudness in LUFS: ITU-R BS.1770-4, K-weighted and gated, over the parts of a track that were listened to.

The weighting is applied to power spectra of whole 400 ms blocks, which for these two gentle filters comes within
.1 LU of filtering in time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .decoding import Clip

_BLOCK_SECONDS = 0.4
_OFFSET = -0.691
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0


def block_powers(clip: Clip) -> NDArray[np.float64]:
    """K-weighted mean square of blocks that overlap by three quarters, all channels together; none where too short."""
    size = round(_BLOCK_SECONDS * clip.sample_rate)
    if len(clip.samples) < size:
        return np.zeros(0)
    blocks = np.lib.stride_tricks.sliding_window_view(clip.samples, size)[:: size // 4]
    spectra = np.fft.rfft(blocks)
    power = (np.square(spectra.real) + np.square(spectra.imag)) @ _weighting(size, clip.sample_rate)
    return np.asarray(power * 2 / size**2 * clip.power_ratio, np.float64)


def integrated_lufs(blocks: NDArray[np.float64]) -> float | None:
    """Loudness of a track from the block powers of its clips; None where nothing passes the gate of -70 LUFS."""
    loud = blocks[_lufs(blocks) > _ABSOLUTE_GATE]
    if len(loud) == 0:
        return None
    gate = _lufs(loud.mean()) + _RELATIVE_GATE
    return float(_lufs(loud[_lufs(loud) > gate].mean()))


def _lufs(power: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(_OFFSET + 10 * np.log10(np.maximum(power, 1e-20)))


@lru_cache
def _weighting(size: int, sample_rate: int) -> NDArray[np.float64]:
    """[size // 2 + 1] squared gain of both K filters, given by their analogue prototypes."""
    s = 1j * np.tan(np.pi * np.arange(size // 2 + 1) / size)
    shelf_gain = 10 ** (3.999843853973347 / 20)
    k = np.tan(np.pi * 1681.974450955533 / sample_rate)
    u, q = s / k, 0.7071752369554196
    with np.errstate(divide="ignore", invalid="ignore"):
        shelf = (shelf_gain * u**2 + shelf_gain**0.4996667741545416 / q * u + 1) / (u**2 + u / q + 1)
        u, q = s / np.tan(np.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
        high_pass = u**2 / (u**2 + u / q + 1)
        gain = np.abs(shelf * high_pass) ** 2
    gain[0], gain[-1] = 0.0, shelf_gain**2
    return np.asarray(gain, np.float64)
