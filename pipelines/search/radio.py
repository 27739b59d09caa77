"""Radio: what follows a seed without end, and learns from what is skipped.

The query is moved as in relevance feedback (Rocchio 1971; the weights are those of Manning, Raghavan and Schütze,
"Introduction to Information Retrieval", section 9.1.1), in both halves of the hybrid index:

    query = mean of the seeds + .75 mean of what was played to its end - .15 mean of what was skipped

and tracks that are nearer to what was skipped than to that query are left out while there are others.

Shapes: F factors of taste, D dimensions of sound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ...models.arrays import Answers, Ids, Mask, Scores, l2_normalize
from ..versions.track_index import TrackIndex

PLAYED, SKIPPED = 0.75, 0.15
_LONGER = 8
"""times as many are looked at as are asked for, since some artists have many"""


def radio(
    tracks: TrackIndex,
    seeds: Sequence[int],
    k: int,
    *,
    played: Sequence[int] = (),
    skipped: Sequence[int] = (),
    candidates: Mask,
    blend: float = 0.5,
    artists_of: Callable[[int], Sequence[str]] = lambda _: (),
    per_artist: int | None = None,
) -> Answers:
    """The k tracks that go on from the seeds, best first; all arguments are rows. `candidates` [T] may be played."""
    taste, sound = _query(tracks, seeds, played, skipped)
    ids, scores = tracks.index.search(taste, sound, _LONGER * k, blend=blend, candidates=candidates)
    if len(skipped):
        vectors = tracks.index.vectors
        by_skipped = (vectors[ids] @ vectors[np.asarray(skipped, np.intp)].T).max(axis=1, initial=-np.inf)
        by_query = vectors[ids] @ np.concatenate([taste, sound])
        nearer = by_skipped > by_query
        ids, scores = (np.concatenate([part[~nearer], part[nearer]]) for part in (ids, scores))
    if per_artist is not None:
        ids, scores = _of_few_artists(ids, scores, k, artists_of, per_artist)
    return ids[:k], scores[:k]


def _query(
    tracks: TrackIndex, seeds: Sequence[int], played: Sequence[int], skipped: Sequence[int]
) -> tuple[Scores, Scores]:
    total = _mean(tracks, seeds) + PLAYED * _mean(tracks, played) - SKIPPED * _mean(tracks, skipped)
    factors = tracks.index.factors
    taste, sound = (l2_normalize(half[None])[0] for half in (total[:factors], total[factors:]))
    return taste, sound


def _mean(tracks: TrackIndex, rows: Sequence[int]) -> Scores:
    """[F + D] zeros where there are none."""
    vectors = tracks.index.vectors
    if not len(rows):
        return np.zeros(vectors.shape[1], np.float32)
    return np.asarray(vectors[np.asarray(rows, np.intp)].mean(axis=0))


def _of_few_artists(ids: Ids, scores: Scores, k: int, artists_of: Callable[[int], Sequence[str]], most: int) -> Answers:
    """The first k with at most so many of one artist; the others follow where there are too few."""
    count: Counter[str] = Counter()
    first: list[int] = []
    later: list[int] = []
    for place, row in enumerate(ids.tolist()):
        artists = artists_of(row)
        full = any(count[artist] >= most for artist in artists)
        (later if full else first).append(place)
        if not full:
            count.update(artists)
    order = [*first, *later][:k]
    return ids[order], scores[order]
