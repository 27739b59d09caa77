"""Playback order: tracks so that each passes well into the next, by sound, tempo and key.

The shortest path through all of them from the first one on, by the cost of a passage:

    1 - cosine of their sound  +  TEMPO x octaves between their tempos  +  KEY x fifths between their keys

Half and double tempo are the same beat, so at most half an octave lies between two; a key and its relative are no fifth
apart, the farthest ones six. What is not known of a track costs as much as the mean of what is. The path is found by
nearest neighbours and made shorter by 2-opt (Croes 1958).

Shapes: N tracks, D dimensions of sound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import Floats, l2_normalize
from ..library.store import Library

TEMPO, KEY = 1.0, 0.05
"""of an octave and of a fifth: the farthest tempos (half an octave) and keys (six fifths) weigh less than sound"""
MOST_TRACKS = 1000
_ROUNDS = 50
_PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def crossfaded(library: Library, track_ids: Sequence[str]) -> list[str]:
    """The same tracks in playback order; the first one stays first. At most MOST_TRACKS."""
    descriptions = [library.description_of(track_id) for track_id in track_ids]
    vectors = [library.vector(track_id, library.vector_name()) for track_id in track_ids]
    width = next((len(vector) for vector in vectors if vector is not None), 0)
    sound = np.zeros((len(track_ids), width), np.float32)
    for place, vector in enumerate(vectors):
        if vector is not None:
            sound[place] = vector
    tempos = np.array([one.get("tempo_bpm") or np.nan for one in descriptions], np.float64)
    order = playback_order(costs(sound, tempos, [one.get("key") for one in descriptions]))
    return [track_ids[place] for place in order]


def costs(sound: Floats, tempos: NDArray[np.float64], keys: Sequence[str | None]) -> NDArray[np.float64]:
    """[N, N] of passing from one track into another. Shape: [N, D], [N] beats per minute or NaN, N"""
    unit = l2_normalize(sound)
    by_sound = 1 - unit @ unit.T
    unknown = ~sound.any(axis=1)
    by_sound[unknown] = by_sound[:, unknown] = np.nan
    octaves = np.abs(np.log2(tempos[:, None] / tempos)) % 1
    fifths = np.array([np.nan if key is None else _fifth(key) for key in keys])
    apart = np.abs(fifths[:, None] - fifths)
    parts = [by_sound, TEMPO * np.minimum(octaves, 1 - octaves), KEY * np.minimum(apart, 12 - apart)]
    return np.asarray(sum(_filled(part) for part in parts))


def playback_order(cost: NDArray[np.float64]) -> list[int]:
    """A short path through all N from the first on, by a symmetric [N, N] of costs."""
    count = len(cost)
    path, left = [0] if count else [], np.ones(count, bool)
    while len(path) < count:
        left[path[-1]] = False
        path.append(int(np.where(left, cost[path[-1]], np.inf).argmin()))
    order = np.array(path)
    for _ in range(_ROUNDS):
        shorter = _two_opt(order, cost)
        if shorter is None:
            break
        order = shorter
    return [int(place) for place in order]


def _two_opt(order: NDArray[np.intp], cost: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """One round of turning stretches of the path where that makes it shorter; None where none does."""
    changed = False
    for first in range(1, len(order) - 1):
        # Turning order[first : last + 1] replaces the passages into `first` and out of `last`.
        before, at = order[first - 1], order[first]
        lasts, after = order[first + 1 :], order[first + 2 :]
        gain = cost[before, at] - cost[before, lasts]
        gain[:-1] += cost[lasts[:-1], after] - cost[at, after]
        best = int(gain.argmax())
        if gain[best] > 1e-9:
            last = first + 1 + best
            order = np.concatenate([order[:first], order[first : last + 1][::-1], order[last + 1 :]])
            changed = True
    return order if changed else None


def _fifth(key: str) -> float:
    """Place on the circle of fifths of `C# minor` or `Eb major`: of its relative major."""
    name, _, mode = key.partition(" ")
    pitch = _PITCHES.get(name[:1])
    if pitch is None:
        return float("nan")
    pitch += name.count("#") - name[1:].count("b") + (3 if mode.startswith("min") else 0)
    return float(7 * pitch % 12)


def _filled(part: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(part)
    return np.where(known, part, part[known].mean() if known.any() else 0.0)
