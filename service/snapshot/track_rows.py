"""The shelf: which track is which row, and what people want to see of it now. It only grows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from ...pipelines.library.store import ChangeCounter, Library, changed


class Facts(NamedTuple):
    """What people want to see of a track."""

    title: str | None
    artists: tuple[str, ...]
    has_file: bool


NO_FACTS = Facts(None, (), False)


class Shelf:
    """Rows are never taken away, so that snapshots share one; all of them show the newest facts."""

    def __init__(self) -> None:
        self.track_ids: list[str] = []
        self.facts: list[Facts] = []
        self.row_of: dict[str, int] = {}
        self._texts: list[str] = []

    def append(self, track_ids: Sequence[str], facts: dict[str, Facts]) -> None:
        """Puts tracks behind those that are there."""
        start = len(self.track_ids)
        told = [facts.get(track_id, NO_FACTS) for track_id in track_ids]
        self.track_ids += track_ids
        self.facts += told
        self._texts += map(_text, track_ids, told)
        # Last, since a row that has a name has to have the rest.
        self.row_of |= dict(zip(track_ids, count(start), strict=False))

    def tell(self, facts: dict[str, Facts]) -> None:
        """What is to be seen from now on of tracks that are there; others are passed over."""
        for track_id, told in facts.items():
            if (row := self.row_of.get(track_id)) is not None:
                self.facts[row], self._texts[row] = told, _text(track_id, told)

    def find(self, query: str) -> Iterator[int]:
        """Rows of the tracks that have all words of the query in their id, title or artists."""
        words = query.casefold().split()
        # What is long is rare: most rows are dismissed by one look.
        first, *rest = sorted(words, key=len, reverse=True) or [""]
        rows = (row for row, text in enumerate(self._texts) if first in text)
        return (row for row in rows if all(word in self._texts[row] for word in rest))


def _text(track_id: str, told: Facts) -> str:
    """What is searched."""
    return f"{track_id} {told.title or ''} {' '.join(told.artists)}".casefold()


def facts_of(library: Library, *, after: ChangeCounter | None = None) -> dict[str, Facts]:
    """track_id -> facts of the library's tracks, or of those that changed after a mark."""
    which, parameters = changed(after)
    rows: Iterable[tuple[str, str | None, str, bool]] = library.query(
        f"SELECT track_id, title, artists, path NOTNULL FROM tracks {which}", parameters
    )
    # Many tracks have the same artists.
    names: dict[str, tuple[str, ...]] = {}
    facts = {}
    for track_id, title, artists, has_file in rows:
        if artists not in names:
            names[artists] = tuple(json.loads(artists))
        facts[track_id] = Facts(title, names[artists], bool(has_file))
    return facts
