"""Scan: the rows of a large matrix with the largest inner products, for one query at a time, quickly.

Reading 100,000 rows of 328 floats takes longer than a request may. 4-bit codes of pairs of columns (André et al. 2017,
"Accelerated Nearest Neighbor Search with Quick ADC"; faiss's fast scan) are an eighth of a byte's worth of that: they
nominate, and whoever asks computes the nominees' products exactly. In a small matrix every row is nominated.

Shapes: N rows, D columns, n new rows.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Scores

Rows = NDArray[np.integer]

EXACT_ROWS = 20_000
_SAMPLE = 4096
_ITERATIONS = 8


class Scan:
    """Never changes, so that any number of threads may ask."""

    def __init__(self, vectors: Scores, *, exact_rows: int = EXACT_ROWS, seed: int = 0) -> None:
        self.count, width = vectors.shape
        self._exact_rows, self._seed = exact_rows, seed
        self._codes: Any = None
        self._padding = width % 2
        if self.count > exact_rows and width:
            import faiss

            columns = width + self._padding
            sample = np.sort(np.random.default_rng(seed).permutation(self.count)[:_SAMPLE])
            codes = faiss.IndexPQFastScan(columns, columns // 2, 4, faiss.METRIC_INNER_PRODUCT)
            codes.pq.cp.niter = _ITERATIONS
            codes.pq.cp.seed = seed
            codes.train(self._padded(vectors[sample]))
            self._add(codes, vectors)
            self._codes = codes

    def plus(self, more: Scores, whole: Callable[[], Scores]) -> Scan:
        """With rows [n, D] behind these, quickly: the same codes serve them. This one stays as it is.

        `whole` gives all N + n rows; it is asked when there are enough of them to learn codes for the first time.
        """
        longer = copy(self)
        longer.count += len(more)
        if self._codes is not None:
            import faiss

            longer._codes = faiss.clone_index(self._codes)
            self._add(longer._codes, more)
        elif longer.count > self._exact_rows:
            return Scan(whole(), exact_rows=self._exact_rows, seed=self._seed)
        return longer

    def nominees(self, query: Scores, most: int) -> Rows:
        """At least the rows with the largest products with `query` [D], about `most` of them, in any order."""
        if self._codes is None or most >= self.count:
            return np.arange(self.count)
        _, found = self._codes.search(self._padded(query[None]), most)
        return np.asarray(found[0][found[0] >= 0], np.intp)

    def _add(self, codes: Any, vectors: Scores) -> None:
        step = 1 << 14
        for start in range(0, len(vectors), step):
            codes.add(self._padded(vectors[start : start + step]))

    def _padded(self, vectors: Scores) -> Scores:
        if not self._padding:
            return np.ascontiguousarray(vectors, np.float32)
        return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, self._padding))), np.float32)
