"""How well ratings are predicted: RMSE and MAE of a constant, of biases (over all of a user's ratings, and over the
latest) and of neural matrix factorisation (where torch is installed).

Users are drawn again with all their test ratings, since one user's errors are alike; `rmse_gain` compares a model with
the biases on the same draws, and is above 0 where the model errs less.

Shapes: N test ratings, U users, R draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ...models.evaluation.bootstrap import RESAMPLES, Interval
from ...models.evaluation.metrics import absolute_errors, squared_errors
from ...models.evaluation.splits import Split
from ...models.recommenders.biases import Biases, ratings_of
from .profiling import Row


def rating_rows(split: Split, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Iterator[Row]:
    """Rows of the slice `ratings`; none where the log has no ratings in both parts."""
    if split.train.ratings is None or not len(split.train) or not len(split.test):
        return
    test, ratings = split.test, ratings_of(split.test)
    biases = Biases.fit(split.train)
    baselines = {"constant": Biases.constant(split.train), "bias": biases, "recent-bias": biases.recent(split.train)}
    predictions = {name: model.predict(test.user_rows, test.track_rows) for name, model in baselines.items()}
    if find_spec("torch") is not None:
        from ...models.recommenders.neural.neural_mf import NeuralMF, rating_options

        neural = NeuralMF(rating_options()).fit(split.train)
        predictions["mf"] = neural.predict(test.user_rows, test.track_rows)
    users, owners = np.unique(test.user_rows, return_inverse=True)
    draws = np.stack(
        [np.bincount(rng.integers(len(users), size=len(users)), minlength=len(users)) for _ in range(resamples)]
    )
    counts = np.bincount(owners)
    drawn = draws @ counts
    about = {"slice": "ratings", "k": None, "users": len(users)}
    roots: dict[str, tuple[float, NDArray[np.float64]]] = {}
    for name, found in predictions.items():
        squares, sizes = squared_errors(found, ratings), absolute_errors(found, ratings)
        roots[name] = (float(np.sqrt(squares.mean())), np.sqrt(draws @ np.bincount(owners, squares) / drawn))
        yield _row(name, "rmse", *roots[name]) | about
        yield _row(name, "mae", float(sizes.mean()), draws @ np.bincount(owners, sizes) / drawn) | about
    for name, (value, drawn_values) in roots.items():
        if name != "bias":
            row = _row(name, "rmse_gain", roots["bias"][0] - value, roots["bias"][1] - drawn_values)
            yield row | {"against": "bias", "better": row["low"] > 0, "worse": row["high"] < 0} | about


def _row(model: str, metric: str, value: float, drawn: NDArray[np.float64]) -> Row:
    return {"model": model, "metric": metric} | Interval.of_draws(value, drawn).record()
