"""Trials: what the models of an evaluation are fitted on, and the questions they are asked then.

Every model is fitted once per trial:

- `warm`: the split that the log allows; what will people who are known listen to, among tracks that are known?
- `cold`: besides, a fifth of the tracks, a tenth of the artists with all they made, and a tenth of the users are held
  out whole. Cold tracks are asked for among cold tracks only, apart for artists with and without tracks in training,
  and warm ones among warm ones; `all` asks for everything among everything. Cold users are asked
  for from nothing and from their first five listens.
- `listeners`: a fifth of the well-known tracks, in equal groups, keep 0, 1, 2, 5 and 10 of their listeners; each group
  is asked for among itself: quality over the number of listeners n.

Shapes: U users, T tracks, B users asked for.
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
Way = Callable[[Interactions, np.random.Generator], Split]
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
HANDFUL = 5
"""listens that a cold user is known by"""
LISTENERS = (0, 1, 2, 5, 10)


@dataclass(frozen=True, eq=False)
class Question:
    """B users, what they will turn out to like, and what may be recommended to them."""

    slice: str
    user_rows: NDArray[np.int32]
    """[B]; -1 for users nobody knows"""
    truth: csr_matrix
    """[B, T]"""
    heard: csr_matrix
    """[B, T] what each is known to have listened to"""
    candidates: Mask | None = None
    """[T]; None for all tracks"""
    from_heard: bool = False
    """Whether the users are strangers to the model, known by `heard` alone."""

    def __repr__(self) -> str:
        return f"Question({self.slice}, {len(self.user_rows):,} users)"


@dataclass(frozen=True, eq=False)
class Scenario:
    """One fit of every model, and what it is asked."""

    name: str
    split: Split
    questions: tuple[Question, ...]


def plan(
    listens: Interactions,
    catalogue: Catalogue,
    *,
    trials: tuple[str, ...],
    split: str,
    allow_seen: bool,
    seed: int,
    gap_seconds: float = 0.0,
) -> Iterator[Scenario]:
    """The trials asked for, one after the other; questions that nobody can be asked are left out."""

    def part(listens: Interactions, rng: np.random.Generator) -> Split:
        return SPLITS[split](listens, rng, gap_seconds)

    for name in trials:
        # Each trial has its own generator: asking for fewer trials does not change the others.
        rng = np.random.default_rng([seed, TRIALS.index(name)])
        match name:
            case "warm":
                yield _warm(listens, part(listens, rng), allow_seen)
            case "cold":
                yield _cold(listens, catalogue, part, rng, allow_seen)
            case "listeners":
                yield _listeners(listens, rng, allow_seen)


def _warm(listens: Interactions, split: Split, allow_seen: bool) -> Scenario:
    warm = _warm_tracks(split.train)
    question = _asked("warm", split.train, split.test, warm, allow_seen)
    return Scenario("warm", split, _nonempty(question))


def _cold(
    listens: Interactions,
    catalogue: Catalogue,
    part: Way,
    rng: np.random.Generator,
    allow_seen: bool,
) -> Scenario:
    strangers = splits.without_users(listens, splits.some_users(listens, rng))
    held = splits.some_tracks(strangers.train, rng) | splits.some_artists(catalogue, rng, share=NEW_ARTISTS)
    by_track = splits.without_tracks(strangers.train, held)
    rest = part(by_track.train, rng)
    train = rest.train
    cold = np.zeros(listens.track_count, bool)
    cold[by_track.test.track_rows] = True
    cold &= ~_warm_tracks(train)
    known = splits.known_artists(catalogue, _warm_tracks(train))
    later = by_track.test.joined(rest.test)
    questions = [
        _asked("all", train, later, None, allow_seen),
        _asked(WARM_TRACK, train, later, _warm_tracks(train), allow_seen),
        _asked(COLD_TRACK, train, by_track.test, cold, allow_seen),
        _asked("cold track, known artist", train, by_track.test, cold & known, allow_seen),
        _asked("cold track, new artist", train, by_track.test, cold & ~known, allow_seen),
        *_strangers(train, strangers.test, rng, allow_seen),
    ]
    split = Split(train, later, f"{rest.name}; tracks and users held out whole", rest.within_user)
    return Scenario("cold", split, _nonempty(*questions))


def _listeners(listens: Interactions, rng: np.random.Generator, allow_seen: bool) -> Scenario:
    enough = np.flatnonzero(listens.listeners >= max(LISTENERS) + 2)
    chosen = rng.permutation(enough)[: len(enough) // 5]
    kept = np.full(listens.track_count, -1)
    for group, n in enumerate(LISTENERS):
        kept[chosen[group :: len(LISTENERS)]] = n
    split = splits.thinned(listens, kept, rng)
    questions = [_asked(f"n = {n}", split.train, split.test, kept == n, allow_seen) for n in LISTENERS]
    return Scenario("listeners", split, _nonempty(*questions))


def _asked(slice: str, train: Interactions, test: Interactions, candidates: Mask | None, allow_seen: bool) -> Question:
    """The warm users who will like a candidate."""
    truth = to_find(test.matrix, None if allow_seen else train.matrix, candidates)
    warm = np.diff(liked(train.matrix).indptr) > 0
    users = np.flatnonzero(warm & (np.diff(truth.indptr) > 0)).astype(np.int32)
    return Question(slice, users, truth[users], train.matrix[users], candidates)


def _strangers(
    train: Interactions, test: Interactions, rng: np.random.Generator, allow_seen: bool
) -> Iterator[Question]:
    """Held out users, from nothing and from a handful of listens; the same users and truth for both."""
    # Without an order, a handful by chance.
    when = test.times if test.times is not None else rng.integers(0, 1 << 40, len(test))
    order = np.lexsort((when, test.user_rows))
    ordered = test.take(order)
    starts = np.searchsorted(ordered.user_rows, ordered.user_rows)
    first = np.arange(len(ordered)) - starts < HANDFUL
    heard = ordered.take(first).matrix
    truth = to_find(ordered.take(~first).matrix, None if allow_seen else heard, _warm_tracks(train))
    users = np.flatnonzero(np.diff(truth.indptr) > 0)
    nobody = np.full(len(users), -1, np.int32)
    yield Question("cold user", nobody, truth[users], _nothing(heard[users]), _warm_tracks(train))
    yield Question(
        f"cold user, {HANDFUL} listens", nobody, truth[users], heard[users], _warm_tracks(train), from_heard=True
    )


def _warm_tracks(train: Interactions) -> Mask:
    return train.listeners > 0


def _nonempty(*questions: Question) -> tuple[Question, ...]:
    return tuple(question for question in questions if len(question.user_rows))


def _nothing(like: csr_matrix) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix(like.shape, dtype=np.float32)
