"""Two-stage recommender: candidates from many sources, their features, and the ranker that puts them in order.

The ranker is fitted on a ranking dataset; then the candidate generator is fitted again on all interactions. Whoever
asks is answered by `recommend_to`, one user as a batch of one.

Shapes: U users, T tracks, B users asked for, k answers each, N candidates of all B.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, LibraryError
from ..arrays import Answers, Ids, Mask, Scores, no_answers, one_blas_thread, top_k_of_lists
from ..catalogue import Catalogue
from ..hybrid.model import Hybrid
from ..hybrid.online import UserHistory
from ..interactions import Interactions
from ..recommenders.als import ALSOptions
from ..recommenders.base import Recommender, check_catalogue, check_width
from ..storage import Arrays, change_model, load_model, prefixed, save_model
from .candidates import CandidateGenerator, Candidates
from .dataset import TwoStageOptions, ranking_dataset
from .features import HistoryStatistics, features
from .ranker import Ranker
from .user_profile import NO_TRACKS, UserProfile

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_FORMER_NAME = "ranking"
_LEAST_USERS = 20
"""with two tracks or more"""
_CALIBRATION_USERS = 1500
"""users differ much in their rates: the mean of fewer would be inaccurate"""


class TwoStageRecommender(Recommender):
    """Recommends to warm users; to others the hybrid does."""

    name = "ranked"
    options: TwoStageOptions
    options_type = TwoStageOptions

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        *,
        hybrid: Hybrid | None = None,
        als: ALSOptions | None = None,
        options: TwoStageOptions | None = None,
        seed: int = 0,
    ) -> None:
        """`hybrid` is one that is fitted on what `fit` will be given; None: `fit` fits one, with the options `als`."""
        super().__init__(options)
        self._catalogue, self._fitted_hybrid, self._als, self.seed = catalogue, hybrid, als, seed
        self.recall: dict[str, float] = {}
        """source -> the share of the label period's tracks that it nominated; `all`: that are among the candidates"""

    def fit(self, interactions: Interactions) -> Self:
        """DataError where there is too little to learn a ranking from."""
        catalogue, options = check_catalogue(self.name, self._catalogue, interactions), self.options
        hybrid = self._fitted_hybrid or Hybrid(catalogue, als=self._als, seed=self.seed).fit(interactions)
        users = int((np.diff(interactions.matrix.indptr) > 1).sum())
        if users < _LEAST_USERS:
            raise DataError(f"ranker: {users} users with two tracks or more; {_LEAST_USERS} are needed")
        dataset = ranking_dataset(interactions, catalogue, hybrid, options=options, seed=self.seed)
        ranker = Ranker(options.ranker).fit(dataset.table, dataset.labels, dataset.groups, dataset.held_out)
        # The ranker has no scores of a source that the dataset lacked (for example segments, with too few users).
        met = {name: quota for name, quota in options.candidates.quotas.items() if name in dataset.recall}
        generator = CandidateGenerator(hybrid, replace(options.candidates, quotas=met)).fit(interactions)
        self.assemble(generator, HistoryStatistics.of(interactions, catalogue), ranker)
        self.recall = dataset.recall
        self.calibrate(dataset.rate, np.random.default_rng([self.seed, 8]))
        return self

    def arguments_with(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values are of the options of its hybrid's ALS."""
        als = replace(self._als or ALSOptions(), **values)
        return {"als": als, "options": self.options, "seed": values.get("seed", self.seed)}

    def assemble(self, generator: CandidateGenerator, statistics: HistoryStatistics, ranker: Ranker) -> Self:
        """Recommends by these stages from now on."""
        self.generator, self.ranker = generator, ranker
        self.statistics = statistics.append_tracks(generator.track_count)
        self.history = generator.hybrid.history
        return self

    @property
    def hybrid(self) -> Hybrid:
        return self.generator.hybrid

    def calibrate(self, rate: float, rng: np.random.Generator) -> None:
        """Shifts the ranker's scores so that their mean probability over warm users is the rate of the label period.

        The history is longer than the one it was trained on, so that features of activity are higher for all users.
        """
        warm = np.flatnonzero(self.generator.hybrid.history.warm_users).astype(np.int32)
        users = rng.permutation(warm)[:_CALIBRATION_USERS]
        logits = [self.rank(found) for found in self.generator.trained_candidates(users)]
        self.ranker.calibrate(rate, np.concatenate([*logits, np.zeros(0, np.float32)]))

    def recommend(
        self,
        user_rows: Ids,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: Mask | None = None,
    ) -> Answers:
        """`recommend_to` for B users of the training, -1 for another one. Shape: -> ([B, k], [B, k])"""
        rows = np.asarray(user_rows, np.int32).tolist()
        users = [(self.hybrid.user_history(row), row, NO_TRACKS) for row in rows]
        return self._many(users, k, allow_seen=allow_seen, candidates=candidates)

    def recommend_from(
        self,
        user_items: csr_matrix,
        k: int,
        *,
        newest: Ids | None = None,
        allow_seen: bool = False,
        candidates: Mask | None = None,
    ) -> Answers:
        """The same for B users by their confidences [B, T]; without `newest` [B, L] no track is newer than another."""
        check_width(user_items, self._track_count)
        histories = _histories(user_items)
        last = repeat(NO_TRACKS, len(user_items.indptr) - 1) if newest is None else (row[row >= 0] for row in newest)
        users = [(history, -1, tracks) for history, tracks in zip(histories, last, strict=True)]
        return self._many(users, k, allow_seen=allow_seen, candidates=candidates)

    def _many(
        self, users: Sequence[tuple[UserHistory, int, Ids]], k: int, *, allow_seen: bool, candidates: Mask | None
    ) -> Answers:
        """B users by their history, row of the training or -1, and newest tracks; see `CandidateGenerator.profile`."""
        ids, scores = no_answers(len(users), k)
        step = self.generator.users_per_batch()
        with one_blas_thread():
            for start in range(0, len(users), step):
                part = slice(start, start + step)
                profiles = [self.generator.profile(h, user_row=row, newest=newest) for h, row, newest in users[part]]
                ids[part], scores[part] = self.recommend_to(profiles, k, allow_seen=allow_seen, candidates=candidates)
        return ids, scores

    def scores_from(self, user_items: csr_matrix) -> Scores:
        """[B, T] the scores of `recommend_from`; tracks behind the candidates are in the hybrid's order."""
        ids, values = self.recommend_from(user_items, self._track_count, allow_seen=True)
        cells = np.full(ids.shape, -np.inf, np.float32)
        users, places = np.nonzero(ids >= 0)
        cells[users, ids[users, places]] = values[users, places]
        return cells

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the hybrid."""
        return self.hybrid.similar(track_rows, k)

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
        """Up to k tracks of one user and their scores, best first.

        `user_row` and `newest` as in `CandidateGenerator.profile`; `candidates` [T] says which tracks may be answers.
        """
        user = self.generator.profile(history, user_row=user_row, newest=newest)
        (ids,), (scores,) = self.recommend_to([user], k, allow_seen=allow_seen, candidates=candidates)
        return ids[ids >= 0], scores[ids >= 0]

    def recommend_to(
        self, users: Sequence[UserProfile], k: int, *, allow_seen: bool = False, candidates: Mask | None = None
    ) -> Answers:
        """The k best tracks of B users, none other in a batch than alone. Shape: -> ([B, k], [B, k])

        The popular tracks for a cold user, with the hybrid's scores; else the score of a track that is new to the user
        is a probability (`Ranker`). Behind the candidates come the hybrid's further tracks, with falling scores that
        only keep the order.
        """
        from scipy.special import expit

        ids, scores = no_answers(len(users), k)
        warm = [place for place, user in enumerate(users) if not user.history.is_cold]
        lists: dict[int, Answers] = {}
        if warm:
            asked = [users[place] for place in warm]
            found = self.generator.candidates_of(asked, allow_seen=allow_seen, candidates=candidates)
            logits = self.rank(found)
            best, ends = top_k_of_lists(logits, found.pairs.ends, k)
            for place, start, stop in zip(warm, ends, ends[1:], strict=False):
                lists[place] = found.ids[best[start:stop]], expit(logits[best[start:stop]])
        for place, user in enumerate(users):
            mine, values = lists.get(place, (NO_TRACKS, np.zeros(0, np.float32)))
            if len(mine) < k:
                further, its = self.hybrid.candidates(user.history, k, allow_seen=allow_seen, mask=candidates)
                if len(mine):
                    further = further[~np.isin(further, mine)][: k - len(mine)]
                    its = values[-1] / (2 + np.arange(len(further), dtype=np.float32))
                mine, values = np.concatenate([mine, further]), np.concatenate([values, its])
            ids[place, : len(mine)], scores[place, : len(mine)] = mine, values
        return ids, scores

    def rank(self, candidates: Candidates) -> NDArray[np.float32]:
        """[N] the ranker's scores."""
        return self.ranker.scores(features(self.generator, self.statistics, candidates))

    def append_tracks(self, hybrid: Hybrid) -> Self:
        """The same over the tracks of `hybrid`, some of which may be newer than the training."""
        generator = self.generator.append_tracks(hybrid)
        if generator is self.generator:
            return self
        return copy(self).assemble(generator, self.statistics, self.ranker)

    def save(self, folder: Path, *, with_hybrid: bool = True) -> None:
        """`with_hybrid` False: the folder holds the hybrid already."""
        arrays = {f"sources_{name}": array for name, array in self.generator.save_arrays().items()}
        arrays |= {f"facts_{name}": array for name, array in self.statistics.arrays().items()}
        metadata = {
            "sources": self.generator.metadata(),
            "genres": list(self.statistics.genre_names),
            "recall": self.recall,
        }
        if with_hybrid:
            self.hybrid.save(folder)
        save_model(folder, self.name, arrays, facts=metadata)
        self.ranker.save(folder)

    @classmethod
    def load(cls, folder: Path, hybrid: Hybrid | None = None) -> Self:
        """On top of `hybrid`, which may have further tracks; None loads the one in the folder."""
        name = cls.saved_name(folder) or cls.name
        arrays, header = load_model(folder, name)
        metadata: dict[str, Any] = header["facts"]
        hybrid = hybrid or Hybrid.load(folder)
        try:
            generator = CandidateGenerator.from_arrays(prefixed(arrays, "sources_"), metadata["sources"], hybrid)
            statistics = HistoryStatistics.from_arrays(prefixed(arrays, "facts_"), metadata["genres"])
            recall = metadata["recall"]
        except (KeyError, TypeError) as error:
            raise LibraryError(f"{folder / name}.json: saved by another program ({error}); train again") from None
        ranker = Ranker.load(folder)
        options = TwoStageOptions(candidates=generator.options, ranker=ranker.options)
        recommender = cls(options=options).assemble(generator, statistics, ranker)
        recommender.recall = recall
        return recommender.append_tracks(hybrid)

    @classmethod
    def saved_name(cls, folder: Path) -> str | None:
        """The name of the model's files in a folder, which was another one once; None where there are none."""
        return next((name for name in (cls.name, _FORMER_NAME) if (folder / f"{name}.json").exists()), None)

    @classmethod
    def forget_users(cls, folder: Path, user_rows: NDArray[np.intp]) -> None:
        """Empties the rows of these users in a saved recommender."""

        def without(arrays: Arrays) -> Arrays:
            arrays["sources_last"][user_rows] = -1
            arrays["facts_users"][user_rows] = np.nan
            return arrays

        change_model(folder, cls.saved_name(folder) or cls.name, without)


def _histories(user_items: csr_matrix) -> Iterator[UserHistory]:
    """Users given by their confidences [B, T]."""
    for start, stop in pairwise(user_items.indptr.tolist()):
        yield UserHistory(user_items.indices[start:stop].astype(np.int32), user_items.data[start:stop])
