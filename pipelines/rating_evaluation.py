"""RMSE and MAE, for models that predict ratings and for those only.

The scores of ALS and of the other recommenders are no ratings: they order a user's tracks, on a scale that means
nothing from one user to the next. Their distance from a number of stars says nothing, so it is not here. A mean and
the biases of users and tracks are the baselines.

Shapes: N test ratings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..models import metrics
from ..models.bootstrap import Interval, intervals
from ..models.listens import Listens
from ..models.rating_baselines import Biases
from ..models.recommender import Ids
from ..models.splits import Split

Row = dict[str, Any]


class RatingPredictor(Protocol):
    def predict(self, user_rows: Ids, track_rows: Ids) -> NDArray[np.float32]: ...


def rating_rows(split: Split, names: Sequence[str], rng: np.random.Generator, *, resamples: int) -> Iterator[Row]:
    """A row per predictor and metric, slice `ratings`; nothing where the log has no ratings."""
    ratings = split.test.ratings
    if ratings is None or split.train.ratings is None or not len(split.test) or not len(split.train):
        return
    for name, predictor in _predictors(split.train, names):
        predicted = predictor.predict(split.test.user_rows, split.test.track_rows)
        errors = np.stack(
            [metrics.squared_errors(predicted, ratings), metrics.absolute_errors(predicted, ratings)], axis=1
        )
        squared, absolute = intervals(errors, rng, resamples=resamples)
        root = Interval(*(float(np.sqrt(bound)) for bound in (squared.value, squared.low, squared.high)))
        for metric, interval in (("rmse", root), ("mae", absolute)):
            row = {"model": name, "slice": "ratings", "metric": metric, "k": None}
            bounds = {side: round(getattr(interval, side), 6) for side in ("value", "low", "high")}
            yield row | bounds | {"ratings": len(ratings)}


def _predictors(train: Listens, names: Sequence[str]) -> Iterator[tuple[str, RatingPredictor]]:
    yield "constant", Biases.constant(train)
    yield "bias", Biases.fit(train)
    if "mf" in names:
        from ..models.neural_mf import NeuralMF, rating_options

        yield "mf, ratings", NeuralMF(rating_options()).fit(train)
