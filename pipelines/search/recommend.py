"""Recommending from a trained version: to its users, to strangers, and to anybody with a few liked tracks or files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import UsageError
from ...models.arrays import Answers, Ids, Scores
from ...models.catalogue import Catalogue
from ...models.ranking.diversity import RerankingOptions, relist
from ..versions.model_version import ModelVersion

USERS_PER_BATCH = 4096
RERANKED = 300
"""tracks that re-ranking chooses from"""
SCHEMA = pl.Schema({"user_id": pl.String(), "track_id": pl.String(), "score": pl.Float32(), "because": pl.String()})


@dataclass(frozen=True, eq=False)
class LikedSound:
    """A liked file that need not be in the library, as it was heard."""

    name: str
    """what `because` calls it"""
    embedding: NDArray[np.float32]
    """[D]"""
    artists: tuple[str, ...] = ()
    genres: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """[G] probabilities, or none"""
    genre_names: tuple[str, ...] = ()
    """[G]"""


def recommend(
    trained: ModelVersion,
    user_ids: Sequence[str],
    k: int,
    *,
    allow_seen: bool = False,
    reranking: RerankingOptions | None = None,
) -> Iterator[pl.DataFrame]:
    """Frames of SCHEMA, k rows a user in the order given, best first; a stranger gets what is popular (of late).

    By the ranker where the version has one. `because` is null where nothing the user listened to speaks for the track.
    """
    if k < 1:
        raise UsageError(f"k: {k}; it has to be at least 1")
    hybrid = trained.hybrid
    k = min(k, int(trained.in_library.sum()))
    for start in range(0, len(user_ids), USERS_PER_BATCH):
        names = user_ids[start : start + USERS_PER_BATCH]
        rows = np.array([trained.user_rows.get(name, -1) for name in names], np.int32)
        ids, scores = personal(trained, rows, k, allow_seen=allow_seen, reranking=reranking)
        reasons = np.full(ids.shape, -1, np.int32)
        if (rows >= 0).any():
            reasons[rows >= 0] = hybrid.because(rows[rows >= 0], ids[rows >= 0])
        yield _frame(names, ids, scores, reasons, trained.track_ids)


def personal(
    trained: ModelVersion, rows: Ids, k: int, *, allow_seen: bool = False, reranking: RerankingOptions | None = None
) -> Answers:
    """The k tracks for each row of users (-1 for a stranger), ranked, and re-ranked where that is asked for."""
    model = trained.ranking or trained.hybrid
    reranking = reranking or trained.reranking
    if not reranking.changes:
        return model.recommend(rows, k, allow_seen=allow_seen, candidates=trained.in_library)
    longer = min(max(k, RERANKED), len(trained.track_ids))
    answers = model.recommend(rows, longer, allow_seen=allow_seen, candidates=trained.in_library)
    return relist(trained.hybrid, answers, k, reranking)


def recommend_liked(
    trained: ModelVersion, liked: Sequence[str | LikedSound], k: int, *, allow_seen: bool = False
) -> pl.DataFrame:
    """To somebody who likes these tracks (by track_id) and files; a frame of SCHEMA with no user_id."""
    from scipy.sparse import csr_matrix

    if k < 1:
        raise UsageError(f"k: {k}; it has to be at least 1")
    if not liked:
        raise UsageError("like: nothing is liked")
    files = [like for like in liked if isinstance(like, LikedSound)]
    rows = [trained.row(like) for like in liked if isinstance(like, str)]
    count = len(trained.track_ids)
    hybrid, names, there = trained.hybrid, trained.track_ids, trained.in_library
    if files:
        genres = np.zeros((0, 0), np.float32)
        if all(len(file.genres) for file in files):
            genres = np.stack([file.genres for file in files])
        strangers = Catalogue(
            tuple(file.name for file in files),
            tuple(file.artists for file in files),
            np.stack([file.embedding for file in files]),
            (),
            genres,
            genre_names=files[0].genre_names,
        )
        hybrid = hybrid.with_tracks(trained.fitting(strangers))
        names = [*names, *strangers.track_ids]
        there = np.concatenate([there, np.zeros(len(files), bool)])
        rows += range(count, count + len(files))
    rows = sorted(set(rows))
    heard = csr_matrix((np.ones(len(rows), np.float32), ([0] * len(rows), rows)), shape=(1, len(names)))
    ids, scores = hybrid.recommend_from(heard, min(k, int(there.sum())), allow_seen=allow_seen, candidates=there)
    return _frame([None], ids, scores, hybrid.because_of(heard, ids), names)


def users_in(file: Path) -> list[str]:
    """User ids, one a line; empty lines are skipped."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text ({error.reason})") from None
    return [line.strip() for line in lines if line.strip()]


def write_parquet(frames: Iterator[pl.DataFrame], file: Path) -> int:
    """Writes frames of SCHEMA as they come, so that a few of them are held at a time; gives the number of rows.

    The file appears when it is whole.
    """
    from polars.io.plugins import register_io_source

    count = 0

    def counted(*asked: object) -> Iterator[pl.DataFrame]:
        nonlocal count
        for frame in frames:
            count += len(frame)
            yield frame

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    try:
        register_io_source(counted, schema=SCHEMA).sink_parquet(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return count


def _frame(
    users: Sequence[str | None], ids: Ids, scores: Scores, reasons: Ids, track_ids: Sequence[str]
) -> pl.DataFrame:
    there = ids >= 0
    owners = np.repeat(np.arange(len(users)), there.sum(axis=1)).tolist()
    tracks = [track_ids[row] for row in ids[there]]
    because = [track_ids[row] if row >= 0 else None for row in reasons[there]]
    return pl.DataFrame(
        {"user_id": [users[owner] for owner in owners], "track_id": tracks, "score": scores[there], "because": because},
        schema=SCHEMA,
    )
