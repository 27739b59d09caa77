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
from ...models.confidence import ConfidenceOptions
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
    """says what a positive signal is"""

    def __post_init__(self) -> None:
        if not 0 < self.users_sample <= 1:
            raise UsageError(f"users sample: {self.users_sample:g}; it has to be above 0 and at most 1")

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """Back from `dataclasses.asdict`."""
        return cls(**{**facts, "confidence": ConfidenceOptions(**facts["confidence"])})


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

    def record(self) -> dict[str, Any]:
        return dict(vars(self))


def clean(frame: pl.LazyFrame, options: CleaningOptions | None = None) -> tuple[pl.LazyFrame, list[CleaningStep]]:
    """The rows to learn from, lazily, and the steps that led to them; DataError names the step that left nothing."""
    options = options or CleaningOptions()
    whole = frame.filter(pl.col("user_id").is_not_null() & pl.col("track_id").is_not_null())
    user_ids, track_ids = listed_ids(whole)
    count = frame.select(pl.len()).collect(engine="streaming").item()
    steps = [CleaningStep("as imported", count, len(user_ids), len(track_ids), 0, 0, 0)]

    if options.users_sample < 1:
        chosen = np.random.default_rng(options.seed).permutation(len(user_ids))
        user_ids = user_ids.gather(np.sort(chosen[: max(1, round(options.users_sample * len(user_ids)))]))
        sampled = pl.LazyFrame({"user_id": user_ids})
        frame = frame.join(sampled, on="user_id", how="semi")
        whole = whole.join(sampled, on="user_id", how="semi")
        _count(steps, "users sample", frame)

    present = whole.select(pl.len()).collect(engine="streaming").item()
    _add(steps, "missing values", present, steps[-1].users, steps[-1].tracks)
    different = _different(whole)
    frame = whole.unique() if different < present else whole
    _add(steps, "duplicates", different, steps[-1].users, steps[-1].tracks)

    coded = with_rows(frame.with_columns(_positive(frame, options.confidence).alias("positive")), user_ids, track_ids)
    table = coded.select("user_row", "track_row", "positive").collect(engine="streaming")
    kept = _Kept(
        table.get_column("user_row").to_numpy(),
        table.get_column("track_row").to_numpy(),
        table.get_column("positive").to_numpy(),
        len(user_ids),
        len(track_ids),
    )
    kept.limit_tracks(options.min_track_listens)
    _add(steps, f"tracks under {options.min_track_listens} listens", *kept.counts())
    kept.limit_users()
    _add(steps, "users without a positive signal", *kept.counts())
    if options.core > 1:
        kept.core(options.core)
        _add(steps, f"{options.core}-core", *kept.counts())
    for name, ids, mask in (("user_id", user_ids, kept.users), ("track_id", track_ids, kept.tracks)):
        if not mask.all():
            frame = frame.join(pl.LazyFrame({name: ids.filter(pl.Series(mask))}), on=name, how="semi")
    return frame, steps


class _Kept:
    """Which users and tracks are left, over N coded listens; each step shrinks the listens to those that count."""

    def __init__(
        self, user_rows: NDArray[np.int32], track_rows: NDArray[np.int32], positive: Mask, users: int, tracks: int
    ) -> None:
        self._user_rows, self._track_rows, self._positive = user_rows, track_rows, positive
        self.users = np.ones(users, np.bool_)
        self.tracks = np.ones(tracks, np.bool_)

    def counts(self) -> tuple[int, int, int]:
        """Listens, users and tracks that are left."""
        users = np.bincount(self._user_rows, minlength=len(self.users)) > 0
        tracks = np.bincount(self._track_rows, minlength=len(self.tracks)) > 0
        return len(self._user_rows), int(users.sum()), int(tracks.sum())

    def limit_tracks(self, least: int) -> None:
        self.tracks &= np.bincount(self._track_rows, minlength=len(self.tracks)) >= least
        self._shrink()

    def limit_users(self) -> None:
        self.users &= np.bincount(self._user_rows[self._positive], minlength=len(self.users)) > 0
        self._shrink()

    def core(self, k: int) -> None:
        liked = self._user_rows[self._positive], self._track_rows[self._positive]
        users, tracks = distinct_pairs(*liked, len(self.users))
        self.users, self.tracks = core(users, tracks, len(self.users), len(self.tracks), k)
        self._shrink()

    def _shrink(self) -> None:
        left = self.users[self._user_rows] & self.tracks[self._track_rows]
        if not left.all():
            self._user_rows, self._track_rows = self._user_rows[left], self._track_rows[left]
            self._positive = self._positive[left]


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


def _positive(frame: pl.LazyFrame, options: ConfidenceOptions) -> pl.Expr:
    """Whether a row on its own raises the confidence in its pair; the same reading as `models.confidence`."""
    highest = frame.select(pl.col("rating").max()).collect(engine="streaming").item()
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
    hashes = (
        frame.select(pl.struct(columns).hash().alias("hash")).collect(engine="streaming").get_column("hash").to_numpy()
    )
    hashes = np.sort(hashes)
    return int(np.count_nonzero(hashes[1:] != hashes[:-1])) + (len(hashes) > 0)


def _count(steps: list[CleaningStep], name: str, frame: pl.LazyFrame) -> None:
    row = frame.select(pl.len(), pl.col("user_id").n_unique(), pl.col("track_id").n_unique()).collect(
        engine="streaming"
    )
    _add(steps, name, *row.row(0))


def _add(steps: list[CleaningStep], name: str, listens: int, users: int, tracks: int) -> None:
    last = steps[-1]
    if not listens:
        raise DataError(
            f"cleaning: no listens left after the step {name!r}, which was given {last.listens:,} listens of "
            f"{last.users:,} users on {last.tracks:,} tracks; ask less of it"
        )
    steps.append(
        CleaningStep(name, listens, users, tracks, last.listens - listens, last.users - users, last.tracks - tracks)
    )
