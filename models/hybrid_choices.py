"""How the hybrid weighs what it knows, chosen on a validation part of the listens.

A fifth of the tracks is held out whole, part of it as whole artists, so that tracks of new artists are judged by
their sound alone; a tenth is thinned to 1, 2, 5 or 10 listeners; of the remaining entries a fifth is held out.
One ALS fit on what is left serves all choices, made one after the other, each by NDCG of the slice it is about:

    sound map                 tracks of new artists       profile   all held-out tracks
    artist terms, affinity    tracks of known artists     tau       thinned tracks
    level                     all tracks in one list: the share of cold ones

Shapes: B users judged, C candidate tracks, T tracks, F factors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .als import ALS, ALSOptions
from .catalogue import Catalogue
from .crossfade import Crossfade
from .listens import Listens
from .metrics import hits, ndcg, recall, relevant_counts
from .prior import ContentPrior, Hearing, PriorOptions, by_sound_alone, hear
from .recommender import best
from .splits import known_artists, thinned

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

PROFILE_FEATURES = 64
THINNED_TO = (1, 2, 5, 10)

_USERS_JUDGED = 1500
_CELLS = 1 << 25
_SOUND_MAPS = (
    (PriorOptions(sound="linear"), (30.0, 300.0)),
    *((PriorOptions(scale=scale), (1.0, 4.0, 16.0, 64.0)) for scale in (1.0, 2.0, 4.0)),
)
_SHRINKAGES = (None, 0.05, 0.3, 1.0)
_ATTENTIONS = (0.0, 1.0, 3.0)
_AFFINITIES = (0.0, 0.1, 0.2, 0.4)
_RARITIES = (0.0, 0.3, 0.5)
_PROFILES = (0.0, 0.25, 0.5, 1.0)
_AIM = 0.75
"""Of the share, since the final prior knows about twice as many listens, and its vectors are longer for it."""
_TAUS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 48.0)

Option = TypeVar("Option")


@dataclass(frozen=True, kw_only=True)
class Choices:
    prior: PriorOptions = field(default_factory=PriorOptions)
    crossfade: Crossfade = field(default_factory=Crossfade)
    affinity: float = 0.1
    """what the logarithm of a user's count of the artist adds to a preference between 0 and 1"""
    rarity: float = 0.3
    """how much less it adds for artists with many listens: a power of their listens"""
    profile: float = 0.0
    """what the mean likeness (0 … 1) to the sound of the user's tracks adds"""

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """Back from `dataclasses.asdict`."""
        prior, crossfade = PriorOptions(**facts["prior"]), Crossfade(**facts["crossfade"])
        return cls(**{**facts, "prior": prior, "crossfade": crossfade})


@dataclass(frozen=True, eq=False)
class Judges:
    """B users and what each of them is to be recommended."""

    rows: Rows
    """[B] of users"""
    truth: csr_matrix
    """[B, T]"""

    def recalls(self, scores: Matrix, candidates: Rows) -> NDArray[np.float64]:
        """[B] recall among the first 20 (a fifth, where C < 100); NaN where there is nothing to find."""
        hits, relevant = self._hits(scores, candidates)
        return recall(hits, relevant, hits.shape[1])

    def gains(self, scores: Matrix, candidates: Rows) -> NDArray[np.float64]:
        """[B] NDCG of the same list: finer than recall where there are few candidates."""
        hits, relevant = self._hits(scores, candidates)
        return ndcg(hits, relevant, hits.shape[1])

    def _hits(self, scores: Matrix, candidates: Rows) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        ids, _ = best(scores, max(1, min(20, len(candidates) // 5)))
        wanted = self.truth[:, candidates].tocsr()
        return hits(ids, wanted), relevant_counts(wanted)


@dataclass(frozen=True, eq=False)
class Validation:
    """One ALS fit on the inner training part, and the tracks that were kept from it."""

    als: ALS
    train: Listens
    catalogue: Catalogue
    warm: Mask
    """[T] with listeners in the inner training part"""
    new: Rows
    """cold tracks of new artists, or of none"""
    known: Rows
    """cold tracks of known artists"""
    thin: dict[int, Rows]
    """listeners -> tracks thinned to as many"""
    others: Rows
    """warm tracks that were not thinned"""
    truth: csr_matrix
    """[U, T] what was held out"""
    rng: np.random.Generator

    def judges(self, candidates: Rows) -> Judges:
        """Users with something to find among the candidates, a sample where there are many."""
        wanted = np.diff(self.truth[:, candidates].tocsr().indptr) > 0
        users = np.flatnonzero(wanted & self.als.history.warm_users)
        most = min(_USERS_JUDGED, max(100, _CELLS // max(len(candidates), 1)))
        if len(users) > most:
            users = np.sort(self.rng.choice(users, most, replace=False))
        return Judges(users, self.truth[users])


def choose(
    listens: Listens, catalogue: Catalogue, als: ALSOptions, rng: np.random.Generator
) -> tuple[Choices, dict[str, float]]:
    """The choices and what was measured; the defaults and nothing where there is too little to judge by."""
    from threadpoolctl import threadpool_limits

    # Many small products: threads below them cost more than they give.
    with threadpool_limits(limits=1, user_api="blas"):
        return _choose(listens, catalogue, als, rng)


def _choose(
    listens: Listens, catalogue: Catalogue, als: ALSOptions, rng: np.random.Generator
) -> tuple[Choices, dict[str, float]]:
    held = hold_out(listens, catalogue, als, rng)
    if held is None:
        return Choices(), {}
    figures: dict[str, float] = {}
    options, hearing = _sound_map(held, figures)
    prior, affinity, power = _artist_terms(held, options, hearing, figures)
    vectors = prior.of_catalogue
    sound = prior.heard_features[:, :PROFILE_FEATURES]
    choices = Choices(prior=prior.options, affinity=affinity, rarity=power)
    choices = replace(choices, profile=_profile(held, vectors, sound, choices, figures))
    tau = _tau(held, vectors, sound, choices, figures)
    choices = replace(choices, crossfade=Crossfade(tau))
    level = _level(held, vectors, sound, choices, figures)
    return replace(choices, crossfade=Crossfade(tau, level)), figures


def artist_counts(liked: csr_matrix, artists: csr_matrix, tracks_of: csr_matrix | None = None) -> csr_matrix:
    """[B, T] the logarithm of 1 + the number of tracks by a track's artists that a user listened to.

    Shapes: liked [B, T], artists [T, A], tracks_of [A, T] (its transpose, where it is at hand).
    """
    once = liked.copy()
    once.data = np.ones_like(once.data)
    shared = ((once @ artists) @ (artists.T if tracks_of is None else tracks_of)).tocsr()
    shared.data = np.log1p(shared.data)
    return shared


def rarity(artists: csr_matrix, listeners: NDArray[np.integer], power: float) -> Matrix:
    """[T] (listens of the track's artists / their mean) ** -power: who hears a rare artist chose to.

    The mean is over listens, so that the typical count keeps its weight. Shapes: artists [T, A], listeners [T].
    """
    listens = artists.T @ listeners.astype(np.float32)
    mean = (listens * listens).sum() / max(listens.sum(), 1)
    found = np.maximum(artists @ listens, 1) / max(mean, 1)
    return np.asarray(found**-power, np.float32)


def hold_out(
    listens: Listens, catalogue: Catalogue, options: ALSOptions, rng: np.random.Generator
) -> Validation | None:
    """An inner training part, fitted, and what is kept from it; None where there is too little of either."""
    listeners = listens.listeners
    warm = np.flatnonzero(listeners > 0)
    if len(warm) < 50 or len(listens) < 500:
        return None
    cold = _some_tracks(catalogue, warm, rng)
    room = np.flatnonzero((listeners >= 3) & ~cold)
    chosen = rng.permutation(room)[: max(1, len(warm) // 10)]
    quota = np.full(listens.track_count, -1, np.int64)
    steps = np.array(THINNED_TO)
    for track in chosen:
        quota[track] = rng.choice(steps[steps < listeners[track]])
    quota[cold] = 0
    parts = thinned(listens, quota, rng)
    rest = quota[parts.train.track_rows] < 0
    kept = ~rest | (rng.random(len(parts.train)) >= 0.2)
    train = parts.train.take(kept)
    held = np.concatenate([parts.test.matrix.data, parts.train.take(~kept).matrix.data]) > 0
    if not held.any() or not np.any(train.weights > 0):
        return None
    truth = (parts.test.matrix + parts.train.take(~kept).matrix > 0).astype(np.float32).tocsr()
    # A pair with repeated listens may be in both parts; what is seen is not to be found again.
    truth = (truth - truth.multiply(train.matrix > 0)).tocsr()
    truth.eliminate_zeros()
    als = ALS(options).fit(train)
    inner = als.history.warm_tracks
    known = known_artists(catalogue, inner)
    thin = {n: np.flatnonzero(quota == n) for n in THINNED_TO}
    return Validation(
        als,
        train,
        catalogue,
        inner,
        np.flatnonzero(cold & ~known),
        np.flatnonzero(cold & known),
        {n: tracks for n, tracks in thin.items() if len(tracks) >= 10},
        np.flatnonzero(inner & (quota < 0)),
        truth,
        rng,
    )


def _some_tracks(catalogue: Catalogue, warm: Rows, rng: np.random.Generator) -> Mask:
    """[T] a twentieth of the warm tracks as whole artists, and three of the others one by one."""
    goal = max(2, len(warm) // 20)
    cold = np.zeros(len(catalogue), bool)
    is_warm = np.zeros(len(catalogue), bool)
    is_warm[warm] = True
    tracks_of = catalogue.artist_matrix.T.tocsr()
    for artist in rng.permutation(tracks_of.shape[0]):
        if cold.sum() >= goal:
            break
        mine = tracks_of.indices[tracks_of.indptr[artist] : tracks_of.indptr[artist + 1]]
        mine = mine[is_warm[mine]]
        # One artist with half of the catalogue would leave nothing to learn from.
        if len(mine) <= goal:
            cold[mine] = True
    left = warm[~cold[warm]]
    cold[rng.permutation(left)[: 3 * goal]] = True
    return cold


def _sound_map(held: Validation, figures: dict[str, float]) -> tuple[PriorOptions, Hearing]:
    """Judged by tracks of new artists: for the others an artist's name says what its sound does."""
    silent = PriorOptions(sound="none")
    nothing = hear(held.catalogue, held.warm, silent)
    candidates = held.new[held.catalogue.has_sound[held.new]]
    judges = held.judges(candidates)
    if len(candidates) < 10 or len(judges.rows) < 20:
        if not held.catalogue.has_sound.any():
            return silent, nothing
        return PriorOptions(), hear(held.catalogue, held.warm, PriorOptions())
    users = held.als.user_factors[judges.rows]
    # Equal predictions rank by row number, which may say something (rows in order of popularity): no track is equal.
    blank = judges.gains(held.rng.random((len(users), len(candidates)), np.float32), candidates)
    chosen, hearing, reached = silent, nothing, blank
    for options, penalties in _SOUND_MAPS:
        heard = hear(held.catalogue, held.warm, options)
        predicted = by_sound_alone(held.als.track_factors, held.warm, heard, penalties, candidates)
        for penalty, vectors in zip(penalties, predicted, strict=True):
            gains = judges.gains(users @ vectors.T, candidates)
            if np.nanmean(gains) > np.nanmean(reached) and _sure(gains - blank):
                chosen, hearing, reached = replace(options, penalty=penalty), heard, gains
    figures["ndcg_new_artist"] = float(np.nanmean(reached))
    return chosen, hearing


def _artist_terms(
    held: Validation, options: PriorOptions, hearing: Hearing, figures: dict[str, float]
) -> tuple[ContentPrior, float, float]:
    """The prior, the affinity and its rarity; the less an artist's mean is shrunk, the less a count has to add."""
    prior = ContentPrior(options).fit(held.als.track_factors, held.warm, held.catalogue, hearing)
    judges = held.judges(held.known)
    default = Choices().rarity
    if len(held.known) < 10 or len(judges.rows) < 20:
        return prior, 0.0, default
    users = held.als.user_factors[judges.rows]
    counts = _counts(held, judges, held.known)
    rare = {power: rarity(held.catalogue.artist_matrix, held.train.listeners, power)[held.known] for power in _RARITIES}

    @lru_cache(maxsize=1)
    def cells(shrinkage: float | None, attention: float) -> Matrix:
        return np.asarray(users @ prior.with_artists(shrinkage, attention).of_tracks(held.known).T)

    def measure(shrinkage: float | None, attention: float, affinity: float, power: float) -> NDArray[np.float64]:
        known = cells(shrinkage, attention)
        return judges.gains(known + (affinity * rare[power]) * counts if affinity else known, held.known)

    pairs = product(_SHRINKAGES, _AFFINITIES)
    shrinkage, affinity = _best_of(
        ((pair, measure(pair[0], 0.0, pair[1], default)) for pair in pairs), figures, "known_artist"
    )
    power = default
    if affinity:
        powers = ((p, measure(shrinkage, 0.0, affinity, p)) for p in _RARITIES)
        power = _best_of(powers, figures, "known_artist")
    attention = 0.0
    if options.sound != "none" and shrinkage is not None:
        measured = ((a, measure(shrinkage, a, affinity, power)) for a in _ATTENTIONS)
        attention = _best_of(measured, figures, "known_artist")
    return prior.with_artists(shrinkage, attention), affinity, power


def _profile(held: Validation, vectors: Matrix, sound: Matrix, choices: Choices, figures: dict[str, float]) -> float:
    candidates = np.sort(np.concatenate([held.new, held.known]))
    judges = held.judges(candidates)
    if not sound.shape[1] or len(candidates) < 10 or len(judges.rows) < 20:
        return 0.0
    cells = held.als.user_factors[judges.rows] @ vectors[candidates].T
    likeness = _likeness(held, judges, sound, candidates)
    unit = float(cells.std(axis=1).mean() / max(likeness.std(axis=1).mean(), 1e-9))
    cells += _familiarity(held, judges, choices, candidates)
    measured = ((c * unit, judges.gains(cells + c * unit * likeness, candidates)) for c in _PROFILES)
    return _best_of(measured, figures, "cold")


def _tau(held: Validation, vectors: Matrix, sound: Matrix, choices: Choices, figures: dict[str, float]) -> float:
    """By the mean recall over the numbers of listeners."""
    totals = np.zeros(len(_TAUS))
    for n, tracks in held.thin.items():
        judges = held.judges(tracks)
        if len(judges.rows) < 10:
            continue
        users = held.als.user_factors[judges.rows]
        by_als = users @ held.als.track_factors[tracks].T
        by_prior = _prior_scores(held, judges, vectors, sound, choices, tracks)
        seen = held.train.matrix[judges.rows][:, tracks].toarray() != 0
        by_als[seen] = by_prior[seen] = -1e9
        listeners = np.array([n])
        for place, tau in enumerate(_TAUS):
            w = Crossfade(tau).weights(listeners)
            totals[place] += np.nanmean(judges.gains(w * by_als + (1 - w) * by_prior, tracks))
        figures[f"recall_als_{n}_listeners"] = float(np.nanmean(judges.recalls(by_als, tracks)))
        figures[f"recall_prior_{n}_listeners"] = float(np.nanmean(judges.recalls(by_prior, tracks)))
    return _TAUS[int(totals.argmax())] if totals.any() else Crossfade().tau


def _level(held: Validation, vectors: Matrix, sound: Matrix, choices: Choices, figures: dict[str, float]) -> float:
    """The gain at which cold tracks get the share of the lists that they have of the held-out listens."""
    cold = np.concatenate([held.new, held.known])
    everything = np.concatenate([cold, held.others])
    judges = held.judges(everything)
    if len(cold) < 10 or len(judges.rows) < 20:
        return 1.0
    users = held.als.user_factors[judges.rows]
    listeners = held.train.listeners[held.others]
    w = choices.crossfade.weights(listeners)
    prior = _prior_scores(held, judges, vectors, sound, choices, held.others)
    warm_scores = w * (users @ held.als.track_factors[held.others].T) + (1 - w) * prior
    warm_scores[held.train.matrix[judges.rows][:, held.others].toarray() != 0] = -np.inf
    cold_scores = _prior_scores(held, judges, vectors, sound, choices, cold)
    k = max(1, min(20, len(everything) // 5))
    # The gain moves warm tracks little: the first of them are among the first ten times as many without it.
    rows, warm_best = best(warm_scores, 10 * k)
    listeners = listeners[rows]
    _, cold_best = best(cold_scores, k)
    wanted = judges.truth[:, cold].nnz / max(judges.truth[:, everything].nnz, 1)
    low, high = np.log(1 / 16), np.log(16)
    for _ in range(12):
        middle = (low + high) / 2
        crossfade = replace(choices.crossfade, level=float(np.exp(middle)))
        gain = crossfade.gains(listeners)
        ids, _ = best(np.hstack([warm_best * gain, cold_best * np.float32(crossfade.level)]), k)
        share = (ids >= warm_best.shape[1]).sum() / max((ids >= 0).sum(), 1)
        low, high = (middle, high) if share < _AIM * wanted else (low, middle)
    figures["cold_share_of_listens"] = float(wanted)
    figures["recall_warm_als"] = float(
        np.nanmean(judges.recalls(_unseen(users @ held.als.track_factors[held.others].T, warm_scores), held.others))
    )
    figures["recall_warm"] = float(np.nanmean(judges.recalls(warm_scores, held.others)))
    return float(np.exp((low + high) / 2))


def _prior_scores(
    held: Validation, judges: Judges, vectors: Matrix, sound: Matrix, choices: Choices, tracks: Rows
) -> Matrix:
    """[B, C] what is predicted for the tracks without a look at their listeners."""
    cells = np.asarray(held.als.user_factors[judges.rows] @ vectors[tracks].T, np.float32)
    if choices.affinity:
        cells += _familiarity(held, judges, choices, tracks)
    if choices.profile:
        cells += choices.profile * _likeness(held, judges, sound, tracks)
    return cells


def _familiarity(held: Validation, judges: Judges, choices: Choices, tracks: Rows) -> Matrix:
    """[B, C] what the user's counts of the artists add."""
    rare = rarity(held.catalogue.artist_matrix, held.train.listeners, choices.rarity)[tracks]
    return (choices.affinity * rare) * _counts(held, judges, tracks)


def _counts(held: Validation, judges: Judges, tracks: Rows) -> Matrix:
    liked = held.als.history.liked[judges.rows]
    artists = held.catalogue.artist_matrix
    liked = liked.copy()
    liked.data = np.ones_like(liked.data)
    return np.asarray(np.log1p(((liked @ artists) @ artists[tracks].T).toarray()), np.float32)


def _likeness(held: Validation, judges: Judges, sound: Matrix, tracks: Rows) -> Matrix:
    liked = held.als.history.liked[judges.rows]
    counts = np.maximum(np.diff(liked.indptr), 1).astype(np.float32)
    liked = liked.copy()
    liked.data = np.ones_like(liked.data)
    return np.asarray(((liked @ sound) / counts[:, None]) @ sound[tracks].T, np.float32)


def _unseen(scores: Matrix, like: Matrix) -> Matrix:
    return np.where(np.isfinite(like), scores, -np.inf).astype(np.float32)


def _best_of(measured: Iterable[tuple[Option, NDArray[np.float64]]], figures: dict[str, float], name: str) -> Option:
    """The option with the best mean; the first one unless another is better for sure."""
    options = [(option, recalls) for option, recalls in measured]
    first = options[0][1]
    chosen, reached = options[0]
    for option, recalls in options[1:]:
        if np.nanmean(recalls) > np.nanmean(reached) and _sure(recalls - first):
            chosen, reached = option, recalls
    figures[f"ndcg_{name}"] = float(np.nanmean(reached))
    return chosen


def _sure(gains: NDArray[np.float64]) -> bool:
    """Whether paired gains are above 0 by more than two standard errors."""
    there = gains[~np.isnan(gains)]
    return len(there) > 1 and there.mean() > 2 * there.std(ddof=1) / np.sqrt(len(there))
