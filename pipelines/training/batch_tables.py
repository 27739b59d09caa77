"""Offline tables: what a product takes away from a training, as Parquet files.

    top_popular.parquet       item_id, users_top, users_top_norm, num_users_norm, name, albums, artists, genres
    personal_als.parquet      user_id, item_id, rank, score
    recommendations.parquet   user_id, item_id, rank, score: by the ranker where there is one, else by the hybrid
    similar.parquet           item_id, similar_item_id, rank, score
    user_features.parquet     user_id, listening_month, tracks_listened, tracks_per_month
    manifest.json             the models of the version by name (als, ranker, user_ids, …), and every file's hash

They are in `artefacts/` of a version's folder. Each file appears when it is whole. Which users have lists is an option:
their cost grows with users times tracks, and the service ranks for everybody when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...errors import UsageError
from ...models.arrays import Answers, Ids, Mask, top_k
from ...models.interactions import Clock, Interactions
from ...models.ranking.features import user_statistics
from ...models.recommenders.base import popularity
from ...models.storage import replacing
from ..interactions.statistics import DAY_SECONDS, day_start
from ..library.folder_layout import ARTEFACTS, MANIFEST, describe_files, files_in, write_manifest
from ..library.progress import Progress, silent
from ..library.store import Library
from ..search.recommend import personal, reranked, write_parquet
from ..versions.model_version import ModelVersion
from .list_parts import ROWS_PER_PART, Frames, in_threads, write_lists
from .resumable_steps import KEYS

ROWS_PER_BATCH = 1024
Spread = Callable[[Callable[[Ids], Frames], Sequence[Ids]], Sequence[Frames]]
"""a method of `VersionLists` and batches of rows -> the tables of each batch"""
LISTS = ("all", "active", "none")
ACTIVE_SECONDS = 90 * DAY_SECONDS
"""before the log's end, within which a user who has lists listened"""
MODELS = {
    "als": "als.safetensors",
    "hybrid": "hybrid.safetensors",
    "index": "index.safetensors",
    "ranking": "ranked.safetensors",
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
    lists: str = "active"
    """whose recommendations are written: of all users, of those who listened in the log's last 90 days, of none"""
    per_user: int = 50
    """recommendations of a user"""
    per_track: int = 10
    """similar tracks of a track"""

    def __post_init__(self) -> None:
        for name in ("top", "per_user", "per_track"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: {getattr(self, name)}; it has to be at least 1")
        if self.lists not in LISTS:
            raise UsageError(f"lists: {self.lists}; it has to be one of {', '.join(LISTS)}")
        day_start(self.since, "since:"), day_start(self.until, "until:")


def write_artefacts(
    version: Path,
    library: Library,
    trained: ModelVersion,
    listens: Interactions,
    options: ArtefactOptions,
    progress: Progress = silent,
    spread: Spread = in_threads,
    rows_per_part: int = ROWS_PER_PART,
    key: str = "",
) -> int:
    """Writes all of them into `version`/artefacts; gives the number of rows. `spread` makes the lists of batches.

    A training that goes on uses the lists that were made with the same `key`.
    """
    folder = version / ARTEFACTS
    folder.mkdir(parents=True, exist_ok=True)
    lists = VersionLists(trained, options)
    users = np.flatnonzero(listed_users(listens, options.lists) & trained.hybrid.history.warm_users).astype(np.int32)
    tracks = np.arange(len(trained), dtype=np.int32)
    count = 0
    for rows, of, at_once, what in (
        (users, lists.of_users, lists.users_per_batch, "recommendations"),
        (tracks, lists.of_tracks, ROWS_PER_BATCH, "similar tracks"),
    ):
        make = partial(spread, of)
        sizes = {"rows_per_batch": at_once, "rows_per_part": rows_per_part}
        count += write_lists(folder, rows, make, **sizes, key=key, progress=progress, what=what)
    small = {
        "top_popular": top_popular(library.tracks(), listens, options),
        "user_features": _user_features(trained.user_ids, listens),
    }
    return count + sum(write_parquet(iter([table]), folder / f"{name}.parquet") for name, table in small.items())


class VersionLists:
    """The ranked lists of a version's users and tracks, as rows of tables."""

    def __init__(self, trained: ModelVersion, options: ArtefactOptions) -> None:
        self.trained, self.options = trained, options
        self._users, self._tracks = (pl.Series(ids, dtype=pl.String) for ids in (trained.user_ids, trained.track_ids))
        self._two_stage, self._index = trained.two_stage, trained.index.compressed()

    @property
    def users_per_batch(self) -> int:
        return ROWS_PER_BATCH if self._two_stage is None else self._two_stage.generator.users_per_batch()

    def of_users(self, rows: Ids) -> dict[str, pl.DataFrame]:
        """personal_als and recommendations."""
        by_als, ranked = self._answers(rows, min(self.options.per_user, len(self._tracks)))
        answers = {"personal_als": by_als, "recommendations": ranked}
        names = ("user_id", "item_id")
        return {table: _lists(found, rows, self._users, self._tracks, names) for table, found in answers.items()}

    def of_tracks(self, rows: Ids) -> dict[str, pl.DataFrame]:
        """similar"""
        found = self._index.similar(rows, self.options.per_track, candidates=self.trained.in_library)
        return {"similar": _lists(found, rows, self._tracks, self._tracks, ("item_id", "similar_item_id"))}

    def _answers(self, rows: Ids, k: int) -> tuple[Answers, Answers]:
        """The k best tracks for some users by ALS, and as `recommend` has them."""
        trained, two_stage, mask = self.trained, self._two_stage, self.trained.in_library
        if two_stage is None or not len(rows):
            return trained.hybrid.als.recommend(rows, k, candidates=mask), personal(trained, rows, k)
        users = [two_stage.generator.trained_profile(row) for row in rows.tolist()]
        by_als = two_stage.generator.best_by_als(users, k, candidates=mask)

        def ranked(count: int) -> Answers:
            return two_stage.recommend_to(users, count, candidates=mask)

        return by_als, reranked(trained, ranked, k, trained.reranking)


def listed_users(listens: Interactions, lists: str) -> Mask:
    """[U] which users have lists, by an option of LISTS; in a log without times everybody is active."""
    if lists == "none":
        return np.zeros(listens.user_count, bool)
    if lists == "all" or listens.clock is not Clock.TIME or listens.times is None or not len(listens):
        return np.ones(listens.user_count, bool)
    recent = listens.user_rows[listens.times > listens.times.max() - ACTIVE_SECONDS]
    return np.bincount(recent, minlength=listens.user_count) > 0


def complete_version(version: Path, about: Mapping[str, Any]) -> None:
    """Writes its manifest, after all else: it names what the version holds, with hashes."""
    models = {name: file for name, file in MODELS.items() if (version / file).exists()}
    files = describe_files({name: version / name for name in files_in(version) if name not in (MANIFEST, KEYS)})
    with replacing(version / MANIFEST) as part:
        part.write_text(write_manifest(version.name, models=models, files=files, about=about))


def top_popular(tracks: pl.DataFrame, listens: Interactions, options: ArtefactOptions) -> pl.DataFrame:
    """The tracks with the most listeners between the two days, best first; `tracks` in the rows of `listens`."""
    since, until = day_start(options.since, "since:"), day_start(options.until, "until:")
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


def _lists(answers: Answers, rows: Ids, owners: pl.Series, tracks: pl.Series, names: tuple[str, str]) -> pl.DataFrame:
    """The ranked answers for these rows of `owners`."""
    ids, scores = answers
    lists, places = np.nonzero(ids >= 0)
    return pl.DataFrame(
        {
            names[0]: owners.gather(rows[lists]),
            names[1]: tracks.gather(ids[lists, places]),
            "rank": (places + 1).astype(np.int32),
            "score": scores[lists, places],
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
