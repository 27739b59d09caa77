"""Audience: B listeners as candidates and features see them: known users, or anybody by what they listened to.

Shapes: B listeners, T tracks, F factors, L last tracks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Scores, l2_normalize
from ..interactions import liked

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_LAST_DECAY = 0.85


@dataclass(frozen=True, eq=False)
class Audience:
    user_rows: Ids
    """[B] rows of the training, -1 for somebody it never met"""
    heard: csr_matrix
    """[B, T] confidences; negative ones are dislikes"""
    vectors: Scores
    """[B, F] taste, folded in from `heard`"""
    last: Ids
    """[B, L] the last different tracks they liked, the newest first, -1 where there are fewer"""

    def __len__(self) -> int:
        return len(self.user_rows)

    @cached_property
    def liked(self) -> csr_matrix:
        """[B, T] the positive confidences only."""
        return liked(self.heard)

    @cached_property
    def likers(self) -> NDArray[np.intp]:
        """The listener of each entry of `liked`."""
        return np.repeat(np.arange(len(self)), np.diff(self.liked.indptr))

    @cached_property
    def newest(self) -> csr_matrix:
        """[B, T] the last tracks, the newest with weight 1 and older ones with less."""
        from scipy.sparse import csr_matrix

        there = self.last >= 0
        weights = np.float32(_LAST_DECAY) ** np.nonzero(there)[1].astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        return csr_matrix((weights, self.last[there], ends), shape=self.heard.shape)

    def profiles(self, vectors: Scores) -> Scores:
        """[T, D] -> [B, D] the mean direction of what each of them liked; zeros for nobody."""
        from scipy.sparse import csr_matrix

        mine = self.liked
        if len(self) == 1:
            return np.asarray(l2_normalize(vectors[mine.indices]).sum(axis=0, keepdims=True) / max(mine.nnz, 1))
        tracks, places = np.unique(mine.indices, return_inverse=True)
        counts = np.diff(mine.indptr)
        shares = np.repeat(1 / np.maximum(counts, 1), counts).astype(np.float32)
        weights = csr_matrix((shares, places, mine.indptr), shape=(len(counts), len(tracks)))
        return np.asarray(weights @ l2_normalize(vectors[tracks]), np.float32)
