"""Candidates: the few hundred tracks per user that are worth ranking, from several sources that know different things.

    als, hybrid    taste vectors, without and with the content prior
    items, last    item-KNN from all of the user's tracks, and from the last of them
    artist         other tracks by the artists that the user listens to
    segment        popular among users of like taste (k-means of taste vectors)
    popular, recent-popular
    sound          tracks that nobody has played, by their likeness to what the user plays: for discovery

Each source may nominate as many tracks as its quota says; where the union is too long, the ones that stand highest in
any source's list stay. Everything is learned from one history; what comes after it is what the ranker learns to
predict.

Shapes: U users, T tracks, B users asked for, C candidates of each, L last tracks of a user, S segments, E features of
the sound.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import CrossfadeError
from ..arrays import Ids, Scores, top_k, unit_rows
from ..hybrid.model import Hybrid
from ..hybrid.options import artist_counts
from ..interactions import Listens, liked
from ..recommenders.history import RECENT_SECONDS, popularity
from ..recommenders.item_knn import ItemKNN, ItemKNNOptions
from ..storage import Arrays

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SOURCES = ("hybrid", "als", "items", "last", "artist", "segment", "recent-popular", "popular", "sound")
QUOTAS = {
    "hybrid": 120,
    "als": 100,
    "items": 120,
    "last": 60,
    "artist": 60,
    "segment": 30,
    "recent-popular": 20,
    "popular": 20,
    "sound": 20,
}

USERS_PER_BATCH = 256
CELLS = 1 << 24
"""Scores of one source held at once."""
_LAST_DECAY = 0.85
STEP = 1e-6
"""Less than any two different places of two quotas are apart."""


@dataclass(frozen=True, kw_only=True)
class CandidateOptions:
    most: int = 300
    """candidates of a user"""
    quotas: dict[str, int] = field(default_factory=QUOTAS.copy)
    """how many each source may nominate; a source that is not named is not asked"""
    last_tracks: int = 10
    segments: int = 12
    neighbours: int = 300
    """that item-KNN keeps of each track"""


@dataclass(frozen=True, eq=False)
class UserProfiles:
    user_rows: Ids
    """[B] rows of the training, -1 for somebody it never met"""
    heard: csr_matrix
    """[B, T] confidences; negative ones are dislikes"""
    vectors: Scores
    """[B, F] taste, folded in from `heard`"""
    last: Ids
    """[B, L] the last different tracks they liked, the newest first, -1 where there are fewer"""

    def __len__(self) -> int:
        return len(self.user_rows)

    @cached_property
    def liked(self) -> csr_matrix:
        """[B, T] the positive confidences only."""
        return liked(self.heard)

    @cached_property
    def likers(self) -> NDArray[np.intp]:
        """The listener of each entry of `liked`."""
        return np.repeat(np.arange(len(self)), np.diff(self.liked.indptr))

    @cached_property
    def newest(self) -> csr_matrix:
        """[B, T] the last tracks, the newest with weight 1 and older ones with less."""
        from scipy.sparse import csr_matrix

        there = self.last >= 0
        weights = np.float32(_LAST_DECAY) ** np.nonzero(there)[1].astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        return csr_matrix((weights, self.last[there], ends), shape=self.heard.shape)

    def mean_directions(self, vectors: Scores) -> Scores:
        """[T, D] -> [B, D] the mean direction of what each of them liked; zeros for nobody."""
        from scipy.sparse import csr_matrix

        mine = self.liked
        if len(self) == 1:
            return np.asarray(unit_rows(vectors[mine.indices]).sum(axis=0, keepdims=True) / max(mine.nnz, 1))
        tracks, places = np.unique(mine.indices, return_inverse=True)
        counts = np.diff(mine.indptr)
        shares = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
        weights = csr_matrix((shares, places, mine.indptr), shape=(len(counts), len(tracks)))
        return np.asarray(weights @ unit_rows(vectors[tracks]), np.float32)


@dataclass(frozen=True, eq=False)
class Candidates:
    """C candidates for each of B users, the likeliest first, and what each source says of them."""

    profiles: UserProfiles
    """B listeners"""
    ids: Ids
    """[B, C] track rows, -1 where there are fewer"""
    scores: dict[str, Scores]
    """source -> [B, C]; -inf where it has nothing to say"""
    nominated: dict[str, NDArray[np.bool_]]
    """source -> [B, C] whether the track is within its quota"""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def there(self) -> NDArray[np.bool_]:
        """[B, C]"""
        return self.ids >= 0


class CandidateGenerator:
    """All sources, fitted on one history."""

    name = "sources"

    def __init__(self, hybrid: Hybrid, options: CandidateOptions | None = None) -> None:
        """`hybrid` is fitted on the same listens that `fit` is given."""
        self.hybrid = hybrid
        self.options = options or CandidateOptions()
        self.failed: dict[str, str] = {}
        """source -> why it is not there"""

    def fit(self, listens: Listens) -> Self:
        options = self.options
        self.likeness: csr_matrix | None = None
        try:
            self.likeness = ItemKNN(ItemKNNOptions(neighbours=options.neighbours)).fit(listens).likeness
        except CrossfadeError as error:
            self.failed |= {"items": str(error), "last": str(error)}
        self.last = last_tracks(listens, options.last_tracks)
        self.recent_popularity = popularity(listens, RECENT_SECONDS)
        self.popularity = popularity(listens)
        self.segment_centres, self.segment_scores = _segments(self.hybrid, options.segments)
        return self

    @property
    def track_count(self) -> int:
        return len(self.popularity)

    def profiles(self, user_rows: Ids) -> UserProfiles:
        """Warm users of the training."""
        rows = np.asarray(user_rows, np.int32)
        heard = self.hybrid.history.heard[rows]
        return UserProfiles(rows, heard, self.hybrid.fold_in(heard), self.last[rows])

    def candidates_of(
        self,
        profiles: UserProfiles,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Candidates:
        """The candidates of listeners who like something; `candidates` [T] limits the tracks that may be any."""
        everything = self.scores(profiles)
        seen = None if allow_seen else profiles.heard
        if seen is not None:
            owners = np.repeat(np.arange(len(profiles)), np.diff(seen.indptr))
        barred = np.zeros(0, np.intp) if candidates is None else np.flatnonzero(~candidates)
        # How high a track stands in the best of its lists: 0 at the top, -1 at the end of the quota.
        standing = np.full((len(profiles), self.track_count), -np.inf)
        lists: dict[str, Ids] = {}
        for name, cells in everything.items():
            if seen is not None:
                cells[owners, seen.indices] = -np.inf
            if len(barred):
                cells[:, barred] = -np.inf
            quota = self.options.quotas.get(name, 0)
            if not quota:
                continue
            ids, _ = top_k(cells, quota)
            lists[name] = ids
            users, places = np.nonzero(ids >= 0)
            tracks = ids[users, places]
            standing[users, tracks] = np.maximum(standing[users, tracks], -places / quota)
        # Many stand equally high in different lists: the cut goes by row, for any number of listeners at a time.
        standing -= np.arange(self.track_count) * (STEP / self.track_count)
        ids, _ = top_k(standing, min(self.options.most, self.track_count))
        safe = np.maximum(ids, 0)
        scores = {name: np.take_along_axis(cells, safe, axis=1) for name, cells in everything.items()}
        nominated = {}
        flags = np.zeros((len(profiles), self.track_count + 1), bool)
        for name, listed in lists.items():
            flags[:] = False
            np.put_along_axis(flags, listed, True, axis=1)
            nominated[name] = np.take_along_axis(flags, safe, axis=1) & (ids >= 0)
        return Candidates(profiles, ids, scores, nominated)

    def scores(self, profiles: UserProfiles) -> dict[str, Scores]:
        """source -> [B, T], each a new array; only what is there and has a quota."""
        hybrid, quotas = self.hybrid, self.options.quotas
        found = {"hybrid": hybrid.scores(profiles.vectors, profiles.liked), "als": self._by_als(profiles.vectors)}
        if self.likeness is not None:
            found["items"] = _dense(profiles.liked @ self.likeness)
            found["last"] = _dense(profiles.newest @ self.likeness)
        found["artist"] = self._by_artist(profiles.liked)
        if len(self.segment_scores):
            found["segment"] = self.segment_scores[self.segments(profiles.vectors)]
        found["recent-popular"] = np.tile(self.recent_popularity, (len(profiles), 1))
        found["popular"] = np.tile(self.popularity, (len(profiles), 1))
        if hybrid.sound.shape[1]:
            found["sound"] = self._by_sound(profiles)
        return {name: cells for name, cells in found.items() if name in quotas}

    def segments(self, vectors: Scores) -> NDArray[np.intp]:
        """[B, F] -> [B] the nearest segment."""
        return np.asarray((vectors @ self.segment_centres.T).argmax(axis=1), np.intp)

    def append_tracks(self, hybrid: Hybrid) -> CandidateGenerator:
        """These sources with the tracks that `hybrid` knows beyond theirs, as ones that nobody has played."""
        from copy import copy

        from scipy.sparse import csr_matrix

        count = len(hybrid.taste)
        more = count - self.track_count
        if hybrid is self.hybrid and not more:
            return self
        longer = copy(self)
        for name in ("discoveries", "fame"):
            longer.__dict__.pop(name, None)
        longer.hybrid = hybrid
        if self.likeness is not None:
            near = self.likeness
            ends = np.pad(near.indptr, (0, more), mode="edge")
            longer.likeness = csr_matrix((near.data, near.indices, ends), shape=(count, count))
        nobody = np.full(more, -np.inf, np.float32)
        longer.recent_popularity = np.concatenate([self.recent_popularity, nobody])
        longer.popularity = np.concatenate([self.popularity, nobody])
        longer.segment_scores = np.pad(self.segment_scores, ((0, 0), (0, more)), constant_values=-np.inf)
        return longer

    def save_arrays(self) -> Arrays:
        arrays: Arrays = {
            "last": self.last,
            "recent_popularity": self.recent_popularity,
            "popularity": self.popularity,
            "segment_centres": self.segment_centres,
            "segment_scores": self.segment_scores,
        }
        if self.likeness is not None:
            arrays |= {
                "near_indptr": self.likeness.indptr.astype(np.int64),
                "near_tracks": self.likeness.indices.astype(np.int32),
                "near_scores": self.likeness.data.astype(np.float32),
            }
        return arrays

    def facts(self) -> dict[str, Any]:
        return {"options": asdict(self.options), "failed": self.failed}

    @classmethod
    def from_arrays(cls, arrays: Arrays, facts: dict[str, Any], hybrid: Hybrid) -> Self:
        from scipy.sparse import csr_matrix

        generator = cls(hybrid, CandidateOptions(**facts["options"]))
        generator.failed = dict(facts["failed"])
        for name in ("last", "recent_popularity", "popularity", "segment_centres", "segment_scores"):
            setattr(generator, name, arrays[name])
        generator.likeness = None
        if "near_indptr" in arrays:
            count = len(arrays["near_indptr"]) - 1
            parts = (arrays["near_scores"], arrays["near_tracks"], arrays["near_indptr"])
            generator.likeness = csr_matrix(parts, shape=(count, count))
        return generator

    @cached_property
    def discoveries(self) -> tuple[NDArray[np.intp], Scores]:
        """Rows of the tracks that nobody has played and that have sound, and their sound, each of length 1."""
        hybrid = self.hybrid
        rows = np.flatnonzero(hybrid.listeners == 0)
        rows = rows[np.any(hybrid.sound[rows] != 0, axis=1)]
        return rows, unit_rows(hybrid.sound[rows])

    @cached_property
    def fame(self) -> Scores:
        """[T] what a track's popularity adds among the tracks of equally familiar artists."""
        listeners = np.where(np.isfinite(self.popularity), self.popularity, 0)
        return np.asarray(0.5 * np.log1p(listeners / max(listeners.max(), 1) * 100), np.float32)

    def _by_sound(self, profiles: UserProfiles) -> Scores:
        """The mean cosine of a discovery's sound to that of the user's tracks."""
        rows, sound = self.discoveries
        cells = np.full((len(profiles), self.track_count), -np.inf, np.float32)
        cells[:, rows] = profiles.mean_directions(self.hybrid.sound) @ sound.T
        return cells

    def _by_als(self, vectors: Scores) -> Scores:
        factors = self.hybrid.als.track_factors
        cells = np.full((len(vectors), self.track_count), -np.inf, np.float32)
        cells[:, : len(factors)] = vectors @ factors.T
        cells[:, self.hybrid.listeners == 0] = -np.inf
        return cells

    def _by_artist(self, liked: csr_matrix) -> Scores:
        """The logarithm of the user's count of the artist; among equals the more popular track."""
        shared = artist_counts(liked, self.hybrid.artists)
        cells = np.full(shared.shape, -np.inf, np.float32)
        users = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
        cells[users, shared.indices] = shared.data + self.fame[shared.indices]
        return cells


def last_tracks(listens: Listens, count: int) -> Ids:
    """[U, L] the last different tracks that each user liked, the newest first, -1 where there are fewer.

    A log without time or order says nothing of it: all -1.
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
    starts = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=listens.user_count))])
    places = np.arange(len(users)) - starts[users]
    kept = places < count
    last[users[kept], places[kept]] = tracks[kept]
    return last


def _segments(hybrid: Hybrid, count: int) -> tuple[Scores, Scores]:
    """[S, F] centres, and [S, T] its listeners of each track for a listener of the same fame elsewhere."""
    import faiss

    history = hybrid.history
    warm = np.flatnonzero(history.warm_users)
    vectors = unit_rows(hybrid.fold_in(history.heard[warm]))
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
    everywhere = scores.sum(axis=0) / len(warm)
    # As a share, and damped: ten of one segment's listeners say more than one of one.
    scores = np.where(scores > 0, (scores / sizes) / np.sqrt(everywhere + 0.01), -np.inf)
    return np.asarray(means.centroids, np.float32), scores.astype(np.float32)


def _dense(scores: csr_matrix) -> Scores:
    cells = np.asarray(scores.toarray(), np.float32)
    cells[cells == 0] = -np.inf
    return cells
