"""Trials: what the models of an evaluation are fitted on, and the slices of users and tracks they are measured on.

Every model is fitted once per trial:

- `warm`: the split that the log allows; what warm users will listen to, among warm tracks.
- `cold`: besides, a fifth of the tracks, a tenth of the artists with all they made, and a tenth of the users are held
  out whole. Cold tracks are ranked among cold tracks only, apart for artists with and without tracks in training, and
  warm ones among warm ones; `all` ranks all tracks. Cold users are known by nothing, or by their first five listens.
- `listeners`: a fifth of the well-known tracks, in equal groups, keep 0, 1, 2, 5 and 10 of their listeners; each group
  is ranked among itself: quality over the number of listeners n.

Shapes: U users, T tracks, B users of a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import Mask
from ...models.catalogue import Catalogue
from ...models.evaluation import splits
from ...models.evaluation.splits import Split
from ...models.interactions import Interactions, liked, to_find

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TRIALS = ("warm", "cold", "listeners")
Splitter = Callable[[Interactions, np.random.Generator], Split]
SPLITS: dict[str, Callable[[Interactions, np.random.Generator, float], Split]] = {
    "auto": lambda listens, rng, gap_seconds: splits.fitting(listens, rng, gap_seconds=gap_seconds),
    "time": lambda listens, rng, gap_seconds: splits.by_time(listens, gap_seconds=gap_seconds),
    "user": lambda listens, rng, gap_seconds: splits.by_user(listens),
    "random": lambda listens, rng, gap_seconds: splits.by_chance(listens, rng),
}
"""name -> split of the listens, with a gap before the test where it is one by time"""
NEW_ARTISTS = 0.1
"""share of the artists that are held out with all of their tracks"""
WARM_TRACK, COLD_TRACK = "warm track", "cold track"
KNOWN_LISTENS = 5
"""that a cold user is known by"""
LISTENERS = (0, 1, 2, 5, 10)


@dataclass(frozen=True, eq=False)
class EvaluationSlice:
    """B users, the tracks that they like in the test part, and what may be recommended to them."""

    name: str
    user_rows: NDArray[np.int32]
    """[B]; -1 for cold users"""
    truth: csr_matrix
    """[B, T]"""
    history: csr_matrix
    """[B, T] confidences of what each has listened to"""
    candidates: Mask | None = None
    """[T]; None for all tracks"""
    fold_in: bool = False
    """Whether users are recommended to by `history`, as they are not among those of training."""

    def __repr__(self) -> str:
        return f"EvaluationSlice({self.name}, {len(self.user_rows):,} users)"


@dataclass(frozen=True, eq=False)
class Trial:
    """One fit of every model, and the slices it is measured on."""

    name: str
    split: Split
    slices: tuple[EvaluationSlice, ...]


def plan(
    listens: Interactions,
    catalogue: Catalogue,
    *,
    trials: tuple[str, ...],
    split: str,
    allow_seen: bool,
    seed: int,
    gap_seconds: float = 0.0,
) -> Iterator[Trial]:
    """The trials, one after the other; slices without users are left out."""

    def part(listens: Interactions, rng: np.random.Generator) -> Split:
        return SPLITS[split](listens, rng, gap_seconds)

    for name in trials:
        # Each trial has its own generator, so that fewer trials do not change the others.
        rng = np.random.default_rng([seed, TRIALS.index(name)])
        match name:
            case "warm":
                yield _warm(listens, part(listens, rng), allow_seen)
            case "cold":
                yield _cold(listens, catalogue, part, rng, allow_seen)
            case "listeners":
                yield _listeners(listens, rng, allow_seen)


def _warm(listens: Interactions, split: Split, allow_seen: bool) -> Trial:
    warm = _warm_tracks(split.train)
    return Trial("warm", split, _nonempty(_warm_users("warm", split.train, split.test, warm, allow_seen)))


def _cold(
    listens: Interactions,
    catalogue: Catalogue,
    part: Splitter,
    rng: np.random.Generator,
    allow_seen: bool,
) -> Trial:
    by_user = splits.without_users(listens, splits.some_users(listens, rng))
    held = splits.some_tracks(by_user.train, rng) | splits.some_artists(catalogue, rng, share=NEW_ARTISTS)
    by_track = splits.without_tracks(by_user.train, held)
    rest = part(by_track.train, rng)
    train = rest.train
    cold = np.zeros(listens.track_count, bool)
    cold[by_track.test.track_rows] = True
    cold &= ~_warm_tracks(train)
    known = splits.known_artists(catalogue, _warm_tracks(train))
    later = by_track.test.joined(rest.test)
    slices = [
        _warm_users("all", train, later, None, allow_seen),
        _warm_users(WARM_TRACK, train, later, _warm_tracks(train), allow_seen),
        _warm_users(COLD_TRACK, train, by_track.test, cold, allow_seen),
        _warm_users("cold track, known artist", train, by_track.test, cold & known, allow_seen),
        _warm_users("cold track, new artist", train, by_track.test, cold & ~known, allow_seen),
        *_cold_users(train, by_user.test, rng, allow_seen),
    ]
    split = Split(train, later, f"{rest.name}; tracks and users held out whole", rest.within_user)
    return Trial("cold", split, _nonempty(*slices))


def _listeners(listens: Interactions, rng: np.random.Generator, allow_seen: bool) -> Trial:
    enough = np.flatnonzero(listens.listeners >= max(LISTENERS) + 2)
    chosen = rng.permutation(enough)[: len(enough) // 5]
    kept = np.full(listens.track_count, -1)
    for group, n in enumerate(LISTENERS):
        kept[chosen[group :: len(LISTENERS)]] = n
    split = splits.thinned(listens, kept, rng)
    slices = [_warm_users(f"n = {n}", split.train, split.test, kept == n, allow_seen) for n in LISTENERS]
    return Trial("listeners", split, _nonempty(*slices))


def _warm_users(
    name: str, train: Interactions, test: Interactions, candidates: Mask | None, allow_seen: bool
) -> EvaluationSlice:
    """The warm users who will like a candidate."""
    truth = to_find(test.matrix, None if allow_seen else train.matrix, candidates)
    warm = np.diff(liked(train.matrix).indptr) > 0
    users = np.flatnonzero(warm & (np.diff(truth.indptr) > 0)).astype(np.int32)
    return EvaluationSlice(name, users, truth[users], train.matrix[users], candidates)


def _cold_users(
    train: Interactions, test: Interactions, rng: np.random.Generator, allow_seen: bool
) -> Iterator[EvaluationSlice]:
    """Held out users, known by nothing and by their first listens; the same users and truth for both."""
    from scipy.sparse import csr_matrix

    # Without an order, any of their listens.
    when = test.times if test.times is not None else rng.integers(0, 1 << 40, len(test))
    order = np.lexsort((when, test.user_rows))
    ordered = test.take(order)
    starts = np.searchsorted(ordered.user_rows, ordered.user_rows)
    first = np.arange(len(ordered)) - starts < KNOWN_LISTENS
    history = ordered.take(first).matrix
    truth = to_find(ordered.take(~first).matrix, None if allow_seen else history, _warm_tracks(train))
    users = np.flatnonzero(np.diff(truth.indptr) > 0)
    unknown, warm = np.full(len(users), -1, np.int32), _warm_tracks(train)
    truth, history = truth[users], history[users]
    yield EvaluationSlice("cold user", unknown, truth, csr_matrix(history.shape, dtype=np.float32), warm)
    yield EvaluationSlice(f"cold user, {KNOWN_LISTENS} listens", unknown, truth, history, warm, fold_in=True)


def _warm_tracks(train: Interactions) -> Mask:
    return train.listeners > 0


def _nonempty(*slices: EvaluationSlice) -> tuple[EvaluationSlice, ...]:
    return tuple(part for part in slices if len(part.user_rows))
