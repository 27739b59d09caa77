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

Many users are served at once, and one as a batch of one (see `sources`). No source takes a pass over all tracks for
each user. Those with scores of few tracks (items, last, sequence, ease, artist) are computed for these; those with the
same scores for everybody (popular, segment) are sorted once; those with a score of every track (hybrid, als, sound) are
scanned for nominees (`hybrid.compressed_scan`), which are then scored exactly.

Shapes: U users, B of them, T tracks, C candidates of a user, N of all B, F factors, L last tracks of a user, S
segments, D dimensions of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..arrays import Answers, Ids, Mask, Rows, Scores, no_answers, one_blas_thread, top_k_of_lists
from ..hybrid.model import Hybrid
from ..hybrid.online import UserHistory
from ..interactions import Interactions
from ..recommenders.base import RECENT_SECONDS, popularity, to_power
from ..storage import Arrays
from .candidate_index import CandidateIndex
from .item_similarities import EASE_OPTIONS, ItemSimilarities
from .segments import taste_segments
from .sources import Listed, Ordered, Pairs, Scanned, Source, products
from .user_profile import NO_TRACKS, UserProfile, last_tracks

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

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

_ARRAYS = ("last", "recent_popularity", "popularity", "segment_centres", "segment_scores")
"""attributes that are saved as they are"""
_MOST_USERS = 128
_CELLS = 1 << 23
"""of users and tracks, at once"""
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
class Candidates:
    """C candidates of each of B users, user after user, the likeliest first, and their scores by each source."""

    users: Sequence[UserProfile]
    """[B]"""
    pairs: Pairs
    """[N] users and track rows"""
    scores: dict[str, Scores]
    """source -> [N]; -inf where it has none"""
    nominated: dict[str, Mask]
    """source -> [N] whether the track is within its quota"""

    def __len__(self) -> int:
        return len(self.pairs.rows)

    @property
    def ids(self) -> Ids:
        """[N] track rows"""
        return self.pairs.rows.astype(np.int32, copy=False)


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
            self.segment_centres, self.segment_scores = taste_segments(self.hybrid, options.segments)
        return self

    @property
    def track_count(self) -> int:
        return len(self.popularity)

    @cached_property
    def _index(self) -> CandidateIndex:
        return CandidateIndex.of(self.hybrid, self.popularity, self.recent_popularity, self.segment_scores)

    def profile(self, history: UserHistory, *, user_row: int = -1, newest: Ids = NO_TRACKS) -> UserProfile:
        """One user who likes something.

        `user_row` of the training, -1 for a user who is not in it; `newest` are the tracks they liked since then, the
        newest first; both are part of `history`, too.
        """
        before = self.last[user_row] if user_row >= 0 else NO_TRACKS
        last = np.concatenate([newest, before[before >= 0]])
        last = last[(last[:, None] == history.track_rows[history.liked]).any(axis=1)]
        last = np.array([*dict.fromkeys(last.tolist())][: self.options.last_tracks], np.int32)
        return UserProfile(user_row, history, last, self.hybrid.query(history))

    def trained_profile(self, user_row: int) -> UserProfile:
        """A warm user of the training."""
        return self.profile(self.hybrid.user_history(user_row), user_row=user_row)

    def users_per_batch(self) -> int:
        """How many users `candidates_of` is best given at once: their matrices have a cell for every track."""
        return max(1, min(_MOST_USERS, _CELLS // max(self.track_count, 1)))

    def trained_candidates(self, user_rows: Rows) -> Iterator[Candidates]:
        """Of warm users of the training, a batch of them at a time."""
        step = self.users_per_batch()
        with one_blas_thread():
            for start in range(0, len(user_rows), step):
                yield self.candidates_of(
                    [self.trained_profile(row) for row in user_rows[start : start + step].tolist()]
                )

    def candidates_of(
        self, users: Sequence[UserProfile], *, allow_seen: bool = False, candidates: Mask | None = None
    ) -> Candidates:
        """The candidates of B users; `candidates` [T] limits the tracks that may be any."""
        options, count = self.options, self.track_count
        allowed = self._allowed(users, candidates, allow_seen=allow_seen)
        sources = self.sources(users)
        lists = {name: source.best(options.quotas[name], allowed) for name, source in sources.items()}
        # Of the tracks that any source nominates, those with the best place in any list, relative to its quota.
        heights = [-pairs.places / options.quotas[name] for name, pairs in lists.items()]
        cells, place = np.unique(
            np.concatenate([*(pairs.cells(count) for pairs in lists.values()), np.zeros(0, np.int64)]),
            return_inverse=True,
        )
        best_height = np.full(len(cells), -np.inf)
        np.maximum.at(best_height, place, np.concatenate([*heights, np.zeros(0)]))
        union = Pairs.of_cells(cells, len(users), count)
        best_height -= union.rows * (_STEP / count)
        chosen, ends = top_k_of_lists(best_height, union.ends, options.most)
        # Scores are of each user's pairs in order of row.
        ascending = np.sort(chosen)
        order = np.searchsorted(ascending, chosen)
        asked, place_of = union.take(ascending), np.full(len(users) * count, -1, np.int32)
        place_of[cells[ascending]] = np.arange(len(ascending), dtype=np.int32)
        scores = {name: source.scores(asked, place_of)[order] for name, source in sources.items()}
        nominated, stops = {}, np.cumsum([len(pairs.rows) for pairs in lists.values()])
        for name, places in zip(lists, np.split(place, stops), strict=False):
            flags = np.zeros(len(cells), bool)
            flags[places] = True
            nominated[name] = flags[chosen]
        return Candidates(users, Pairs(union.rows[chosen], ends), scores, nominated)

    def sources(self, users: Sequence[UserProfile]) -> dict[str, Source]:
        """The sources that have a quota, for B users."""
        similarities = self.similarities.matrices
        sources: dict[str, Source] = {"hybrid": self._by_hybrid(users), "als": self._by_als(users)}
        if any(len(user.last) for user in users):
            sources["als-last"] = self._by_factors(
                users, [self.hybrid.folding.one(user.last, user.last_weights) for user in users]
            )
        likes = [(user.liked, user.history.weights[user.history.liked]) for user in users]
        liked = _rows_of(likes, self.track_count)
        last = _rows_of([(user.last, user.last_weights) for user in users], self.track_count)
        for name, inputs in (("items", liked), ("last", last), ("sequence", last), ("next", last), ("ease", liked)):
            similarity = similarities.get("items" if name == "last" else name)
            if similarity is not None and name in self.options.quotas:
                weights = to_power(inputs, EASE_OPTIONS.confidence_power) if name == "ease" else inputs
                sources[name] = Listed((weights @ similarity).tocsr())
        familiar = [
            (tracks, np.log1p(user.query.familiar_counts) + self.popularity_bonus[tracks])
            for user in users
            for tracks in [user.query.familiar_tracks]
        ]
        sources["artist"] = Listed(_rows_of(familiar, self.track_count))
        index, everybody = self._index, np.zeros(len(users), np.intp)
        if len(index.segments):
            segments = [int((self.segment_centres @ user.query.taste).argmax()) for user in users]
            sources["segment"] = Ordered(index.segments, self.segment_scores, np.array(segments, np.intp))
        sources["recent-popular"] = Ordered([index.recent], self.recent_popularity[None], everybody)
        sources["popular"] = Ordered([index.popular], self.popularity[None], everybody)
        if self.hybrid.sound.shape[1]:
            sources["sound"] = self._by_sound(users)
        return {name: source for name, source in sources.items() if self.options.quotas.get(name)}

    def best_by_als(self, users: Sequence[UserProfile], k: int, *, candidates: Mask | None = None) -> Answers:
        """The k new tracks with the highest scores by ALS alone, of B users."""
        source = self._by_als(users)
        best = source.best(k, self._allowed(users, candidates))
        ids, scores = no_answers(len(users), k)
        ids[best.owners, best.places] = best.rows
        for user, values in enumerate(scores):
            values[: best.ends[user + 1] - best.ends[user]] = source.exact(user, best.list_of(user))
        return ids, scores

    def _allowed(self, users: Sequence[UserProfile], candidates: Mask | None, *, allow_seen: bool = False) -> Mask:
        """[B, T]"""
        allowed = np.ones((len(users), self.track_count), bool)
        if candidates is not None:
            allowed &= candidates
        if not allow_seen:
            for mask, user in zip(allowed, users, strict=True):
                mask[user.history.track_rows] = False
        return allowed

    def _by_als(self, users: Sequence[UserProfile]) -> Scanned:
        """Taste vectors without the content prior."""
        return self._by_factors(users, [user.query.taste for user in users])

    def _by_factors(self, users: Sequence[UserProfile], tastes: Sequence[Scores]) -> Scanned:
        index, factors = self._index, self.hybrid.als.track_factors

        def exact(user: int, rows: Rows) -> Scores:
            if not tastes[user].any():
                return np.full(len(rows), -np.inf, np.float32)
            return products(factors, index.factors_at[rows], tastes[user])

        return Scanned(index.by_taste, factors, index.warm, index.warm, np.stack(tastes), _seen(users), exact)

    def _by_hybrid(self, users: Sequence[UserProfile]) -> Scanned:
        hybrid = self.hybrid
        known = hybrid.known_rows
        familiar = None
        if hybrid.options.affinity:
            familiar = Pairs.of_lists(
                [rows[hybrid.known[rows]] for user in users for rows in [user.query.familiar_tracks]]
            )

        def exact(user: int, rows: Rows) -> Scores:
            scores = hybrid.scores_of(users[user].query, rows)
            return np.where(hybrid.known[rows], scores, -np.inf).astype(np.float32)

        # Many users are worth the vectors of all tracks.
        vectors = hybrid.score_vectors if hybrid.scan.is_exact or len(users) > 1 else hybrid.taste[:0]
        queries = np.stack([user.query.vector for user in users])
        return Scanned(hybrid.scan, vectors, known, known, queries, _seen(users), exact, familiar)

    def _by_sound(self, users: Sequence[UserProfile]) -> Scanned:
        index = self._index
        profiles = [user.mean_direction(self.hybrid.sound) for user in users]

        def exact(user: int, rows: Rows) -> Scores:
            return products(index.sound, index.sound_at[rows], profiles[user])

        queries = np.stack(profiles)
        return Scanned(index.by_sound, index.sound, slice(None), index.fresh, queries, _seen(users), exact)

    def append_tracks(self, hybrid: Hybrid) -> CandidateGenerator:
        """With the further tracks of `hybrid`, as ones that nobody has played."""
        count = len(hybrid.taste)
        more = count - self.track_count
        if hybrid is self.hybrid and not more:
            return self
        longer = copy(self)
        for name in ("popularity_bonus", "_index"):
            longer.__dict__.pop(name, None)
        longer.hybrid = hybrid
        longer.similarities = self.similarities.append_tracks(more)
        nobody = np.full(more, -np.inf, np.float32)
        longer.recent_popularity = np.concatenate([self.recent_popularity, nobody])
        longer.popularity = np.concatenate([self.popularity, nobody])
        longer.segment_scores = np.pad(self.segment_scores, ((0, 0), (0, more)), constant_values=-np.inf)
        if more and "_index" in self.__dict__:
            longer.__dict__["_index"] = self._index.append_tracks(hybrid)
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
    def popularity_bonus(self) -> Scores:
        """[T] added to the score of source `artist`: orders the tracks of equally familiar artists by popularity."""
        listeners = np.where(np.isfinite(self.popularity), self.popularity, 0)
        return np.asarray(0.5 * np.log1p(listeners / max(listeners.max(), 1) * 100), np.float32)


def _rows_of(lists: Sequence[tuple[Rows, Scores]], track_count: int) -> csr_matrix:
    """[B, T] users' tracks and their weights."""
    from scipy.sparse import csr_matrix

    rows, weights = (np.concatenate(parts) for parts in zip(*lists, strict=True))
    ends = np.cumsum([0, *(len(tracks) for tracks, _ in lists)])
    return csr_matrix((weights, rows, ends), shape=(len(lists), track_count))


def _seen(users: Sequence[UserProfile]) -> Rows:
    """[B] how many tracks each knows."""
    return np.array([len(user.history.track_rows) for user in users])
