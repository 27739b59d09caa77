"""A path from one track to another, every step of it a small one.

Of all paths of k tracks through those near the way, it is the one whose squared distances add up to the least, so no
step is large where smaller ones will do, and it bends to where tracks lie close together. Every step comes
nearer to the end: what grows along it is similarity(track, end) - similarity(track, start). So the paths are those of
an acyclic graph, and dynamic programming finds the best of them (Bellman 1958).

Shapes: C tracks near the way, in order of their progress.
"""

from __future__ import annotations

import numpy as np

from ...errors import UsageError
from ...models.arrays import Answers, Rows, Scores, l2_normalize
from ..versions.track_index import TrackIndex

MAX_TRACKS = 100
_WAYPOINTS = 16
_NEAR_EACH = 48
_SAME = 1 - 1e-5
"""two tracks this near are one recording"""


def path(tracks: TrackIndex, start: str, end: str, k: int, *, blend: float = 0.5) -> Answers:
    """Rows of k tracks from `start` to `end`, both included, and how similar each is to the one before it (1 for the
    first); fewer where there are not so many on the way.

    UsageError where they are the same track, where one is not in the library, or where they have no half in common.
    """
    first, last = tracks.row(start), tracks.row(end)
    if first == last:
        raise UsageError(f"{start}: a path needs two different tracks")
    if not 2 <= k <= MAX_TRACKS:
        raise UsageError(f"k: {k}; a path has 2 to {MAX_TRACKS} tracks")
    rows = _near_the_way(tracks, first, last, blend)
    similarity = _similarities(tracks, rows, blend)
    here, there = (int(np.flatnonzero(rows == row)[0]) for row in (first, last))
    if not np.isfinite(similarity[here, there]):
        raise UsageError(f"{start} and {end}: nothing about them can be compared at blend {blend:g}")
    progress = similarity[there] - similarity[here]
    between = np.flatnonzero((progress > progress[here]) & (progress < progress[there]))
    order = np.concatenate([[here], between[np.lexsort((rows[between], progress[between]))], [there]])
    places = order[_shortest(similarity[np.ix_(order, order)], k)]
    steps = similarity[places[:-1], places[1:]]
    return rows[places].astype(np.int32), np.concatenate([[1], steps]).astype(np.float32)


def _near_the_way(tracks: TrackIndex, first: int, last: int, blend: float) -> Rows:
    """[C] rows of the tracks near to points between the two, the two included."""
    index, factors = tracks.index, tracks.index.factors
    taste, sound = index.vectors[[first, last], :factors], index.vectors[[first, last], factors:]
    if index.sound_width and blend < 1 and not sound.any(axis=1).all():
        sound = np.zeros_like(sound)
    if factors and blend > 0 and not taste.any(axis=1).all():
        taste = np.zeros_like(taste)
    share = np.linspace(0, 1, _WAYPOINTS, dtype=np.float32)[:, None]
    tastes, sounds = (l2_normalize((1 - share) * half[0] + share * half[1]) for half in (taste, sound))
    found, _ = index.search(tastes, sounds, _NEAR_EACH, blend=blend, candidates=tracks.in_library)
    return np.unique(np.concatenate([found[found >= 0], [first, last]]))


def _similarities(tracks: TrackIndex, rows: Rows, blend: float) -> Scores:
    """[C, C]; -inf where two cannot be compared."""
    vectors, factors = tracks.index.vectors[rows], tracks.index.factors
    among = np.zeros(len(tracks), bool)
    among[rows] = True
    ids, scores = tracks.index.search(
        vectors[:, :factors], vectors[:, factors:], len(rows), blend=blend, candidates=among
    )
    found = np.full((len(rows), len(rows)), -np.inf, np.float32)
    queries, places = np.nonzero(ids >= 0)
    found[queries, np.searchsorted(rows, ids[queries, places])] = scores[queries, places]
    return found


def _shortest(similarity: Scores, k: int) -> Rows:
    """Places of k of C tracks, or of as many as can be, the first and the last included, each step to a later one."""
    costs = np.where(similarity > _SAME, np.inf, (1 - similarity.astype(np.float64)) ** 2)
    # Two copies are no step, unless a path from one to the other is what was asked for.
    costs[0, -1] = (1 - float(similarity[0, -1])) ** 2
    costs[np.tril_indices(len(costs))] = np.inf
    totals, before = [costs[0]], []
    for _ in range(k - 2):
        ways = totals[-1][:, None] + costs
        before.append(ways.argmin(axis=0))
        totals.append(ways.min(axis=0))
    steps = int(np.flatnonzero(np.isfinite([total[-1] for total in totals]))[-1])
    places = [len(costs) - 1]
    for chosen in reversed(before[:steps]):
        places.append(int(chosen[places[-1]]))
    return np.array([0, *reversed(places)], np.intp)
