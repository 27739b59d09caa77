"""Popular: the same tracks for everyone, the ones with the most listeners; the floor under every other model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .history import RECENT_SECONDS, History, popularity, rank
from .listens import Listens
from .recommender import Answers, Ids, Scores
from .storage import load_model, load_options, save_model


@dataclass(frozen=True)
class PopularOptions:
    window_seconds: float | None = None
    """Count the listeners of the log's last seconds first; None counts them all."""


class Popular:
    """Ranks tracks by how many different users listened to them."""

    name = "popular"

    def __init__(self, options: PopularOptions | None = None) -> None:
        self.options = options or PopularOptions()

    def fit(self, listens: Listens) -> Self:
        self.history = History.of(listens)
        self.track_scores = popularity(listens, self.options.window_seconds)
        return self

    def recommend(
        self,
        user_rows: Ids,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """See `Recommender.recommend`; scores are numbers of listeners."""
        return self.history.recommend(
            lambda rows: np.tile(self.track_scores, (len(rows), 1)),
            user_rows,
            k,
            allow_seen=allow_seen,
            candidates=candidates,
        )

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """The most popular other tracks: the model knows no likeness."""
        rows = np.asarray(track_rows)

        def score(start: int, stop: int) -> Scores:
            cells = np.tile(self.track_scores, (stop - start, 1))
            cells[np.arange(stop - start), rows[start:stop]] = -np.inf
            return cells

        return rank(score, len(rows), k, len(self.track_scores))

    def save(self, folder: Path) -> None:
        arrays = {"track_scores": self.track_scores, **self.history.arrays()}
        save_model(folder, self.name, arrays, self.options)

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, header = load_model(folder, cls.name)
        model = cls(load_options(PopularOptions, header))
        model.track_scores, model.history = arrays["track_scores"], History.from_arrays(arrays)
        return model


class RecentPopular(Popular):
    """Popular in the log's last thirty days; in a log without comparable times, popular."""

    name = "recent-popular"

    def __init__(self, options: PopularOptions | None = None) -> None:
        super().__init__(options or PopularOptions(window_seconds=RECENT_SECONDS))
