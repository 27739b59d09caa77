"""Quality of recommendations, one value per user wherever a user has one.

Every function takes the answers of all users at once and a cut-off k; NaN where a value is not defined. Precision,
recall, NDCG (binary gains, log2 discounts, Järvelin & Kekäläinen 2002) and hit rate are those of ranx and trec_eval.
Average precision is divided by min(k, R), not by R, so that a perfect list of k scores 1 for users with more to find.

Shapes: B users, K answers, T tracks, D dimensions, R relevant tracks of a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .recommender import Ids

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Values = NDArray[np.float64]
Hits = NDArray[np.bool_]
ROWS_PER_BATCH = 4096


def hits(ids: Ids, truth: csr_matrix) -> Hits:
    """[B, K] whether each answer is among the user's relevant tracks, a row of `truth` [B, T]; -1 never is."""
    truth.sort_indices()
    tracks = truth.shape[1] + 1
    users = np.repeat(np.arange(truth.shape[0], dtype=np.int64), np.diff(truth.indptr))
    wanted = users * tracks + truth.indices
    if not len(wanted):
        return np.zeros(ids.shape, bool)
    found = np.empty(ids.shape, bool)
    for start in range(0, len(ids), ROWS_PER_BATCH):
        rows = ids[start : start + ROWS_PER_BATCH]
        keys = np.arange(start, start + len(rows), dtype=np.int64)[:, None] * tracks + rows
        keys[rows < 0] = -1
        # Only the batch's own stretch of `wanted`: searching stays in the cache.
        near = wanted[truth.indptr[start] : truth.indptr[start + len(rows)]]
        places = np.searchsorted(near, keys)
        found[start : start + len(rows)] = np.append(near, -2)[places] == keys
    return found


def relevant_counts(truth: csr_matrix) -> NDArray[np.int64]:
    """[B] R, the number of relevant tracks."""
    return np.asarray(np.diff(truth.indptr), np.int64)


def precision(hits: Hits, k: int) -> Values:
    """Relevant share of the k places; places without an answer count as wrong."""
    return np.asarray(hits[:, :k].sum(axis=1) / k)


def recall(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Share of the R relevant tracks that are found."""
    return _ratio(hits[:, :k].sum(axis=1), relevant)


def hit_rate(hits: Hits, k: int) -> Values:
    """1 where at least one answer is relevant."""
    return np.asarray(hits[:, :k].any(axis=1), np.float64)


def ndcg(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Discounted gain over that of the best possible list."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    return _ratio(hits[:, :k] @ discounts[: hits.shape[1]], ideal[np.minimum(relevant, k)])


def average_precision(hits: Hits, relevant: NDArray[np.int64], k: int) -> Values:
    """Mean precision at the places of the relevant answers, over min(k, R); its mean over users is MAP."""
    found = hits[:, :k]
    so_far = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return _ratio((so_far * found).sum(axis=1), np.minimum(relevant, k))


def user_coverage(ids: Ids, k: int) -> Values:
    """1 where the user gets k answers; its mean is the share of users who can be served."""
    answered = ids.shape[1] >= k and ids[:, k - 1] >= 0
    return np.broadcast_to(np.asarray(answered, np.float64), len(ids)).copy()


def catalogue_coverage(ids: Ids, k: int, track_count: int) -> float:
    """Share of the tracks that are recommended to anybody."""
    shown = ids[:, :k]
    return len(np.unique(shown[shown >= 0])) / track_count


def novelty(ids: Ids, listeners: NDArray[np.int64], user_count: int, k: int) -> Values:
    """Mean -log2 of the share of training users who listen to each answer, in bits.

    A track without listeners counts as if it had one. (Zhou et al. 2010; "mean self-information".)
    """
    bits = -np.log2(np.maximum(listeners, 1) / user_count)
    return _mean_of(bits, ids[:, :k])


def popularity_bias(ids: Ids, listeners: NDArray[np.int64], heard: csr_matrix, k: int) -> Values:
    """How much more popular the answers are than the user's own training tracks: the ratio of mean listeners, less 1.

    (Popularity lift, Abdollahpouri et al. 2020.) NaN for users without training listens.
    """
    counts = np.diff(heard.indptr)
    own = _ratio((heard != 0).astype(np.float64) @ listeners.astype(np.float64), counts)
    return _ratio(_mean_of(listeners.astype(np.float64), ids[:, :k]), own) - 1


def unseen_share(ids: Ids, heard: csr_matrix, k: int) -> Values:
    """Share of the answers that the user did not listen to in the training period."""
    shown = ids[:, :k]
    seen = hits(shown, heard)
    return 1 - _ratio(seen.sum(axis=1), (shown >= 0).sum(axis=1))


def diversity(ids: Ids, unit_vectors: NDArray[np.float32], k: int) -> Values:
    """Mean of 1 - cosine over all pairs of answers; answers with a vector of zeros are left out.

    `unit_vectors` [T, D] have length 1 or 0. The cosines of n vectors that sum to s add up to |s|^2 - n over ordered
    pairs, so no pair is ever looked at.
    """
    there = np.any(unit_vectors != 0, axis=1)
    values = np.full(len(ids), np.nan)
    for start in range(0, len(ids), ROWS_PER_BATCH):
        shown = ids[start : start + ROWS_PER_BATCH, :k]
        counted = (shown >= 0) & there[shown]
        count = counted.sum(axis=1)
        total = _chosen(shown, counted, len(unit_vectors)) @ unit_vectors
        cosines = np.einsum("bd,bd->b", total, total, dtype=np.float64) - count
        values[start : start + len(shown)] = 1 - _ratio(cosines, count * (count - 1))
    return values


def squared_errors(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> Values:
    """One per rating; the root of their mean is RMSE. Only for models that predict ratings.

    ALS on implicit feedback does not: its scores are preferences near 0 and 1, ordered within a user, with confidences
    for weights. Their distance from a five-star scale says nothing.
    """
    return np.asarray(np.square(predicted.astype(np.float64) - ratings))


def absolute_errors(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> Values:
    """One per rating; their mean is MAE."""
    return np.asarray(np.abs(predicted.astype(np.float64) - ratings))


def _chosen(ids: Ids, counted: NDArray[np.bool_], track_count: int) -> csr_matrix:
    """[B, T] 1 where the answer counts."""
    from scipy.sparse import csr_matrix

    ends = np.concatenate([[0], np.cumsum(counted.sum(axis=1))])
    chosen = ids[counted]
    return csr_matrix((np.ones(len(chosen), np.float32), chosen, ends), shape=(len(ids), track_count))


def _mean_of(values: Values, ids: Ids) -> Values:
    there = ids >= 0
    return _ratio(np.where(there, values[ids], 0).sum(axis=1), there.sum(axis=1))


def _ratio(above: NDArray[np.number], below: NDArray[np.number]) -> Values:
    """NaN where nothing is below."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))
