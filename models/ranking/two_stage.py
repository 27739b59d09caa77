"""Two-stage recommender: candidates from many sources, their features, and the ranker that puts them in order.

The ranker is fitted on a ranking dataset; then the candidate generator is fitted again on all interactions. A batch is
a loop over `recommend_one`.

Shapes: U users, T tracks, B users asked for, k answers each, C candidates.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError
from ..arrays import Answers, Ids, Mask, one_blas_thread, top_k
from ..catalogue import Catalogue
from ..hybrid.model import Hybrid
from ..hybrid.online import UserHistory
from ..interactions import Interactions
from ..storage import Arrays, change_model, load_model, prefixed, save_model
from .candidates import NO_TRACKS, CandidateGenerator, Candidates
from .dataset import TwoStageOptions, ranking_dataset
from .features import HistoryStatistics, features
from .ranker import Ranker

_CALIBRATION_USERS = 1500
"""users differ much in their rates: the mean of fewer would be inaccurate"""


class TwoStageRecommender:
    """Recommends to warm users; to others the hybrid does."""

    name = "ranking"

    def __init__(
        self, generator: CandidateGenerator, statistics: HistoryStatistics, ranker: Ranker, options: TwoStageOptions
    ) -> None:
        self.generator, self.ranker, self.options = generator, ranker, options
        self.statistics = statistics.append_tracks(generator.track_count)
        self.recall: dict[str, float] = {}

    @classmethod
    def fit(
        cls,
        listens: Interactions,
        catalogue: Catalogue,
        hybrid: Hybrid,
        *,
        albums: NDArray[np.int32] | None = None,
        options: TwoStageOptions | None = None,
        seed: int = 0,
    ) -> Self:
        """`hybrid` is fitted on `listens`; DataError where there is too little to learn a ranking from."""
        options = options or TwoStageOptions()
        dataset = ranking_dataset(listens, catalogue, hybrid, albums=albums, options=options, seed=seed)
        ranker = Ranker(options.ranker).fit(dataset.table, dataset.labels, dataset.groups, dataset.held_out)
        # The ranker has no scores of a source that the dataset lacked (for example segments, with too few users).
        met = {name: quota for name, quota in options.candidates.quotas.items() if name in dataset.recall}
        generator = CandidateGenerator(hybrid, replace(options.candidates, quotas=met)).fit(listens)
        recommender = cls(generator, HistoryStatistics.of(listens, catalogue, albums), ranker, options)
        recommender.recall = dataset.recall
        recommender.calibrate(dataset.rate, np.random.default_rng([seed, 8]))
        return recommender

    def calibrate(self, rate: float, rng: np.random.Generator) -> None:
        """Shifts the ranker's scores so that their mean probability over warm users is the rate of the label period.

        The history is longer than the one it was trained on, so that features of activity are higher for all users.
        """
        warm = np.flatnonzero(self.generator.hybrid.history.warm_users).astype(np.int32)
        users = rng.permutation(warm)[:_CALIBRATION_USERS]
        logits = []
        with one_blas_thread():
            for user in users.tolist():
                found = self.generator.candidates_of(self.generator.trained_profile(user))
                logits.append(self.rank(found))
        self.ranker.calibrate(rate, np.concatenate(logits))

    def recommend(
        self,
        user_rows: Ids,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: Mask | None = None,
    ) -> Answers:
        """`recommend_one` for each of B users of the training, -1 for another one. Shape: -> ([B, k], [B, k])"""
        rows = np.asarray(user_rows, np.int32)
        ids, scores = np.full((len(rows), k), -1, np.int32), np.full((len(rows), k), -np.inf, np.float32)
        with one_blas_thread():
            for place, row in enumerate(rows.tolist()):
                history = self.generator.hybrid.user_history(row)
                found, values = self.recommend_one(
                    history, k, user_row=row, allow_seen=allow_seen, candidates=candidates
                )
                ids[place, : len(found)], scores[place, : len(found)] = found, values
        return ids, scores

    def recommend_one(
        self,
        history: UserHistory,
        k: int,
        *,
        user_row: int = -1,
        newest: Ids = NO_TRACKS,
        allow_seen: bool = False,
        candidates: Mask | None = None,
    ) -> Answers:
        """Up to k tracks and their scores, best first; the popular ones for a cold user, with the hybrid's scores.

        `user_row` and `newest` as in `CandidateGenerator.profile`; `candidates` [T] says which tracks may be answers.
        The score of a track that is new to the user is a probability (`Ranker`). Behind the candidates come the
        hybrid's further tracks, with falling scores that only keep the order.
        """
        from scipy.special import expit

        hybrid = self.generator.hybrid
        if history.is_cold:
            return hybrid.candidates(history, k, allow_seen=allow_seen, mask=candidates)
        user = self.generator.profile(history, user_row=user_row, newest=newest)
        found = self.generator.candidates_of(user, allow_seen=allow_seen, candidates=candidates)
        order, logits = top_k(self.rank(found), k)
        ids, scores = found.ids[order], expit(logits)
        if len(ids) == k:
            return ids, scores
        further, values = hybrid.candidates(history, k, allow_seen=allow_seen, mask=candidates)
        if not len(ids):
            return further, values
        further = further[~np.isin(further, ids)][: k - len(ids)]
        falling = scores[-1] / (2 + np.arange(len(further), dtype=np.float32))
        return np.concatenate([ids, further]), np.concatenate([scores, falling])

    def rank(self, candidates: Candidates) -> NDArray[np.float32]:
        """[C] the ranker's scores."""
        return self.ranker.scores(features(self.generator, self.statistics, candidates))

    def append_tracks(self, hybrid: Hybrid) -> Self:
        """The same over the tracks of `hybrid`, some of which may be newer than the training."""
        generator = self.generator.append_tracks(hybrid)
        if generator is self.generator:
            return self
        recommender = type(self)(generator, self.statistics, self.ranker, self.options)
        recommender.recall = self.recall
        return recommender

    def save(self, folder: Path) -> None:
        arrays = {f"sources_{name}": array for name, array in self.generator.save_arrays().items()}
        arrays |= {f"facts_{name}": array for name, array in self.statistics.arrays().items()}
        metadata = {
            "sources": self.generator.metadata(),
            "genres": list(self.statistics.genre_names),
            "recall": self.recall,
        }
        save_model(folder, self.name, arrays, facts=metadata)
        self.ranker.save(folder)

    @classmethod
    def load(cls, folder: Path, hybrid: Hybrid) -> Self:
        arrays, header = load_model(folder, cls.name)
        metadata: dict[str, Any] = header["facts"]
        try:
            generator = CandidateGenerator.from_arrays(prefixed(arrays, "sources_"), metadata["sources"], hybrid)
            statistics = HistoryStatistics.from_arrays(prefixed(arrays, "facts_"), metadata["genres"])
        except (KeyError, TypeError) as error:
            raise LibraryError(f"{folder / cls.name}.json: saved by another program ({error}); train again") from None
        ranker = Ranker.load(folder)
        options = TwoStageOptions(candidates=generator.options, ranker=ranker.options)
        recommender = cls(generator, statistics, ranker, options)
        recommender.recall = metadata["recall"]
        return recommender.append_tracks(hybrid)

    @classmethod
    def forget_users(cls, folder: Path, user_rows: NDArray[np.intp]) -> None:
        """Empties the rows of these users in a saved recommender."""

        def without(arrays: Arrays) -> Arrays:
            arrays["sources_last"][user_rows] = -1
            arrays["facts_users"][user_rows] = np.nan
            return arrays

        change_model(folder, cls.name, without)
