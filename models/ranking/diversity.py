"""Re-ranking: what a list of ranked tracks should be besides likely to please.

Maximal marginal relevance (Carbonell & Goldstein 1998) over sound: each place goes to the track with the best
`relevance - diversity * likeness to what stands above it`. An artist has at most so many places, and a share of the
places is kept for discoveries, tracks that nobody has played yet.

Shapes: C candidates, D dimensions of sound, k places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ..arrays import Answers, l2_normalize

if TYPE_CHECKING:
    from ..hybrid.model import Hybrid


@dataclass(frozen=True, kw_only=True)
class RerankingOptions:
    """Nothing of it by default: the list is as the ranker gave it."""

    diversity: float = 0.0
    """0 … 1, what likeness to the tracks above costs beside relevance"""
    per_artist: int | None = None
    """places of one artist at most"""
    discovery: float = 0.0
    """the share of the places that goes to discoveries, where there are any"""

    def __post_init__(self) -> None:
        for name in ("diversity", "discovery"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: {getattr(self, name):g}; it has to be from 0 to 1")
        if self.per_artist is not None and self.per_artist < 1:
            raise UsageError(f"per artist: {self.per_artist}; it has to be at least 1")

    @property
    def changes(self) -> bool:
        return bool(self.diversity or self.per_artist or self.discovery)


def rerank(
    scores: NDArray[np.float32],
    sound: NDArray[np.float32],
    artists: Sequence[Sequence[int]],
    discoveries: NDArray[np.bool_],
    k: int,
    options: RerankingOptions,
) -> NDArray[np.intp]:
    """Places -> positions among the C candidates, at most k.

    `scores` [C], `sound` [C, D] of length 1 or 0, `artists` the rows of each candidate's artists (none count as nobody
    in particular), `discoveries` [C].
    """
    count = len(scores)
    k = min(k, count)
    # Ranks rather than scores: what a likeness of 1 costs must not depend on how sure the ranker is.
    order = np.argsort(-scores, kind="stable")
    relevance = np.empty(count, np.float64)
    relevance[order] = 1 - np.arange(count) / max(count, 1)
    left = np.ones(count, bool)
    closeness = np.zeros(count)
    places: list[int] = []
    taken: Counter[int] = Counter()
    wanted = round(options.discovery * k)
    shown = 0
    while len(places) < k and left.any():
        # Discoveries are spread over the list: by place n at least n * discovery of them.
        due = options.discovery > 0 and shown < min(wanted, int((len(places) + 1) * options.discovery + 1e-9))
        pool = left & discoveries if due and (left & discoveries).any() else left
        worth = np.where(pool, (1 - options.diversity) * relevance - options.diversity * closeness, -np.inf)
        best = int(worth.argmax())
        left[best] = False
        places.append(best)
        shown += int(discoveries[best])
        taken.update(artists[best])
        if options.diversity:
            closeness = np.maximum(closeness, sound @ sound[best])
        if options.per_artist is not None:
            full = {artist for artist in artists[best] if taken[artist] >= options.per_artist}
            if full:
                left &= ~np.array([not full.isdisjoint(mine) for mine in artists])
    return np.array(places, np.intp)


def relist(hybrid: Hybrid, answers: Answers, k: int, options: RerankingOptions) -> Answers:
    """The first k of longer answers, chosen by `options` besides by score. Scores stay with their tracks."""
    ids, scores = answers
    chosen = np.full((len(ids), k), -1, np.int32), np.full((len(ids), k), -np.inf, np.float32)
    for row, (mine, worth) in enumerate(zip(ids, scores, strict=True)):
        there = mine >= 0
        mine, worth = mine[there], worth[there]
        artists = [hybrid.artists.indices[slice(*hybrid.artists.indptr[track : track + 2])].tolist() for track in mine]
        sound = l2_normalize(hybrid.sound[mine]) if hybrid.sound.shape[1] else np.zeros((len(mine), 0), np.float32)
        places = rerank(worth, sound, artists, hybrid.listeners[mine] == 0, k, options)
        chosen[0][row, : len(places)], chosen[1][row, : len(places)] = mine[places], worth[places]
    return chosen
