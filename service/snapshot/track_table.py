"""What is shown of each track, and the search for words in it. Rows are never taken away: snapshots share the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...pipelines.library.store import ChangeCounter, Library
from ...pipelines.versions.track_index import TrackIndex


class TrackSummary(NamedTuple):
    """What is shown of a track."""

    title: str | None
    artists: tuple[str, ...]
    has_file: bool


class TrackTable:
    """Summaries in the rows of the newest index; all snapshots show the newest ones."""

    def __init__(self) -> None:
        self.summaries: list[TrackSummary] = []
        self._texts: list[str] = []

    def update(self, tracks: TrackIndex, summaries: dict[str, TrackSummary]) -> None:
        """Takes in what changed, by track_id, and the tracks that the index appended."""
        for track_id, summary in summaries.items():
            row = tracks.row_of(track_id)
            if row is not None and row < len(self.summaries):
                self.summaries[row], self._texts[row] = summary, _text(track_id, summary)
        for track_id in tracks.track_ids[len(self.summaries) :]:
            summary = summaries.get(track_id, TrackSummary(None, (), False))
            self.summaries.append(summary)
            self._texts.append(_text(track_id, summary))

    def find(self, query: str) -> Iterator[int]:
        """Rows of the tracks that have all words of the query in their id, title or artists."""
        words = query.casefold().split()
        # What is long is rare: most rows are dismissed by one look.
        first, *rest = sorted(words, key=len, reverse=True) or [""]
        rows = (row for row, text in enumerate(self._texts) if first in text)
        return (row for row in rows if all(word in self._texts[row] for word in rest))


def _text(track_id: str, summary: TrackSummary) -> str:
    """What is searched."""
    return f"{track_id} {summary.title or ''} {' '.join(summary.artists)}".casefold()


def summaries_of(library: Library, *, after: ChangeCounter | None = None) -> dict[str, TrackSummary]:
    """track_id -> summary of the library's tracks, or of those that changed since."""
    titles = library.titles(after)
    return {track_id: TrackSummary(title, artists, has_file) for track_id, title, artists, has_file in titles}
