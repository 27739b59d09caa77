"""Protocols: what the models of an evaluation are fitted on, and the slices of users and tracks they are measured on.

`PROTOCOLS` has them by name. Those that split a log into training and test (`auto`, `temporal`, `within-user`,
`random`) have up to three scenarios; every model is fitted once per scenario:

- `warm`: that split; what warm users will listen to, among warm tracks.
- `cold`: besides, a fifth of the tracks, a tenth of the artists with all they made, and a tenth of the users are held
  out whole. Cold tracks are ranked among cold tracks only, apart for artists with and without tracks in training, and
  warm ones among warm ones; `all` ranks all tracks. Cold users are known by nothing, by their first five listens, or by
  all but the last fifth.
- `listeners`: a fifth of the well-known tracks, in equal groups, keep 0, 1, 2, 5 and 10 of their listeners; each group
  is ranked among itself: quality over the number of listeners n.

The others have one scenario of their own: `repeats`, `new-releases` (Tamm, Meehan et al., "Leveraging artist catalogs
for cold-start music recommendation", arXiv:2604.07090) and `yambda`.

`plan` of a training part is its validation, made in the same way.

Shapes: U users, T tracks, A artists, B users of a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...models.arrays import Ids, Mask, as_binary
from ...models.catalogue import Catalogue
from ...models.evaluation import splits
from ...models.evaluation.splits import Split
from ...models.interactions import Clock, Interactions, liked, to_find
from ...models.ranking.user_profile import last_tracks
from ..interactions.cleaning import core
from ..interactions.schema import distinct_pairs
from . import yambda_benchmark

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SCENARIOS = ("warm", "cold", "listeners")
"""of a protocol that splits a log into training and test"""
Splitter = Callable[[Interactions, np.random.Generator], Split]
NEW_ARTISTS = 0.1
"""share of the artists that are held out with all of their tracks"""
WARM_TRACK, COLD_TRACK = "warm track", "cold track"
KNOWN_LISTENS = 5
"""that a cold user is known by"""
LAST_TRACKS = 50
"""of a cold user, that models which look at the order are given"""
LISTENERS = (0, 1, 2, 5, 10)
NEW_RELEASE_DAYS = 28.0
NEW_RELEASE_CORE = 5
"""tracks a user of the training part has, and users a track, with the protocol `new-releases`"""


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
    allow_seen: bool = False
    """Whether tracks that a user has listened to may be recommended."""
    target_counts: NDArray[np.int64] | None = None
    """[B] test listens of each user, a track counted as often as it was played; None where each track counts once"""
    newest: Ids | None = None
    """[B, L] the last tracks of `history`, the newest first, -1 where there are fewer; for those who are folded in"""

    def __repr__(self) -> str:
        return f"EvaluationSlice({self.name}, {len(self.user_rows):,} users)"


@dataclass(frozen=True, eq=False)
class Scenario:
    """One fit of every model, and the slices it is measured on."""

    name: str
    split: Split
    slices: tuple[EvaluationSlice, ...]
    published: tuple[Mapping[str, Any], ...] = ()
    """rows of the table that others have measured in the same way"""


@dataclass(frozen=True)
class Protocol:
    """How a log is parted, and which kinds of log allow it."""

    about: str
    clocks: tuple[Clock, ...] = (Clock.TIME,)
    splitter: Callable[[Interactions, np.random.Generator, float], Split] | None = None
    """(listens, rng, seconds of the gap before the test) -> the split of the scenarios `SCENARIOS`"""
    scenario: Callable[[Interactions, Catalogue, np.random.Generator, float], Scenario] | None = None
    """the only scenario of a protocol without a splitter, of the same and the catalogue"""
    has_gap: bool = True
    """Whether a gap can be asked for."""
    takes_cleaned: bool = True
    """Whether the log is cleaned as for training before it is parted."""

    def check(self, name: str, listens: Interactions) -> None:
        """DataError where the log lacks the times or the order that the protocol needs."""
        if listens.clock not in self.clocks:
            needs = "times or an order" if Clock.ORDER in self.clocks else "times that all users share"
            has = {Clock.ORDER: "only an order", Clock.NONE: "neither times nor an order"}[listens.clock]
            others = [other for other, protocol in PROTOCOLS.items() if listens.clock in protocol.clocks]
            raise DataError(f"protocol {name}: needs {needs}, and the log has {has}; there remain {', '.join(others)}")


def scenario_number(name: str) -> int:
    """The place of a scenario among all that there are; random numbers are drawn by it."""
    return (*SCENARIOS, *PROTOCOLS).index(name)


def plan(
    listens: Interactions,
    catalogue: Catalogue,
    *,
    protocol: str = "auto",
    scenarios: tuple[str, ...] = SCENARIOS,
    allow_seen: bool = False,
    seed: int = 0,
    gap_seconds: float = 0.0,
) -> Iterator[Scenario]:
    """The scenarios, one after the other; slices without users are left out.

    `scenarios` and `allow_seen` are for protocols with a splitter, the others have their own.
    """
    chosen = PROTOCOLS[protocol]
    chosen.check(protocol, listens)
    if chosen.scenario is not None:
        yield chosen.scenario(listens, catalogue, np.random.default_rng([seed, scenario_number(protocol)]), gap_seconds)
        return

    def part(listens: Interactions, rng: np.random.Generator) -> Split:
        assert chosen.splitter is not None
        return chosen.splitter(listens, rng, gap_seconds)

    for name in scenarios:
        # Each scenario has its own generator, so that fewer scenarios do not change the others.
        rng = np.random.default_rng([seed, scenario_number(name)])
        match name:
            case "warm":
                yield _warm(listens, part(listens, rng), allow_seen)
            case "cold":
                yield _cold(listens, catalogue, part, rng, allow_seen)
            case "listeners":
                yield _listeners(listens, rng, allow_seen)


def _warm(listens: Interactions, split: Split, allow_seen: bool) -> Scenario:
    warm = _warm_tracks(split.train)
    return Scenario("warm", split, _nonempty(_warm_users("warm", split.train, split.test, warm, allow_seen)))


def _cold(
    listens: Interactions,
    catalogue: Catalogue,
    part: Splitter,
    rng: np.random.Generator,
    allow_seen: bool,
) -> Scenario:
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
    return Scenario("cold", split, _nonempty(*slices))


def _listeners(listens: Interactions, rng: np.random.Generator, allow_seen: bool) -> Scenario:
    enough = np.flatnonzero(listens.listeners >= max(LISTENERS) + 2)
    chosen = rng.permutation(enough)[: len(enough) // 5]
    kept = np.full(listens.track_count, -1)
    for group, n in enumerate(LISTENERS):
        kept[chosen[group :: len(LISTENERS)]] = n
    split = splits.thinned(listens, kept, rng)
    slices = [_warm_users(f"n = {n}", split.train, split.test, kept == n, allow_seen) for n in LISTENERS]
    return Scenario("listeners", split, _nonempty(*slices))


def _warm_users(
    name: str, train: Interactions, test: Interactions, candidates: Mask | None, allow_seen: bool
) -> EvaluationSlice:
    """The warm users who will like a candidate."""
    truth = to_find(test.matrix, None if allow_seen else train.matrix, candidates)
    warm = np.diff(liked(train.matrix).indptr) > 0
    users = np.flatnonzero(warm & (np.diff(truth.indptr) > 0)).astype(np.int32)
    return EvaluationSlice(name, users, truth[users], train.matrix[users], candidates, allow_seen=allow_seen)


def _cold_users(
    train: Interactions, test: Interactions, rng: np.random.Generator, allow_seen: bool
) -> Iterator[EvaluationSlice]:
    """Held out users, known by nothing and by their first listens, the same users and truth; and by most listens."""
    from scipy.sparse import csr_matrix

    warm = _warm_tracks(train)
    # Without an order, any of their listens.
    when = test.times if test.times is not None else rng.integers(0, 1 << 40, len(test))
    order = np.lexsort((when, test.user_rows))
    ordered = test.take(order)
    starts = np.searchsorted(ordered.user_rows, ordered.user_rows)
    first = np.arange(len(ordered)) - starts < KNOWN_LISTENS
    parts = {f"{KNOWN_LISTENS} listens": Split(ordered.take(first), ordered.take(~first), "first listens")}
    parts["four fifths of the listens"] = splits.within_users(test, rng)
    for number, (known_by, split) in enumerate(parts.items()):
        history = split.train.matrix
        truth = to_find(split.test.matrix, None if allow_seen else history, warm)
        users = np.flatnonzero((np.diff(truth.indptr) > 0) & (np.diff(history.indptr) > 0))
        unknown = np.full(len(users), -1, np.int32)
        about = EvaluationSlice("cold user", unknown, truth[users], history[users], warm, allow_seen=allow_seen)
        if not number:
            yield replace(about, history=csr_matrix(about.history.shape, dtype=np.float32))
        newest = last_tracks(split.train, LAST_TRACKS)[users]
        yield replace(about, name=f"cold user, {known_by}", fold_in=True, newest=newest)


def _warm_tracks(train: Interactions) -> Mask:
    return train.listeners > 0


def _nonempty(*slices: EvaluationSlice) -> tuple[EvaluationSlice, ...]:
    return tuple(part for part in slices if len(part.user_rows))


def _repeats(listens: Interactions, catalogue: Catalogue, rng: np.random.Generator, gap_seconds: float) -> Scenario:
    """What will be played next, be it known to the user or not, beside what is new to the user."""
    split = splits.fitting(listens, rng, gap_seconds=gap_seconds)
    train, test = split.train, split.test
    played = as_binary(train.matrix)[test.user_rows, test.track_rows]
    share = float(np.mean(played)) if len(test) else 0.0
    if not share:
        raise DataError(
            f"protocol repeats: nobody hears a track again in the test part of {listens!r}; most likely the log has "
            "one row for each user and track"
        )
    warm = _warm_tracks(train)
    slices = (
        _warm_users("next, heard before or not", train, test, warm, allow_seen=True),
        _warm_users("next, not heard before", train, test, warm, allow_seen=False),
    )
    named = replace(split, name=f"{split.name}; {share:.0%} of its listens are repeats")
    return Scenario("repeats", named, _nonempty(*slices))


def _new_releases(
    listens: Interactions, catalogue: Catalogue, rng: np.random.Generator, gap_seconds: float
) -> Scenario:
    """Tracks first heard in the last weeks, apart for artists with and without tracks in training."""
    split = splits.new_releases(listens, days=NEW_RELEASE_DAYS, gap_seconds=gap_seconds)
    name, needed = "protocol new-releases", f"{NEW_RELEASE_DAYS:g} days"
    if not len(split.train):
        raise DataError(f"{name}: the log has nothing before its last {needed}, which are the test; it is too short")
    train = _core_of(split.train, NEW_RELEASE_CORE)
    if not len(train):
        raise DataError(
            f"{name}: too few listens before the last {needed}: no users with {NEW_RELEASE_CORE} tracks of "
            f"{NEW_RELEASE_CORE} such users"
        )
    if not len(split.test):
        raise DataError(f"{name}: no track of the log was first heard in its last {needed}")
    new = np.zeros(listens.track_count, bool)
    new[split.test.track_rows] = True
    known = splits.known_artists(catalogue, _warm_tracks(train))
    named = np.diff(catalogue.artist_matrix.indptr) > 0
    every, of_known, of_new = (
        _warm_users(name, train, split.test, candidates, allow_seen=False)
        for name, candidates in (
            ("new release", new),
            ("new release, known artist", new & known),
            ("new release, new artist", new & ~known & named),
        )
    )
    slices = (every, _discovery(every, catalogue), of_known, _discovery(of_known, catalogue), of_new)
    return Scenario("new-releases", replace(split, train=train), _nonempty(*slices))


def _discovery(part: EvaluationSlice, catalogue: Catalogue) -> EvaluationSlice:
    """The slice with the tracks of those artists only that the user has not heard; the same tracks are ranked."""
    from scipy.sparse import csr_matrix

    rows, tracks = part.truth.nonzero()
    artists = catalogue.artist_matrix[:, np.unique(catalogue.artist_matrix[part.candidates].indices)]
    heard = as_binary(part.history) @ artists
    familiar = np.asarray(heard[rows].multiply(artists[tracks]).sum(axis=1)).ravel() > 0
    found = (np.diff(artists.indptr)[tracks] > 0) & ~familiar
    truth = csr_matrix((np.ones(found.sum(), np.float32), (rows[found], tracks[found])), shape=part.truth.shape)
    users = np.flatnonzero(np.diff(truth.indptr))
    return replace(
        part,
        name=f"{part.name}, discovery",
        user_rows=part.user_rows[users],
        truth=truth[users],
        history=part.history[users],
    )


def _yambda(listens: Interactions, catalogue: Catalogue, rng: np.random.Generator, gap_seconds: float) -> Scenario:
    """The benchmark of the Yambda data set."""
    split = yambda_benchmark.split(listens)
    train, test = split.train, split.test
    users = np.intersect1d(train.user_rows, test.user_rows).astype(np.int32)
    # Targets without listens in training stay: nobody can find them, and the ideal list has them.
    truth = to_find(test.matrix)
    counts = np.bincount(test.user_rows, minlength=listens.user_count)
    part = EvaluationSlice(
        "yambda",
        users,
        truth[users],
        train.matrix[users],
        _warm_tracks(train),
        allow_seen=True,
        target_counts=counts[users],
    )
    return Scenario("yambda", split, _nonempty(part), yambda_benchmark.published_rows())


def _core_of(listens: Interactions, k: int) -> Interactions:
    """Those of the users who like k tracks or more that k of these users or more like."""
    pairs = listens.likes
    distinct = distinct_pairs(listens.user_rows[pairs], listens.track_rows[pairs], listens.user_count)
    users, tracks = core(*distinct, listens.user_count, listens.track_count, k)
    return listens.take(users[listens.user_rows] & tracks[listens.track_rows])


PROTOCOLS: Mapping[str, Protocol] = {
    "auto": Protocol(
        "temporal where the log allows it, else within-user",
        tuple(Clock),
        lambda listens, rng, gap_seconds: splits.fitting(listens, rng, gap_seconds=gap_seconds),
    ),
    "temporal": Protocol(
        "the latest fifth of all listens is the test",
        splitter=lambda listens, rng, gap_seconds: splits.by_time(listens, gap_seconds=gap_seconds),
    ),
    "within-user": Protocol(
        "the last fifth of each user's listens is the test",
        (Clock.TIME, Clock.ORDER),
        lambda listens, rng, gap_seconds: splits.by_user(listens),
        has_gap=False,
    ),
    "random": Protocol(
        "a fifth of the pairs of a user and a track, by chance, is the test",
        tuple(Clock),
        lambda listens, rng, gap_seconds: splits.by_chance(listens, rng),
        has_gap=False,
    ),
    "repeats": Protocol(
        "what will be played next, heard before or not, beside what is new to the user",
        (Clock.TIME, Clock.ORDER),
        scenario=_repeats,
    ),
    "new-releases": Protocol("tracks first heard in the last four weeks", scenario=_new_releases),
    "yambda": Protocol("the benchmark of the Yambda data set", scenario=_yambda, has_gap=False, takes_cleaned=False),
}
"""name -> protocol"""
