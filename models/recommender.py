"""The interface of all recommenders, and what they share.

Shapes: B users or tracks asked for, k answers each. Answers are `(ids, scores)`: [B, k] int32 track rows, best first,
and [B, k] float32 scores. Where there are fewer than k answers the ids end in -1 and the scores in -inf.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .listens import Listens

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ids = NDArray[np.int32]
Scores = NDArray[np.float32]
Answers = tuple[Ids, Scores]


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


def best(scores: Scores, k: int) -> Answers:
    """The k largest of each row, best first; equal scores in order of row number, -inf never.

    Shape: [B, T] -> ([B, k], [B, k])

    >>> best(np.array([[0.1, 0.9, -np.inf]], np.float32), 3)[0]
    array([[ 1,  0, -1]], dtype=int32)
    """
    users, count = scores.shape
    top = min(k, count)
    if top < count:
        found = np.argpartition(-scores, top - 1, axis=1)[:, :top]
        found.sort(axis=1)
    else:
        found = np.broadcast_to(np.arange(count), (users, count))
    values = np.take_along_axis(scores, found, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    ids = np.full((users, k), -1, np.int32)
    kept = np.full((users, k), -np.inf, np.float32)
    ids[:, :top] = np.take_along_axis(found, order, axis=1)
    kept[:, :top] = np.take_along_axis(values, order, axis=1)
    ids[kept == -np.inf] = -1
    return ids, kept
