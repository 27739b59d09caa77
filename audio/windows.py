"""Which parts of a track are analysed.

A track is cut into windows of an encoder's length, numbered from 0; by default three runs of three of them are taken,
around 1/6, 1/2 and 5/6 of the track. Chosen windows lie on the same grid as all windows, so taking all only adds.

Shapes: W windows, N samples each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError
from .decoding import Clip, Recording, joined

Floats = NDArray[np.float32]

SILENCE = 10 ** (-70 / 20)
"""peak amplitude of -70 dBFS"""
SHORTEST_SECONDS = 0.1
RUN_WINDOWS = 3
PLACES = (1 / 6, 1 / 2, 5 / 6)
_LONGEST_RUN = 20
"""windows analysed in one go, which bounds memory however long the track is"""


@dataclass(frozen=True)
class Grid:
    """How an encoder wants its windows cut."""

    window_samples: int
    """N"""
    hop_samples: int
    """from one window to the next"""

    @property
    def margin(self) -> int:
        """Samples before a window's first hop that it needs too."""
        return self.window_samples - self.hop_samples

    def count(self, samples: int) -> int:
        """How many whole windows there are in a track of so many samples, with a margin of zeros at both ends."""
        return (samples + self.margin) // self.hop_samples

    def cut(self, samples: Floats) -> Floats:
        """All whole windows of a stretch that starts with a margin, as views. Shape: [margin + …] -> [W, N]"""
        if len(samples) < self.window_samples:
            return np.zeros((0, self.window_samples), np.float32)
        return np.lib.stride_tricks.sliding_window_view(samples, self.window_samples)[:: self.hop_samples]

    def whole(self, samples: Floats) -> Floats:
        """All windows of a recording in memory, between margins of zeros; one that is too short is repeated."""
        if self.count(len(samples)) == 0:
            samples = np.resize(samples, self.hop_samples)
        margin = np.zeros(self.margin, np.float32)
        return self.cut(np.concatenate([margin, samples, margin]))


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A run of neighbouring windows, those that are silent left out."""

    clip: Clip
    """all that was decoded for them, so that the excerpts of a whole file add up to it"""
    windows: Floats
    """[W, N]"""


def runs(count: int) -> list[range]:
    """Numbers of the windows to take of `count` in the track; all of them where that is not more.

    >>> runs(80)
    [range(12, 15), range(38, 41), range(65, 68)]
    >>> runs(5)
    [range(0, 5)]
    """
    if count <= RUN_WINDOWS * len(PLACES):
        return [range(count)]
    firsts = [round(place * count - RUN_WINDOWS / 2) for place in PLACES]
    return [range(first, first + RUN_WINDOWS) for first in firsts]


def excerpts(recording: Recording, grid: Grid, *, all_windows: bool = False) -> Iterator[Excerpt]:
    """The parts of a recording to analyse: the chosen runs, or all windows.

    Where all that was chosen is silent, or missing since the file is shorter than its header says, every window is
    tried. A recording shorter than a window is repeated to fill one. Raises AudioError `too short` or `silent`.
    """
    chosen = runs(grid.count(round(recording.duration_seconds * recording.sample_rate)))
    found = iter(()) if all_windows or len(chosen) == 1 else _of_runs(recording, grid, chosen)
    first = next(found, None)
    if first is None:
        found = _of_all(recording, grid)
        first = next(found, None)
    if first is None:
        raise AudioError("silent")
    yield first
    yield from found


def _of_runs(recording: Recording, grid: Grid, chosen: list[range]) -> Iterator[Excerpt]:
    for run in chosen:
        start = run.start * grid.hop_samples - grid.margin
        clip = recording.clip(start, (len(run) - 1) * grid.hop_samples + grid.window_samples)
        yield from _audible(clip, grid.cut(clip.samples))


def _of_all(recording: Recording, grid: Grid) -> Iterator[Excerpt]:
    rate = recording.sample_rate
    margin = np.zeros(grid.margin, np.float32)
    rest = margin
    parts: list[Clip] = []
    total = fresh = 0
    for part in recording.stream():
        total += len(part.samples)
        fresh += len(part.samples)
        parts.append(part)
        if len(rest) + fresh >= _LONGEST_RUN * grid.hop_samples + 2 * grid.margin:
            clip = joined(parts, rate)
            waiting = np.concatenate([rest, clip.samples])
            windows = grid.cut(waiting)
            yield from _audible(clip, windows)
            parts, fresh = [], 0
            rest = waiting[len(windows) * grid.hop_samples :]
    if total < SHORTEST_SECONDS * rate:
        raise AudioError("too short")
    clip = joined(parts, rate)
    waiting = np.concatenate([rest, clip.samples])
    if grid.count(total) == 0:
        waiting = np.concatenate([margin, np.resize(clip.samples, grid.hop_samples)])
    yield from _audible(clip, grid.cut(np.concatenate([waiting, margin])))


def _audible(clip: Clip, windows: Floats) -> Iterator[Excerpt]:
    """One excerpt without the silent windows, or none."""
    loud = np.abs(windows).max(axis=1, initial=0) >= SILENCE
    if loud.any():
        yield Excerpt(clip, windows if loud.all() else windows[loud])
