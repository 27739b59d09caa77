"""The benchmark of the Yambda data set (Ploshkin et al., "Yambda-5B", arXiv:2505.22238), after its published code.

Only listens of at least half of a track count (Listen+), likes do not. Times are seconds from the log's beginning: the
test is the day from 25,913,600 s on, training all that lies half an hour or more before it, 299.9 days. Every user with
listens in both parts is asked. All tracks with listens in training are ranked, those that the user has heard among
them; targets are the test's listens, those of tracks without listens in training included, and a track that was played
twice counts twice in the ideal list.

The published NDCG is not a mean over users of DCG / ideal DCG, but the mean DCG over the mean ideal DCG; it is in the
table as `pooled_ndcg`. (The code was changed after the paper; its figures are those before.)

Shapes: N listens, B users, K answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...models.evaluation import splits
from ...models.evaluation.metrics import Hits, Values
from ...models.evaluation.splits import Split
from ...models.interactions import Clock, Interactions

GAP_SECONDS = 1800
TEST_START = 26_000_000 - 86_400
"""seconds; the log is taken to end at 26,000,000"""
VALIDATION_START = TEST_START - GAP_SECONDS - 86_400
"""of the validation day, the last of the training part"""
PLAYED_RATIO = 0.5
"""least share of the track that is a listen"""
SOURCE = "arXiv:2505.22238, Yambda-50M, Listen+"
PUBLISHED = {
    "MostPop": 0.0186,
    "DecayPop": 0.0260,
    "ItemKNN": 0.0781,
    "iALS": 0.0407,
    "BPR": 0.0389,
    "SASRec": 0.0748,
}
"""model -> NDCG@10 of the smallest of the three logs"""


def split(listens: Interactions) -> Split:
    """The Listen+ of the log before and after the moment of the benchmark; of its training part the validation."""
    if listens.clock is not Clock.TIME or listens.states is None or listens.states.plays is None:
        raise DataError("protocol yambda: needs listens with times and shares played; crossfade fetch yambda has them")
    if listens.confidence.ratio_threshold != PLAYED_RATIO:
        raise UsageError(
            f"protocol yambda: a listen is half of a track, but here it is {listens.confidence.ratio_threshold:g} of it"
        )
    plays = listens.take(listens.states.plays > 0)
    newest = plays.newest or 0
    whole = newest >= TEST_START - GAP_SECONDS
    start, name = (TEST_START, "yambda") if whole else (VALIDATION_START, "yambda, validation day")
    if newest < start:
        raise DataError(
            f"protocol yambda: the test begins {TEST_START:,} s after the log's beginning, and the last listen to half "
            f"a track or more comes after {newest:,} s"
        )
    parts = splits.since(plays, start, gap_seconds=GAP_SECONDS, name=name)
    if not len(parts.train):
        raise DataError(
            f"protocol yambda: no listen to half a track before {start - GAP_SECONDS:,} s, where training ends; "
            "times have to count from the log's beginning"
        )
    return parts


def gains(hits: Hits, target_counts: NDArray[np.int64], k: int) -> tuple[Values, Values]:
    """([B] DCG of the first k answers, [B] that of the ideal list of so many targets); binary, log2 discounts.

    >>> hits = np.array([[False, True, False], [True, False, False]])
    >>> [gain.round(3).tolist() for gain in gains(hits, np.array([1, 2]), 3)]
    [[0.631, 1.0], [1.0, 1.631]]
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    return hits[:, :k] @ discounts[: hits.shape[1]], ideal[np.minimum(target_counts, k)]


def published_rows() -> tuple[Mapping[str, Any], ...]:
    """Rows of an evaluation's table, without intervals."""
    row = {"slice": "yambda", "metric": "pooled_ndcg", "k": 10}
    bounds = {"low": None, "high": None, "users": None, "allow_seen": True, "source": SOURCE}
    return tuple(
        {"model": f"{model} (published)", **row, "value": value, **bounds} for model, value in PUBLISHED.items()
    )
