"""Ranking a library: the two-stage recommender fitted on its listens, and the importance of its features."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError
from ...models.catalogue import COLLECTIVE_ARTISTS, Catalogue
from ...models.hybrid.model import Hybrid
from ...models.interactions import Interactions
from ...models.ranking.dataset import TwoStageOptions
from ...models.ranking.two_stage import TwoStageRecommender
from ..charts.chart import draw
from ..charts.training import importance_chart
from ..library.folder import ARTEFACTS


def fit_ranking(
    listens: Interactions,
    catalogue: Catalogue,
    hybrid: Hybrid,
    tracks: pl.DataFrame,
    *,
    options: TwoStageOptions | None = None,
    seed: int = 0,
) -> TwoStageRecommender:
    """The two-stage recommender on top of `hybrid`, which was fitted on the same listens; `tracks` are the library's.

    DataError where there is too little to learn a ranking from.
    """
    listeners = int((np.diff(listens.matrix.indptr) > 1).sum())
    if listeners < 20:
        raise DataError(f"ranker: {listeners} users with two tracks or more; 20 are needed")
    return TwoStageRecommender.fit(listens, catalogue, hybrid, albums=album_counts(tracks), options=options, seed=seed)


def album_counts(tracks: pl.DataFrame) -> NDArray[np.int32] | None:
    """[T] on how many different albums a track's artists are, the most of any of them; None where no album is known."""
    if not tracks["album"].count():
        return None
    albums: defaultdict[str, set[str]] = defaultdict(set)
    pairs = list(zip(tracks["artists"].to_list(), tracks["album"].to_list(), strict=True))
    for artists, album in pairs:
        for artist in artists:
            if album is not None and artist.strip().lower() not in COLLECTIVE_ARTISTS:
                albums[artist].add(album)
    return np.array([max((len(albums[artist]) for artist in artists), default=0) for artists, _ in pairs], np.int32)


def write_importance(recommender: TwoStageRecommender, version: Path) -> None:
    """What the ranker looks at: `artefacts/feature_importance.parquet` and a picture of it."""
    folder, importance = version / ARTEFACTS, recommender.ranker.importance
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame({"feature": list(importance), "importance": list(importance.values())})
    table.write_parquet(folder / "feature_importance.parquet")
    draw(importance_chart(importance), folder / "feature_importance.png")
