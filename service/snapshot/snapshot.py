"""A snapshot: a model version and what is shown of the library's tracks, at one moment.

It never changes; a newer one takes its place. Requests take a reference once and finish on it, so that a new version or
a new track disturbs nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from ...pipelines.library.store import Library
from ...pipelines.search.recommend import recommend_one
from ...pipelines.versions.model_version import ModelVersion
from ...pipelines.versions.track_index import TrackIndex
from ..errors import Problem
from .track_table import TrackSummary, TrackTable, summaries_of


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
        summaries = summaries_of(library)
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
        summaries = summaries_of(library, after=self.tracks.changes)
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

    def shown(self, row: int) -> tuple[str, TrackSummary]:
        """track_id and summary"""
        return self.tracks.track_ids[row], self.table.summaries[row]

    def _warm(self, users: int = 3) -> None:
        """What the first request would wait for happens now."""
        model = self.model
        if model is None or not len(model):
            return
        _ = model.two_stage
        for user in model.hybrid.history.warm_users.nonzero()[0][:users].tolist():
            recommend_one(model, model.hybrid.user_history(user), 10, user_row=user)
        if users:
            model.index.similar(0, 10)
