"""A trained version of a library, over all tracks that there are now: what recommends, searches and explains.

A version's folder holds `als`, `hybrid` and `index` (see `models.storage`), perhaps `ranked` and `ranker`,
`tracks.parquet` and `users.parquet` (the external ids of the models' rows), `training.json` (what it was trained on,
and what was measured), and the artefacts with their manifest.

Tracks that came after the training are appended as cold ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from ...errors import LibraryError
from ...models.arrays import Scores
from ...models.catalogue import Catalogue
from ...models.confidence_weights import ConfidenceOptions
from ...models.hybrid.index import HybridIndex
from ...models.hybrid.model import Hybrid
from ...models.ranking.diversity import RerankingOptions
from ...models.ranking.two_stage import TwoStageRecommender
from ...models.storage import write_json
from ..library.store import ChangeCounter, Library
from .track_index import Rows, TrackIndex

FORMAT = 1


class ModelVersion(TrackIndex):
    """The models of one version and the external ids of their rows."""

    def __init__(
        self,
        hybrid: Hybrid | None,
        index: HybridIndex,
        track_ids: Sequence[str],
        user_ids: Sequence[str | None] | None,
        metadata: dict[str, Any],
        *,
        folder: Path | None = None,
    ) -> None:
        """Without a hybrid or users they are those of the version's folder, read when they are first asked for."""
        changes = metadata.get("changes")
        super().__init__(index, track_ids, metadata["sound"], ChangeCounter(**changes) if changes else None)
        if hybrid is not None:
            self.hybrid = hybrid
        if user_ids is not None:
            self.user_ids = list(user_ids)
        self.metadata = metadata
        """training.json"""
        self._trained_tracks = len(self.track_ids)
        self._folder = folder
        self._two_stage: TwoStageRecommender | None = None

    @classmethod
    def load(cls, library: Library, version: Path | None = None) -> Self:
        """The library's current version, with the tracks there are now; LibraryError where they don't fit."""
        version = version or library.current_version()
        file = version / "training.json"
        try:
            metadata = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise _damaged(file, error) from None
        if (found := metadata.get("format_version")) != FORMAT:
            raise LibraryError(f"{file}: format version {found}, but this program reads {FORMAT}; train again")
        sound = metadata["sound"]
        if sound == "encoder" and library.about("encoder") != metadata["encoder"]:
            raise LibraryError(
                f"{library.folder}: trained on {metadata['encoder']}, but embedded with {library.about('encoder')}; "
                "run crossfade train again"
            )
        if sound is not None and sound not in library.vector_names():
            raise LibraryError(f"{library.folder}: trained on the vectors {sound}, which are gone; train again")
        index, track_ids = HybridIndex.load(version), _ids(version, "track")
        made = cls(None, index, track_ids, None, metadata, folder=version)
        updated = made._updated(library, loading=True)
        return made if updated is None else updated

    def save(self, version: Path) -> None:
        self.hybrid.save(version)
        self.index.save(version)
        for name, ids in (("track", self.track_ids), ("user", self.user_ids)):
            frame = pl.DataFrame({f"{name}_id": ids}, schema={f"{name}_id": pl.String})
            frame.write_parquet(version / f"{name}s.parquet")
        write_json(version / "training.json", self.metadata)

    @property
    def two_stage(self) -> TwoStageRecommender | None:
        """The ranker and its candidates over all tracks there are now, loaded when first asked for; None without."""
        if self._two_stage is None and self._folder is not None and TwoStageRecommender.saved_name(self._folder):
            self._two_stage = TwoStageRecommender.load(self._folder, self.hybrid)
        if self._two_stage is not None:
            self._two_stage = self._two_stage.append_tracks(self.hybrid)
        return self._two_stage

    @property
    def reranking(self) -> RerankingOptions:
        """How lists are made unless it is asked for otherwise."""
        return RerankingOptions(**self.metadata.get("reranking", {}))

    @property
    def confidence_options(self) -> ConfidenceOptions:
        """By which the listens that it was trained on became confidences."""
        return ConfidenceOptions(**self.metadata.get("cleaning", {}).get("confidence", {}))

    def with_ranking(self, recommender: TwoStageRecommender | None, reranking: RerankingOptions) -> Self:
        """The same with this ranker, or none."""
        _ = self.hybrid, self.user_ids
        other = copy(self)
        other._folder, other._two_stage = None, recommender
        other.metadata = self.metadata | {"reranking": asdict(reranking)}
        return other

    @cached_property
    def hybrid(self) -> Hybrid:
        if self._folder is None:
            raise RuntimeError("a version without a folder is made with its hybrid")
        return Hybrid.load(self._folder)

    @cached_property
    def user_ids(self) -> list[str | None]:
        """[U] null where somebody's data were deleted"""
        if self._folder is None:
            raise RuntimeError("a version without a folder is made with its users")
        return _ids(self._folder, "user")

    @cached_property
    def user_rows(self) -> dict[str, int]:
        return {user_id: row for row, user_id in enumerate(self.user_ids) if user_id is not None}

    def append_tracks(self, tracks: Catalogue) -> Self:
        longer = super().append_tracks(tracks)
        if longer is not self:
            longer.hybrid = self.hybrid.append_tracks(self.adapt(tracks))
        return longer

    def vectors_of(self, tracks: Catalogue) -> tuple[Scores, Scores]:
        tracks = self.adapt(tracks)
        taste, known = self.hybrid.prior.predict(tracks)
        return np.where(known[:, None], taste, 0), tracks.sound

    def adapt(self, tracks: Catalogue) -> Catalogue:
        """Without genre probabilities, too, where they are of other genres than the version was trained on."""
        if tracks.genre_names and self.metadata.get("genres") not in (None, list(tracks.genre_names)):
            tracks = replace(tracks, genre_probabilities=np.zeros((0, 0), np.float32), genre_names=())
        return super().adapt(tracks)

    @property
    def _artist_names(self) -> tuple[str, ...]:
        return self.hybrid.prior.artist_names

    def _artists_differ(self, rows: Rows, tracks: Catalogue) -> bool:
        """Of tracks that came after the training; the others keep the artists that the models learned from."""
        came = np.flatnonzero(rows >= self._trained_tracks)
        credited = self.hybrid.prior.artist_rows(tracks.take(came).artists)
        return bool((credited != self.hybrid.artists[rows[came]]).nnz)

    def _replace_sound(self, rows: Rows, tracks: Catalogue) -> Self:
        """Tracks with listeners keep the taste learned from them; those without are placed anew."""
        other = copy(self)
        other.hybrid = self.hybrid.replace_sound(rows.astype(np.int32), tracks)
        taste = np.where(other.hybrid.known[rows, None], other.hybrid.taste[rows], 0)
        other.index = self.index.replace_tracks(rows, taste, tracks.sound)
        return other


def _ids(version: Path, kind: str) -> list[Any]:
    file = version / f"{kind}s.parquet"
    try:
        return pl.read_parquet(file, glob=False)[f"{kind}_id"].to_list()
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> LibraryError:
    return LibraryError(f"{file}: missing or damaged ({error}); run crossfade train")
