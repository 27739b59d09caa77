"""A trained version of a library, loaded once: who is who, the hybrid, and the index of all tracks there are now.

A version's folder holds `als`, `hybrid` and `index` (see `models.storage`), perhaps `ranking` and `ranker`,
`tracks.parquet` and `users.parquet` (the external ids of the models' rows), and `training.json` (what it was trained
on, and what was measured).

Tracks that came after the training are appended as cold ones; tracks that were removed are never answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import LibraryError, UsageError
from ...models.arrays import Ids
from ...models.catalogue import Catalogue
from ...models.hybrid.index import HybridIndex
from ...models.hybrid.model import Hybrid
from ...models.ranking.diversity import RerankingOptions
from ...models.ranking.two_stage import TwoStageRecommender
from ..library.store import ChangeCounter, Library

FORMAT = 1
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """An answer of the index."""

    track_id: str
    score: float
    """-1 … 1"""


class ModelVersion:
    """Answers from one version; `add` and `forget` follow the library without training."""

    def __init__(
        self,
        hybrid: Hybrid,
        index: HybridIndex,
        track_ids: Sequence[str],
        user_ids: Sequence[str | None],
        metadata: dict[str, Any],
    ) -> None:
        self.hybrid = hybrid
        self.index = index
        self.track_ids = list(track_ids)
        """[T] external ids of rows"""
        self.user_ids = list(user_ids)
        """[U] null where somebody's data were deleted"""
        self.metadata = metadata
        """training.json"""
        self.in_library: NDArray[np.bool_] = np.ones(len(self.track_ids), bool)
        """[T] whether the library still has the track"""
        self._row_of_track = {track_id: row for row, track_id in enumerate(self.track_ids)}
        self._version: Path | None = None
        self._recommender: TwoStageRecommender | None = None

    @classmethod
    def load(cls, library: Library, version: Path | None = None) -> ModelVersion:
        """The library's current version, with the tracks there are now; LibraryError where they don't fit."""
        version = version or library.current_version()
        file = version / "training.json"
        try:
            about = json.loads(file.read_text())
            tracks, users = (pl.read_parquet(version / f"{name}.parquet") for name in ("tracks", "users"))
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise LibraryError(f"{file}: missing or damaged ({error}); run crossfade train") from None
        if about.get("format_version") != FORMAT:
            raise LibraryError(
                f"{file}: format version {about.get('format_version')}, but this program reads {FORMAT}; train again"
            )
        sound = about["sound"]
        if sound == "encoder" and library.about("encoder") != about["encoder"]:
            raise LibraryError(
                f"{library.folder}: trained on {about['encoder']}, but embedded with {library.about('encoder')}; "
                "run crossfade train again"
            )
        if sound is not None and sound not in library.vector_names():
            raise LibraryError(f"{library.folder}: trained on the vectors {sound}, which are gone; train again")
        hybrid, index = Hybrid.load(version), HybridIndex.load(version)
        trained = cls(hybrid, index, tracks["track_id"].to_list(), users["user_id"].to_list(), about)
        trained._version = version
        trained.follow(library)
        return trained

    def save(self, version: Path) -> None:
        self.hybrid.save(version)
        self.index.save(version)
        pl.DataFrame({"track_id": self.track_ids}, schema={"track_id": pl.String}).write_parquet(
            version / "tracks.parquet"
        )
        pl.DataFrame({"user_id": self.user_ids}, schema={"user_id": pl.String}).write_parquet(version / "users.parquet")
        (version / "training.json").write_text(json.dumps(self.metadata, indent=1) + "\n")

    @property
    def ranking(self) -> TwoStageRecommender | None:
        """The ranker and its sources over all tracks there are now, loaded when first asked for; None without."""
        if self._recommender is None and self._version is not None and (self._version / "ranking.json").exists():
            self._recommender = TwoStageRecommender.load(self._version, self.hybrid)
        if self._recommender is not None:
            self._recommender = self._recommender.append_tracks(self.hybrid)
        return self._recommender

    @property
    def reranking(self) -> RerankingOptions:
        """How lists are made unless it is asked for otherwise."""
        return RerankingOptions(**self.metadata.get("reranking", {}))

    def with_ranking(self, recommender: TwoStageRecommender | None, reranking: RerankingOptions) -> ModelVersion:
        """The same with this ranker, or none."""
        other = copy(self)
        other._version, other._recommender = None, recommender
        other.metadata = self.metadata | {"reranking": asdict(reranking)}
        return other

    @cached_property
    def user_rows(self) -> dict[str, int]:
        return {user_id: row for row, user_id in enumerate(self.user_ids) if user_id is not None}

    def follow(self, library: Library) -> None:
        """Takes in what was added to the library or sounds otherwise now, and leaves out what was removed."""
        now = set(library.track_ids())
        self.in_library = np.array([track_id in now for track_id in self.track_ids], bool)
        mark = self.metadata.get("changes")
        after = ChangeCounter(**mark) if mark else None
        if after is not None and not library.change_counter().follows(after):
            after = None
        artists = self.hybrid.prior.artist_names if after else ()
        changed = library.catalogue(self.metadata["sound"], after=after, artists=artists)
        rows = np.array([self._row_of_track.get(track_id, -1) for track_id in changed.track_ids], np.int32)
        known = np.flatnonzero(rows >= 0)
        other = known[self.index.sound_differs(rows[known], self.fitting(changed).sound[known])]
        if len(other):
            self._sounds_otherwise(rows[other], self.fitting(changed.take(other)))
        if len(known) < len(changed):
            self.add(changed.take(np.flatnonzero(rows < 0)))

    def _sounds_otherwise(self, rows: Ids, tracks: Catalogue) -> None:
        self.hybrid = self.hybrid.replace_sound(rows, tracks)
        taste = np.where(self.hybrid.known[rows, None], self.hybrid.taste[rows], 0)
        self.index = self.index.replace_tracks(rows, taste, tracks.sound)

    def add(self, tracks: Catalogue) -> Ids:
        """Makes new tracks searchable and recommendable at once; gives their rows. A known track_id is a UsageError."""
        for track_id in tracks.track_ids:
            if track_id in self._row_of_track:
                raise UsageError(f"{track_id}: in the index already")
        start = len(self.track_ids)
        tracks = self.fitting(tracks)
        self.hybrid = self.hybrid.append_tracks(tracks)
        taste = np.where(self.hybrid.known[start:, None], self.hybrid.taste[start:], 0)
        self.index = self.index.append_tracks(taste, tracks.sound)
        self.track_ids += tracks.track_ids
        self._row_of_track |= {track_id: start + n for n, track_id in enumerate(tracks.track_ids)}
        self.in_library = np.concatenate([self.in_library, np.ones(len(tracks), bool)])
        return np.arange(start, len(self.track_ids), dtype=np.int32)

    def forget(self, track_ids: Sequence[str]) -> None:
        """These tracks are no answers any more."""
        for track_id in track_ids:
            self.in_library[self.row(track_id)] = False

    def row(self, track_id: str) -> int:
        try:
            return self._row_of_track[track_id]
        except KeyError:
            raise UsageError(f"{track_id}: no such track") from None

    def knows(self, track_id: str) -> bool:
        return track_id in self._row_of_track

    def similar(
        self,
        wanted: str | Vectors,
        k: int,
        *,
        blend: float = 0.5,
        artists: Sequence[str] = (),
        genres: Vectors | None = None,
        genre_names: tuple[str, ...] = (),
    ) -> list[Found]:
        """The k tracks nearest to a track of the library, or to an embedding [D] and perhaps its artists.

        `genres` [G] are the probabilities of `genre_names` that were heard with the embedding. What nobody has
        listened to gets its taste from the content prior.
        """
        if isinstance(wanted, str):
            ids, scores = self.index.similar(self.row(wanted), k, blend=blend, candidates=self.in_library)
        else:
            probabilities = np.zeros((0, 0), np.float32) if genres is None else genres[None]
            asked = Catalogue(
                ("",), (tuple(artists),), np.atleast_2d(wanted), (), probabilities, genre_names=genre_names
            )
            taste, sound = self.halves(asked)
            ids, scores = self.index.search(taste[0], sound[0], k, blend=blend, candidates=self.in_library)
        return [Found(self.track_ids[row], round(float(score), 6)) for row, score in zip(ids, scores, strict=True)]

    def halves(self, tracks: Catalogue) -> tuple[Vectors, Vectors]:
        """What the index holds of tracks without listeners: [n, F] predicted taste and [n, D] sound."""
        tracks = self.fitting(tracks)
        taste, known = self.hybrid.place(tracks)
        return np.where(known[:, None], taste, 0), tracks.sound

    def fitting(self, tracks: Catalogue) -> Catalogue:
        """The same tracks as this version can place them.

        Without genre probabilities where those are of other genres than the version was trained on; with sound of the
        index's width, zeros where none of them was heard.
        """
        if tracks.genre_names and self.metadata.get("genres") not in (None, list(tracks.genre_names)):
            tracks = replace(tracks, genre_probabilities=np.zeros((0, 0), np.float32), genre_names=())
        width = self.index.sound_width
        if tracks.sound.shape[1] == width:
            return tracks
        if tracks.has_sound.any():
            raise LibraryError(
                f"sound: {tracks.sound.shape[1]} dimensions, but the version was trained on {width}; train again"
            )
        return replace(tracks, sound=np.zeros((len(tracks), width), np.float32))
