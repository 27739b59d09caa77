"""Genres out of the box: two taggers' tags as genres.

A tag counts by its lift, its odds over those of the average track, since the taggers find most music to be "rock".
A genre is the mean lift of its tags, then the geometric mean over the two corpora where both have tags for it; the
genres' lifts, brought to sum to one, are the probabilities. What no tag names (reggae, Latin, gospel …) is not in the
vocabulary: such a track gets its nearest neighbours' names, mostly without `confident`.

Shapes: W windows, G tags, K genres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arrays import Floats

_TAGS: Mapping[str, tuple[str, str]] = {
    "rock": ("rock,classic rock,hard rock,alternative rock,indie rock,Progressive rock", "rock"),
    "pop": ("pop,indie pop,catchy", "pop"),
    "alternative": ("alternative,indie,alternative rock,indie rock", ""),
    "electronic": ("electronic,electronica,electro", "electronic,techno,synth"),
    "dance": ("dance,House,party", "dance,techno"),
    "hip-hop": ("Hip-Hop", ""),
    "jazz": ("jazz", ""),
    "blues": ("blues", ""),
    "country": ("country", "country"),
    "folk": ("folk,acoustic", ""),
    "soul/r&b": ("soul,rnb", ""),
    "funk": ("funk", ""),
    "metal": ("metal,heavy metal", "metal"),
    "punk": ("punk", ""),
    "classical": ("", "classical,classic,opera,strings,violin,cello,harpsichord,choral,choir"),
    "ambient": ("ambient", "ambient,new age"),
}
"""genre: (tags of MSD, tags of MTT)"""

GENRES = tuple(_TAGS)
"""[K] the columns of the genre probabilities that `name` gives"""


@dataclass(frozen=True)
class Vocabulary:
    """The names of the columns of genre probabilities, and the model they are from."""

    genres: tuple[str, ...] = GENRES
    """[K]"""
    model_hash: str = ""
    """BLAKE2b-128 of the genre model's card; empty for the vocabulary of this module"""
    model: Path | None = None
    """folder of the genre model"""


BUILT_IN = Vocabulary()
PARENT_SEPARATOR = " > "
"""between a genre and its sub-genre in a label"""

_MOODS: Mapping[str, tuple[str, str]] = {
    "happy": ("happy,catchy", ""),
    "sad": ("sad", ""),
    "mellow": ("Mellow,easy listening", "soft"),
    "chill": ("chill,chillout", "ambient,new age"),
    "party": ("party,dance", "dance,beat"),
    "sexy": ("sexy", ""),
    "beautiful": ("beautiful", ""),
    "quiet": ("", "quiet,slow"),
    "loud": ("", "loud,fast"),
}
MOODS = tuple(_MOODS)
LEAST_MOOD_LIFT = 2.0
"""a mood is named where its tags are at least this many times as likely as for the average track"""

LEAST_LEAD = 4 / 3
"""how many times the second genre's lift the first's must be for `confident`"""
LEAST_AGREEMENT = 0.5
"""share of windows that must agree on the first genre for `confident`"""


@dataclass(frozen=True, eq=False)
class Tagging:
    """Logits that one tagger gave a track's windows, as lifts."""

    tags: tuple[str, ...]
    """[G]"""
    log_lifts: Floats
    """[W, G] log odds over those of the corpus's average track"""


@dataclass(frozen=True, eq=False)
class Naming:
    """A track's genres."""

    probabilities: Floats
    """[K] sums to one"""
    agreement: float
    """share of windows with the same first genre as the track"""

    @property
    def confident(self) -> bool:
        """Whether the first genre leads clearly and the windows agree; the caller adds whether it is music at all."""
        second, first = np.sort(self.probabilities)[-2:]
        return bool(first / second >= LEAST_LEAD) and self.agreement >= LEAST_AGREEMENT


def name(msd: Tagging, mtt: Tagging) -> Naming:
    """Genres from both taggers; of the same track, perhaps of other windows."""
    mtt_pooled = _lifts(mtt, 1, _TAGS).mean(axis=0)
    by_window = _both(_lifts(msd, 0, _TAGS), mtt_pooled)
    pooled = Tagging(msd.tags, msd.log_lifts.mean(axis=0, keepdims=True))
    score = _both(_lifts(pooled, 0, _TAGS), mtt_pooled)[0]
    lifts = np.exp(score - score.max())
    agreement = float(np.mean(by_window.argmax(axis=1) == score.argmax()))
    return Naming((lifts / lifts.sum()).astype(np.float32), agreement)


def moods(msd: Tagging, mtt: Tagging) -> dict[str, float]:
    """Moods that stand out, strongest first: how many times the average track's odds each has."""
    lifts = np.exp(_both(_lifts(msd, 0, _MOODS).mean(axis=0, keepdims=True), _lifts(mtt, 1, _MOODS).mean(axis=0))[0])
    return {MOODS[m]: float(lifts[m]) for m in np.argsort(-lifts, kind="stable") if lifts[m] >= LEAST_MOOD_LIFT}


def _lifts(tagging: Tagging, corpus: int, words: Mapping[str, tuple[str, str]]) -> NDArray[np.float64]:
    """[W, K] log of the mean lift of each word's tags; NaN where this corpus has none for it."""
    column = {tag: number for number, tag in enumerate(tagging.tags)}
    lifts = np.full((len(tagging.log_lifts), len(words)), np.nan)
    for k, tags in enumerate(words.values()):
        if tags[corpus]:
            logs = tagging.log_lifts[:, [column[tag] for tag in tags[corpus].split(",")]].astype(np.float64)
            lifts[:, k] = np.log(np.exp(logs).mean(axis=1))
    return lifts


def _both(msd: NDArray[np.float64], mtt: NDArray[np.float64]) -> NDArray[np.float64]:
    """[W, K] the mean of both corpora, or the only one that has tags for the word."""
    return np.where(np.isnan(msd), mtt, np.where(np.isnan(mtt), msd, (msd + mtt) / 2))


def rolled_up(named: Mapping[str, float], multi_label: bool = False) -> dict[str, float]:
    """Probabilities with those of parents added: the sum of their sub-genres', or the largest where several may apply.

    >>> rolled_up({"Rock > Punk": 0.5, "Rock > Indie": 0.25, "Jazz": 0.25})
    {'Rock > Punk': 0.5, 'Rock > Indie': 0.25, 'Jazz': 0.25, 'Rock': 0.75}
    """
    result = dict(named)
    for name, probability in named.items():
        parts = name.split(PARENT_SEPARATOR)
        for depth in range(1, len(parts)):
            parent = PARENT_SEPARATOR.join(parts[:depth])
            so_far = result.get(parent, 0.0)
            result[parent] = max(so_far, probability) if multi_label else so_far + probability
    return result
