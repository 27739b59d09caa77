"""Loudness in LUFS: ITU-R BS.1770-4, K-weighted and gated, of all channels at the file's own rate.

What is metered is what was decoded for analysis: the runs of windows, or the whole file with `--windows all`. Stretches
that do not touch are metered on their own; no block of 400 ms reaches over a gap.

Shapes: C channels, n frames, S steps of 100 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Powers = NDArray[np.float64]

STEP_SECONDS = 0.1
_BLOCK_STEPS = 4
"""blocks of 400 ms overlap by three quarters"""
_BLOCK_SAMPLES = 64
"""filtered by one matrix product; 32 or 128 are no faster"""
_PIECE_STEPS = 20
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
        self._filter = KFilter.at(sample_rate)
        # One step, after which the filter has settled: the high-pass does in less than 50 ms.
        self._held = np.zeros((self._step, len(weights)), np.float32)

    def __call__(self, frames: Floats) -> Powers:
        """The steps that these frames complete. Shape: [n, C] -> [S]"""
        # Two seconds at a time: what lies between two operations stays in the processor's cache.
        pieces = range(0, len(frames), _PIECE_STEPS * self._step)
        return np.concatenate([np.zeros(0), *(self._of_piece(frames[first:][: pieces.step]) for first in pieces)])

    def _of_piece(self, frames: Floats) -> Powers:
        step = self._step
        held = np.concatenate([self._held, frames])
        steps = len(held) // step - 1
        self._held = held[steps * step :]
        if not steps:
            return np.zeros(0)
        filtered = self._filter(held[: (steps + 1) * step])[:, step:].reshape(-1, steps, step)
        return np.asarray(self._weights @ np.einsum("cst,cst->cs", filtered, filtered) / step, np.float64)


@dataclass(frozen=True, eq=False)
class KFilter:
    """Both K filters, a recursive filter of order 4 from silence on, by matrix products over blocks of N samples.

    A block's output is a triangular matrix of the impulse response times the block, plus what the state adds that the
    blocks before it left: four numbers, which one block hands on to the next by a matrix.
    """

    within: Floats
    """[N, N] from a block's samples to its output"""
    into: Floats
    """[N, 4] from a block's samples to the state after it"""
    onward: NDArray[np.float64]
    """[4, 4] from the state before a block to that after it"""
    out: Floats
    """[4, N] from the state before a block to its output"""

    @classmethod
    @lru_cache(maxsize=8)
    def at(cls, sample_rate: int) -> Self:
        """For a sample rate in Hz."""
        step, entry, observed, direct = k_weighting(sample_rate)
        # The states that one sample leaves, and the output that each state brings, over the next 100 ms: doubling.
        states, outputs, power = entry[:, None], observed[None], step
        while len(outputs) < STEP_SECONDS * sample_rate:
            states = np.concatenate([states, power @ states], axis=1)
            outputs = np.concatenate([outputs, outputs @ power])
            power = power @ power
        # In the basis in which a state is as large as the output that it brings.
        basis = np.linalg.qr(outputs, mode="r")
        inverse = np.linalg.inv(basis)
        size = _BLOCK_SAMPLES
        response = np.concatenate([[direct], observed @ states[:, : size - 1]])
        lag = np.arange(size) - np.arange(size)[:, None]
        return cls(
            np.where(lag >= 0, response[np.maximum(lag, 0)], 0).astype(np.float32),
            (basis @ states[:, size - 1 :: -1]).T.astype(np.float32),
            (basis @ np.linalg.matrix_power(step, size) @ inverse).T,
            (outputs[:size] @ inverse).T.astype(np.float32),
        )

    def __call__(self, frames: Floats) -> Floats:
        """Shape: [n, C] -> [C, n]"""
        count, channels = frames.shape
        blocks = np.empty((channels, -(-count // _BLOCK_SAMPLES), _BLOCK_SAMPLES), np.float32)
        blocks.reshape(channels, -1)[:, :count] = frames.T
        blocks.reshape(channels, -1)[:, count:] = 0
        states = (blocks @ self.into).astype(np.float64)
        shift, onward = 1, self.onward
        # Each adds what its predecessors left to it, of twice as many each time.
        while shift < blocks.shape[1]:
            states[:, shift:] += states[:, :-shift] @ onward
            shift, onward = 2 * shift, onward @ onward
        filtered = blocks @ self.within
        filtered[:, 1:] += states[:, :-1].astype(np.float32) @ self.out
        return filtered.reshape(channels, -1)[:, :count]


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


def k_weighting(sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Both K filters, high shelf and high-pass: from state x and sample v the next state A x + B v, output C x + D v.

    Their analogue prototypes in state space, brought to this rate by the bilinear transform: unlike a quotient of
    polynomials, that stays well-conditioned where the rate is thousands of times the corner frequency.
    Shapes: A [4, 4], B [4], C [4].
    """

    def corner(hertz: float) -> float:
        # A rate too low to hold the corner has it at its end.
        return float(np.tan(np.pi * min(hertz / sample_rate, 0.49)))

    gain, shelf, shelf_q = 10 ** (3.999843853973347 / 20), corner(1681.974450955533), 0.7071752369554196
    middle = gain**0.4996667741545416 / shelf_q
    high, high_q = corner(38.13547087602444), 0.5003270373238773
    shelved = np.array([1 - gain, middle - gain / shelf_q, 0, 0])
    a = np.array([[0, shelf, 0, 0], [-shelf, -shelf / shelf_q, 0, 0], [0, 0, 0, high], [0, 0, -high, -high / high_q]])
    a[3] += high * shelved
    b = np.array([0, shelf, 0, high * gain])
    c = shelved - np.array([0, 0, 1, 1 / high_q])
    inverse = np.linalg.inv(np.eye(4) - a)
    return inverse @ (np.eye(4) + a), 2 * inverse @ inverse @ b, c, float(gain + c @ inverse @ b)
