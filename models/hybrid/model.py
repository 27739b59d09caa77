"""The hybrid: ALS where there are listeners, the content prior where there are none, the crossfade in between.

    score(u, t) = gain(t) * (x(u) · taste(t) + (1 - w(t)) * (affinity * r(t) * log(1 + c(u, t)) + profile * s(u, t)))

x is the user's taste vector, folded in from their listens against all tracks' crossfaded taste, c(u, t) the number of
tracks by t's artists that u listened to, r(t) how rare a listen to these artists is, s(u, t) the mean likeness of t's
sound to what u listened to. Both terms are corrections of the prior and leave with it as listeners come. How all of it
is weighed is chosen on validation (`hybrid.tuning`).

Shapes: U users, T tracks, F factors, A artists, E features of the sound profile, B asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, LibraryError
from ..arrays import Answers, GrowingRows, Ids, Scores
from ..catalogue import Catalogue
from ..interactions import Interactions, liked
from ..recommenders.als import ALS, ALSOptions, FoldIn
from ..recommenders.base import ScoringRecommender, nearest_neighbours
from ..storage import load_model, prefixed, save_model
from .options import PROFILE_FEATURES, Choices, artist_counts, rarity, sound_profiles
from .prior import ContentPrior
from .tuning import choose

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, eq=False)
class _Fixed:
    """The parts of all scores that do not depend on the listener."""

    affinity: Scores
    """[T]"""
    profile: Scores
    """[T]"""
    gains: Scores
    """[T]"""
    unknown: NDArray[np.intp]
    tracks_of: csr_matrix
    """[A, T]"""


class Hybrid(ScoringRecommender):
    """Recommends warm and cold tracks in one list, also to strangers known by tracks that may be cold themselves."""

    name = "hybrid"

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        *,
        als: ALSOptions | None = None,
        choices: Choices | None = None,
        seed: int = 0,
    ) -> None:
        """`choices` None: they are made on a validation part of the listens, at the cost of a second ALS fit."""
        self._catalogue = catalogue
        self._fixed_parts: _Fixed | None = None
        self._rows: dict[str, GrowingRows] = {}
        self.als = ALS(als)
        self.seed = seed
        self._given = choices
        self.figures: dict[str, float] = {}
        """what was measured on validation; empty where the choices were given or there was too little to measure"""

    def fit(self, listens: Interactions) -> Self:
        catalogue = self._catalogue
        if catalogue is None or len(catalogue) != listens.track_count:
            known = "no catalogue" if catalogue is None else f"a catalogue of {len(catalogue)}"
            raise DataError(f"hybrid: {known} for listens on {listens.track_count} tracks")
        if self._given is None:
            self.choices, self.figures = choose(listens, catalogue, self.als.options, np.random.default_rng(self.seed))
        else:
            self.choices = self._given
        self.als.fit(listens)
        self.history = self.als.history
        self._fixed_parts, self._rows = None, {}
        for name in ("_speech", "folding"):
            self.__dict__.pop(name, None)
        self.listeners = listens.listeners
        warm = self.als.history.warm_tracks
        self.prior = ContentPrior(self.choices.prior).fit(self.als.track_factors, warm, catalogue)
        self.artists: csr_matrix = catalogue.artist_matrix
        """[T, A]"""
        self.taste: Scores = self.choices.crossfade.taste(
            self.als.track_factors, self.prior.of_catalogue, self.listeners
        )
        """[T, F] crossfaded taste vectors, raw"""
        self.sound: Scores = self.prior.near_features[:, :PROFILE_FEATURES]
        """[T, E]"""
        self.known: NDArray[np.bool_] = warm | self.prior.knows(catalogue.has_sound, self.artists)
        """[T] whether there is anything to place the track by; the others are never recommended"""
        return self

    @property
    def weights(self) -> Scores:
        """[T] w of the crossfade."""
        return self.choices.crossfade.weights(self.listeners)

    def scores_from(self, heard: csr_matrix) -> Scores:
        return self.scores(self.fold_in(heard), liked(heard))

    def scores(self, user_vectors: Scores, likes: csr_matrix) -> Scores:
        """[B, F] taste vectors and [B, T] positive confidences -> [B, T] scores."""
        cells = np.asarray(user_vectors @ self.taste.T, np.float32)
        fixed = self._fixed
        if self.choices.affinity:
            shared = artist_counts(likes, self.artists, fixed.tracks_of)
            users = np.repeat(np.arange(len(cells)), np.diff(shared.indptr))
            cells[users, shared.indices] += fixed.affinity[shared.indices] * shared.data
        if self.choices.profile and self.sound.shape[1]:
            cells += fixed.profile * (sound_profiles(likes, self.sound) @ self.sound.T)
        cells *= fixed.gains
        cells[:, fixed.unknown] = -np.inf
        return cells

    @property
    def rarity(self) -> Scores:
        """[T] what a count of the track's artists weighs: the less, the more listens they have."""
        return rarity(self.artists, self.listeners, self.choices.rarity)

    @property
    def _fixed(self) -> _Fixed:
        """What of the scores does not depend on the listener, made when it is first asked for."""
        if self._fixed_parts is None:
            left = 1 - self.weights
            self._fixed_parts = _Fixed(
                self.choices.affinity * left * self.rarity,
                self.choices.profile * left,
                self.choices.crossfade.gains(self.listeners),
                np.flatnonzero(~self.known),
                self.artists.T.tocsr(),
            )
        return self._fixed_parts

    def fold_in(self, heard: csr_matrix) -> Scores:
        """[B, F] taste vectors of users known by their listens `heard` [B, T]."""
        return self.folding.many(heard)

    @cached_property
    def folding(self) -> FoldIn:
        return FoldIn(self.als, self.taste)

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of crossfaded taste; `hybrid.index` blends it with sound."""
        return nearest_neighbours(np.where(self.known[:, None], self.taste, 0), track_rows, k)

    def because(self, user_rows: Ids, track_rows: Ids) -> Ids:
        """The listened track that speaks loudest for each of `track_rows` [B, k], cold ones too; -1 where none does."""
        return self.because_of(self.history.liked[np.asarray(user_rows)], track_rows)

    def because_of(self, likes: csr_matrix, track_rows: Ids) -> Ids:
        """The same for users known by their positive confidences [B, T]."""
        likes = self.als.confidences(likes)
        answers = np.full(track_rows.shape, -1, np.int32)
        lengths = np.diff(likes.indptr)
        # Users of like activity together, so that little of the padded blocks is padding.
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        while len(order):
            longest = lengths[order[: 1 << 10]].max()
            batch, order = np.split(order, [max(1, min(1 << 10, (1 << 23) // int(longest * self.taste.shape[1])))])
            slots = np.arange(lengths[batch].max())
            there = slots < lengths[batch, None]
            cells = np.where(there, likes.indptr[batch, None] + slots, 0)
            tracks = likes.indices[cells]
            asked = track_rows[batch]
            towards = self.taste[asked] @ self._speech
            terms = (self.taste[tracks] @ np.swapaxes(towards, 1, 2)) * likes.data[cells][:, :, None]
            # A track does not speak for itself, where seen tracks are recommended again.
            terms[~there[:, :, None] | (tracks[:, :, None] == asked[:, None, :])] = -np.inf
            loudest = terms.argmax(axis=1)
            spoken = np.take_along_axis(terms, loudest[:, None, :], axis=1)[:, 0] > 0
            answers[batch] = np.where(spoken & (asked >= 0), np.take_along_axis(tracks, loudest, axis=1), -1)
        return answers

    def because_of_one(self, likes: Ids, weights: Scores, track_rows: Ids) -> Ids:
        """The same for one user, from the liked tracks [L] and their confidences [L]. Shape: [k] -> [k]"""
        spoken = self.taste[likes] @ (self.taste[track_rows] @ self._speech).T
        spoken *= self.als.confidences_of_one(likes, weights)[:, None]
        spoken[likes[:, None] == track_rows] = -np.inf
        loudest = spoken.argmax(axis=0)
        heard = (spoken[loudest, np.arange(len(track_rows))] > 0) & (track_rows >= 0)
        return np.where(heard, likes[loudest], -1).astype(np.int32)

    @cached_property
    def _speech(self) -> Scores:
        """[F, F] W: y_i' W y_j is how much a listen to track j raises the score of track i.

        ALS's own W has a term for each user, and costs a solve for each; that of a user without listens serves all.
        """
        factors = self.als.track_factors.astype(np.float64)
        normal = factors.T @ factors + self.als.options.regularization * np.eye(factors.shape[1])
        return np.asarray(np.linalg.inv(normal), np.float32)

    def place(self, catalogue: Catalogue) -> tuple[Scores, NDArray[np.bool_]]:
        """[n, F] predicted taste of tracks without listens, and [n] whether there was anything to predict it from."""
        artists = self.prior.artist_rows(catalogue.artists)
        sound, genres = self._sound_of(catalogue)
        return self.prior.predict(sound, artists, genres), self.prior.knows(np.any(sound != 0, axis=1), artists)

    def with_tracks(self, catalogue: Catalogue) -> Hybrid:
        """This model with more tracks behind its own, as cold ones; nothing is trained. This model stays as it is."""
        from copy import copy

        from scipy.sparse import csr_matrix, vstack

        if not len(catalogue):
            return self
        taste, known = self.place(catalogue)
        sound, genres = self._sound_of(catalogue)
        longer = copy(self)
        longer.als = copy(self.als)
        for name in ("_cold", "_folding"):
            longer.als.__dict__.pop(name, None)
        count = len(self.taste) + len(catalogue)
        heard = self.history.heard
        heard = csr_matrix((heard.data, heard.indices, heard.indptr), shape=(heard.shape[0], count))
        nobody = np.full(len(catalogue), -np.inf, np.float32)
        popularity = np.concatenate([self.history.popularity, nobody])
        longer.history = longer.als.history = replace(self.history, heard=heard, popularity=popularity)
        none = np.zeros(len(catalogue), np.int64)
        longer.als.track_listeners = np.concatenate([self.als.track_listeners, none.astype(np.float32)])
        longer.listeners = np.concatenate([self.listeners, none])
        features = self.prior.near_features_of(sound, genres)[:, : self.sound.shape[1]]
        longer._rows, longer._fixed_parts = {}, None
        longer.taste = self._grown(longer, "taste", self.taste, taste)
        longer.folding = self.folding.append_tracks(longer.als, longer.taste)
        longer.als.track_factors = self._grown(longer, "factors", self.als.track_factors, np.zeros_like(taste))
        longer.sound = self._grown(longer, "sound", self.sound, features)
        longer.known = np.concatenate([self.known, known])
        longer.artists = vstack([self.artists, self.prior.artist_rows(catalogue.artists)]).tocsr()
        return longer

    def with_sounds(self, track_rows: Ids, catalogue: Catalogue) -> Hybrid:
        """This model where some of its tracks [n] sound otherwise; nothing is trained. This model stays as it is.

        A track with listeners keeps the taste they taught; one without is placed anew.
        """
        from copy import copy

        taste, known = self.place(catalogue)
        sound, genres = self._sound_of(catalogue)
        cold = self.listeners[track_rows] == 0
        other = copy(self)
        other._rows, other._fixed_parts = {}, None
        other.taste, other.sound, other.known = self.taste.copy(), self.sound.copy(), self.known.copy()
        other.taste[track_rows[cold]], other.known[track_rows[cold]] = taste[cold], known[cold]
        other.sound[track_rows] = self.prior.near_features_of(sound, genres)[:, : self.sound.shape[1]]
        return other

    def _grown(self, longer: Hybrid, name: str, rows: Scores, more: Scores) -> Scores:
        """`rows` with `more` behind them for another model, copied only when their room is used up."""
        longer._rows[name], view = self._rows.get(name, GrowingRows(rows)).plus(len(rows), more)
        return view

    def _sound_of(self, catalogue: Catalogue) -> tuple[Scores, Scores | None]:
        """Sound and genre probabilities as the prior takes them."""
        sound, width = catalogue.sound, self.prior.sound_width
        if width and not catalogue.has_sound.any():
            sound = np.zeros((len(catalogue), width), np.float32)
        return sound, catalogue.genre_probabilities if len(catalogue.genre_probabilities) else None

    def save(self, folder: Path) -> None:
        self.als.save(folder)
        arrays = {
            "taste": self.taste,
            "listeners": self.listeners,
            "sound": self.sound,
            "known": self.known,
            "track_artists_indptr": self.artists.indptr.astype(np.int64),
            "track_artists_indices": self.artists.indices.astype(np.int32),
            **{f"prior_{name}": array for name, array in self.prior.arrays().items()},
        }
        facts = {"choices": asdict(self.choices), "prior": self.prior.facts(), "figures": self.figures}
        save_model(folder, self.name, arrays, facts=facts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        from scipy.sparse import csr_matrix

        arrays, header = load_model(folder, cls.name)
        facts = header["facts"]
        try:
            choices = Choices.from_facts(facts["choices"])
        except TypeError as error:
            raise LibraryError(
                f"{folder / 'hybrid.json'}: unknown choices ({error}); saved by a newer program?"
            ) from None
        model = cls(choices=choices)
        model.choices, model.figures = choices, facts["figures"]
        model.als = ALS.load(folder)
        model.history = model.als.history
        model.taste, model.listeners = arrays["taste"], arrays["listeners"]
        model.sound, model.known = arrays["sound"], arrays["known"]
        model.prior = ContentPrior.from_arrays(prefixed(arrays, "prior_"), facts["prior"], choices.prior)
        indices = arrays["track_artists_indices"]
        parts = (np.ones(len(indices), np.float32), indices, arrays["track_artists_indptr"])
        model.artists = csr_matrix(parts, shape=(len(model.taste), len(model.prior.artist_names)))
        return model
