"""The compressed scan: a shortlist of the rows with the largest inner products, from 4-bit codes.

Why the shortlist is written here and faiss's own indexes don't serve (100,000 x 328, a mask that hides a fifth of the
rows, a query on one core): `IndexFlatIP` with a selector takes 4.3 ms; `IndexRefineFlat(IndexPQFastScan)` refuses a
mask and holds every vector a second time; `IndexIVFFlat` with a selector takes .2 to .7 ms, as the shortlist does (.5
ms, recall 1.00), but is built in 8 s rather than .8 s and copies all vectors for every snapshot with a track more.
docs/benchmarks.md has a million tracks.

Shapes: N rows of width D, n new ones, B queries.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from ..arrays import Rows, Scores
from ..storage import Arrays

EXACT_ROWS = 20_000
_SAMPLE = 4096
_ITERATIONS = 8
_ROWS_PER_BATCH = 1 << 14


class CompressedScan:
    """The rows of a large matrix with the largest inner products with a query, approximately.

    4-bit product quantization of pairs of columns (André et al. 2017, "Accelerated Nearest Neighbor Search with Quick
    ADC"; faiss's fast scan): a sixteenth of the bytes of float32. Whoever asks computes the products of the shortlist
    exactly. In a matrix of at most `exact_rows` the shortlist is every row. Never changes: threads may share it.
    """

    def __init__(self, vectors: Scores, *, exact_rows: int = EXACT_ROWS, seed: int = 0) -> None:
        self.count, width = vectors.shape
        self.exact_rows, self._seed = exact_rows, seed
        self._codes: Any = None
        if self.count > exact_rows and width:
            import faiss

            columns = width + width % 2
            sample = np.sort(np.random.default_rng(seed).permutation(self.count)[:_SAMPLE])
            self._codes = faiss.IndexPQFastScan(columns, columns // 2, 4, faiss.METRIC_INNER_PRODUCT)
            self._codes.pq.cp.niter = _ITERATIONS
            self._codes.pq.cp.seed = seed
            self._codes.train(_even(vectors[sample]))
            self._add(vectors)

    def append_rows(self, more: Scores, whole: Callable[[], Scores]) -> CompressedScan:
        """With rows [n, D] behind these, in the same code; this one stays as it is.

        `whole` gives all N + n rows; it is called when there are enough of them for the first time.
        """
        longer = copy(self)
        longer.count += len(more)
        if self._codes is not None:
            import faiss

            longer._codes = faiss.clone_index(self._codes)
            longer._add(more)
        elif longer.count > self.exact_rows:
            return CompressedScan(whole(), exact_rows=self.exact_rows, seed=self._seed)
        return longer

    @property
    def is_exact(self) -> bool:
        """Whether every row is in every shortlist."""
        return self._codes is None

    def shortlist(self, query: Scores, count: int) -> Rows:
        """About `count` rows, in any order, that hold nearly all with the largest products with `query` [D]."""
        return self.shortlists(query[None], np.array([count]))[0]

    def shortlists(self, queries: Scores, counts: Rows) -> list[Rows]:
        """The same for each of B queries [B, D] and counts [B]."""
        if self._codes is None:
            return [np.arange(self.count)] * len(queries)
        # Queries with about the same count are searched for at once; a query's own count does not depend on the others.
        steps = np.exp2(np.ceil(2 * np.log2(np.maximum(counts, 1))) / 2)
        steps = np.minimum(np.ceil(steps).astype(np.intp), self.count)
        lists: list[Rows] = [np.arange(0)] * len(queries)
        for step in np.unique(steps).tolist():
            places = np.flatnonzero(steps == step)
            _, found = self._codes.search(_even(queries[places]), step)
            for place, rows in zip(places.tolist(), found, strict=True):
                lists[place] = rows[rows >= 0]
        return lists

    def arrays(self) -> Arrays:
        """The codes, where there are any."""
        if self._codes is None:
            return {}
        import faiss

        return {"codes": faiss.serialize_index(self._codes)}

    @classmethod
    def from_arrays(cls, arrays: Arrays, count: int, *, exact_rows: int = EXACT_ROWS) -> CompressedScan:
        """Of `count` rows; without codes the shortlist is every row."""
        scan = cls(np.zeros((0, 0), np.float32), exact_rows=exact_rows)
        scan.count = count
        if "codes" in arrays:
            import faiss

            scan._codes = faiss.deserialize_index(arrays["codes"])
        return scan

    def _add(self, vectors: Scores) -> None:
        for start in range(0, len(vectors), _ROWS_PER_BATCH):
            self._codes.add(_even(vectors[start : start + _ROWS_PER_BATCH]))


def _even(vectors: Scores) -> Scores:
    """With a column of zeros where the number of columns is odd."""
    return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, vectors.shape[1] % 2))), np.float32)
