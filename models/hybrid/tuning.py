"""The search for the hybrid's choices, on what `hybrid.validation` keeps from an inner training part.

One ALS fit serves all choices, made one after the other, each by NDCG of the slice it is about:

    sound map                 tracks of new artists       profile   all held-out tracks
    artist terms, affinity    tracks of known artists     tau       thinned tracks
    level                     all tracks in one list: the share of cold ones

Shapes: B users judged, C candidate tracks, T tracks, F factors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import top_k
from ..catalogue import Catalogue
from ..interactions import Interactions
from ..recommenders.als import ALSOptions
from .blend import Crossfade
from .options import PROFILE_FEATURES, Choices, artist_counts, rarity, sound_profiles
from .prior import ContentPrior, Hearing, PriorOptions, by_sound_alone, hear
from .validation import LEAST_TRACKS, Judges, Matrix, Rows, Validation, hold_out

_SOUND_MAPS = tuple((PriorOptions(scale=scale), (1.0, 4.0, 16.0, 64.0)) for scale in (1.0, 2.0, 4.0))
_SHRINKAGES = (None, 0.05, 0.3, 1.0)
_ATTENTIONS = (0.0, 1.0, 3.0)
_AFFINITIES = (0.0, 0.1, 0.2, 0.4)
_RARITIES = (0.0, 0.3, 0.5)
_PROFILES = (0.0, 0.25, 0.5, 1.0)
_AIM = 0.75
"""Of the share, since the final prior knows about twice as many listens, and its vectors are longer for it."""
_TAUS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 48.0)

Option = TypeVar("Option")


def choose(
    listens: Interactions, catalogue: Catalogue, als: ALSOptions, rng: np.random.Generator
) -> tuple[Choices, dict[str, float]]:
    """The choices and what was measured; the defaults and nothing where there is too little to judge by."""
    from threadpoolctl import threadpool_limits

    # Many small products: threads below them cost more than they give.
    with threadpool_limits(limits=1, user_api="blas"):
        return _choose(listens, catalogue, als, rng)


def _choose(
    listens: Interactions, catalogue: Catalogue, als: ALSOptions, rng: np.random.Generator
) -> tuple[Choices, dict[str, float]]:
    held = hold_out(listens, catalogue, als, rng)
    if held is None:
        return Choices(), {}
    figures: dict[str, float] = {}
    options, hearing = _sound_map(held, figures)
    prior, affinity, power = _artist_terms(held, options, hearing, figures)
    vectors = prior.of_catalogue
    sound = prior.near_features[:, :PROFILE_FEATURES]
    choices = Choices(prior=prior.options, affinity=affinity, rarity=power)
    choices = replace(choices, profile=_profile(held, vectors, sound, choices, figures))
    tau = _tau(held, vectors, sound, choices, figures)
    choices = replace(choices, crossfade=Crossfade(tau))
    level = _level(held, vectors, sound, choices, figures)
    return replace(choices, crossfade=Crossfade(tau, level)), figures


def _sound_map(held: Validation, figures: dict[str, float]) -> tuple[PriorOptions, Hearing]:
    """Judged by tracks of new artists: for the others an artist's name says what its sound does."""
    silent = PriorOptions(sound="none")
    nothing = hear(held.catalogue, held.warm, silent)
    candidates = held.new[held.catalogue.has_sound[held.new]]
    judges = held.judges(candidates)
    if len(candidates) < LEAST_TRACKS or len(judges.rows) < 20:
        if not held.catalogue.has_sound.any():
            return silent, nothing
        return PriorOptions(), hear(held.catalogue, held.warm, PriorOptions())
    users = held.als.user_factors[judges.rows]
    # Equal predictions rank by row number, which may say something (rows in order of popularity): no track is equal.
    blank = judges.gains(held.rng.random((len(users), len(candidates)), np.float32), candidates)
    chosen, hearing, reached = silent, nothing, blank
    for options, penalties in _SOUND_MAPS:
        heard = hear(held.catalogue, held.warm, options)
        predicted = by_sound_alone(held.als.track_factors, held.warm, held.catalogue, heard, penalties, candidates)
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
    if len(held.known) < LEAST_TRACKS or len(judges.rows) < 20:
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
    if not sound.shape[1] or len(candidates) < LEAST_TRACKS or len(judges.rows) < 20:
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
    if len(cold) < LEAST_TRACKS or len(judges.rows) < 20:
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
    rows, warm_best = top_k(warm_scores, 10 * k)
    listeners = listeners[rows]
    _, cold_best = top_k(cold_scores, k)
    wanted = judges.truth[:, cold].nnz / max(judges.truth[:, everything].nnz, 1)
    low, high = np.log(1 / 16), np.log(16)
    for _ in range(12):
        middle = (low + high) / 2
        crossfade = replace(choices.crossfade, level=float(np.exp(middle)))
        gain = crossfade.gains(listeners)
        ids, _ = top_k(np.hstack([warm_best * gain, cold_best * np.float32(crossfade.level)]), k)
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
    artists = held.catalogue.artist_matrix
    return np.asarray(artist_counts(held.als.history.liked[judges.rows], artists, artists[tracks].T).toarray())


def _likeness(held: Validation, judges: Judges, sound: Matrix, tracks: Rows) -> Matrix:
    return np.asarray(sound_profiles(held.als.history.liked[judges.rows], sound) @ sound[tracks].T)


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
