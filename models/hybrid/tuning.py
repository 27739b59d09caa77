"""The choice of the hybrid's options, on tracks and entries that are kept from an inner training part (`validation`).

One ALS fit serves all options, chosen one after the other, each by NDCG of the slice it is about:

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
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import TypeVar

import numpy as np

from ..arrays import Floats, Rows, one_blas_thread, top_k
from ..catalogue import Catalogue
from ..interactions import Interactions, sample_of_users
from ..recommenders.als import ALSOptions
from .crossfade import PROFILE_FEATURES, Crossfade, HybridOptions
from .prior import CatalogueSound, ContentPrior, PriorOptions, SoundRegression
from .validation import Slice, Validation, Values, hold_out

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
_MOST_LISTENS = 4_000_000
"""of a longer log, users are left out by chance: what is chosen is about tracks of few listeners"""


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
