"""The choice of the hybrid's options, on tracks and entries that are kept from an inner training part.

A fifth of the tracks is held out whole, part of it as whole artists, so that tracks of new artists are placed by their
sound alone; a tenth of those with three listeners or more is thinned to 1, 2, 5 or 10; of the remaining entries a fifth
is held out. One ALS fit serves all options, chosen one after the other, each by NDCG of the slice it is about:

    sound map                 tracks of new artists       debias, profile   all held-out tracks
    artist terms, affinity    tracks of known artists     cold gain         all tracks in one list
    tau                       thinned tracks, among the values with which warm tracks are recommended best

Users are folded in as the hybrid does it. The taus that remain are within one standard error of the best for warm
tracks, in one list of all: without that, what is best for tracks of few listeners among themselves would take from the
many who are looking for others. The cold gain is the one nearest to 1 within one standard error of the best.

Shapes: B users of a slice, C candidate tracks of it, T tracks, U users, F factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats, Ids, Mask, Rows, one_blas_thread, top_k
from ..catalogue import Catalogue
from ..evaluation.metrics import hits, ndcg, recall, relevant_counts
from ..evaluation.splits import known_artists, thinned
from ..interactions import Interactions, sample_of_users, to_find
from ..recommenders.als import ALS, ALSOptions
from .crossfade import PROFILE_FEATURES, Crossfade, HybridOptions, artist_counts, artist_rarity, sound_profiles
from .prior import CatalogueSound, ContentPrior, PriorOptions, SoundRegression

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Values = NDArray[np.float64]
Option = TypeVar("Option")

_SOUND_MAPS = tuple((PriorOptions(scale=scale), (1.0, 4.0, 16.0, 64.0)) for scale in (1.0, 2.0, 4.0))
_SHRINKAGES = (None, 0.05, 0.3, 1.0)
_ATTENTIONS = (0.0, 1.0, 3.0)
_AFFINITIES = (0.0, 0.1, 0.2, 0.4)
_RARITIES = (0.0, 0.3, 0.5)
_PROFILES = (0.0, 0.25, 0.5, 1.0)
_DEBIASES = (0.0, 0.5, 1.0)
_TAUS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_COLD_GAINS = tuple(2.0 ** (step / 4) for step in range(-8, 13))
_THINNED_TO = (1, 2, 5, 10)
_LEAST_WARM, _LEAST_LISTENS = 30, 500
_LEAST_TRACKS, _LEAST_USERS = 5, 20
"""of a slice that is measured"""
_MOST_LISTENS = 4_000_000
"""of a longer log, users are left out by chance: what is chosen is about tracks of few listeners"""
_MOST_USERS = 1500
_CELLS = 1 << 25


@dataclass(frozen=True, eq=False)
class Validation:
    """One ALS fit on the inner training part, and the tracks that were kept from it."""

    als: ALS
    train: Interactions
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

    def slice(self, candidates: Rows) -> Slice:
        """Users with something to find among the candidates, a sample where there are many."""
        relevant = np.diff(self.truth[:, candidates].tocsr().indptr) > 0
        users = np.flatnonzero(relevant & self.als.history.warm_users)
        most = min(_MOST_USERS, max(100, _CELLS // max(len(candidates), 1)))
        if len(users) > most:
            users = np.sort(self.rng.choice(users, most, replace=False))
        return Slice(self, users, candidates)


@dataclass(frozen=True, eq=False)
class Slice:
    """B users and C tracks, some of which they are to be recommended."""

    held: Validation
    users: Rows
    """[B]"""
    candidates: Rows
    """[C]"""

    @property
    def is_small(self) -> bool:
        """Whether there is too little to measure."""
        return len(self.candidates) < _LEAST_TRACKS or len(self.users) < _LEAST_USERS

    @cached_property
    def factors(self) -> Floats:
        """[B, F] of the users"""
        return self.held.als.fold_in(self.held.train.matrix[self.users])

    @property
    def by_als(self) -> Floats:
        """[B, C]"""
        return np.asarray(self.factors @ self.held.als.track_factors[self.candidates].T)

    @property
    def seen(self) -> Mask:
        """[B, C]"""
        return np.asarray(self.held.train.matrix[self.users][:, self.candidates].toarray() != 0)

    @cached_property
    def truth(self) -> csr_matrix:
        """[B, C]"""
        return self.held.truth[self.users][:, self.candidates].tocsr()

    @cached_property
    def artist_counts(self) -> Floats:
        """[B, C]"""
        artists = self.held.catalogue.artist_matrix
        counts = artist_counts(self._liked, artists, artists[self.candidates].T)
        return np.asarray(counts.toarray())

    def by_artist(self, affinity: float, rarity: float) -> Floats:
        """[B, C] what the user's counts of the artists add."""
        rare = artist_rarity(self.held.catalogue.artist_matrix, self.held.train.listeners, rarity)
        return (affinity * rare[self.candidates]) * self.artist_counts

    def similarity(self, sound: Floats) -> Floats:
        """[B, C] to the sound [T, E] of the user's tracks."""
        return np.asarray(sound_profiles(self._liked, sound) @ sound[self.candidates].T)

    def recall(self, scores: Floats) -> Values:
        """[B] recall among the first 20 (a fifth, where C < 100); NaN where there is nothing to find."""
        return recall(*self._hits(scores))

    def ndcg(self, scores: Floats) -> Values:
        """[B] NDCG of the same list: finer than recall where there are few candidates."""
        return ndcg(*self._hits(scores))

    def ndcg_of(self, ids: Ids) -> Values:
        """[B] of lists [B, k] of columns."""
        return ndcg(hits(ids, self.truth), relevant_counts(self.truth), ids.shape[1])

    @property
    def list_length(self) -> int:
        return max(1, min(20, len(self.candidates) // 5))

    def _hits(self, scores: Floats) -> tuple[Mask, NDArray[np.int64], int]:
        ids, _ = top_k(scores, self.list_length)
        return hits(ids, self.truth), relevant_counts(self.truth), ids.shape[1]

    @property
    def _liked(self) -> csr_matrix:
        return self.held.als.history.liked[self.users]


def tuned_options(
    listens: Interactions, catalogue: Catalogue, als: ALSOptions, rng: np.random.Generator
) -> tuple[HybridOptions, dict[str, float]]:
    """The options and what was measured; the defaults and nothing where there is too little to measure."""
    listens = sample_of_users(listens, _MOST_LISTENS, rng)
    with one_blas_thread():
        held = hold_out(listens, catalogue, als, rng)
        if held is None:
            return HybridOptions(), {}
        tuning = _Tuning(held)
        return tuning.options, tuning.figures


def hold_out(
    listens: Interactions, catalogue: Catalogue, options: ALSOptions, rng: np.random.Generator
) -> Validation | None:
    """An inner training part, fitted, and what is kept from it; None where there is too little of either."""
    listeners = listens.listeners
    warm = np.flatnonzero(listeners > 0)
    if len(warm) < _LEAST_WARM or len(listens) < _LEAST_LISTENS:
        return None
    cold = _cold_tracks(catalogue, warm, rng)
    room = np.flatnonzero((listeners >= 3) & ~cold)
    quota = np.full(listens.track_count, -1, np.int64)
    steps = np.array(_THINNED_TO)
    for track in rng.permutation(room)[: max(1, len(room) // 10)]:
        quota[track] = rng.choice(steps[steps < listeners[track]])
    quota[cold] = 0
    parts = thinned(listens, quota, rng)
    rest = quota[parts.train.track_rows] < 0
    kept = ~rest | (rng.random(len(parts.train)) >= 0.2)
    train = parts.train.take(kept)
    # A pair with repeated listens may be in both parts; what is seen is not to be found again.
    truth = to_find(parts.test.matrix + parts.train.take(~kept).matrix, train.matrix)
    if not truth.nnz or not np.any(train.matrix.data > 0):
        return None
    als = ALS(options).fit(train)
    inner = als.history.warm_tracks
    known = known_artists(catalogue, inner)
    thin: dict[int, Rows] = {
        n: tracks for n in _THINNED_TO if len(tracks := np.flatnonzero(quota == n)) >= _LEAST_TRACKS
    }
    cold_new, cold_known = np.flatnonzero(cold & ~known), np.flatnonzero(cold & known)
    others = np.flatnonzero(inner & (quota < 0))
    return Validation(als, train, catalogue, inner, cold_new, cold_known, thin, others, truth, rng)


def _cold_tracks(catalogue: Catalogue, warm: Rows, rng: np.random.Generator) -> Mask:
    """[T] a twentieth of the warm tracks as whole artists, and three of the others one by one."""
    goal = max(2, len(warm) // 20)
    cold = np.zeros(len(catalogue), bool)
    is_warm = np.zeros(len(catalogue), bool)
    is_warm[warm] = True
    tracks_of = catalogue.artist_matrix.T.tocsr()
    for artist in rng.permutation(tracks_of.shape[0]):
        if cold.sum() >= goal:
            break
        tracks = tracks_of.indices[tracks_of.indptr[artist] : tracks_of.indptr[artist + 1]]
        tracks = tracks[is_warm[tracks]]
        # One artist with half of the catalogue would leave nothing to learn from.
        if len(tracks) <= goal:
            cold[tracks] = True
    left = warm[~cold[warm]]
    cold[rng.permutation(left)[: 3 * goal]] = True
    return cold


class _Tuning:
    """The options, chosen one after the other, and the figures measured on the way."""

    def __init__(self, held: Validation) -> None:
        self._held = held
        self.figures: dict[str, float] = {}
        prior, affinity, rarity = self._artist_terms(*self._sound_map())
        self.options = HybridOptions(prior=prior.options, affinity=affinity, rarity=rarity)
        prior = self._debiased(prior)
        self.options = replace(self.options, prior=prior.options)
        self._vectors, self._sound = prior.of_catalogue, prior.near_features[:, :PROFILE_FEATURES]
        self._predicted = prior.can_predict(held.catalogue.has_sound, held.catalogue.artist_matrix)
        """[T]"""
        self.options = replace(self.options, profile=self._profile())
        self.options = replace(self.options, crossfade=Crossfade(self._tau()))
        self.options = replace(self.options, crossfade=self._with_cold_gain())

    def _sound_map(self) -> tuple[PriorOptions, CatalogueSound]:
        """Measured on tracks of new artists: for the others the artist's other tracks predict what sound does."""
        als, warm, catalogue = self._held.als, self._held.warm, self._held.catalogue
        chosen = PriorOptions(sound="none")
        part = self._held.slice(self._held.new[catalogue.has_sound[self._held.new]])
        if part.is_small:
            chosen = PriorOptions() if catalogue.has_sound.any() else chosen
            return chosen, CatalogueSound.of(catalogue, warm, chosen)
        # Equal predictions rank by row number, which may be the order of popularity: random ones have no ties.
        blank = part.ndcg(self._held.rng.random((len(part.users), len(part.candidates)), np.float32))
        chosen_sound, best = CatalogueSound.of(catalogue, warm, chosen), blank
        for options, penalties in _SOUND_MAPS:
            sound = CatalogueSound.of(catalogue, warm, options)
            regression = SoundRegression(als.track_factors, warm, catalogue, sound)
            for penalty in penalties:
                vectors = regression.mean + sound.features[part.candidates] @ regression.weights(penalty)
                measured = part.ndcg(part.factors @ vectors.T)
                if np.nanmean(measured) > np.nanmean(best) and _is_significant(measured - blank):
                    chosen, chosen_sound, best = replace(options, penalty=penalty), sound, measured
        self.figures["ndcg_new_artist"] = float(np.nanmean(best))
        return chosen, chosen_sound

    def _artist_terms(self, options: PriorOptions, sound: CatalogueSound) -> tuple[ContentPrior, float, float]:
        """The prior, the affinity and its rarity; the less an artist's mean is shrunk, the less a count has to add."""
        prior = ContentPrior(options).fit(self._held.als.track_factors, self._held.warm, self._held.catalogue, sound)
        part, rarity, attention = self._held.slice(self._held.known), HybridOptions().rarity, 0.0
        if part.is_small:
            return prior, 0.0, rarity

        @lru_cache(maxsize=1)
        def by_prior(shrinkage: float | None, attention: float) -> Floats:
            return np.asarray(
                part.factors @ prior.with_options(shrinkage=shrinkage, attention=attention).of_tracks(part.candidates).T
            )

        def measured(shrinkage: float | None, attention: float, affinity: float, rarity: float) -> Values:
            cells = by_prior(shrinkage, attention)
            return part.ndcg(cells + part.by_artist(affinity, rarity) if affinity else cells)

        pairs = ((pair, measured(pair[0], 0.0, pair[1], rarity)) for pair in product(_SHRINKAGES, _AFFINITIES))
        shrinkage, affinity = self._best_of(pairs, "known_artist")
        if affinity:
            rarity = self._best_of(((r, measured(shrinkage, 0.0, affinity, r)) for r in _RARITIES), "known_artist")
        if options.sound != "none" and shrinkage is not None:
            attentions = ((a, measured(shrinkage, a, affinity, rarity)) for a in _ATTENTIONS)
            attention = self._best_of(attentions, "known_artist")
        return prior.with_options(shrinkage=shrinkage, attention=attention), affinity, rarity

    def _debiased(self, prior: ContentPrior) -> ContentPrior:
        part = self._held.slice(self._cold)
        if part.is_small:
            return prior

        def measured(debias: float) -> Values:
            vectors = prior.with_options(debias=debias).of_tracks(part.candidates)
            return part.ndcg(part.factors @ vectors.T + part.by_artist(self.options.affinity, self.options.rarity))

        return prior.with_options(debias=self._best_of(((d, measured(d)) for d in _DEBIASES), "cold"))

    def _profile(self) -> float:
        part = self._held.slice(self._cold)
        if not self._sound.shape[1] or part.is_small:
            return 0.0
        by_taste, similarity = part.factors @ self._vectors[part.candidates].T, part.similarity(self._sound)
        unit = float(by_taste.std(axis=1).mean() / max(similarity.std(axis=1).mean(), 1e-9))
        cells = by_taste + part.by_artist(self.options.affinity, self.options.rarity)
        return self._best_of(((p * unit, part.ndcg(cells + p * unit * similarity)) for p in _PROFILES), "cold")

    def _tau(self) -> float:
        """By the mean NDCG over the numbers of listeners, of those that are good for warm tracks."""
        warm = self._held.slice(self._held.others)
        if warm.is_small:
            return Crossfade().tau
        of_warm = np.array([warm.ndcg(cells) for cells in self._crossfaded(warm)])
        best = int(np.nanmean(of_warm, axis=1).argmax())
        good = [place for place in range(len(_TAUS)) if _is_as_good(of_warm[place], of_warm[best])]
        self.figures["ndcg_warm_als"] = float(np.nanmean(warm.ndcg(_unseen(warm, warm.by_als))))
        totals = np.zeros(len(_TAUS))
        for n, tracks in self._held.thin.items():
            # Where nothing is predicted, the crossfade of tracks of the same n does not change their order.
            part = self._held.slice(tracks[self._predicted[tracks]])
            if part.is_small:
                continue
            totals += [np.nanmean(part.ndcg(cells)) for cells in self._crossfaded(part)]
            self.figures[f"recall_als_{n}_listeners"] = float(np.nanmean(part.recall(_unseen(part, part.by_als))))
            by_prior = _unseen(part, self._by_prior(part))
            self.figures[f"recall_prior_{n}_listeners"] = float(np.nanmean(part.recall(by_prior)))
        chosen = max(good, key=lambda place: float(totals[place])) if totals.any() else best
        self.figures["ndcg_warm"] = float(np.nanmean(of_warm[chosen]))
        return _TAUS[chosen]

    def _crossfaded(self, part: Slice) -> Iterator[Floats]:
        """[B, C] scores of warm tracks by each of the taus."""
        by_als, by_prior = part.by_als, self._by_prior(part)
        listeners = self._held.train.listeners[part.candidates]
        for tau in _TAUS:
            w = Crossfade(tau).weights(listeners)
            yield _unseen(part, w * by_als + (1 - w) * by_prior)

    def _with_cold_gain(self) -> Crossfade:
        """By the NDCG of warm and cold tracks in one list."""
        held, crossfade = self._held, self.options.crossfade
        rows = self._cold[self._predicted[self._cold]]
        everything = held.slice(np.concatenate([rows, held.others]))
        cold, warm = replace(everything, candidates=rows), replace(everything, candidates=held.others)
        if cold.is_small:
            return crossfade
        w = crossfade.weights(held.train.listeners[held.others])
        # A gain keeps the order of the cold ones and that of the warm ones: the first of each are all that counts.
        k = everything.list_length
        cold_ids, cold_scores = top_k(self._by_prior(cold), k)
        warm_ids, warm_scores = top_k(_unseen(warm, w * warm.by_als + (1 - w) * self._by_prior(warm)), k)
        ids = np.hstack([cold_ids, np.where(warm_ids < 0, -1, len(rows) + warm_ids)])

        def measured(gain: float) -> Values:
            first, _ = top_k(np.hstack([cold_scores * np.float32(gain), warm_scores]), k, rows=ids)
            return everything.ndcg_of(first)

        found = {gain: measured(gain) for gain in _COLD_GAINS}
        best = max(found.values(), key=lambda values: float(np.nanmean(values)))
        # The nearest to 1, since too large a gain costs more than one too small: all lists fill with cold tracks.
        chosen = min((gain for gain in found if _is_as_good(found[gain], best)), key=lambda gain: abs(np.log(gain)))
        self.figures["ndcg_all"] = float(np.nanmean(found[chosen]))
        self.figures["cold_share_of_listens"] = float(cold.truth.nnz / max(everything.truth.nnz, 1))
        return replace(crossfade, cold_gain=chosen)

    @property
    def _cold(self) -> Rows:
        return np.sort(np.concatenate([self._held.new, self._held.known]))

    def _by_prior(self, part: Slice) -> Floats:
        """[B, C] the scores of the tracks with their listeners left out."""
        cells = np.asarray(part.factors @ self._vectors[part.candidates].T, np.float32)
        if self.options.affinity:
            cells += part.by_artist(self.options.affinity, self.options.rarity)
        if self.options.profile:
            cells += self.options.profile * part.similarity(self._sound)
        return cells

    def _best_of(self, measured: Iterable[tuple[Option, Values]], name: str) -> Option:
        """The option with the best mean; the first one unless another is significantly better."""
        options = list(measured)
        chosen, first = options[0]
        best = first
        for option, values in options[1:]:
            if np.nanmean(values) > np.nanmean(best) and _is_significant(values - first):
                chosen, best = option, values
        self.figures[f"ndcg_{name}"] = float(np.nanmean(best))
        return chosen


def _unseen(part: Slice, scores: Floats) -> Floats:
    """[B, C] without what the users have listened to."""
    scores[part.seen] = -np.inf
    return scores


def _is_as_good(values: Values, best: Values) -> bool:
    """Whether the mean is below the best one by no more than a standard error of their paired difference."""
    losses = (best - values)[~np.isnan(best - values)]
    return len(losses) < 2 or losses.mean() <= losses.std(ddof=1) / np.sqrt(len(losses))


def _is_significant(gains: Values) -> bool:
    """Whether the mean of paired gains is above 0 by more than two standard errors."""
    gains = gains[~np.isnan(gains)]
    return len(gains) > 1 and gains.mean() > 2 * gains.std(ddof=1) / np.sqrt(len(gains))
