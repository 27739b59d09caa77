"""EASE: every track's listens predicted from all others', by one linear regression in closed form.

Steck (2019), "Embarrassingly Shallow Autoencoders for Sparse Data": the weights B minimise |X - X B|^2 + l2 |B|^2 with
a diagonal of zeros. With G = X'X and P = (G + L)^-1 they are B_ij = -P_ij / P_jj. L is diagonal: l2, and with dropout
also dropout / (1 - dropout) * G_jj, which is what hiding inputs at random comes to (Steck 2020, "Autoencoders that
don't overfit towards the Identity", EDLAE).

In the scale X^ = X L^(-1/2) the inverse is that of I + X^'X^, tracks by tracks; where there are fewer users than tracks
it comes from the smaller one of users by users: (I + X^'X^)^-1 = I - X^'(I + X^X^')^-1 X^. For each track that is
predicted only the largest weights are kept; their mean, weighted by how often tracks are listened to, stands for the
others. (Keeping those of largest size, negative ones too, was worse on mpd-5core.)

Shapes: U users, T tracks, N rows of a symmetric matrix, B users or tracks asked for, k answers each, C columns of a
block.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ...errors import UsageError
from ..arrays import Answers, Floats, Ids, Mask, Rows, Scores, one_blas_thread, top_k
from ..interactions import Interactions, liked
from ..machine import available_bytes, available_cores
from .base import History, rank, to_power
from .item_similarity import HALF_LIVES, ItemSimilarityOptions, ItemSimilarityRecommender
from .search_space import Range, SearchSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_ITEMS = 30_000
_GIB = 1 << 30
_BLOCK = 512
"""rows of the blocks that a matrix is inverted in"""
_COLUMNS = 256
"""of B that are computed at once"""
_ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class EASEOptions(ItemSimilarityOptions):
    # Chosen on validation parts of ml-latest-small, hetrec-lastfm-2k and mpd-5core.
    regularization: float = 100.0
    """l2"""
    dropout: float = 0.3
    """share of a user's listens that is hidden as in EDLAE; 0 is EASE"""
    confidence_power: float = 1.0
    """X holds the confidences to this power: 0 is whether a user likes a track, as in the paper."""
    neighbours: int = 500
    """weights that are kept for each track where there are many tracks"""
    all_weights_up_to: int = 10_000
    """Tracks for which all weights are kept, 800 MB of them. To keep 500 a track costs half a per cent to 4 % of
    NDCG@10 on a validation part of ml-latest-small, by the other options, and 2 % on mpd-5core's."""
    max_items: int | None = None
    """Tracks learned where there are more users than that, too: the ones of most listeners, the others are recommended
    below them by popularity. None for 30,000, or as many as half of the free memory takes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.regularization > 0:
            raise UsageError(f"regularization: {self.regularization:g}, but has to be above 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout: {self.dropout:g}, but has to be at least 0 and below 1")


class EASE(ItemSimilarityRecommender):
    """Recommends by the regression of each track on all others; a track without listeners is never recommended."""

    name = "ease"

    options: EASEOptions
    options_type = EASEOptions
    stored_arrays = ("learned", "residuals", "mean_weights")
    search_space: ClassVar[SearchSpace] = {
        "regularization": Range(10, 5000, logarithmic=True),
        "dropout": Range(0, 0.6),
        "confidence_power": Range(0, 1),
        "half_life": HALF_LIVES,
    }

    def fit_note(self, interactions: Interactions) -> str | None:
        users = int(np.count_nonzero(np.diff(liked(interactions.matrix).indptr)))
        tracks = int(np.count_nonzero(interactions.listeners))
        most = self._most_items()
        if min(users, tracks) <= most:
            return None
        return (
            f"ease: {tracks:,} tracks need {_bytes(tracks) / _GIB:.1f} GiB; the {most:,} of most listeners are learned "
            f"in {_bytes(most) / _GIB:.1f} GiB, the others follow by popularity"
        )

    def fit(self, interactions: Interactions) -> Self:
        self.history = History.of(interactions)
        likes, listeners = self.history.liked, interactions.listeners.astype(np.float64)
        likes = likes[self.history.warm_users]
        tracks = self.history.warm_rows
        most = self._most_items()
        if min(likes.shape[0], len(tracks)) > most:
            tracks = np.sort(tracks[top_k(listeners[tracks], most)[0]])
        self.learned: Mask = np.isin(np.arange(interactions.track_count), tracks)
        """[T]"""
        weights, means, residuals = self._regression(self._inputs(likes[:, tracks]))
        self.mean_weights: Scores = np.zeros(interactions.track_count, np.float32)
        """[T] what stands for the weights that are not kept"""
        self.mean_weights[tracks] = means
        self.residuals: Scores = np.zeros(interactions.track_count, np.float32)
        """[T] 1 / P_jj: how much of a learned track's listens the others leave unexplained"""
        self.residuals[tracks] = residuals
        self.similarity = _spread(weights, tracks, interactions.track_count)
        self._keep_recency(interactions)
        return self

    def _scores(self, inputs: csr_matrix) -> Scores:
        cells = np.asarray((inputs @ self.similarity).toarray(), np.float32)
        cells += np.asarray(inputs.sum(axis=1)).reshape(-1, 1) * self.mean_weights
        cells[:, self.history.cold_rows] = -np.inf
        others = np.flatnonzero(self.history.warm_tracks & ~self.learned)
        if len(others):
            lowest = cells[:, self.learned].min(axis=1, initial=0)
            popularity = self.history.popularity[others]
            cells[:, others] = lowest[:, None] - 2 + popularity / popularity.max()
        return cells

    def kept_weights(self) -> csr_matrix:
        """[T, T] the weights B that are kept; the others are 0, as is all of a track that is not learned."""
        weights = self.similarity.copy()
        weights.data += self.mean_weights[weights.indices]
        return weights

    def similar(self, track_rows: Ids, k: int) -> Answers:
        """By the partial correlation of two tracks' listens given all others, where it is positive."""
        rows = np.asarray(track_rows)
        scale = np.sqrt(np.where(self.residuals > 0, self.residuals, 1))

        def score(start: int, stop: int) -> Scores:
            cells = np.asarray(self.similarity[rows[start:stop]].toarray(), np.float32) + self.mean_weights
            cells *= scale[rows[start:stop], None] / scale
            cells[np.arange(stop - start), rows[start:stop]] = 0
            cells[cells <= 0] = -np.inf
            return cells

        return rank(score, len(rows), k, self._track_count)

    def _inputs(self, likes: csr_matrix) -> csr_matrix:
        """Positive confidences [B, T] as X."""
        return to_power(likes, self.options.confidence_power)

    def _most_items(self) -> int:
        if self.options.max_items is not None:
            return self.options.max_items
        free = available_bytes()
        return MOST_ITEMS if free is None else min(MOST_ITEMS, int((free / 2 / _bytes(1)) ** 0.5))

    def _regression(self, inputs: csr_matrix) -> tuple[csr_matrix, Scores, Scores]:
        """X [U, T] -> (B less its means [T, T], the means of B's columns [T], 1 / P_jj [T])."""
        from scipy.sparse import csr_matrix, diags

        options = self.options
        # With a mean square of 1 the same l2 suits logs of large confidences and of small ones.
        inputs.data /= np.sqrt(np.mean(inputs.data**2))
        users, tracks = inputs.shape
        squares = np.asarray(inputs.multiply(inputs).sum(axis=0)).ravel()
        scale = (options.regularization + options.dropout / (1 - options.dropout) * squares) ** -0.5
        scaled = (inputs @ diags(scale)).tocsr().astype(np.float32)
        across = scaled.T.tocsr()
        scale = scale.astype(np.float32)
        if users < tracks:
            inverse = _symmetric(invert(_gram_plus_identity(across), threads=options.threads))

            def inverse_rows(start: int, stop: int) -> Floats:
                found: Floats = -(across @ (across[start:stop] @ inverse).T).T
                found[np.arange(stop - start), np.arange(start, stop)] += 1
                return found
        else:
            inverse = invert(_gram_plus_identity(scaled), threads=options.threads)

            def inverse_rows(start: int, stop: int) -> Floats:
                return np.concatenate([inverse[start:stop, :start], _symmetric(inverse[start:, start:stop])], axis=1)

        kept = tracks if tracks <= options.all_weights_up_to else min(options.neighbours, tracks - 1)
        frequencies, every = squares / squares.sum(), np.arange(tracks, dtype=np.int32)

        def weights_to(start: int) -> tuple[Ids, Floats, Floats, Floats]:
            """What predicts C tracks: [C, kept] tracks and weights less their mean, [C] the mean; and [C] 1 / P_jj."""
            rows = inverse_rows(start, min(start + _COLUMNS, tracks))
            own = np.arange(len(rows)), start + np.arange(len(rows))
            diagonal, own_scale = rows[own], scale[own[1]]
            rows *= scale / -(diagonal * own_scale)[:, None]
            rows[own] = 0
            largest, weights = top_k(rows, kept) if kept < tracks else (np.tile(every, (len(rows), 1)), rows)
            their_frequencies = frequencies[largest]
            rest = rows @ frequencies - (weights * their_frequencies).sum(axis=1)
            means: Floats = rest * (kept < tracks) / np.maximum(1 - their_frequencies.sum(axis=1), _ROUNDING)
            return largest, weights - means[:, None], means, np.asarray(1 / (diagonal * own_scale**2), np.float32)

        with one_blas_thread(), ThreadPoolExecutor(options.threads or available_cores()) as pool:
            parts = list(pool.map(weights_to, range(0, tracks, _COLUMNS)))
        columns, values, means, residuals = (np.concatenate(column) for column in zip(*parts, strict=True))
        ends = np.arange(tracks + 1) * kept
        weights = csr_matrix((values.ravel(), columns.ravel(), ends), shape=(tracks, tracks))
        return weights.T.tocsr(), means, residuals


def invert(matrix: Floats, *, block: int = _BLOCK, threads: int | None = None) -> Floats:
    """The inverse of a symmetric positive definite matrix [N, N], in its place; only the lower half is used.

    The sweep operator (Goodnight 1979) a block of rows at a time: N^3 operations, as many as by Cholesky factors, but
    all of them products of matrices.
    """
    count = len(matrix)
    blocks = [slice(start, min(start + block, count)) for start in range(0, count, block)]
    tiles = [(rows, others) for rows in blocks for others in blocks if others.start <= rows.start]
    panel = np.empty((count, block), matrix.dtype)
    with one_blas_thread(), ThreadPoolExecutor(threads or available_cores()) as pool:
        for swept in blocks:
            start, stop = swept.start, swept.stop
            panel[:start, : stop - start] = matrix[swept, :start].T
            panel[stop:, : stop - start] = matrix[stop:, swept]
            panel[swept] = 0
            columns = panel[:, : stop - start]
            pivot = np.linalg.inv(_symmetric(matrix[swept, swept]).astype(np.float64)).astype(matrix.dtype)
            scaled = np.concatenate(list(pool.map(partial(_product, columns, pivot), blocks)))

            list(pool.map(partial(_subtract_product, matrix, scaled, columns), tiles))
            matrix[swept, :start] = scaled[:start].T
            matrix[stop:, swept] = scaled[stop:]
            matrix[swept, swept] = -pivot
    return np.negative(matrix, out=matrix)


def _product(columns: Floats, pivot: Floats, rows: slice) -> Floats:
    return columns[rows] @ pivot


def _subtract_product(matrix: Floats, scaled: Floats, columns: Floats, tile: tuple[slice, slice]) -> None:
    matrix[tile] -= scaled[tile[0]] @ columns[tile[1]].T


def _symmetric(matrix: Floats) -> Floats:
    """[C + M, C], the first C rows a symmetric matrix of which the lower half is given -> [C, C + M], whole."""
    whole = matrix.T.copy()
    first = whole[:, : len(whole)]
    first[:] = np.tril(matrix[: len(whole)]) + np.tril(matrix[: len(whole)], -1).T
    return whole


def _gram_plus_identity(columns: csr_matrix) -> Floats:
    """X [U, N] -> I + X'X [N, N]."""
    rows = columns.T.tocsr()
    count = rows.shape[0]
    gram = np.empty((count, count), np.float32)
    for start in range(0, count, _BLOCK):
        gram[start : start + _BLOCK] = (rows[start : start + _BLOCK] @ columns).toarray()
    gram[np.arange(count), np.arange(count)] += 1
    return gram


def _bytes(items: int) -> float:
    """What an inverse of so many rows takes while it is made."""
    return 1.2 * items * items * np.float32().nbytes


def _spread(weights: csr_matrix, tracks: Rows, track_count: int) -> csr_matrix:
    """Weights [N, N] among some tracks -> [T, T]."""
    from scipy.sparse import csr_matrix

    pairs = weights.tocoo()
    parts = (pairs.data, (tracks[pairs.row], tracks[pairs.col]))
    return csr_matrix(parts, shape=(track_count, track_count))
