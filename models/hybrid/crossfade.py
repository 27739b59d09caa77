"""The hybrid's options: the crossfade, and the terms by which it corrects the prior.

    taste = w * ALS + (1 - w) * prior        w = n / (n + tau)        gain = cold_gain where n = 0, else 1

n is the number of the track's listeners; after tau of them both count the same. A track without listeners is the prior,
one with many is ALS. Predicted vectors are shorter than learned ones and the listens of a new track all lie ahead, so
the scores of tracks without listeners are multiplied by `cold_gain`, with which a validation period is predicted best.

`hybrid.tuning` chooses all of them on a validation part of the listens.

Shapes: B users, T tracks, A artists, F factors, E features of the sound profile.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...errors import UsageError
from ..arrays import Floats, Rows, as_binary
from .prior import PriorOptions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


PROFILE_FEATURES = 64
"""of a track's sound, in the mean over a user's tracks"""


@dataclass(frozen=True)
class Crossfade:
    tau: float = 8.0
    """listeners after which the prior and ALS count the same; above 0"""
    cold_gain: float = 1.0
    """what the scores of a track without listeners are multiplied by; above 0"""

    def __post_init__(self) -> None:
        if not self.tau > 0 or not self.cold_gain > 0:
            raise UsageError(f"crossfade: tau {self.tau} and the cold gain {self.cold_gain} have to be above 0")

    def weights(self, listeners: Rows) -> Floats:
        """[T] w in 0 … 1.

        >>> Crossfade(tau=2.0).weights(np.array([0, 2, 6]))
        array([0.  , 0.5 , 0.75], dtype=float32)
        """
        return np.asarray(listeners / (listeners + self.tau), np.float32)

    def taste(self, als: Floats, prior: Floats, listeners: Rows) -> Floats:
        """[T, F]"""
        w = self.weights(listeners)[:, None]
        return np.asarray(w * als + (1 - w) * prior, np.float32)

    def gains(self, listeners: Rows) -> Floats:
        """[T] what scores are multiplied by."""
        return np.where(listeners == 0, np.float32(self.cold_gain), np.float32(1))


@dataclass(frozen=True, kw_only=True)
class HybridOptions:
    prior: PriorOptions = field(default_factory=PriorOptions)
    crossfade: Crossfade = field(default_factory=Crossfade)
    affinity: float = 0.1
    """what the logarithm of a user's count of the artist adds to a preference between 0 and 1"""
    rarity: float = 0.3
    """how much less it adds for artists with many listens: a power of their listens"""
    profile: float = 0.0
    """what the mean similarity (0 … 1) to the sound of the user's tracks adds"""

    def record(self) -> dict[str, Any]:
        """As training.json and the command line have them, where the cold gain is `level`."""
        crossfade = {"tau": self.crossfade.tau, "level": self.crossfade.cold_gain}
        return asdict(self) | {"crossfade": crossfade}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        crossfade = Crossfade(record["crossfade"]["tau"], record["crossfade"]["level"])
        return cls(**{**record, "prior": PriorOptions(**record["prior"]), "crossfade": crossfade})


def artist_counts(liked: csr_matrix, artists: csr_matrix, tracks_of: csr_matrix | None = None) -> csr_matrix:
    """[B, T] the logarithm of 1 + the number of tracks by a track's artists that a user listened to.

    Shapes: liked [B, T], artists [T, A], tracks_of [A, T] (its transpose, where it is at hand).
    """
    shared = ((as_binary(liked) @ artists) @ (artists.T if tracks_of is None else tracks_of)).tocsr()
    shared.data = np.log1p(shared.data)
    return shared


def artist_rarity(artists: csr_matrix, listeners: Rows, power: float) -> Floats:
    """[T] (listens of the track's artists / their mean) ** -power: a rare artist is less often played by chance.

    The mean is over listens, so that the typical count keeps its weight. Shapes: artists [T, A], listeners [T].
    """
    listens = artists.T @ listeners.astype(np.float32)
    mean = (listens * listens).sum() / max(listens.sum(), 1)
    of_track = np.maximum(artists @ listens, 1) / max(mean, 1)
    return np.asarray(of_track**-power, np.float32)


def sound_profiles(liked: csr_matrix, sound: Floats) -> Floats:
    """[B, E] mean features of the tracks that each of B users listened to; zeros for a user without any."""
    counts = np.maximum(np.diff(liked.indptr), 1).astype(np.float32)
    return np.asarray((as_binary(liked) @ sound) / counts[:, None], np.float32)
