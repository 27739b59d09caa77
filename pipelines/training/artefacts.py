"""Offline artefacts: what a product takes away from a training, as Parquet files.

    top_popular.parquet       item_id, users_top, users_top_norm, num_users_norm, name, albums, artists, genres
    personal_als.parquet      user_id, item_id, rank, score
    recommendations.parquet   user_id, item_id, rank, score: by the ranker where there is one, else by the hybrid
    similar.parquet           item_id, similar_item_id, rank, score
    user_features.parquet     user_id, listening_month, tracks_listened, tracks_per_month
    manifest.json             the models of the version by name (als, ranker, user_ids, …), and every file's hash

They are in `artefacts/` of a version's folder. Each file appears when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import UsageError
from ...models.arrays import top_k
from ...models.interactions import Clock, Interactions
from ...models.ranking.features import user_statistics
from ...models.recommenders.base import popularity
from ..library.files import FOLDER, hashes_of, replacing
from ..library.store import Library
from ..search.recommend import personal
from ..versions.model_version import Trained

FORMAT = 1
USERS_PER_BATCH = 2048
MODELS = {
    "als": "als.safetensors",
    "hybrid": "hybrid.safetensors",
    "index": "index.faiss",
    "ranking": "ranking.safetensors",
    "ranker": "ranker.safetensors",
    "user_ids": "users.parquet",
    "item_ids": "tracks.parquet",
    "training": "training.json",
}


@dataclass(frozen=True, kw_only=True)
class ArtefactOptions:
    top: int = 100
    """popular tracks"""
    since: str | None = None
    """count the listeners of top_popular from this day on (YYYY-MM-DD)"""
    until: str | None = None
    """… and before this one"""
    per_user: int = 50
    """recommendations of a user"""
    per_track: int = 10
    """similar tracks of a track"""

    def __post_init__(self) -> None:
        for name in ("top", "per_user", "per_track"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: {getattr(self, name)}; it has to be at least 1")
        _moment("since", self.since), _moment("until", self.until)


def write_artefacts(
    version: Path, library: Library, trained: Trained, listens: Interactions, options: ArtefactOptions
) -> int:
    """Writes all of them into `version`/artefacts; gives the number of rows."""
    folder = version / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    tracks = library.tracks()
    rows = 0
    top = top_popular(tracks, listens, options)
    for name, frames in (
        ("top_popular", iter([top])),
        ("personal_als", _personal(trained, options.per_user, by_als=True)),
        ("recommendations", _personal(trained, options.per_user)),
        ("similar", _similar(trained, options.per_track)),
        ("user_features", iter([_user_features(trained.user_ids, listens)])),
    ):
        rows += _write(folder / f"{name}.parquet", frames)
    return rows


def write_manifest(version: Path, about: Mapping[str, Any]) -> None:
    """Written last: it names what the version holds, with hashes."""
    folder = version / FOLDER
    models = {name: file for name, file in MODELS.items() if (version / file).exists()}
    files = sorted(
        str(file.relative_to(version))
        for file in version.rglob("*")
        if file.is_file() and file.name not in ("manifest.json", "stages.json")
    )
    manifest = {
        "format_version": FORMAT,
        "version": version.name,
        "models": models,
        "files": hashes_of(version, files),
        "about": about,
    }
    with replacing(folder / "manifest.json") as part:
        part.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def top_popular(tracks: pl.DataFrame, listens: Interactions, options: ArtefactOptions) -> pl.DataFrame:
    """The tracks with the most listeners between the two days, best first; `tracks` in the rows of `listens`."""
    since, until = _moment("since", options.since), _moment("until", options.until)
    period = listens
    if since is not None or until is not None:
        if listens.clock is not Clock.TIME or listens.times is None:
            raise UsageError("from, to: the listening log has no times, so it has no days")
        low = np.iinfo(np.int64).min if since is None else since
        high = np.iinfo(np.int64).max if until is None else until
        period = listens.take((listens.times >= low) & (listens.times < high))
        if not len(period):
            days = f"{options.since or 'the beginning'} and {options.until or 'the end'}"
            raise UsageError(f"from, to: no listens between {days}")
    users = period.listeners
    best, _ = top_k(popularity(period), options.top)
    best = best[users[best] > 0]
    everywhere = listens.listeners
    frame = tracks[best.tolist()]
    return pl.DataFrame(
        {
            "item_id": frame["track_id"],
            "users_top": users[best],
            "users_top_norm": (users[best] / max(users.max(initial=1), 1)).astype(np.float32),
            "num_users_norm": (everywhere[best] / max(everywhere.max(initial=1), 1)).astype(np.float32),
            "name": frame["title"],
            "albums": frame["album"],
            "artists": frame["artists"],
            "genres": frame["genres"],
        }
    )


def _write(file: Path, frames: Iterator[pl.DataFrame]) -> int:
    import pyarrow.parquet as pq

    count = 0
    with replacing(file) as part:
        writer = None
        try:
            for frame in frames:
                table = frame.to_arrow()
                writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
                writer.write_table(table)
                count += len(frame)
        finally:
            if writer is not None:
                writer.close()
    return count


def _personal(trained: Trained, k: int, *, by_als: bool = False) -> Iterator[pl.DataFrame]:
    hybrid = trained.hybrid
    warm = np.flatnonzero(hybrid.history.warm_users).astype(np.int32)
    users = pl.Series(trained.user_ids, dtype=pl.String)
    tracks = pl.Series(trained.track_ids, dtype=pl.String)
    k = min(k, len(tracks))
    for start in range(0, max(len(warm), 1), USERS_PER_BATCH):
        rows = warm[start : start + USERS_PER_BATCH]
        if by_als:
            ids, scores = hybrid.als.recommend(rows, k, candidates=trained.there)
        else:
            ids, scores = personal(trained, rows, k)
        yield _pairs("user_id", users.gather(rows), "item_id", tracks, ids, scores)


def _similar(trained: Trained, k: int) -> Iterator[pl.DataFrame]:
    tracks = pl.Series(trained.track_ids, dtype=pl.String)
    rows = np.arange(len(tracks), dtype=np.int32)
    for start in range(0, max(len(rows), 1), USERS_PER_BATCH):
        asked = rows[start : start + USERS_PER_BATCH]
        ids, scores = trained.index.similar(asked, k, candidates=trained.there)
        yield _pairs("item_id", tracks.gather(asked), "similar_item_id", tracks, ids, scores)


def _pairs(
    owner: str, owners: pl.Series, answer: str, names: pl.Series, ids: NDArray[np.int32], scores: NDArray[np.float32]
) -> pl.DataFrame:
    there = ids >= 0
    rows, places = np.nonzero(there)
    return pl.DataFrame(
        {
            owner: owners.gather(rows),
            answer: names.gather(ids[there]),
            "rank": (places + 1).astype(np.int32),
            "score": scores[there],
        }
    )


def _user_features(user_ids: Sequence[str | None], listens: Interactions) -> pl.DataFrame:
    statistics = user_statistics(listens)
    names = ("listening_month", "tracks_listened", "tracks_per_month")
    table = pl.DataFrame({"user_id": list(user_ids), **{name: statistics[name] for name in names}})
    return (
        table.drop_nulls("user_id")
        .with_columns(pl.col(*names).fill_nan(None))
        .with_columns(pl.col("listening_month", "tracks_listened").cast(pl.Int32))
    )


def _moment(name: str, day: str | None) -> int | None:
    if day is None:
        return None
    try:
        return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise UsageError(f"{name}: {day}; a day is written as 2024-12-31") from None
