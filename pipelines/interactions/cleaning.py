"""Cleaning a listening log before training, every step counted.

In this order: whole users are sampled, rows without a user or a track and exact repetitions of a row leave, then tracks
with too few listens, users with no positive signal, and what is outside the k-core (Seidman 1983): the largest part of
the log in which every user liked at least k tracks and every track was liked by at least k users.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...models.confidence_weights import ConfidenceOptions
from .schema import distinct_pairs, listed_ids, with_rows

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CleaningOptions:
    """What has to leave; the defaults keep all that can be learned from."""

    users_sample: float = 1.0
    """share of the users to keep, with all of their listens"""
    seed: int = 0
    """of the sample"""
    min_track_listens: int = 1
    core: int = 1
    """the k of the k-core; 1 keeps all users and tracks with a positive signal"""
    confidence: ConfidenceOptions = field(default_factory=ConfidenceOptions)
    """decides what a positive signal is"""

    def __post_init__(self) -> None:
        if not 0 < self.users_sample <= 1:
            raise UsageError(f"users sample: {self.users_sample:g}; it has to be above 0 and at most 1")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Back from `dataclasses.asdict`."""
        return cls(**{**values, "confidence": ConfidenceOptions(**values["confidence"])})


@dataclass(frozen=True)
class CleaningStep:
    """What one step left and took."""

    name: str
    listens: int
    users: int
    tracks: int
    dropped_listens: int
    dropped_users: int
    dropped_tracks: int


def clean(frame: pl.LazyFrame, options: CleaningOptions | None = None) -> tuple[pl.LazyFrame, list[CleaningStep]]:
    """The rows to learn from, lazily, and the steps that led to them; DataError names the step that left nothing."""
    options = options or CleaningOptions()
    whole = frame.filter(pl.col("user_id").is_not_null() & pl.col("track_id").is_not_null())
    user_ids, track_ids = listed_ids(whole)
    count = frame.select(pl.len()).collect(engine="streaming").item()
    steps = [CleaningStep("as imported", count, len(user_ids), len(track_ids), 0, 0, 0)]

    if options.users_sample < 1:
        user_ids = sampled_users(user_ids, options)
        sampled = pl.LazyFrame({"user_id": user_ids})
        frame = frame.join(sampled, on="user_id", how="semi")
        whole = whole.join(sampled, on="user_id", how="semi")
        distinct = pl.col("user_id", "track_id").drop_nulls().n_unique()
        counts = frame.select(pl.len(), distinct).collect(engine="streaming")
        add_step(steps, "users sample", *counts.row(0))

    present = whole.select(pl.len()).collect(engine="streaming").item()
    add_step(steps, "missing values", present, steps[-1].users, steps[-1].tracks)
    different = _different(whole)
    frame = whole.unique() if different < present else whole
    add_step(steps, "duplicates", different, steps[-1].users, steps[-1].tracks)

    highest = frame.select(pl.col("rating").max()).collect(engine="streaming").item()
    marked = frame.with_columns(positive=positive(highest, options.confidence))
    coded = with_rows(marked, user_ids, track_ids).select("user_row", "track_row", "positive")
    users, tracks = kept_rows(coded.collect(engine="streaming"), len(user_ids), len(track_ids), options, steps)
    for name, ids, mask in (("user_id", user_ids, users), ("track_id", track_ids, tracks)):
        if not mask.all():
            frame = frame.join(pl.LazyFrame({name: ids.filter(pl.Series(mask))}), on=name, how="semi")
    return frame, steps


def sampled_users(user_ids: pl.Series, options: CleaningOptions) -> pl.Series:
    """Those of a log's users, sorted, whom the sample is of."""
    chosen = np.random.default_rng(options.seed).permutation(len(user_ids))
    return user_ids.gather(np.sort(chosen[: max(1, round(options.users_sample * len(user_ids)))]))


def kept_rows(
    table: pl.DataFrame, user_count: int, track_count: int, options: CleaningOptions, steps: list[CleaningStep]
) -> tuple[Mask, Mask]:
    """The users and tracks that stay, of a table of user_row, track_row and positive; adds its steps to `steps`."""
    listens = [table.get_column(name).to_numpy() for name in ("user_row", "track_row", "positive")]
    kept = np.ones(user_count, np.bool_), np.ones(track_count, np.bool_)

    def restrict(name: str, users: Mask | None = None, tracks: Mask | None = None) -> None:
        """Leaves the listens of these users and tracks, as a step of that name."""
        for side, mask in enumerate((users, tracks)):
            if mask is not None and not mask.all():
                kept[side][~mask] = False
                left = mask[listens[side]]
                listens[:] = [column[left] for column in listens]
        add_step(steps, name, len(listens[0]), *(int(np.count_nonzero(np.bincount(rows))) for rows in listens[:2]))

    listens_of_track = np.bincount(listens[1], minlength=track_count)
    restrict(f"tracks under {options.min_track_listens} listens", tracks=listens_of_track >= options.min_track_listens)
    likes_of_user = np.bincount(listens[0][listens[2]], minlength=user_count)
    restrict("users without a positive signal", users=likes_of_user > 0)
    if options.core > 1:
        pairs = distinct_pairs(listens[0][listens[2]], listens[1][listens[2]], user_count)
        restrict(f"{options.core}-core", *core(*pairs, user_count, track_count, options.core))
    return kept


def core(
    user_rows: NDArray[np.integer], track_rows: NDArray[np.integer], user_count: int, track_count: int, k: int
) -> tuple[Mask, Mask]:
    """Users and tracks of the k-core of different (user, track) pairs.

    >>> [mask.tolist() for mask in core(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1]), 3, 2, 2)]
    [[True, True, False], [True, True]]
    """
    while True:
        users = np.bincount(user_rows, minlength=user_count) >= k
        tracks = np.bincount(track_rows, minlength=track_count) >= k
        left = users[user_rows] & tracks[track_rows]
        if left.all():
            return users, tracks
        user_rows, track_rows = user_rows[left], track_rows[left]


def positive(highest: float | None, options: ConfidenceOptions) -> pl.Expr:
    """Whether a row on its own raises the confidence in its pair; the same rule as in `models.confidence_weights`.

    `highest` is the highest rating in the log.
    """
    ratio, plays, rating, liked = (pl.col(name) for name in ("played_ratio", "plays", "rating", "liked"))
    played = (
        pl.when(plays.is_not_null())
        .then(plays > 0)
        .otherwise(ratio.is_not_null() | (rating.is_null() & liked.is_null()))
    )
    played &= ratio.fill_null(1.0) >= options.ratio_threshold
    rated = (rating >= highest / 2).fill_null(False) if highest is not None else pl.lit(False)
    return (played | rated | (liked == 1).fill_null(False)) & (liked != -1).fill_null(True)


def _different(frame: pl.LazyFrame) -> int:
    """How many different rows there are. 64-bit hashes stand for the rows: those of 222 million fit in memory."""
    filled = frame.select(pl.all().count()).collect(engine="streaming").row(0, named=True)
    # Columns without a value in them make no difference, and take as long to hash as any.
    columns = [name for name, count in filled.items() if count]
    hashes = np.sort(frame.select(pl.struct(columns).hash()).collect(engine="streaming").to_series().to_numpy())
    return int(np.count_nonzero(hashes[1:] != hashes[:-1])) + (len(hashes) > 0)


def add_step(steps: list[CleaningStep], name: str, listens: int, users: int, tracks: int) -> None:
    """Adds what a step left; DataError where that is nothing."""
    last = steps[-1]
    if not listens:
        raise DataError(
            f"cleaning: no listens left after the step {name!r}, which was given {last.listens:,} listens of "
            f"{last.users:,} users on {last.tracks:,} tracks; ask less of it"
        )
    steps.append(
        CleaningStep(name, listens, users, tracks, last.listens - listens, last.users - users, last.tracks - tracks)
    )
