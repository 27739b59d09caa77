"""Tracks whose files are missing: which these are, and how a library forgets them.

A folder that is gone or empty may be a drive that is not mounted, and a library may come from another machine: what
lies there, or where nothing was embedded on this machine, is missing only where it is named.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..library.scan import absolute, is_gone
from ..library.store import Library


@dataclass(frozen=True)
class MissingFiles:
    """The tracks whose files are not there any more."""

    tracks: dict[str, Path]
    """track_id -> where its file was"""
    unreachable: dict[Path | None, int]
    """embedded folders that are gone or empty -> tracks whose files lay there, which are not in `tracks`; None stands
    for all places where nothing was embedded on this machine"""


def missing_files(library: Library, places: Sequence[Path] = ()) -> MissingFiles:
    """Of the files under `places`; without any, of all that were embedded on this machine in folders that are there."""
    known = set(map(absolute, places)) or set(library.places())
    away = set() if places else {place for place in known if _is_away(place)}
    tracks: dict[str, Path] = {}
    unreachable: Counter[Path | None] = Counter()
    for track_id, name in library.paths().items():
        path = Path(os.fsdecode(name))
        # Of folders in folders the innermost.
        place = next((folder for folder in (path, *path.parents) if folder in known), None)
        if (place is None and places) or not is_gone(path):
            continue
        if place is None or (place in away and place != path):
            unreachable[place] += 1
        else:
            tracks[track_id] = path
    return MissingFiles(tracks, dict(unreachable))


def _is_away(place: Path) -> bool:
    try:
        return is_gone(place) or (place.is_dir() and next(place.iterdir(), None) is None)
    except OSError:
        return True


def forget(library: Library, track_ids: Collection[str], listened: Collection[str]) -> int:
    """Removes tracks with all that was heard of them; returns how many.

    Of those that were listened to only the file is forgotten, so that listens keep their track and its sound.
    """
    gone = [track_id for track_id in track_ids if track_id not in listened]
    with library.transaction():
        library.remove_tracks(gone)
        library.remove_files([track_id for track_id in track_ids if track_id in listened])
    return len(gone)
