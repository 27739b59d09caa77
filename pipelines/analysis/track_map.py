"""The map of a library: laid out once, kept in a folder, and laid out anew when the library has doubled; and the groups
of its tracks by who listens to them.

Shapes: T tracks, D dimensions, F factors of taste.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from ...errors import LibraryError
from ...models.analysis.listener_clusters import SegmentOptions, Segments
from ...models.analysis.track_map import TrackMap, TrackMapOptions
from ...models.arrays import Floats
from ..library.store import Library
from ..versions.track_index import TrackIndex

Layout = Literal["sound", "taste", "both"]
"""by what near tracks are alike"""

TASTE_GROUPS = 10
_SAMPLE = 4000


def library_map(library: Library, name: str | None, vectors: Floats) -> TrackMap:
    """The map of a library's sound: of its vectors [T, D] of this name, kept in its folder."""
    return kept_map(library.folder, vectors, (library.about("encoder") if name == "encoder" else name) or "")


def layouts_of(tracks: TrackIndex) -> tuple[Layout, ...]:
    """What there is to lay out by."""
    has_taste, has_sound = (bool(half.any()) for half in np.split(tracks.index.vectors, [tracks.index.factors], axis=1))
    there: dict[Layout, bool] = {"sound": has_sound, "taste": has_taste, "both": has_sound and has_taste}
    return tuple(layout for layout, is_there in there.items() if is_there)


def laid_out(library: Library, tracks: TrackIndex, version: str | None, layout: Layout) -> tuple[TrackMap, Floats]:
    """A map of the tracks, and their vectors [T, D] that it is of; those of taste are kept in the version's folder."""
    vectors, factors = tracks.index.vectors, tracks.index.factors
    if layout == "sound":
        return library_map(library, tracks.sound, vectors[:, factors:]), vectors[:, factors:]
    chosen = vectors[:, :factors] if layout == "taste" else vectors
    folder = library.models / (version or "") / f"map_{layout}"
    return kept_map(folder, chosen, f"{layout} of {version}"), chosen


def kept_map(folder: Path, vectors: Floats, of: str) -> TrackMap:
    """The map of vectors [T, D], which `of` names: that in the folder, else one that is laid out now and kept there;
    an empty one where all are 0."""
    known = int((vectors != 0).any(axis=1).sum())
    with suppress(LibraryError):
        found = TrackMap.load(folder)
        same = (found.of, found.options, found.anchors.shape[1:]) == (of, TrackMapOptions(), vectors.shape[1:])
        if same and known < 2 * found.tracks:
            return found
    made = TrackMap().fit(vectors, of)
    if known:
        # A folder that cannot be written to is no reason to have no map.
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            made.save(folder)
    return made


def taste_groups(taste: Floats) -> Segments | None:
    """At most `TASTE_GROUPS` clusters of taste vectors [T, F]; None where there are too few to part them, or
    scikit-learn is missing."""
    known = np.flatnonzero(np.any(taste != 0, axis=1))
    if len(known) < 2 * TASTE_GROUPS or find_spec("sklearn") is None:
        return None
    sample = np.sort(np.random.default_rng(0).permutation(known)[:_SAMPLE])
    return Segments(SegmentOptions(count=TASTE_GROUPS, repeats=1)).fit(taste[sample])
