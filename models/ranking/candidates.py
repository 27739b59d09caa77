"""Candidate generation: the few hundred tracks of one user that are worth ranking, from several sources.

    als, hybrid    taste vectors, without and with the content prior
    als-last       the taste vector of the last of the user's tracks alone
    items, last    item-KNN from all of the user's tracks, and from the last of them
    sequence       what others listened to shortly before or after the last of the user's tracks (see `sequence`)
    next           the same, only what came after
    ease           EASE, of a log without an order: beside a sequence it adds nothing on validation
    artist         other tracks by the artists of what the user likes
    segment        popular among users of like taste (k-means of taste vectors)
    popular, recent-popular
    sound          tracks that nobody has played, by the similarity of their sound to what the user likes

Each source may nominate up to its quota of tracks; where the union is too long, the tracks with the best place in any
source's list, relative to its quota, stay. Everything is fitted on one history, the listens before the label period.

No source takes a pass over all tracks for each user. Those with scores of few tracks (items, last, sequence, ease,
artist) are computed for these; those with the same scores for everybody (popular, segment) are sorted once; those with
a score of every track (hybrid, als, sound) are scanned for nominees (`CompressedScan` of `hybrid.index`), which are
then scored exactly.

Shapes: U users, T tracks, C candidates, F factors, L last tracks of a user, S segments, D dimensions of an embedding.
"""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Mask, Rows, Scores, l2_normalize, one_blas_thread, top_k
from ..evaluation.splits import positions_in_groups
from ..hybrid.compressed_scan import CompressedScan
from ..hybrid.model import Hybrid
from ..hybrid.online import UserHistory, UserQuery
from ..interactions import Interactions
from ..recommenders.base import RECENT_SECONDS, popularity
from ..storage import Arrays
from .item_similarities import EASE_OPTIONS, ItemSimilarities
from .sources import Source, listed, ordered, products, scanned, similar

SOURCES = (
    *("hybrid", "als", "als-last", "items", "last", "sequence", "next", "ease"),
    *("artist", "segment", "recent-popular", "popular", "sound"),
)
QUOTAS = {
    "hybrid": 120,
    "als": 100,
    "als-last": 60,
    "items": 120,
    "last": 60,
    "sequence": 120,
    "next": 60,
    "ease": 100,
    "artist": 60,
    "segment": 30,
    "recent-popular": 20,
    "popular": 20,
    "sound": 20,
}

NO_TRACKS: Ids = np.zeros(0, np.int32)
_ARRAYS = ("last", "recent_popularity", "popularity", "segment_centres", "segment_scores")
"""attributes that are saved as they are"""
_NOMINEES_PER_CANDIDATE = 4
_LAST_DECAY = 0.85
_STEP = 1e-6
"""Less than any two different places of two quotas are apart."""


@dataclass(frozen=True, kw_only=True)
class CandidateOptions:
    most: int = 300
    """candidates of a user"""
    quotas: dict[str, int] = field(default_factory=QUOTAS.copy)
    """how many each source may nominate; a source that is not named is left out"""
    last_tracks: int = 10
    segments: int = 12
    neighbours: int = 300
    """that item-KNN and the sequence keep of each track"""


@dataclass(frozen=True, eq=False)
class UserProfile:
    """One user as candidates and features need them."""

    user_row: int
    """of the training, -1 for a user who is not in it"""
    history: UserHistory
    last: Ids
    """[up to L] the last different tracks they liked, the newest first"""
    query: UserQuery
    """the user's part of the hybrid's scores"""

    @cached_property
    def liked(self) -> Ids:
        """The tracks with positive confidence."""
        return self.history.track_rows[self.history.liked]

    @property
    def last_weights(self) -> Scores:
        """The newest of the last tracks has weight 1, older ones less."""
        return np.float32(_LAST_DECAY) ** np.arange(len(self.last), dtype=np.float32)

    def mean_direction(self, vectors: Scores) -> Scores:
        """[T, D] -> [D] the mean direction of the liked tracks' vectors; zeros if there are none."""
        return np.asarray(l2_normalize(vectors[self.liked]).sum(axis=0) / max(len(self.liked), 1))


@dataclass(frozen=True, eq=False)
class Candidates:
    """C candidates of one user, the likeliest first, and their scores by each source."""

    profile: UserProfile
    ids: Ids
    """[C] track rows"""
    scores: dict[str, Scores]
    """source -> [C]; -inf where it has none"""
    nominated: dict[str, Mask]
    """source -> [C] whether the track is within its quota"""

    def __len__(self) -> int:
        return len(self.ids)


class CandidateGenerator:
    """All sources, fitted on one history."""

    name = "sources"

    def __init__(self, hybrid: Hybrid, options: CandidateOptions | None = None) -> None:
        """`hybrid` is fitted on the listens of `fit`."""
        self.hybrid = hybrid
        self.options = options or CandidateOptions()

    def fit(self, listens: Interactions) -> Self:
        options = self.options
        self.similarities = ItemSimilarities.of(listens, options.neighbours)
        self.last = last_tracks(listens, options.last_tracks)
        self.recent_popularity = popularity(listens, RECENT_SECONDS)
        self.popularity = popularity(listens)
        # What the hybrid's fold-in keeps of its first call then has the same last digits as in a loaded model.
        with one_blas_thread():
            self.segment_centres, self.segment_scores = _segments(self.hybrid, options.segments)
        return self

    @property
    def track_count(self) -> int:
        return len(self.popularity)

    @cached_property
    def _index(self) -> _Index:
        return _Index.of(self)

    def profile(self, history: UserHistory, *, user_row: int = -1, newest: Ids = NO_TRACKS) -> UserProfile:
        """One user who likes something.

        `user_row` of the training, -1 for a user who is not in it; `newest` are the tracks they liked since then, the
        newest first; both are part of `history`, too.
        """
        before = self.last[user_row] if user_row >= 0 else NO_TRACKS
        last = np.concatenate([newest, before[before >= 0]])
        last = last[np.isin(last, history.track_rows[history.liked])]
        last = last[np.sort(np.unique(last, return_index=True)[1])][: self.options.last_tracks]
        return UserProfile(user_row, history, last, self.hybrid.query(history))

    def trained_profile(self, user_row: int) -> UserProfile:
        """A warm user of the training."""
        return self.profile(self.hybrid.user_history(user_row), user_row=user_row)

    def candidates_of(
        self, user: UserProfile, *, allow_seen: bool = False, candidates: Mask | None = None
    ) -> Candidates:
        """The candidates of one user; `candidates` [T] limits the tracks that may be any."""
        options = self.options
        allowed = np.ones(self.track_count, bool) if candidates is None else candidates.copy()
        if not allow_seen:
            allowed[user.history.track_rows] = False
        sources = self.sources(user)
        lists = {
            name: source.best(quota, allowed) for name, source in sources.items() if (quota := options.quotas[name])
        }
        listed = np.concatenate([*lists.values(), np.zeros(0, np.intp)])
        heights = [-np.arange(len(rows)) / options.quotas[name] for name, rows in lists.items()]
        rows, place = np.unique(listed, return_inverse=True)
        best_height = np.full(len(rows), -np.inf)
        np.maximum.at(best_height, place, np.concatenate([*heights, np.zeros(0)]))
        best_height -= rows * (_STEP / self.track_count)
        chosen, _ = top_k(best_height, options.most)
        ids = rows[chosen]
        ascending = np.argsort(ids)
        scores = {}
        for name, source in sources.items():
            scores[name] = np.empty(len(ids), np.float32)
            scores[name][ascending] = source.scores(ids[ascending])
        nominated, ends = {}, np.cumsum([len(rows) for rows in lists.values()])
        for name, places in zip(lists, np.split(place, ends), strict=False):
            flags = np.zeros(len(rows), bool)
            flags[places] = True
            nominated[name] = flags[chosen]
        return Candidates(user, ids.astype(np.int32), scores, nominated)

    def sources(self, user: UserProfile) -> dict[str, Source]:
        """The sources that have a quota, for one user."""
        index, hybrid, query, similarities = self._index, self.hybrid, user.query, self.similarities.matrices
        factors, count = self.hybrid.als.track_factors, self.track_count
        # Seen tracks rank high, and may not be allowed.
        more = len(user.history.track_rows)

        def by_taste(rows: Rows) -> Scores:
            return np.where(self.hybrid.known[rows], hybrid.scores_of(query, rows), -np.inf).astype(np.float32)

        def by_factors(taste: Scores) -> Source:
            return scanned(
                lambda count: index.warm[index.als.shortlist(taste, _NOMINEES_PER_CANDIDATE * (count + more))],
                lambda rows: products(factors, index.factors_at[rows], taste),
            )

        sources = {
            "hybrid": scanned(lambda count: hybrid.shortlist(query, count + more), by_taste),
            "als": by_factors(query.taste),
        }
        if len(user.last):
            sources["als-last"] = by_factors(hybrid.folding.one(user.last, user.last_weights))
        if (similarity := similarities.get("items")) is not None:
            liked_weights = user.history.weights[user.history.liked]
            sources["items"] = similar(user.liked, liked_weights, similarity)
            sources["last"] = similar(user.last, user.last_weights, similarity)
        for name in ("sequence", "next"):
            if (similarity := similarities.get(name)) is not None:
                sources[name] = similar(user.last, user.last_weights, similarity)
        if (similarity := similarities.get("ease")) is not None:
            powers = user.history.weights[user.history.liked] ** np.float32(EASE_OPTIONS.confidence_power)
            sources["ease"] = similar(user.liked, powers, similarity)
        familiar = np.zeros(count, np.float32)
        tracks = query.familiar_tracks
        familiar[tracks] = np.log1p(query.familiar_counts) + self.popularity_bonus[tracks]
        sources["artist"] = listed(tracks, familiar)
        if len(index.segments):
            segment = int((self.segment_centres @ query.taste).argmax())
            sources["segment"] = ordered(index.segments[segment], self.segment_scores[segment])
        sources["recent-popular"] = ordered(index.recent, self.recent_popularity)
        sources["popular"] = ordered(index.popular, self.popularity)
        if self.hybrid.sound.shape[1]:
            profile = user.mean_direction(self.hybrid.sound)
            fresh, sound = self.discoveries

            sources["sound"] = scanned(
                lambda count: fresh[index.sound.shortlist(profile, _NOMINEES_PER_CANDIDATE * (count + more))],
                lambda rows: products(sound, index.sound_at[rows], profile),
            )
        return {name: source for name, source in sources.items() if name in self.options.quotas}

    def append_tracks(self, hybrid: Hybrid) -> CandidateGenerator:
        """With the further tracks of `hybrid`, as ones that nobody has played."""
        count = len(hybrid.taste)
        more = count - self.track_count
        if hybrid is self.hybrid and not more:
            return self
        longer = copy(self)
        for name in ("discoveries", "popularity_bonus", "_index"):
            longer.__dict__.pop(name, None)
        longer.hybrid = hybrid
        longer.similarities = self.similarities.append_tracks(more)
        nobody = np.full(more, -np.inf, np.float32)
        longer.recent_popularity = np.concatenate([self.recent_popularity, nobody])
        longer.popularity = np.concatenate([self.popularity, nobody])
        longer.segment_scores = np.pad(self.segment_scores, ((0, 0), (0, more)), constant_values=-np.inf)
        if more and "_index" in self.__dict__:
            longer.__dict__["_index"] = self._index.append_tracks(self, longer)
        return longer

    def save_arrays(self) -> Arrays:
        return {name: getattr(self, name) for name in _ARRAYS} | self.similarities.arrays()

    def metadata(self) -> dict[str, Any]:
        return {"options": asdict(self.options), "failed": self.similarities.failed}

    @classmethod
    def from_arrays(cls, arrays: Arrays, metadata: dict[str, Any], hybrid: Hybrid) -> Self:
        generator = cls(hybrid, CandidateOptions(**metadata["options"]))
        for name in _ARRAYS:
            setattr(generator, name, arrays[name])
        generator.similarities = ItemSimilarities.from_arrays(arrays, generator.track_count, dict(metadata["failed"]))
        return generator

    @cached_property
    def discoveries(self) -> tuple[NDArray[np.intp], Scores]:
        """Rows of the tracks that nobody has played and that have sound, and their sound, each of length 1."""
        hybrid = self.hybrid
        rows = np.flatnonzero(hybrid.listeners == 0)
        rows = rows[np.any(hybrid.sound[rows] != 0, axis=1)]
        return rows, l2_normalize(hybrid.sound[rows])

    @cached_property
    def popularity_bonus(self) -> Scores:
        """[T] added to the score of source `artist`: orders the tracks of equally familiar artists by popularity."""
        listeners = np.where(np.isfinite(self.popularity), self.popularity, 0)
        return np.asarray(0.5 * np.log1p(listeners / max(listeners.max(), 1) * 100), np.float32)


@dataclass(frozen=True, eq=False)
class _Index:
    """Whatever is the same for all users: vectors to scan and tracks in order."""

    warm: Rows
    """the tracks with ALS factors and listeners"""
    als: CompressedScan
    sound: CompressedScan
    """of the discoveries"""
    factors_at: Rows
    """[T] the row of ALS factors, -1 for a track without them"""
    sound_at: Rows
    """[T] the place among the discoveries, -1 for other tracks"""
    popular: Ids
    recent: Ids
    segments: list[Ids]

    @classmethod
    def of(cls, generator: CandidateGenerator) -> Self:
        hybrid, count = generator.hybrid, generator.track_count
        warm = np.flatnonzero(hybrid.listeners > 0)
        warm = warm[warm < len(hybrid.als.track_factors)]
        return cls(
            warm,
            CompressedScan(hybrid.als.track_factors[warm], exact_rows=hybrid.exact_rows),
            CompressedScan(generator.discoveries[1], exact_rows=hybrid.exact_rows),
            *_places(generator, warm),
            top_k(generator.popularity, count)[0],
            top_k(generator.recent_popularity, count)[0],
            [top_k(scores, count)[0] for scores in generator.segment_scores],
        )

    def append_tracks(self, generator: CandidateGenerator, longer: CandidateGenerator) -> _Index:
        """With the cold tracks that `longer` has behind those of `generator`; no list of popular tracks has them."""
        vectors = longer.discoveries[1]
        sound = self.sound.append_rows(vectors[len(generator.discoveries[1]) :], lambda: vectors)
        factors_at, sound_at = _places(longer, self.warm)
        return replace(self, sound=sound, factors_at=factors_at, sound_at=sound_at)


def _places(generator: CandidateGenerator, warm: Rows) -> tuple[Rows, Rows]:
    """[T] the rows of ALS factors and [T] the places among the discoveries; -1 for a track without."""
    discoveries = generator.discoveries[0]
    factors_at, sound_at = np.full((2, generator.track_count), -1)
    factors_at[warm] = warm
    sound_at[discoveries] = np.arange(len(discoveries))
    return factors_at, sound_at


def last_tracks(listens: Interactions, count: int) -> Ids:
    """[U, L] the last different tracks that each user liked, the newest first, -1 where there are fewer.

    All -1 where the log has neither time nor order.
    """
    last = np.full((listens.user_count, count), -1, np.int32)
    liked = listens.take(listens.likes)
    if liked.times is None or not len(liked):
        return last
    order = np.lexsort((-liked.times, liked.user_rows))
    users, tracks = liked.user_rows[order], liked.track_rows[order]
    pairs = users.astype(np.int64) * listens.track_count + tracks
    first = np.sort(np.unique(pairs, return_index=True)[1])
    users, tracks = users[first], tracks[first]
    places = positions_in_groups(users, listens.user_count)
    kept = places < count
    last[users[kept], places[kept]] = tracks[kept]
    return last


def _segments(hybrid: Hybrid, count: int) -> tuple[Scores, Scores]:
    """([S, F] centres of k-means, [S, T] each segment's share of likes of a track over its damped share of all)."""
    import faiss

    history = hybrid.history
    warm = np.flatnonzero(history.warm_users)
    vectors = l2_normalize(hybrid.fold_in(history.matrix[warm]))
    count = min(count, len(warm) // 40)
    if count < 2:
        return np.zeros((0, vectors.shape[1]), np.float32), np.zeros((0, len(history.popularity)), np.float32)
    means = faiss.Kmeans(vectors.shape[1], count, niter=15, seed=1, spherical=True, min_points_per_centroid=1)
    means.train(vectors)
    segment_of = means.index.search(vectors, 1)[1][:, 0]
    scores = np.zeros((count, len(history.popularity)), np.float32)
    liked = history.liked[warm]
    users = np.repeat(np.arange(len(warm)), np.diff(liked.indptr))
    np.add.at(scores, (segment_of[users], liked.indices), 1)
    sizes = np.bincount(segment_of, minlength=count)[:, None]
    overall = scores.sum(axis=0) / len(warm)
    # Damped, so that a track with one listener does not come first in that listener's segment.
    scores = np.where(scores > 0, (scores / sizes) / np.sqrt(overall + 0.01), -np.inf)
    return np.asarray(means.centroids, np.float32), scores.astype(np.float32)
