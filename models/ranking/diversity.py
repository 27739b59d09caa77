"""Re-ranking of a list for diversity, a limit on tracks of one artist, and discoveries.

Maximal marginal relevance (Carbonell & Goldstein 1998) over sound: each place goes to the track with the largest
`(1 - diversity) * relevance - diversity * similarity`, where relevance falls evenly from 1 with the track's rank by
score, and similarity is its largest cosine to a track above. An artist has at most so many places, and a share of the
places is kept for discoveries, tracks without listeners.

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
from ..arrays import Answers, Mask, l2_normalize, no_answers

if TYPE_CHECKING:
    from ..hybrid.model import Hybrid


@dataclass(frozen=True, kw_only=True)
class RerankingOptions:
    """By default the list keeps the ranker's order."""

    diversity: float = 0.0
    """0 … 1, the weight of similarity to the tracks above against relevance"""
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
    discoveries: Mask,
    k: int,
    options: RerankingOptions,
) -> NDArray[np.intp]:
    """Places -> positions among the C candidates, at most k.

    `scores` [C], `sound` [C, D] of length 1 or 0, `artists` the rows of each candidate's artists (none count as nobody
    in particular), `discoveries` [C].
    """
    count = len(scores)
    k = min(k, count)
    # Ranks rather than scores, so that the trade-off does not depend on the spread of the scores.
    order = np.argsort(-scores, kind="stable")
    relevance = np.empty(count, np.float64)
    relevance[order] = 1 - np.arange(count) / max(count, 1)
    left = np.ones(count, bool)
    similarity = np.zeros(count)
    places: list[int] = []
    taken: Counter[int] = Counter()
    quota = round(options.discovery * k)
    discovered = 0
    while len(places) < k and left.any():
        # Discoveries are spread over the list: by place n at least n * discovery of them.
        due = options.discovery > 0 and discovered < min(quota, int((len(places) + 1) * options.discovery + 1e-9))
        pool = left & discoveries if due and (left & discoveries).any() else left
        gain = np.where(pool, (1 - options.diversity) * relevance - options.diversity * similarity, -np.inf)
        best = int(gain.argmax())
        left[best] = False
        places.append(best)
        discovered += int(discoveries[best])
        taken.update(artists[best])
        if options.diversity:
            similarity = np.maximum(similarity, sound @ sound[best])
        if options.per_artist is not None:
            full = {artist for artist in artists[best] if taken[artist] >= options.per_artist}
            if full:
                left &= ~np.array([not full.isdisjoint(of_track) for of_track in artists])
    return np.array(places, np.intp)


def relist(hybrid: Hybrid, answers: Answers, k: int, options: RerankingOptions) -> Answers:
    """The first k of longer answers, chosen by `options` besides by score. Scores stay with their tracks."""
    ids, scores = answers
    chosen = no_answers(len(ids), k)
    for row, (tracks, values) in enumerate(zip(ids, scores, strict=True)):
        tracks, values = tracks[tracks >= 0], values[tracks >= 0]
        artists = [
            hybrid.artists.indices[slice(*hybrid.artists.indptr[track : track + 2])].tolist() for track in tracks
        ]
        sound = l2_normalize(hybrid.sound[tracks]) if hybrid.sound.shape[1] else np.zeros((len(tracks), 0), np.float32)
        places = rerank(values, sound, artists, hybrid.listeners[tracks] == 0, k, options)
        chosen[0][row, : len(places)], chosen[1][row, : len(places)] = tracks[places], values[places]
    return chosen
