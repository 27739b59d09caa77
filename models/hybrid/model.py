"""The hybrid: ALS where there are listeners, the content prior where there are none, the crossfade in between.

    score(u, t) = gain(t) * (x(u) · taste(t) + (1 - w(t)) * (affinity * r(t) * log(1 + c(u, t)) + profile * s(u, t)))

x is the user's taste vector, folded in as ALS does it, against predicted vectors where a track has no listeners; c(u,
t) the number of tracks by t's artists that u listened to, r(t) how rare a listen to these artists is, s(u, t) the mean
similarity of t's sound to what u listened to. Both terms are corrections of the prior and leave with it as listeners
come. How all of it is weighed is chosen on validation (`hybrid.tuning`). What does not depend on the user is multiplied
out once:

    score(u, t) = [x(u), s(u)] · vector(t) + affinity(t) * log(1 + c(u, t))
    vector(t)   = gain(t) * [taste(t), profile * (1 - w(t)) * sound(t)]

`scores` has them for many users and all tracks, `candidates` for one user and a shortlist, at every request.

Shapes: U users, T tracks, F factors, A artists, E features of the sound profile, B asked for, k answers each, n new
tracks.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..arrays import Answers, GrowingRows, Ids, Mask, Rows, Scores, csr_arrays, csr_of, row_entries, top_k
from ..catalogue import Catalogue
from ..interactions import Interactions, liked
from ..recommenders.als import ALS, ALSOptions, FoldIn, Solver
from ..recommenders.base import Recommender, check_catalogue, nearest_neighbours
from ..storage import Arrays, StoredModel, prefixed, save_model
from .compressed_scan import EXACT_ROWS, CompressedScan
from .crossfade import PROFILE_FEATURES, HybridOptions, artist_counts, artist_rarity, sound_profiles
from .online import NO_HISTORY, UserHistory, UserQuery
from .prior import ContentPrior
from .tuning import tuned_options

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_SHORTLIST_PER_CANDIDATE = 4
_SAVED_ARTISTS = ("track_artists_indptr", "track_artists_indices")
_DERIVED = ("_artist_affinity", "_tracks_of", "score_vectors", "known_rows", "scan")
"""attributes that are computed from the others at first use, and again for other tracks"""


class Hybrid(Recommender):
    """Recommends warm and cold tracks in one list, also to users known by tracks that may be cold themselves."""

    name = "hybrid"
    options: HybridOptions
    options_type = HybridOptions
    stored_arrays = ("taste", "listeners", "sound", "known")
    stored_facts = ("figures",)
    search_space = ALS.search_space

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        *,
        als: ALSOptions | None = None,
        als_solver: Solver | None = None,
        options: HybridOptions | None = None,
        seed: int = 0,
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        """`options` None: they are chosen on a validation part of the listens, at the cost of a second ALS fit.

        `als_solver` learns the factors; the fit for the options is `implicit`'s all the same. Of more than `exact_rows`
        tracks, one user's candidates are a shortlist (`CompressedScan`).
        """
        self._catalogue, self._given = catalogue, options
        self._growing: dict[str, GrowingRows] = {}
        self.als = ALS(als, solver=als_solver)
        self.seed, self.exact_rows = seed, exact_rows
        self.figures: dict[str, float] = {}
        """what was measured on validation; empty where options were given or there was too little to measure"""

    def fit(self, listens: Interactions) -> Self:
        catalogue = check_catalogue(self.name, self._catalogue, listens)
        if self._given is None:
            self.options, self.figures = tuned_options(
                listens, catalogue, self.als.options, np.random.default_rng(self.seed)
            )
        else:
            self.options = self._given
        self._forget(*_DERIVED, "_inverse", "folding")
        self._growing = {}
        self.als.fit(listens)
        self.history = self.als.history
        self.listeners = listens.listeners
        warm = self.history.warm_tracks
        self.prior = ContentPrior(self.options.prior).fit(self.als.track_factors, warm, catalogue)
        self.artists: csr_matrix = catalogue.artist_matrix
        """[T, A]"""
        self.taste: Scores = self.options.crossfade.taste(
            self.als.track_factors, self.prior.of_catalogue, self.listeners
        )
        """[T, F] crossfaded taste vectors, without gains"""
        self.sound: Scores = self.prior.near_features[:, :PROFILE_FEATURES]
        """[T, E]"""
        self.known: Mask = warm | self.prior.can_predict(catalogue.has_sound, self.artists)
        """[T] whether the track has listeners or its taste is predicted; others are never recommended"""
        return self

    @property
    def first_seed(self) -> int:
        return self.seed

    def arguments_with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values are of the options of its ALS; its own are chosen by every `fit`."""
        seed = values.get("seed", self.seed)
        return {"als": replace(self.als.options, **values), "options": self._given, "seed": seed}

    @property
    def weights(self) -> Scores:
        """[T] w of the crossfade."""
        return self.options.crossfade.weights(self.listeners)

    def scores_from(self, user_items: csr_matrix) -> Scores:
        return self.scores(self.fold_in(user_items), liked(user_items))

    def scores(self, user_vectors: Scores, likes: csr_matrix) -> Scores:
        """[B, F] taste vectors and [B, T] positive confidences -> [B, T] scores."""
        if self._profile_sound.shape[1]:
            user_vectors = np.hstack([user_vectors, sound_profiles(likes, self.sound)])
        cells = np.asarray(user_vectors @ self.score_vectors.T, np.float32)
        if self.options.affinity:
            shared = artist_counts(likes, self.artists, self._tracks_of)
            users = np.repeat(np.arange(len(cells)), np.diff(shared.indptr))
            cells[users, shared.indices] += self._artist_affinity[shared.indices] * shared.data
        cells[:, np.flatnonzero(~self.known)] = -np.inf
        return cells

    def fold_in(self, user_items: csr_matrix) -> Scores:
        """[B, F] taste vectors of users given by their confidences [B, T]."""
        return self.folding.many(user_items)

    @cached_property
    def folding(self) -> FoldIn:
        return FoldIn(self.als, cold=self.taste)

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the cosine of crossfaded taste; `hybrid.index` blends it with sound."""
        return nearest_neighbours(np.where(self.known[:, None], self.taste, 0), track_rows, k)

    def user_history(self, user_row: int) -> UserHistory:
        """Of a user of the training; an empty one for a row of -1."""
        if user_row < 0:
            return NO_HISTORY
        matrix, states = self.history.matrix, self.history.states
        part = slice(matrix.indptr[user_row], matrix.indptr[user_row + 1])
        states = None if states is None else states.take(part)
        return UserHistory(matrix.indices[part].astype(np.int32), matrix.data[part], states, self.history.moment)

    def query(self, history: UserHistory) -> UserQuery:
        """What the scores of one user are computed from."""
        likes = history.track_rows[history.liked]
        taste = self.folding.one(history.track_rows, history.weights)
        vector = np.concatenate([taste, self._profile_sound[likes].sum(axis=0) / np.float32(max(len(likes), 1))])
        credits, _ = row_entries(self.artists, likes)
        artists, counts = np.unique(self.artists.indices[credits], return_counts=True)
        entries, owners = row_entries(self._tracks_of, artists)
        tracks, places = np.unique(self._tracks_of.indices[entries], return_inverse=True)
        shared = np.bincount(places, counts[owners], minlength=len(tracks))
        return UserQuery(taste, vector, tracks.astype(np.intp), shared.astype(np.float32))

    def shortlist(self, query: UserQuery, count: int) -> Rows:
        """Known tracks in order of row, nearly certainly with the `count` best among them."""
        rows = self.known_rows[self.scan.shortlist(query.vector, _SHORTLIST_PER_CANDIDATE * count)]
        if not self.options.affinity:
            return np.sort(rows)
        return np.union1d(rows, query.familiar_tracks[self.known[query.familiar_tracks]])

    def scores_of(self, query: UserQuery, track_rows: Rows) -> Scores:
        """[n] one user's scores of some tracks, which are in order of row."""
        # Of most tracks, copying their vectors takes longer than the products with all. Of a few they are made anew:
        # those of all would take as much memory as the arrays that they are made from, in every process.
        if 2 * len(track_rows) > len(self.taste):
            found: Scores = (self.score_vectors @ query.vector)[track_rows]
        elif "score_vectors" in self.__dict__:
            found = self.score_vectors[track_rows] @ query.vector
        else:
            found = self._score_vectors_of(track_rows) @ query.vector
        if self.options.affinity and len(track_rows):
            places = np.minimum(np.searchsorted(track_rows, query.familiar_tracks), len(track_rows) - 1)
            among = track_rows[places] == query.familiar_tracks
            familiar = query.familiar_tracks[among]
            found[places[among]] += self._artist_affinity[familiar] * np.log1p(query.familiar_counts[among])
        return found

    def candidates(
        self, history: UserHistory, count: int, *, allow_seen: bool = False, mask: Mask | None = None
    ) -> Answers:
        """One user's best tracks of those that `mask` [T] allows; the popular ones for a cold user.

        What `recommend` gives, exactly where all tracks are compared. Shape: -> ([at most count], [at most count])
        """
        if history.is_cold:
            scores = self.history.popularity
            rows: Rows = np.arange(len(scores))
        else:
            query = self.query(history)
            rows = self.shortlist(query, count + len(history.track_rows))
            scores = self.scores_of(query, rows)
        kept = np.ones(len(rows), bool) if mask is None else mask[rows]
        if not allow_seen:
            kept &= ~np.isin(rows, history.track_rows)
        places, scores = top_k(scores[kept], count)
        return rows[kept][places].astype(np.int32), scores

    def because(self, history: UserHistory, track_rows: Ids) -> Ids:
        """[k] the liked track that adds most to the score of each of `track_rows` [k]; -1 where none adds to it.

        The score of track i is the sum over the liked tracks j of c_j * taste_i' W y_j, after section 5 of Hu, Koren &
        Volinsky 2008, where W is the inverse of the user's normal matrix; here it is that of a user without listens,
        which serves all. y_j is what the user is folded in by.
        """
        likes, track_rows = history.track_rows[history.liked], np.asarray(track_rows)
        if not len(likes) or not len(track_rows):
            return np.full(len(track_rows), -1, np.int32)
        terms = self.folding.vectors(likes) @ (self.taste[track_rows] @ self._inverse).T
        terms *= self.als.confidences_of_one(likes, history.weights[history.liked])[:, None]
        # A track is no reason for itself, where seen tracks are recommended again.
        terms[likes[:, None] == track_rows] = -np.inf
        largest = terms.argmax(axis=0)
        adds = (terms[largest, np.arange(len(track_rows))] > 0) & (track_rows >= 0)
        return np.where(adds, likes[largest], -1).astype(np.int32)

    def append_tracks(self, catalogue: Catalogue) -> Hybrid:
        """This model with n tracks behind its own, as cold ones; nothing is trained. This model stays as it is."""
        from scipy.sparse import csr_matrix, vstack

        if not len(catalogue):
            return self
        taste, known = self.prior.predict(catalogue)
        start, more = len(self.taste), len(catalogue)
        longer = copy(self)
        longer._forget(*_DERIVED)
        longer._growing = {}
        longer.als = copy(self.als)
        longer.als.__dict__.pop("_folding", None)
        matrix = self.history.matrix
        matrix = csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], start + more))
        popularity = np.concatenate([self.history.popularity, np.full(more, -np.inf, np.float32)])
        longer.history = longer.als.history = replace(self.history, matrix=matrix, popularity=popularity)
        longer.als.track_listeners = np.concatenate([self.als.track_listeners, np.zeros(more, np.float32)])
        longer.listeners = np.concatenate([self.listeners, np.zeros(more, np.int64)])
        longer.known = np.concatenate([self.known, known])
        longer.artists = vstack([self.artists, self.prior.artist_rows(catalogue.artists)]).tocsr()
        longer.taste = self._grown(longer, "taste", self.taste, taste)
        longer.folding = self.folding.append_tracks(longer.als, longer.taste)
        longer.als.track_factors = self._grown(longer, "factors", self.als.track_factors, np.zeros_like(taste))
        longer.sound = self._grown(longer, "sound", self.sound, self._profile_features(catalogue))
        made = longer._score_vectors_of(slice(start, None))
        if "score_vectors" in self.__dict__:
            longer.score_vectors = self._grown(longer, "score_vectors", self.score_vectors, made)
        if "scan" in self.__dict__:
            longer.known_rows = np.concatenate([self.known_rows, start + np.flatnonzero(known)])
            longer.scan = self.scan.append_rows(made[known], lambda: longer._score_vectors_of(longer.known_rows))
            # Made now, and not by the first request.
            _ = longer._tracks_of, longer._artist_affinity
        return longer

    def replace_sound(self, track_rows: Ids, catalogue: Catalogue) -> Hybrid:
        """This model where some of its tracks [n] have other sound; nothing is trained. This model stays as it is.

        A track with listeners keeps the taste learned from them; one without is placed anew.
        """
        taste, known = self.prior.predict(catalogue)
        cold = self.listeners[track_rows] == 0
        other = copy(self)
        other._forget(*_DERIVED, "folding")
        other._growing = {}
        other.taste, other.sound, other.known = self.taste.copy(), self.sound.copy(), self.known.copy()
        other.taste[track_rows[cold]], other.known[track_rows[cold]] = taste[cold], known[cold]
        other.sound[track_rows] = self._profile_features(catalogue)
        return other

    def arrays(self) -> Arrays:
        prior = {f"prior_{name}": array for name, array in self.prior.arrays().items()}
        scan = {f"scan_{name}": array for name, array in self.scan.arrays().items()}
        return StoredModel.arrays(self) | csr_arrays(self.artists, *_SAVED_ARTISTS) | prior | scan

    def facts(self) -> dict[str, Any]:
        return super().facts() | {"choices": self.options.record(), "prior": self.prior.metadata()}

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        StoredModel.restore(self, arrays, facts)
        self.options = self._given = HybridOptions.from_record(facts["choices"])
        self.prior = ContentPrior.from_arrays(prefixed(arrays, "prior_"), facts["prior"], self.options.prior)
        self.artists = csr_of(arrays, len(self.prior.artist_names), *_SAVED_ARTISTS)
        if scan := prefixed(arrays, "scan_"):
            self.scan = CompressedScan.from_arrays(scan, len(self.known_rows), exact_rows=self.exact_rows)

    def save(self, folder: Path) -> None:
        """The options are facts here, and ALS and its history a model of their own in the folder."""
        self.als.save(folder)
        save_model(folder, self.name, self.arrays(), facts=self.facts())

    @classmethod
    def load(cls, folder: Path) -> Self:
        model = super().load(folder)
        model.als = ALS.load(folder)
        model.history = model.als.history
        return model

    @cached_property
    def score_vectors(self) -> Scores:
        """[T, F + E] vector(t); without the sound where the profile counts nothing."""
        return self._score_vectors_of(slice(None))

    def _score_vectors_of(self, part: slice | Rows) -> Scores:
        listeners, crossfade = self.listeners[part, None], self.options.crossfade
        sound = self.options.profile * (1 - crossfade.weights(listeners)) * self._profile_sound[part]
        return np.asarray(crossfade.gains(listeners) * np.hstack([self.taste[part], sound]), np.float32)

    @property
    def _profile_sound(self) -> Scores:
        return self.sound if self.options.profile else self.sound[:, :0]

    @cached_property
    def _artist_affinity(self) -> Scores:
        """[T] affinity(t)"""
        rarity = artist_rarity(self.artists, self.listeners, self.options.rarity)
        gains = self.options.crossfade.gains(self.listeners)
        return np.asarray(self.options.affinity * gains * (1 - self.weights) * rarity, np.float32)

    @cached_property
    def _tracks_of(self) -> csr_matrix:
        """[A, T]"""
        return self.artists.T.tocsr()

    @cached_property
    def known_rows(self) -> Rows:
        return np.flatnonzero(self.known)

    @cached_property
    def scan(self) -> CompressedScan:
        if len(self.known_rows) <= self.exact_rows:
            return CompressedScan.from_arrays({}, len(self.known_rows), exact_rows=self.exact_rows)
        return CompressedScan(self._score_vectors_of(self.known_rows), exact_rows=self.exact_rows)

    @cached_property
    def _inverse(self) -> Scores:
        """[F, F] of the normal matrix of a user without listens."""
        gram = self.folding.gram.astype(np.float64)
        return np.asarray(np.linalg.inv(gram + self.als.options.regularization * np.eye(len(gram))), np.float32)

    def _forget(self, *names: str) -> None:
        for name in names:
            self.__dict__.pop(name, None)

    def _grown(self, longer: Hybrid, name: str, rows: Scores, more: Scores) -> Scores:
        """`rows` with `more` behind them for another model, copied only when their room is used up."""
        longer._growing[name], view = self._growing.get(name, GrowingRows(rows)).plus(len(rows), more)
        return view

    def _profile_features(self, catalogue: Catalogue) -> Scores:
        """[n, E]"""
        return self.prior.near_features_of(catalogue)[:, : self.sound.shape[1]]
