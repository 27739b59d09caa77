"""Loudness in LUFS: ITU-R BS.1770-4, K-weighted and gated, of all channels at the file's own rate.

What is metered is what was decoded for analysis: the runs of windows, or the whole file with `--windows all`. Stretches
that do not touch are metered on their own; no block of 400 ms reaches over a gap.

Shapes: C channels, n frames, S steps of 100 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Powers = NDArray[np.float64]

STEP_SECONDS = 0.1
_BLOCK_STEPS = 4
"""blocks of 400 ms overlap by three quarters"""
_PIECE_STEPS = 10
"""filtered at once; the first is there for the filter to settle, which the high-pass does in less than 50 ms"""
_OFFSET = -0.691
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_SURROUND = 1.41
"""+1.5 dB for channels at the side of the listener"""


def channel_weights(names: Sequence[str]) -> Powers:
    """[C] what a channel's power counts for, by FFmpeg's names of channels: sides 1.41, low-frequency effects nothing.

    The back pair stands at the sides where nothing else does. Five and six channels without names are taken to be 5.0
    and 5.1 in the usual order; of other numbers all channels count the same.

    >>> channel_weights(["FL", "FR", "FC", "LFE", "BL", "BR"])
    array([1.  , 1.  , 1.  , 0.  , 1.41, 1.41])
    """
    if len(names) in (5, 6) and not set(names) - {"NONE"}:
        names = ("FL", "FR", "FC", *("LFE",) * (len(names) - 5), "BL", "BR")
    sides = {"SL", "SR"} if {"SL", "SR"} & set(names) else {"BL", "BR"}
    return np.array([0.0 if name in ("LFE", "LFE2") else _SURROUND if name in sides else 1.0 for name in names])


class Meter:
    """K-weighted power of consecutive frames of one stretch, in steps of 100 ms, all channels together."""

    def __init__(self, sample_rate: int, weights: Powers) -> None:
        self._step = max(1, round(STEP_SECONDS * sample_rate))
        self._weights = weights
        self._response = _k_weighting(_PIECE_STEPS * self._step, sample_rate)
        self._held = np.zeros((self._step, len(weights)), np.float32)

    def __call__(self, frames: Floats) -> Powers:
        """The steps that these frames complete. Shape: [n, C] -> [S]"""
        step, fresh = self._step, _PIECE_STEPS - 1
        held = np.concatenate([self._held, frames])
        steps = len(held) // step - 1
        self._held = held[steps * step :]
        if not steps:
            return np.zeros(0)
        pieces = -(-steps // fresh)
        padded = np.zeros((len(self._weights), (pieces * fresh + 1) * step), np.float32)
        padded[:, : (steps + 1) * step] = held[: (steps + 1) * step].T
        cut = np.lib.stride_tricks.sliding_window_view(padded, _PIECE_STEPS * step, axis=1)[:, :: fresh * step]
        filtered = np.fft.irfft(np.fft.rfft(cut) * self._response)[..., step:]
        filtered = filtered.reshape(len(padded), pieces * fresh, step)
        powers = np.einsum("cst,cst->cs", filtered, filtered)[:, :steps] / step
        return np.asarray(self._weights @ powers, np.float64)


def integrated_lufs(stretches: Iterable[Powers]) -> float | None:
    """Loudness of a track from the step powers of its stretches; None where nothing passes the gate of -70 LUFS."""
    blocks = np.concatenate([np.zeros(0), *(_block_powers(steps) for steps in stretches)])
    loud = blocks[_lufs(blocks) > _ABSOLUTE_GATE]
    if len(loud) == 0:
        return None
    gate = _lufs(loud.mean()) + _RELATIVE_GATE
    return float(_lufs(loud[_lufs(loud) > gate].mean()))


def _block_powers(steps: Powers) -> Powers:
    """[max(0, S - 3)] means over 400 ms."""
    if len(steps) < _BLOCK_STEPS:
        return np.zeros(0)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(steps, _BLOCK_STEPS).mean(axis=1), np.float64)


def _lufs(power: Powers | np.float64) -> Powers:
    return np.asarray(_OFFSET + 10 * np.log10(np.maximum(power, 1e-20)))


@lru_cache(maxsize=8)
def _k_weighting(size: int, sample_rate: int) -> NDArray[np.complex64]:
    """[size // 2 + 1] response of both K filters, their analogue prototypes brought to this rate."""
    s = 1j * np.tan(np.pi * np.arange(size // 2 + 1) / size)

    def corner(hertz: float) -> float:
        # A rate too low to hold the corner has it at its end.
        return float(np.tan(np.pi * min(hertz / sample_rate, 0.49)))

    shelf_gain = 10 ** (3.999843853973347 / 20)
    u, q = s / corner(1681.974450955533), 0.7071752369554196
    shelf = (shelf_gain * u**2 + shelf_gain**0.4996667741545416 / q * u + 1) / (u**2 + u / q + 1)
    u, q = s / corner(38.13547087602444), 0.5003270373238773
    response = shelf * u**2 / (u**2 + u / q + 1)
    response[-1] = shelf_gain
    return np.asarray(response, np.complex64)
