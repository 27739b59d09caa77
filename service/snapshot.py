"""A snapshot: all that answers are made from, at one moment. It never changes; a newer one takes its place.

Requests take a reference once and finish on it, so that a new version or a new track disturbs nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import LibraryError
from ..models.catalogue import Catalogue
from ..models.hybrid_index import HybridIndex
from ..models.live_taste import LiveTaste
from ..models.quick_index import QuickIndex
from ..models.recommender import Ids, Scores
from ..pipelines.library import Library
from ..pipelines.trained import Trained

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Facts:
    """What people want to see of a track."""

    title: str | None
    artists: tuple[str, ...]
    genres: tuple[str, ...]
    has_file: bool


NO_FACTS = Facts(None, (), (), False)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """T tracks: those of the trained version, then those that came later."""

    version: str | None
    """None: the library is not trained, and only sound is known"""
    track_ids: Sequence[str]
    """[T]"""
    row_of: dict[str, int]
    there: Mask
    """[T] whether the library still has the track"""
    index: HybridIndex
    quick: QuickIndex
    """the same, for one query at a time"""
    facts: dict[str, Facts]
    sound: str | None
    """name of the sound vectors"""
    trained: Trained | None = None
    taste: LiveTaste | None = None
    trained_at: int = 0
    """seconds since 1970"""

    @classmethod
    def load(cls, library: Library) -> Self:
        """The current version, or what the sounds alone give where there is none. LibraryError for a damaged one."""
        facts = _facts(library)
        if not (library.models / "current").exists():
            return cls._of_sounds(library, facts)
        version = library.current_version()
        trained_at = int((version / "training.json").stat().st_mtime)
        return cls._of_trained(Trained.load(library, version), version.name, trained_at, facts)

    @classmethod
    def _of_sounds(cls, library: Library, facts: dict[str, Facts]) -> Self:
        sounds = library.sounds()
        catalogue = library.catalogue(sounds[0] if sounds else None)
        index = HybridIndex(0, catalogue.sound.shape[1])
        if len(catalogue):
            index.add(np.zeros((len(catalogue), 0), np.float32), catalogue.sound)
        row_of = {track_id: row for row, track_id in enumerate(catalogue.track_ids)}
        there = np.ones(len(catalogue), bool)
        sound = next(iter(sounds), None)
        return cls(None, catalogue.track_ids, row_of, there, index, QuickIndex.of(index), facts, sound)

    @classmethod
    def _of_trained(cls, trained: Trained, version: str, trained_at: int, facts: dict[str, Facts]) -> Self:
        return cls(
            version,
            trained.track_ids,
            {track_id: row for row, track_id in enumerate(trained.track_ids)},
            trained.there,
            trained.index,
            QuickIndex.of(trained.index),
            facts,
            trained.about["sound"],
            trained,
            LiveTaste(trained.hybrid),
            trained_at,
        )

    def following(self, library: Library) -> Snapshot:
        """The same version over the tracks that the library has now."""
        if self.trained is None or self.version is None:
            return Snapshot.load(library)
        trained = self.trained
        longer = Trained(trained.hybrid, _cloned(trained.index), trained.track_ids, trained.user_ids, trained.about)
        longer.there = trained.there
        longer.follow(library)
        return Snapshot._of_trained(longer, self.version, self.trained_at, _facts(library))

    def __len__(self) -> int:
        return len(self.track_ids)

    def __repr__(self) -> str:
        return f"Snapshot({self.version or 'untrained'}, {len(self):,} tracks)"

    def facts_of(self, track_id: str) -> Facts:
        return self.facts.get(track_id, NO_FACTS)

    def row(self, track_id: str) -> int | None:
        """The track's row; None where the library does not have it."""
        row = self.row_of.get(track_id)
        return row if row is not None and self.there[row] else None

    def similar(self, row: int, k: int, *, blend: float = 0.5) -> tuple[Ids, Scores]:
        """The nearest of one track, without itself; none where it was neither heard nor listened to."""
        return self.quick.similar(row, k, blend=blend, candidates=self.there)

    def similar_to(
        self,
        embedding: Scores,
        k: int,
        *,
        blend: float = 0.5,
        genres: Scores | None = None,
    ) -> tuple[Ids, Scores]:
        """The nearest of a sound that is not in the library; its taste is what is predicted of it."""
        width = self.index.sound_width
        if self.sound != "encoder" or width != len(embedding):
            raise LibraryError("library: does not hold embeddings of audio, so a file cannot be compared with it")
        probabilities = np.zeros((0, 0), np.float32) if genres is None else genres[None]
        asked = Catalogue(("",), ((),), np.asarray(embedding, np.float32)[None], (), probabilities)
        if self.trained is None:
            taste, sound = np.zeros((1, 0), np.float32), asked.sound
        else:
            taste, sound = self.trained.halves(asked)
        return _found(*self.index.search(taste, sound, k, blend=blend, candidates=self.there))


def _found(ids: Ids, scores: Scores) -> tuple[Ids, Scores]:
    there = ids[0] >= 0
    return ids[0][there], scores[0][there]


def _cloned(index: HybridIndex) -> HybridIndex:
    """A copy that can grow while the original is searched."""
    import faiss

    longer = copy(index)
    if index._index is not None:
        longer._index = faiss.clone_index(index._index)
    return longer


def _facts(library: Library) -> dict[str, Facts]:
    table = library.tracks().select("track_id", "title", "artists", "genres", "path")
    return {
        track_id: Facts(title, tuple(artists), tuple(genres), path is not None)
        for track_id, title, artists, genres, path in table.iter_rows()
    }
