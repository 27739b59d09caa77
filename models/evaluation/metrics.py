"""Quality of recommendations, one value per user wherever a user has one.

Every function takes the answers of all users at once; NaN where a value is not defined. Those whose work all cut-offs
share take many cut-offs and give a row for each, the others take one cut-off k. Precision, recall, NDCG (binary gains,
log2 discounts, Järvelin & Kekäläinen 2002) and hit rate are those of ranx and trec_eval. Average precision is divided
by min(k, R), not by R, so that a perfect list of k scores 1 for users with more to find. docs/metrics.md has all
formulas on one page.

Shapes: B users, K answers, T tracks, D dimensions, R relevant tracks of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Mask

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Values = NDArray[np.float64]
Hits = NDArray[np.bool_]
ROWS_PER_BATCH = 4096
_LOOKED_UP_CELLS = 1 << 22
THREADS = 2
"""numpy and scipy let go of the interpreter in all that is slow here"""


def hits(ids: Ids, truth: csr_matrix) -> Hits:
    """[B, K] whether each answer is among the user's relevant tracks, a row of `truth` [B, T]; -1 never is."""
    tracks = truth.shape[1] + 1
    found = np.empty(ids.shape, bool)
    rows_at_once = int(np.clip(_LOOKED_UP_CELLS // tracks, 1, ROWS_PER_BATCH))

    def look_up(start: int, stop: int) -> None:
        # One block of cells for the whole stretch, of a size that stays in the cache. Answers of -1 read the last one.
        cells = np.zeros((rows_at_once, tracks), bool)
        for first in range(start, stop, rows_at_once):
            last = min(first + rows_at_once, stop)
            near = slice(truth.indptr[first], truth.indptr[last])
            rows = np.repeat(np.arange(last - first), np.diff(truth.indptr[first : last + 1]))
            cells[rows, truth.indices[near]] = True
            found[first:last] = cells[np.arange(last - first)[:, None], ids[first:last]]
            cells[rows, truth.indices[near]] = False

    _in_threads(look_up, len(ids))
    return found


def relevant_counts(truth: csr_matrix) -> NDArray[np.int64]:
    """[B] R, the number of relevant tracks."""
    return np.asarray(np.diff(truth.indptr), np.int64)


def precision(hits: Hits, k: int) -> Values:
    """Relevant share of the k places; places without an answer count as wrong."""
    return np.asarray(hits[:, :k].sum(axis=1) / k)


def recall(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Share of the R relevant tracks that are found."""
    return ratio(hits[:, :k].sum(axis=1), relevant)


def hit_rate(hits: Hits, k: int) -> Values:
    """1 where at least one answer is relevant."""
    return np.asarray(hits[:, :k].any(axis=1), np.float64)


def ndcg(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Discounted gain over that of the best possible list."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    return ratio(hits[:, :k] @ discounts[: hits.shape[1]], ideal[np.minimum(relevant, k)])


def average_precision(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Mean precision at the places of the relevant answers, over min(k, R); its mean over users is MAP."""
    found = hits[:, :k]
    so_far = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return ratio((so_far * found).sum(axis=1), np.minimum(relevant, k))


def reciprocal_rank(hits: Hits, k: int) -> Values:
    """1 / the place of the first relevant answer, 0 where none of k is; its mean over users is MRR (Voorhees 1999)."""
    found = hits[:, :k]
    return np.asarray(np.where(found.any(axis=1), 1 / (found.argmax(axis=1) + 1), 0.0))


def user_coverage(ids: Ids, k: int) -> Values:
    """1 where the user gets k answers; its mean is the share of users who can be served."""
    answered = ids.shape[1] >= k and ids[:, k - 1] >= 0
    return np.broadcast_to(np.asarray(answered, np.float64), len(ids)).copy()


def nearest_k(ks: Iterable[int], target: int) -> int:
    """The cut-off nearest to `target`, the smaller of two."""
    return min(ks, key=lambda k: (abs(k - target), k))


def cold_shares(ids: Ids, listeners: NDArray[np.int64], ks: Sequence[int]) -> Values:
    """[len(ks), B] share of the answers that had no listeners in training."""
    return means_of_answers((listeners == 0).astype(np.float64), ids, ks)


def unseen_shares(ids: Ids, user_items: csr_matrix, ks: Sequence[int]) -> Values:
    """[len(ks), B] share of the answers that the user did not listen to in the training period."""
    seen = hits(ids[:, : max(ks)], user_items)
    return np.stack([1 - ratio(seen[:, :k].sum(axis=1), (ids[:, :k] >= 0).sum(axis=1)) for k in ks])


def diversities(ids: Ids, unit_vectors: NDArray[np.float32], ks: Sequence[int]) -> Values:
    """[len(ks), B] mean of 1 - cosine over all pairs of answers; answers with a vector of zeros are left out.

    `unit_vectors` [T, D] have length 1 or 0. The cosines of n vectors that sum to s add up to |s|^2 - n over ordered
    pairs, so no pair is ever looked at.
    """
    has_vector = np.any(unit_vectors != 0, axis=1)
    values = np.full((len(ks), len(ids)), np.nan)
    order = np.argsort(ks)

    def sum_up(start: int, stop: int) -> None:
        for first in range(start, stop, ROWS_PER_BATCH):
            last = min(first + ROWS_PER_BATCH, stop)
            total = np.zeros((last - first, unit_vectors.shape[1]), np.float32)
            count = np.zeros(last - first, np.int64)
            done = 0
            for place in order:
                shown = ids[first:last, done : ks[place]]
                counted = (shown >= 0) & has_vector[shown]
                count += counted.sum(axis=1)
                total += _chosen(shown, counted, len(unit_vectors)) @ unit_vectors
                cosines = np.einsum("bd,bd->b", total, total, dtype=np.float64) - count
                values[place, first:last] = 1 - ratio(cosines, count * (count - 1))
                done = ks[place]

    _in_threads(sum_up, len(ids))
    return values


def squared_errors(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> Values:
    """One per rating; the root of their mean is RMSE. Only for models that predict ratings.

    ALS on implicit feedback does not: its scores are preferences near 0 and 1, ordered within a user, with confidences
    for weights. Their distance from a five-star scale means nothing.
    """
    return np.asarray(np.square(predicted.astype(np.float64) - ratings))


def absolute_errors(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> Values:
    """One per rating; their mean is MAE."""
    return np.asarray(np.abs(predicted.astype(np.float64) - ratings))


def _chosen(ids: Ids, counted: Mask, track_count: int) -> csr_matrix:
    """[B, T] 1 where the answer counts."""
    from scipy.sparse import csr_matrix

    ends = np.concatenate([[0], np.cumsum(counted.sum(axis=1))])
    chosen = ids[counted]
    return csr_matrix((np.ones(len(chosen), np.float32), chosen, ends), shape=(len(ids), track_count))


def means_of_answers(values: Values, ids: Ids, ks: Sequence[int]) -> Values:
    """[len(ks), B] means of the `values` [T] of the first k answers."""
    mask = ids >= 0
    chosen = np.where(mask, values[ids], 0)
    return np.stack([ratio(chosen[:, :k].sum(axis=1), mask[:, :k].sum(axis=1)) for k in ks])


def _in_threads(work: Callable[[int, int], None], count: int) -> None:
    """Calls `work` on stretches of 0 … count."""
    if count <= ROWS_PER_BATCH:
        work(0, count)
        return
    ends = np.linspace(0, count, THREADS + 1).astype(int)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, ends[:-1].tolist(), ends[1:].tolist()))


def ratio(above: NDArray[np.number], below: NDArray[np.number]) -> Values:
    """NaN where nothing is below. Shape: [...], [...] -> [...]"""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0))
