"""Significance: whether a difference between two models, measured on the same users, could be chance.

The p-value is that of the sign-flip test (Fisher's randomisation test of paired values; Smucker, Allan & Carterette
2007): if two models are equally good, each user's difference may as well have the other sign, and p is the share of
random signs whose mean difference is as far from 0 as the one observed. Where many pairs of models are compared, Holm's
correction (1979) keeps the chance of even one false claim below the level.

Shapes: B users, M models, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import one_blas_thread
from .metrics import Values

FLIPS = 10_000
"""so many that the least p-value, 1 / (FLIPS + 1), outlives the correction for all pairs of thirty models"""
_CELLS_PER_BATCH = 1 << 22
_TOLERANCE = 1e-6
"""mean differences that are nearer than this are equal: products are float32"""


def sign_flip_p_values(
    values: Values, pairs: Sequence[tuple[int, int]], rng: np.random.Generator, *, flips: int = FLIPS
) -> NDArray[np.float64]:
    """[P] two-sided p-values of the mean differences between pairs of columns of `values` [B, M], which has no NaN.

    All pairs see the same signs, so that the sums of M columns serve all of them.
    """
    users = len(values)
    first, second = np.asarray(pairs, np.intp).reshape(-1, 2).T
    observed = np.abs((values[:, first] - values[:, second]).mean(axis=0)) - _TOLERANCE
    columns = (values - values.mean(axis=1, keepdims=True)).astype(np.float32)
    as_far = np.zeros(len(first), np.int64)
    batch = max(1, _CELLS_PER_BATCH // max(users, 1))
    with one_blas_thread():
        for start in range(0, flips, batch):
            rows = min(batch, flips - start)
            bits = np.unpackbits(rng.integers(0, 256, (rows, -(-users // 8)), np.uint8), axis=1, count=users)
            signs = bits.astype(np.float32)
            signs *= 2
            signs -= 1
            means = (signs @ columns) / users
            as_far += (np.abs(means[:, first] - means[:, second]) >= observed).sum(axis=0)
    return np.asarray((as_far + 1) / (flips + 1))


def holm(p_values: NDArray[Any]) -> NDArray[np.float64]:
    """[P] p-values corrected for their number: the least one times P, the next one times P - 1 … (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected
