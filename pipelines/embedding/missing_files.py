"""Tracks whose files are missing: which these are, and how a library forgets them.

A folder that is gone or empty may be a drive that is not mounted: what lies under it is missing only where it is named.
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
    unreachable: dict[Path, int]
    """embedded folders that are gone or empty -> tracks whose files lay there, which are not in `tracks`"""


def missing_files(library: Library, places: Sequence[Path] = ()) -> MissingFiles:
    """Of the files under `places`; without any, of all that were embedded, but for folders that are gone or empty."""
    roots = [absolute(place) for place in places]
    away = () if places else [place for place in library.places() if _is_away(place)]
    tracks: dict[str, Path] = {}
    unreachable: Counter[Path] = Counter()
    for track_id, name in library.paths().items():
        path = Path(os.fsdecode(name))
        if (roots and not any(path.is_relative_to(root) for root in roots)) or not is_gone(path):
            continue
        place = next((place for place in away if path != place and path.is_relative_to(place)), None)
        if place is None:
            tracks[track_id] = path
        else:
            unreachable[place] += 1
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
