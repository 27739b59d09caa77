"""A snapshot: all that answers are made from, at one moment. It never changes; a newer one takes its place.

Requests take a reference once and finish on it, so that a new version or a new track disturbs nobody. A snapshot that
differs by some tracks shares the rest with the one before: it costs as much as the tracks that came.

Shapes: T tracks, n new ones, D dimensions of sound.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError
from ...models.arrays import Answers, Ids, Scores
from ...models.catalogue import Catalogue
from ...models.hybrid.index import HybridIndex
from ...models.hybrid.online import UserHistory
from ...models.ranking.candidates import NO_TRACKS
from ...models.ranking.diversity import relist
from ...models.ranking.two_stage import TwoStageRecommender
from ...pipelines.library.store import ChangeCounter, Library
from ...pipelines.search.recommend import RERANKED
from ...pipelines.versions.model_version import ModelVersion
from .track_rows import Facts, Shelf, facts_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """T tracks: those of the trained version, then those that came later."""

    version: str | None
    """None: the library is not trained, and only sound is known"""
    shelf: Shelf
    """the first T rows of it"""
    there: Mask
    """[T] whether the library still has the track"""
    index: HybridIndex
    sound: str | None
    """name of the sound vectors"""
    mark: ChangeCounter
    trained: ModelVersion | None = None
    ranking: TwoStageRecommender | None = None
    """the second stage; None where the version or this machine has none"""
    ranker: str | None = None
    """what the second stage learned to be, or why there is none"""
    trained_at: int = 0
    """seconds since 1970"""

    @classmethod
    def load(cls, library: Library, mark: ChangeCounter | None = None) -> Self:
        """The current version, or what the sounds alone give where there is none. LibraryError for a damaged one."""
        mark = mark or library.change_counter()
        shelf, facts = Shelf(), facts_of(library)
        if not (library.models / "current").exists():
            sound = next(iter(library.vector_names()), None)
            catalogue = library.catalogue(sound)
            shelf.append(catalogue.track_ids, facts)
            index = HybridIndex(np.zeros((len(catalogue), 0), np.float32), catalogue.sound)
            return cls(None, shelf, np.ones(len(catalogue), bool), index, sound, mark)
        version = library.current_version()
        trained_at = int((version / "training.json").stat().st_mtime)
        trained = ModelVersion.load(library, version)
        shelf.append(trained.track_ids, facts)
        index, ranking, ranker = trained.index, trained.ranking, trained.metadata.get("ranker")
        sound = trained.metadata["sound"]
        there = trained.in_library
        made = cls(version.name, shelf, there, index, sound, mark, trained, ranking, ranker, trained_at)
        made._warm()
        return made

    def _warm(self) -> None:
        """What the first request would wait for happens now."""
        if len(self) and self.trained is not None:
            hybrid = self.trained.hybrid
            for user in hybrid.history.warm_users.nonzero()[0][:3].tolist():
                self.recommend(hybrid.user_history(user), 10, user_row=user)
            self.similar(0, 10)

    def following(self, library: Library, mark: ChangeCounter) -> Snapshot:
        """The same version over the tracks that the library has now."""
        if (self.trained is None and self.sound is None) or not mark.follows(self.mark):
            return Snapshot.load(library, mark)
        artists = self.trained.hybrid.prior.artist_names if self.trained else ()
        facts = facts_of(library, after=self.mark)
        catalogue = library.catalogue(self.sound, after=self.mark, artists=artists)
        rows = np.array([-1 if (row := self.known_row(name)) is None else row for name in catalogue.track_ids], np.intp)
        known = rows >= 0
        same = not self.index.sound_differs(rows[known], catalogue.sound[known]).any()
        shown = zip(catalogue.track_ids, rows.tolist(), strict=True)
        if not same or any(row >= 0 and self.shelf.facts[row].artists != facts[name].artists for name, row in shown):
            # The models place a track by its sound and its artists.
            return Snapshot.load(library, mark)
        there = self.there.copy()
        there[[row for name in library.removed(self.mark) if (row := self.known_row(name)) is not None]] = False
        there[rows[known]] = True
        self.shelf.tell(facts)
        return replace(self, there=there, mark=mark)._with(catalogue.take(np.flatnonzero(~known)), facts)

    def _with(self, tracks: Catalogue, facts: dict[str, Facts]) -> Snapshot:
        """With n tracks behind those that are there."""
        if not len(tracks):
            return self
        there = np.concatenate([self.there, np.ones(len(tracks), bool)])
        if self.trained is None:
            sound = (
                tracks.sound if tracks.sound.shape[1] else np.zeros((len(tracks), self.index.sound_width), np.float32)
            )
            index = self.index.append_tracks(np.zeros((len(tracks), 0), np.float32), sound)
            longer = replace(self, there=there, index=index)
        else:
            tracks = self.trained.fitting(tracks)
            trained = copy(self.trained)
            trained.hybrid = trained.hybrid.append_tracks(tracks)
            trained.index = index = self.index.append_tracks(*self.trained.halves(tracks))
            ranking = None if self.ranking is None else trained.ranking
            longer = replace(self, there=there, index=index, trained=trained, ranking=ranking)
        # Nothing can fail any more: the shelf is as long as its newest snapshot.
        self.shelf.append(tracks.track_ids, facts)
        return longer

    def __len__(self) -> int:
        return len(self.there)

    def __repr__(self) -> str:
        return f"Snapshot({self.version or 'untrained'}, {len(self):,} tracks)"

    def known_row(self, track_id: str) -> int | None:
        """The track's row, also where the library does not have it any more."""
        row = self.shelf.row_of.get(track_id)
        return row if row is not None and row < len(self) else None

    def row(self, track_id: str) -> int | None:
        """The track's row; None where the library does not have it."""
        row = self.known_row(track_id)
        return row if row is not None and self.there[row] else None

    def recommend(
        self,
        history: UserHistory,
        k: int,
        *,
        user_row: int = -1,
        newest: Ids = NO_TRACKS,
        allow_seen: bool = False,
        quickly: bool = False,
    ) -> Answers:
        """The best k of a trained version, ranked where there is a ranker; the popular ones for a cold listener.

        `user_row` and `newest` as in `TwoStageRecommender.recommend_one`; `quickly` leaves the order to the hybrid, at
        a quarter of the cost. Shape: -> ([<= k], [<= k])
        """
        trained = self.trained
        if trained is None:
            raise LibraryError("library: not trained yet; run crossfade train")
        count = max(k, RERANKED) if trained.reranking.changes else k
        if self.ranking is None or quickly:
            answers = trained.hybrid.candidates(history, count, allow_seen=allow_seen, mask=self.there)
        else:
            answers = self.ranking.recommend_one(
                history, count, user_row=user_row, newest=newest, allow_seen=allow_seen, candidates=self.there
            )
        if not trained.reranking.changes:
            return answers
        rows, scores = relist(trained.hybrid, (answers[0][None], answers[1][None]), k, trained.reranking)
        return rows[0][rows[0] >= 0], scores[0][rows[0] >= 0]

    def similar(self, row: int, k: int, *, blend: float = 0.5) -> Answers:
        """The nearest of one track, without itself; none where it was neither heard nor listened to."""
        return self.index.similar(row, k, blend=blend, candidates=self.there)

    def similar_to(
        self,
        embedding: Scores,
        k: int,
        *,
        blend: float = 0.5,
        genres: Scores | None = None,
        genre_names: tuple[str, ...] = (),
    ) -> Answers:
        """The nearest of a sound [D] that is not in the library; its taste is what is predicted of it."""
        if self.sound != "encoder" or self.index.sound_width != len(embedding):
            raise LibraryError("library: does not hold embeddings of audio, so a file cannot be compared with it")
        probabilities = np.zeros((0, 0), np.float32) if genres is None else genres[None]
        sounds = np.asarray(embedding, np.float32)[None]
        asked = Catalogue(("",), ((),), sounds, (), probabilities, genre_names=genre_names)
        if self.trained is None:
            taste, sound = np.zeros((1, 0), np.float32), asked.sound
        else:
            taste, sound = self.trained.halves(asked)
        return self.index.search(taste[0], sound[0], k, blend=blend, candidates=self.there)
