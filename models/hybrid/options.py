"""The hybrid's choices: how it weighs what it knows of a track and of a listener.

`hybrid.tuning` makes them on a validation part of the listens; what the terms of a score are is said in `hybrid`.

Shapes: B users, T tracks, A artists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from .blend import Crossfade
from .prior import PriorOptions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

PROFILE_FEATURES = 64
"""of a track's sound, in the mean that stands for a listener"""


@dataclass(frozen=True, kw_only=True)
class Choices:
    prior: PriorOptions = field(default_factory=PriorOptions)
    crossfade: Crossfade = field(default_factory=Crossfade)
    affinity: float = 0.1
    """what the logarithm of a user's count of the artist adds to a preference between 0 and 1"""
    rarity: float = 0.3
    """how much less it adds for artists with many listens: a power of their listens"""
    profile: float = 0.0
    """what the mean likeness (0 … 1) to the sound of the user's tracks adds"""

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """Back from `dataclasses.asdict`."""
        prior, crossfade = PriorOptions(**facts["prior"]), Crossfade(**facts["crossfade"])
        return cls(**{**facts, "prior": prior, "crossfade": crossfade})


def artist_counts(liked: csr_matrix, artists: csr_matrix, tracks_of: csr_matrix | None = None) -> csr_matrix:
    """[B, T] the logarithm of 1 + the number of tracks by a track's artists that a user listened to.

    Shapes: liked [B, T], artists [T, A], tracks_of [A, T] (its transpose, where it is at hand).
    """
    once = liked.copy()
    once.data = np.ones_like(once.data)
    shared = ((once @ artists) @ (artists.T if tracks_of is None else tracks_of)).tocsr()
    shared.data = np.log1p(shared.data)
    return shared


def rarity(artists: csr_matrix, listeners: NDArray[np.integer], power: float) -> NDArray[np.float32]:
    """[T] (listens of the track's artists / their mean) ** -power: who hears a rare artist chose to.

    The mean is over listens, so that the typical count keeps its weight. Shapes: artists [T, A], listeners [T].
    """
    listens = artists.T @ listeners.astype(np.float32)
    mean = (listens * listens).sum() / max(listens.sum(), 1)
    found = np.maximum(artists @ listens, 1) / max(mean, 1)
    return np.asarray(found**-power, np.float32)


def sound_profiles(liked: csr_matrix, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """[B, E] mean features of what each of B users listened to; zeros for nobody."""
    counts = np.maximum(np.diff(liked.indptr), 1).astype(np.float32)
    once = liked.copy()
    once.data = np.ones_like(once.data)
    return np.asarray((once @ sound) / counts[:, None], np.float32)
