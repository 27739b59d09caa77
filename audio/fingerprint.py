"""Audio fingerprints: whether two files hold the same recording, whatever they were encoded or mastered with.

Haitsma & Kalker, "A highly robust audio fingerprinting system" (ISMIR 2002): for every pair of neighbouring frequency
bands and every frame, the sign of how the difference of their energies changes over time. Different recordings agree in
half of the signs by chance. What differs from the paper:

- 25 bands between 300 and 3,600 Hz instead of 33 up to 2,000: wider ones lose fewer signs to codecs and equalisers;
- logarithms of the energies, so that an equaliser, which adds a constant to each, cancels;
- the change over 256 ms rather than from one frame to the next, since frames of two files may lie half a hop apart;
- no sign where a band holds less than a thousandth of the frame, which is what codecs leave out, or nothing changes;
- low, middle and high bands have to agree each, all along: a song without its singer shares only some of them.

Shapes: N frames, B = 24 pairs of bands.
"""

from __future__ import annotations

import itertools
import math
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .decoding import Recording
from .log_mel import power_spectra

Floats = NDArray[np.float32]
Signs = NDArray[np.int8]

SAMPLE_RATE = 8_000
FRAME_SAMPLES = 3_072
"""384 ms, the paper's 370 in a length that is quick to transform"""
HOP_SAMPLES = 256
FRAME_RATE = SAMPLE_RATE / HOP_SAMPLES
BANDS = 25
LOWEST_HERTZ, HIGHEST_HERTZ = 300.0, 3_600.0
LONGEST_SECONDS = 45.0
"""of a track that are compared, from its beginning"""
SAME_AGREEMENT = 0.8
"""of the signs of a segment in the third of the bands that agrees least; other encodings reach .85 to .98, the same
place of other music .5 to .6, a song without one of its instruments up to .75 (scripts/experiments/measure_duplicates)
"""
_SAME_SEGMENTS = 0.85
"""of a recording's segments agree so; a word may be muted, or a packet lost"""
_GROUPS = 3
_KNOWN = 0.25
"""of a group's signs in a segment; fewer say nothing"""
_SEGMENT_SECONDS = 5.0
_DRIFT_SECONDS = 0.25
"""how far a segment may lie from where the whole recording does: another player's speed, .5 % over the whole"""
_SHORTEST_SECONDS = 3.0
"""of audible change in both; less proves nothing"""
_CHANGE_FRAMES = 8
_SILENCE = 1e-6
"""of the energy of the loudest frame; quieter frames have no signs"""
_LEAST_SHARE = 1e-3
_LEAST_CHANGE = 1e-3
"""in the logarithm; what changes less has no sign, since rounding decides it"""
_FRAMES_PER_BATCH = 512


@dataclass(frozen=True)
class Match:
    """How two fingerprints lie on each other where they agree most."""

    agreement: float
    """the share of signs that agree, in the bands that agree least, the median of the segments; .5 by chance"""
    offset_seconds: float
    """how much later the same sound comes in the second"""
    same: bool
    """whether they are the same recording"""


COPY = Match(1.0, 0.0, True)
"""of a file with itself"""
NO_MATCH = Match(0.0, 0.0, False)
"""what is too short, too quiet or too steady to tell"""


def fingerprint_of(path: str | os.PathLike[str]) -> Signs:
    """[N, B] of the first `LONGEST_SECONDS` of a file. Raises AudioError."""
    with Recording(path, SAMPLE_RATE) as recording:
        return fingerprint(recording.clip(0, round(LONGEST_SECONDS * SAMPLE_RATE)).samples)


def fingerprint(samples: Floats) -> Signs:
    """-1 or 1, or 0 where there is no sign. Shape: [samples at `SAMPLE_RATE`] -> [N, B]"""
    if len(samples) < FRAME_SAMPLES:
        return np.zeros((0, BANDS - 1), np.int8)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES)[::HOP_SAMPLES]
    filters = _filters()
    energies = np.empty((len(frames), BANDS))
    for start in range(0, len(frames), _FRAMES_PER_BATCH):
        energies[start : start + _FRAMES_PER_BATCH] = power_spectra(frames[start : start + _FRAMES_PER_BATCH]) @ filters
    loudest = energies.sum(axis=1).max()
    if loudest <= 0:
        return np.zeros((max(0, len(frames) - _CHANGE_FRAMES), BANDS - 1), np.int8)
    audible = energies.sum(axis=1) > _SILENCE * loudest
    differences = np.diff(np.log(energies + _SILENCE * loudest / BANDS), axis=1)
    changes = differences[_CHANGE_FRAMES:] - differences[:-_CHANGE_FRAMES]
    loud = (energies > _LEAST_SHARE * energies.sum(axis=1, keepdims=True)) & audible[:, None]
    loud = loud[:, 1:] & loud[:, :-1]
    known = (np.abs(changes) > _LEAST_CHANGE) & loud[_CHANGE_FRAMES:] & loud[:-_CHANGE_FRAMES]
    return np.where(known, np.sign(changes), 0).astype(np.int8)


def match(one: Signs, other: Signs, *, most_offset_seconds: float) -> Match:
    """Lays one fingerprint on another, at most so far apart, and compares them segment by segment.

    Shape: [N, B], [M, B]
    """
    lag = _best_lag(one, other, math.ceil(most_offset_seconds * FRAME_RATE))
    if lag is None:
        return NO_MATCH
    drift = round(_DRIFT_SECONDS * FRAME_RATE)
    first, last = max(0, -lag), min(len(one), len(other) - lag)
    # Equal parts, so that none is too short to tell.
    edges = np.linspace(first, last, max(1, int((last - first) / FRAME_RATE / _SEGMENT_SECONDS)) + 1).astype(int)
    agreements = [
        max(_agreement(one[start:stop], other, start + shift) for shift in range(lag - drift, lag + drift + 1))
        for start, stop in itertools.pairwise(edges)
    ]
    # Segments that are silent, or in which nothing changes, say nothing.
    known = np.array([agreement for agreement in agreements if agreement > 0])
    if not len(known):
        return NO_MATCH
    same = np.mean(known >= SAME_AGREEMENT) >= _SAME_SEGMENTS
    return Match(float(np.median(known)), lag / FRAME_RATE, bool(same))


def _best_lag(one: Signs, other: Signs, most: int) -> int | None:
    """Frames to go from a place in `one` to the same in `other`; None where they share too little that changes."""
    lags = np.arange(-most, most + 1)
    overlaps = np.minimum(len(one), len(other) - lags) - np.maximum(0, -lags)
    lags, overlaps = lags[overlaps > 0], overlaps[overlaps > 0]
    if not len(lags):
        return None
    size = 1 << (len(one) + len(other)).bit_length()
    spectra = [np.fft.rfft(signs.astype(np.float32), size, axis=0) for signs in (one, other)]
    # By lag, the negative ones from the end on.
    products = np.fft.irfft((spectra[0].conj() * spectra[1]).sum(axis=1), size)
    lag = int(lags[(products[lags] / np.maximum(overlaps, _SHORTEST_SECONDS * FRAME_RATE)).argmax()])
    first, last = max(0, -lag), min(len(one), len(other) - lag)
    known = np.count_nonzero(one[first:last] * other[first + lag : last + lag])
    return lag if known >= _SHORTEST_SECONDS * FRAME_RATE * (BANDS - 1) * _KNOWN else None


def _agreement(part: Signs, other: Signs, start: int) -> float:
    """The least share of equal signs in a group of bands, where `part` lies on frame `start`; 0 where none is known."""
    part = part[max(0, -start) :]
    beside = other[max(0, start) :][: len(part)]
    products = (part[: len(beside)] * beside).reshape(len(beside), _GROUPS, -1)
    known = np.count_nonzero(products, axis=(0, 2))
    agree = np.count_nonzero(products > 0, axis=(0, 2))
    enough = known >= max(1, _KNOWN * part.size / _GROUPS)
    return float((agree[enough] / known[enough]).min()) if enough.any() else 0.0


@lru_cache
def _filters() -> Floats:
    """[FRAME_SAMPLES // 2 + 1, BANDS] which frequency is in which band."""
    edges = np.geomspace(LOWEST_HERTZ, HIGHEST_HERTZ, BANDS + 1)
    frequencies = np.fft.rfftfreq(FRAME_SAMPLES, 1 / SAMPLE_RATE)[:, None]
    inside = (frequencies >= edges[:-1]) & (frequencies < edges[1:])
    return inside.astype(np.float32)


def pack(signs: Signs) -> bytes:
    """Two bits a sign, or little more than one where few are missing.

    >>> signs = np.array([[1, -1, 0] * 8], np.int8)
    >>> bool((unpack(pack(signs)) == signs).all())
    True
    """
    return zlib.compress(np.packbits(signs > 0).tobytes() + np.packbits(signs != 0).tobytes())


def unpack(packed: bytes) -> Signs:
    """[N, B] of `pack`."""
    positive, known = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8)).astype(np.int8).reshape(2, -1)
    return (known * (2 * positive - 1)).reshape(-1, BANDS - 1)
