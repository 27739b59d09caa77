"""The map of a library: laid out once, kept in its folder, and laid out anew when the library has doubled."""

from __future__ import annotations

from contextlib import suppress

from ...errors import LibraryError
from ...models.analysis.track_map import TrackMap, TrackMapOptions
from ...models.arrays import Floats
from ..library.store import Library


def library_map(library: Library, name: str | None, vectors: Floats) -> TrackMap:
    """The map of a library's vectors [T, D] of this name: that in its folder, else one that is laid out now and kept
    there; an empty one where there are no vectors."""
    known = int((vectors != 0).any(axis=1).sum())
    of = (library.about("encoder") if name == "encoder" else name) or ""
    with suppress(LibraryError):
        found = TrackMap.load(library.folder)
        same = (found.of, found.options, found.anchors.shape[1:]) == (of, TrackMapOptions(), vectors.shape[1:])
        if same and known < 2 * found.tracks:
            return found
    made = TrackMap().fit(vectors, of)
    if known:
        # A folder that cannot be written to is no reason to have no map.
        with suppress(OSError):
            made.save(library.folder)
    return made
