"""Scoring: what recommenders share that have a score for every track, whoever listens.

A model says what it thinks of all tracks, for users it met in training and for users known by their listens alone;
this makes lists of it, and gives the popular tracks to those of whom it knows nothing.

Shapes: U users, T tracks, B users asked for, k answers each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Answers, Ids, Scores
from ..interactions import liked
from .history import History, rank

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Scoring(ABC):
    """Recommends by score; a subclass is a `Recommender` once it can fit, find similar tracks, save and load."""

    history: History

    def user_scores(self, rows: Ids) -> Scores:
        """[B] users of the training of whom it `knows` something -> [B, T], a new array; -inf: never."""
        return self.scores_from(self.history.heard[rows])

    @abstractmethod
    def scores_from(self, heard: csr_matrix) -> Scores:
        """[B, T] confidences of anybody of whom it `knows` something -> [B, T], a new array."""

    def knows(self, likes: csr_matrix) -> NDArray[np.bool_]:
        """[B, T] positive confidences -> [B] whether they say anything; the other users get the popular tracks."""
        return np.asarray(np.diff(likes.indptr) > 0)

    def recommend(
        self,
        user_rows: Ids,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """See `Recommender.recommend`; a row of -1 is a user nobody knows."""
        rows = np.asarray(user_rows)
        known = rows >= 0
        known[known] = self.knows(self.history.liked[rows[known]])

        def score(start: int, stop: int) -> Scores:
            return self._filled(known[start:stop], lambda here: self.user_scores(rows[start:stop][here]))

        seen = None if allow_seen else self.history.heard_by(rows)
        return rank(score, len(rows), k, self._track_count, seen=seen, candidates=candidates)

    def recommend_from(
        self,
        heard: csr_matrix,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """The k best for B users the model never met, each known by a row of confidences `heard` [B, T]."""
        if heard.shape[1] != self._track_count:
            raise DataError(f"heard: {heard.shape[1]} tracks, but the model knows {self._track_count}; train it again")
        known = self.knows(liked(heard))

        def score(start: int, stop: int) -> Scores:
            return self._filled(known[start:stop], lambda here: self.scores_from(heard[start:stop][here]))

        seen = None if allow_seen else heard
        return rank(score, heard.shape[0], k, self._track_count, seen=seen, candidates=candidates)

    @property
    def _track_count(self) -> int:
        return len(self.history.popularity)

    def _filled(self, known: NDArray[np.bool_], score: Callable[[NDArray[np.bool_]], Scores]) -> Scores:
        """[B, T] `score` of the known ones, popularity for the others."""
        cells = np.empty((len(known), self._track_count), np.float32)
        if known.any():
            cells[known] = score(known)
        cells[~known] = self.history.popularity
        return cells
