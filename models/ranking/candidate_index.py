"""The candidate index: what the sources look up that is the same for all users, made once for a history.

Vectors to scan, of warm tracks by taste and of those that nobody has played by sound; and tracks in order of
popularity.

Shapes: T tracks, N tracks that nobody has played, F factors, D dimensions of an embedding, S segments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..arrays import Ids, Rows, Scores, l2_normalize, top_k
from ..hybrid.compressed_scan import CompressedScan
from ..hybrid.model import Hybrid


@dataclass(frozen=True, eq=False)
class CandidateIndex:
    warm: Rows
    """the tracks with ALS factors and listeners"""
    by_taste: CompressedScan
    """of their factors"""
    fresh: Rows
    """[N] the tracks that nobody has played and that have sound"""
    sound: Scores
    """[N, D] theirs, each of length 1"""
    by_sound: CompressedScan
    factors_at: Rows
    """[T] the row of ALS factors, -1 for a track without them"""
    sound_at: Rows
    """[T] the row of `sound`, -1 for other tracks"""
    popular: Ids
    recent: Ids
    segments: list[Ids]
    """[S]"""

    @classmethod
    def of(cls, hybrid: Hybrid, popularity: Scores, recent_popularity: Scores, segment_scores: Scores) -> Self:
        """`popularity` [T], of the log's end [T], and in each segment [S, T]; -inf for a track without listeners."""
        count = len(popularity)
        warm = np.flatnonzero(hybrid.listeners > 0)
        warm = warm[warm < len(hybrid.als.track_factors)]
        fresh, sound = _fresh(hybrid)
        return cls(
            warm,
            CompressedScan(hybrid.als.track_factors[warm], exact_rows=hybrid.exact_rows),
            fresh,
            sound,
            CompressedScan(sound, exact_rows=hybrid.exact_rows),
            _places(warm, warm, count),
            _places(fresh, np.arange(len(fresh)), count),
            top_k(popularity, count)[0],
            top_k(recent_popularity, count)[0],
            [top_k(scores, count)[0] for scores in segment_scores],
        )

    def append_tracks(self, hybrid: Hybrid) -> CandidateIndex:
        """With the cold tracks that `hybrid` has behind these; no list of popular tracks has them."""
        fresh, sound = _fresh(hybrid)
        return replace(
            self,
            fresh=fresh,
            sound=sound,
            by_sound=self.by_sound.append_rows(sound[len(self.sound) :], lambda: sound),
            factors_at=_places(self.warm, self.warm, len(hybrid.taste)),
            sound_at=_places(fresh, np.arange(len(fresh)), len(hybrid.taste)),
        )


def _fresh(hybrid: Hybrid) -> tuple[Rows, Scores]:
    rows = np.flatnonzero((hybrid.listeners == 0) & np.any(hybrid.sound != 0, axis=1))
    return rows, l2_normalize(hybrid.sound[rows])


def _places(rows: Rows, places: Rows, track_count: int) -> Rows:
    """[T] the place of each of these rows, -1 of others."""
    found = np.full(track_count, -1)
    found[rows] = places
    return found
