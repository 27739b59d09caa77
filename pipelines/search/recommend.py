"""Recommending from a trained version: to its users, to unknown ones, and by a few liked tracks or files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import UsageError
from ...models.arrays import Answers, Ids, Scores
from ...models.catalogue import Catalogue
from ...models.hybrid.online import UserHistory
from ...models.ranking.diversity import RerankingOptions, relist
from ...models.ranking.user_profile import NO_TRACKS
from ...models.storage import replacing
from ..versions.model_version import ModelVersion

USERS_PER_BATCH = 4096
RERANKED = 300
"""tracks that re-ranking chooses from"""
SCHEMA = pl.Schema({"user_id": pl.String(), "track_id": pl.String(), "score": pl.Float32(), "because": pl.String()})


def recommend(
    trained: ModelVersion,
    user_ids: Sequence[str],
    k: int,
    *,
    allow_seen: bool = False,
    reranking: RerankingOptions | None = None,
) -> Iterator[pl.DataFrame]:
    """Frames of SCHEMA, k rows a user in the order given, best first; an unknown user gets what is popular (of late).

    By the ranker where the version has one. `because` is null where no track the user likes adds to the score.
    """
    k, hybrid = min(_checked(k), int(trained.in_library.sum())), trained.hybrid
    for start in range(0, len(user_ids), USERS_PER_BATCH):
        names = user_ids[start : start + USERS_PER_BATCH]
        rows = np.array([trained.user_rows.get(name, -1) for name in names], np.int32)
        ids, scores = personal(trained, rows, k, allow_seen=allow_seen, reranking=reranking)
        reasons = np.empty_like(ids)
        for place, row in enumerate(rows.tolist()):
            reasons[place] = hybrid.because(hybrid.user_history(row), ids[place])
        yield _frame(names, ids, scores, reasons, trained.track_ids)


def personal(
    trained: ModelVersion, rows: Ids, k: int, *, allow_seen: bool = False, reranking: RerankingOptions | None = None
) -> Answers:
    """The k tracks for each row of users (-1: unknown), ranked, and re-ranked where that is asked for."""
    model = trained.two_stage or trained.hybrid

    def first(count: int) -> Answers:
        return model.recommend(rows, count, allow_seen=allow_seen, candidates=trained.in_library)

    return reranked(trained, first, k, reranking or trained.reranking)


def recommend_one(
    trained: ModelVersion,
    history: UserHistory,
    k: int,
    *,
    user_row: int = -1,
    newest: Ids = NO_TRACKS,
    allow_seen: bool = False,
    ranked: bool = True,
) -> Answers:
    """The same for one history, which may be newer than the training; the popular tracks for a cold one.

    `user_row` and `newest` as in `TwoStageRecommender.recommend_one`; `ranked` False leaves the order to the hybrid, at
    a quarter of the cost. Shape: -> ([at most k], [at most k])
    """
    two_stage, mask = trained.two_stage if ranked else None, trained.in_library

    def first(count: int) -> Answers:
        if two_stage is None:
            ids, scores = trained.hybrid.candidates(history, count, allow_seen=allow_seen, mask=mask)
        else:
            ids, scores = two_stage.recommend_one(
                history, count, user_row=user_row, newest=newest, allow_seen=allow_seen, candidates=mask
            )
        return ids[None], scores[None]

    (ids,), (scores,) = reranked(trained, first, k, trained.reranking)
    return ids[ids >= 0], scores[ids >= 0]


def reranked(trained: ModelVersion, first: Callable[[int], Answers], k: int, reranking: RerankingOptions) -> Answers:
    """The k tracks that re-ranking makes of the first so many of every list, `first(count)`."""
    if not reranking.changes:
        return first(k)
    return relist(trained.hybrid, first(min(max(k, RERANKED), len(trained))), k, reranking)


def recommend_liked(
    trained: ModelVersion, liked: Sequence[str | Catalogue], k: int, *, allow_seen: bool = False
) -> pl.DataFrame:
    """For a user who likes these tracks: of the library by their ids, and others that need not be in it, by sound.

    A frame of SCHEMA with no user_id.
    """
    k = min(_checked(k), int(trained.in_library.sum()))
    if not liked:
        raise UsageError("like: nothing is liked")
    version, rows = trained, []
    for like in liked:
        if isinstance(like, str):
            rows.append(version.row(like))
        else:
            rows += range(len(version), len(version) + len(like))
            version = version.append_tracks(like)
    version.in_library[len(trained) :] = False
    history = UserHistory(np.unique(rows).astype(np.int32), np.ones(len(set(rows)), np.float32))
    ids, scores = recommend_one(version, history, k, allow_seen=allow_seen, ranked=False)
    return _frame([None], ids[None], scores[None], version.hybrid.because(history, ids)[None], version.track_ids)


def users_in(file: Path) -> list[str]:
    """User ids, one a line; empty lines are skipped."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text ({error.reason})") from None
    return [line.strip() for line in lines if line.strip()]


def write_parquet(frames: Iterator[pl.DataFrame], file: Path) -> int:
    """Writes frames as they come, so that a few of them are held at a time; gives the number of rows.

    The file appears when it is whole; without frames it has the columns of SCHEMA.
    """
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        first = next(frames, SCHEMA.to_frame()).to_arrow()
        count = len(first)
        with pq.ParquetWriter(part, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for frame in frames:
                writer.write_table(frame.to_arrow())
                count += len(frame)
    return count


def _checked(k: int) -> int:
    if k < 1:
        raise UsageError(f"k: {k}; it has to be at least 1")
    return k


def _frame(
    users: Sequence[str | None], ids: Ids, scores: Scores, reasons: Ids, track_ids: Sequence[str]
) -> pl.DataFrame:
    lists, places = np.nonzero(ids >= 0)
    return pl.DataFrame(
        {
            "user_id": [users[row] for row in lists.tolist()],
            "track_id": [track_ids[row] for row in ids[lists, places]],
            "score": scores[lists, places],
            "because": [track_ids[row] if row >= 0 else None for row in reasons[lists, places]],
        },
        schema=SCHEMA,
    )
