"""Live candidates: those of `Sources.gather` for one listener, without a pass over all tracks for each source.

Three kinds of sources: those that say something of few tracks (items, last, artist) are computed for these; those that
say the same to everybody (popular, segment) are put in order once; those that have a number for every track (hybrid,
als, sound) are scanned for nominees (see `hybrid.inner_product_scan`), whose scores are then computed exactly.

Shapes: T tracks, F factors, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Scores, top_k
from ..hybrid.inner_product_scan import EXACT_ROWS, Rows, Scan
from ..hybrid.online import Listened, LiveTaste, Wish
from ..sparse_cells import cells
from .candidates import STEP, CandidateGenerator, Candidates, UserProfiles

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Mask = NDArray[np.bool_]
_NOMINEES_PER_CANDIDATE = 4
_CHUNK = 128


@dataclass(frozen=True, eq=False)
class _Said:
    """What one source says to one listener."""

    best: Callable[[int, Mask], Rows]
    """a number n, and whether a row may be any [T] -> its n best rows, best first, equal ones in order of row"""
    scores: Callable[[Rows], Scores]
    """rows in ascending order -> their scores; -inf where it has nothing to say"""


class LiveSources:
    """Never changes, so that any number of threads may ask."""

    def __init__(self, generator: CandidateGenerator, taste: LiveTaste, *, exact_rows: int = EXACT_ROWS) -> None:
        """`taste` is made from the sources' hybrid."""
        self.generator, self.taste = generator, taste
        hybrid = generator.hybrid
        warm = np.flatnonzero(hybrid.listeners > 0)
        self._warm = warm[warm < len(hybrid.als.track_factors)]
        self._als = Scan(hybrid.als.track_factors[self._warm], exact_rows=exact_rows)
        self._sound = Scan(generator.discoveries[1], exact_rows=exact_rows)
        self._place()
        count = generator.track_count
        self._popular = top_k(generator.popularity, count)[0]
        self._recent = top_k(generator.recent_popularity, count)[0]
        self._segments = [top_k(scores, count)[0] for scores in generator.segment_scores]

    def append_tracks(self, generator: CandidateGenerator, taste: LiveTaste) -> LiveSources:
        """The same over more tracks, cold ones behind these: they are on no list of popular tracks."""
        longer = copy(self)
        longer.generator, longer.taste = generator, taste
        before, sound = len(self.generator.discoveries[1]), generator.discoveries[1]
        longer._sound = self._sound.plus(sound[before:], lambda: sound)
        longer._place()
        return longer

    def _place(self) -> None:
        """Where each track's vector is, -1 for a track without one."""
        fresh = self.generator.discoveries[0]
        self._factors_at, self._sound_at = np.full((2, self.generator.track_count), -1)
        self._factors_at[self._warm] = self._warm
        self._sound_at[fresh] = np.arange(len(fresh))

    def profiles(self, listened: Listened, user_row: int, last: Ids) -> tuple[UserProfiles, Wish]:
        """One listener who likes something; `last` are the tracks they liked last, the newest first."""
        from scipy.sparse import csr_matrix

        wish = self.taste.wish(listened)
        ends = np.array([0, len(listened.track_rows)])
        heard = csr_matrix((listened.weights, listened.track_rows, ends), shape=(1, self.generator.track_count))
        newest = np.full((1, self.generator.options.last_tracks), -1, np.int32)
        newest[0, : len(last)] = last[: newest.shape[1]]
        return UserProfiles(np.array([user_row], np.int32), heard, wish.vector[None], newest), wish

    def candidates_of(
        self, profiles: UserProfiles, wish: Wish, *, allow_seen: bool = False, candidates: Mask | None = None
    ) -> Candidates:
        """See `Sources.gather`: the same candidates of one listener."""
        options, heard = self.generator.options, profiles.heard.indices
        allowed = np.ones(self.generator.track_count, bool) if candidates is None else candidates.copy()
        if not allow_seen:
            allowed[heard] = False
        said = {name: one for name, one in self._said(profiles, wish).items() if name in options.quotas}
        lists = {name: one.best(quota, allowed) for name, one in said.items() if (quota := options.quotas[name])}
        listed = np.concatenate([*lists.values(), np.zeros(0, np.intp)])
        heights = [-np.arange(len(rows)) / options.quotas[name] for name, rows in lists.items()]
        rows, place = np.unique(listed, return_inverse=True)
        standing = np.full(len(rows), -np.inf)
        np.maximum.at(standing, place, np.concatenate([*heights, np.zeros(0)]))
        standing -= rows * (STEP / self.generator.track_count)
        chosen, _ = top_k(standing, options.most)
        ids = rows[chosen]
        ascending = np.argsort(ids)
        scores, nominated, begin = {}, {}, 0
        for name, one in said.items():
            values = np.empty(len(ids), np.float32)
            values[ascending] = one.scores(ids[ascending])
            scores[name] = values[None]
            if name in lists:
                flags = np.zeros(len(rows), bool)
                end = begin + len(lists[name])
                flags[place[begin:end]] = True
                nominated[name], begin = flags[chosen][None], end
        return Candidates(profiles, ids.astype(np.int32)[None], scores, nominated)

    def _said(self, profiles: UserProfiles, wish: Wish) -> dict[str, _Said]:
        generator, taste = self.generator, self.taste
        factors, count = generator.hybrid.als.track_factors, generator.track_count
        # What was heard may not be an answer, and stands high.
        more = profiles.heard.nnz

        def scanned(nominees: Callable[[int], Rows], scores: Callable[[Rows], Scores]) -> _Said:
            def best(count: int, allowed: Mask) -> Rows:
                rows = nominees(count + more)
                rows = np.sort(rows[allowed[rows]])
                return rows[top_k(scores(rows), count)[0]]

            return _Said(best, scores)

        def by_taste(rows: Rows) -> Scores:
            return np.where(generator.hybrid.known[rows], taste.scores(wish, rows), -np.inf).astype(np.float32)

        said = {
            "hybrid": scanned(lambda count: taste.nominees(wish, count), by_taste),
            "als": scanned(
                lambda count: self._warm[self._als.nominees(wish.vector, _NOMINEES_PER_CANDIDATE * count)],
                lambda rows: _products(factors, self._factors_at[rows], wish.vector),
            ),
        }
        if generator.likeness is not None:
            said["items"] = _near(profiles.liked, generator.likeness)
            said["last"] = _near(profiles.newest, generator.likeness)
        familiar = np.zeros(count, np.float32)
        familiar[wish.familiar] = np.log1p(wish.shared) + generator.fame[wish.familiar]
        said["artist"] = _listed(wish.familiar, familiar)
        if len(self._segments):
            segment = int(generator.segments(profiles.vectors)[0])
            said["segment"] = _ordered(self._segments[segment], generator.segment_scores[segment])
        said["recent-popular"] = _ordered(self._recent, generator.recent_popularity)
        said["popular"] = _ordered(self._popular, generator.popularity)
        if generator.hybrid.sound.shape[1]:
            profile = profiles.mean_directions(generator.hybrid.sound)[0]
            fresh, sound = generator.discoveries

            said["sound"] = scanned(
                lambda count: fresh[self._sound.nominees(profile, _NOMINEES_PER_CANDIDATE * count)],
                lambda rows: _products(sound, self._sound_at[rows], profile),
            )
        return said


def _listed(tracks: Rows, everywhere: Scores) -> _Said:
    """From the few tracks that it has something to say of; `everywhere` [T] is 0 for the others."""

    def best(count: int, allowed: Mask) -> Rows:
        kept = tracks[allowed[tracks]]
        return kept[top_k(everywhere[kept], count)[0]]

    def scores(rows: Rows) -> Scores:
        found = everywhere[rows]
        found[found == 0] = -np.inf
        return found

    return _Said(best, scores)


def _near(weights: csr_matrix, likeness: csr_matrix) -> _Said:
    """From what is like the tracks of one listener: `weights` [1, T] @ `likeness` [T, T], added up in that order."""
    places, owners = cells(likeness, weights.indices)
    everywhere = np.zeros(likeness.shape[1], np.float32)
    np.add.at(everywhere, likeness.indices[places], weights.data[owners] * likeness.data[places])
    # numpy finds what is true much faster than what is not 0.
    return _listed(np.flatnonzero(everywhere != 0), everywhere)


def _ordered(order: Rows, scores: Scores) -> _Said:
    """From all tracks, best first."""

    def best(count: int, allowed: Mask) -> Rows:
        rows = order[: count + _CHUNK]
        rows = rows[allowed[rows]]
        if len(rows) < count:
            rows = order[allowed[order]]
        return rows[:count]

    return _Said(best, lambda rows: scores[rows])


def _products(vectors: Scores, places: Rows, query: Scores) -> Scores:
    """Products of some vectors with the query; -inf where the place is negative. Shape: -> [len(places)]"""
    there = places >= 0
    found = np.full(len(places), -np.inf, np.float32)
    found[there] = vectors[places[there]] @ query
    return found
