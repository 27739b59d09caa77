"""The interface of all recommenders, and what they share.

Shapes: B users or tracks asked for, k answers each. Answers are `(ids, scores)`: [B, k] int32 track rows, best first,
and [B, k] float32 scores. Where there are fewer than k answers the ids end in -1 and the scores in -inf.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..arrays import Answers
from ..interactions import Listens

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@runtime_checkable
class Recommender(Protocol):
    """Learns from listens, recommends tracks to users and finds similar tracks.

    A model is made with its options (and the `Catalogue`, where it uses one), then fitted. All randomness comes from
    a `seed` option. `save` writes arrays and JSON into a folder, `load` needs nothing but that folder.
    """

    name: str
    """short, as in `crossfade evaluate --models als,popular`"""

    def fit(self, listens: Listens) -> Self: ...

    def recommend(
        self,
        user_rows: NDArray[np.int32],
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """The k best tracks for each of B users; `candidates` [T] limits the tracks that may be recommended.

        A user without training listens is a cold user: the answer is the best non-personal one the model has.
        """
        ...

    def recommend_from(
        self,
        heard: csr_matrix,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """The same for B users the model never met, each known by a row of confidences `heard` [B, T]."""
        ...

    def similar(self, track_rows: NDArray[np.int32], k: int) -> Answers:
        """The k tracks nearest to each of B tracks, the track itself left out."""
        ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...
