"""A snapshot: a model version and what is shown of the library's tracks, at one moment.

It never changes; a newer one takes its place. Requests take a reference once and finish on it, so that a new version or
a new track disturbs nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import Mask, Rows
from ...pipelines.library.store import Library, TrackSummary
from ...pipelines.search.recommend import recommend_one
from ...pipelines.versions.model_version import ModelVersion
from ...pipelines.versions.track_index import TrackIndex
from ..errors import Problem


class TrackTable:
    """Summaries in the rows of the newest index, and the search in them.

    Rows are never taken away; all snapshots share the table and show the newest summaries.

    Shapes: T rows, C credits, one for each artist of each track.
    """

    def __init__(self) -> None:
        self.summaries: list[TrackSummary] = []
        self.has_audio: Mask = np.zeros(0, bool)
        """[T]"""
        self._texts: list[str] = []
        self._artists: dict[str, int] = {}
        """casefolded name -> its number in the credits"""
        self._credits: NDArray[np.int32] = np.zeros((0, 2), np.int32)
        """[C, 2] the artist's number, the track's row"""

    def update(self, tracks: TrackIndex, summaries: dict[str, TrackSummary]) -> None:
        """Takes in what changed, by track_id, and the tracks that the index appended."""
        before = len(self.summaries)
        found = ((tracks.row_of(track_id), summary) for track_id, summary in summaries.items())
        changed = {row: summary for row, summary in found if row is not None and row < before}
        for row, summary in changed.items():
            self.summaries[row], self._texts[row] = summary, _text(summary)
        self.summaries += [summaries.get(track_id, TrackSummary(track_id)) for track_id in tracks.track_ids[before:]]
        self._texts += map(_text, self.summaries[before:])
        rows = [*changed, *range(before, len(self.summaries))]
        has_audio = np.concatenate([self.has_audio, np.zeros(len(self.summaries) - before, bool)])
        has_audio[rows] = [self.summaries[row].has_audio for row in rows]
        self.has_audio = has_audio
        added = [(self._number(artist), row) for row in rows for artist in self.summaries[row].artists]
        kept = self._credits[~np.isin(self._credits[:, 1], list(changed))]
        self._credits = np.concatenate([kept, np.array(added, np.int32).reshape(-1, 2)])

    def _number(self, artist: str) -> int:
        return self._artists.setdefault(artist.casefold(), len(self._artists))

    def by_artist(self, name: str) -> Rows:
        """Rows of the tracks that an artist of this name is credited with, in any case of letters, in order."""
        number = self._artists.get(name.casefold(), -1)
        return np.unique(self._credits[self._credits[:, 0] == number, 1]).astype(np.intp)

    def find(self, query: str) -> Iterator[int]:
        """Rows of the tracks that have all words of the query in their id, title or artists."""
        # What is long is rare: most rows are dismissed by one look.
        first, *rest = sorted(query.casefold().split(), key=len, reverse=True) or [""]
        rows = (row for row, text in enumerate(self._texts) if first in text)
        return (row for row in rows if all(word in self._texts[row] for word in rest))


def _text(summary: TrackSummary) -> str:
    """What is searched."""
    return f"{summary.track_id} {summary.title or ''} {' '.join(summary.artists)}".casefold()


@dataclass(frozen=True, eq=False)
class Snapshot:
    tracks: TrackIndex
    """the model version; sound alone where the library is not trained"""
    table: TrackTable
    """shared by the snapshots of a version, and at least as long as each"""
    version: str | None = None
    """None: the library is not trained"""
    trained_at: int = 0
    """seconds since 1970"""

    @classmethod
    def load(cls, library: Library) -> Self:
        """The current version, or sound alone where there is none. LibraryError for a damaged one."""
        summaries = library.summaries()
        if library.current_name is not None:
            version = library.current_version()
            trained_at = int((version / "training.json").stat().st_mtime)
            made = cls(ModelVersion.load(library, version).compressed(), TrackTable(), version.name, trained_at)
        else:
            made = cls(TrackIndex.of_sound(library).compressed(), TrackTable())
        made.table.update(made.tracks, summaries)
        made._warm()
        return made

    def updated(self, library: Library) -> Self:
        """The same version over the tracks that the library has now."""
        summaries = library.summaries(self.tracks.changes)
        tracks = self.tracks.updated(library)
        if tracks is None:
            return self.load(library)
        self.table.update(tracks, summaries)
        newer = replace(self, tracks=tracks)
        newer._warm(users=0)
        return newer

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"Snapshot({self.version or 'untrained'}, {len(self):,} tracks)"

    @property
    def model(self) -> ModelVersion | None:
        """None: the library is not trained."""
        return self.tracks if isinstance(self.tracks, ModelVersion) else None

    def check_track(self, track_id: str) -> None:
        """Raises a Problem (404) where the library does not have it."""
        if track_id not in self.tracks:
            raise Problem(404, f"{track_id}: no such track")

    def _warm(self, users: int = 3) -> None:
        """What the first request would wait for happens now."""
        model = self.model
        if model is None or not len(model):
            return
        _ = model.two_stage
        if not users:
            return
        _ = model.user_rows
        histories = model.hybrid.history.matrix.indptr
        for user in np.flatnonzero(np.diff(histories))[:users].tolist():
            recommend_one(model, model.hybrid.user_history(user), 10, user_row=user)
        model.index.similar(0, 10)
