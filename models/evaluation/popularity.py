"""Popularity of tracks and of lists: groups from the head to the long tail, exposure, the shift from profile to list.

The popularity of a track is its number of listeners in training (Kowald et al. 2020, "The unfairness of popularity bias
in music recommendation"). A profile is the tracks that a user likes in training, each counted once, however often it
was played. Values are one per user, NaN where the user has no profile or no list.

Shapes: B users, K answers, T tracks, A artists, N values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Ids, Mask
from ..interactions import liked
from .metrics import Values, means_of_answers, ratio

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

HEAD, MIDDLE, TAIL = range(3)
TRACK_GROUPS = ("head tracks", "middle tracks", "tail tracks")
ARTIST_GROUPS = ("head artists", "middle artists", "tail artists")
_BOUNDS = (0.2, 0.8)
"""shares of all listeners at which the head ends and the tail begins"""
_DECILES = 10
_SMOOTHING = 0.01
"""share of the profile in what a list is compared with, so that parts without answers do not divide by 0 (Steck)"""


def cumulative_shares(values: NDArray[Any], weights: NDArray[Any] | None = None) -> Values:
    """[N] the share of the weight that smaller values have, and half of that of equal ones; weights of 1 for None.

    >>> cumulative_shares(np.array([7, 1, 7, 2]))
    array([0.75 , 0.125, 0.75 , 0.375])
    """
    distinct, which = np.unique(values, return_inverse=True)
    each = np.bincount(which, weights, minlength=len(distinct)).astype(np.float64)
    total = each.sum()
    return np.asarray((np.cumsum(each) - each / 2)[which] / (total if total > 0 else 1))


def popularity_groups(popularity: NDArray[Any]) -> NDArray[np.int8]:
    """[N] 0 for the head, 1 for the middle, 2 for the long tail.

    The most popular with a fifth of all listeners are the head, the least popular with a fifth and those without any
    the tail; equally popular ones stay together. (Abdollahpouri et al. 2021, "User-centered evaluation of popularity
    bias in recommender systems".)

    >>> popularity_groups(np.array([2, 1, 1, 3, 1, 2, 0]))
    array([1, 2, 2, 0, 2, 1, 2], dtype=int8)
    """
    shares = cumulative_shares(-popularity.astype(np.float64), popularity)
    groups = np.digitize(shares, _BOUNDS)
    return np.where(popularity > 0, groups, TAIL).astype(np.int8)


@dataclass(frozen=True, eq=False)
class TrackPopularity:
    """The tracks of a catalogue by their listeners in training."""

    listeners: NDArray[np.int64]
    """[T]"""

    @cached_property
    def groups(self) -> NDArray[np.int8]:
        """[T] 0 for the head, 1 for the middle, 2 for the long tail."""
        return popularity_groups(self.listeners)

    @cached_property
    def deciles(self) -> NDArray[np.int8]:
        """[T] 0 for the most popular tracks with a tenth of all listeners … 9 for the least popular, with a tenth."""
        shares = cumulative_shares(-self.listeners, self.listeners)
        deciles = np.minimum((_DECILES * shares).astype(np.int8), _DECILES - 1)
        return np.where(self.listeners > 0, deciles, _DECILES - 1).astype(np.int8)

    @cached_property
    def logs(self) -> Values:
        """[T] log2 of the listeners, of 1 where there is none."""
        return np.asarray(np.log2(np.maximum(self.listeners, 1)))

    def artist_groups(self, artist_matrix: csr_matrix) -> NDArray[np.int8]:
        """[T] the group of the most popular of the track's artists [T, A], by listeners of all their tracks; -1: none.

        A listener of two of an artist's tracks counts twice.
        """
        artists = popularity_groups(np.asarray(artist_matrix.T @ self.listeners))
        groups = np.full(len(self.listeners), -1, np.int8)
        for group in (TAIL, MIDDLE, HEAD):
            groups[artist_matrix @ (artists == group).astype(np.float32) > 0] = group
        return groups


def novelties(ids: Ids, popularity: TrackPopularity, user_count: int, ks: Sequence[int]) -> Values:
    """[len(ks), B] mean -log2 of the share of training users who listen to each answer, in bits.

    A track without listeners counts as if it had one. (Zhou et al. 2010; "mean self-information".)
    """
    return means_of_answers(np.log2(user_count) - popularity.logs, ids, ks)


def popularity_biases(ids: Ids, popularity: TrackPopularity, user_items: csr_matrix, ks: Sequence[int]) -> Values:
    """[len(ks), B] mean listeners of the answers over those of the profile, less 1.

    (Popularity lift, Abdollahpouri et al. 2020.) Profiles are the entries above 0 of `user_items` [B, T], as those of
    the listeners: skips and dislikes are none.
    """
    listeners = popularity.listeners.astype(np.float64)
    own = profile_means(user_items, listeners)
    return np.stack([ratio(mean, own) - 1 for mean in means_of_answers(listeners, ids, ks)])


def tail_shares(ids: Ids, popularity: TrackPopularity, ks: Sequence[int]) -> Values:
    """[len(ks), B] share of the answers that are of the long tail.

    Its mean over users is the average percentage of long tail items (Abdollahpouri et al. 2019, "Managing popularity
    bias in recommender systems with personalized re-ranking").
    """
    return means_of_answers((popularity.groups == TAIL).astype(np.float64), ids, ks)


def popularity_shifts(ids: Ids, popularity: TrackPopularity, user_items: csr_matrix, ks: Sequence[int]) -> Values:
    """[len(ks), B] median of log2 listeners of the answers, less that of the profile: 1 is twice as popular.

    (Lesota et al. 2021, "Analyzing item popularity bias of music recommender systems", the difference of medians; on
    a log scale, as listeners differ by orders of magnitude.) Profiles are the entries above 0 of `user_items` [B, T].
    """
    profile = profile_medians(user_items, popularity.logs)
    shown = np.where(ids >= 0, popularity.logs[ids], np.inf)
    return np.stack([_medians(np.sort(shown[:, :k], axis=1), (ids[:, :k] >= 0).sum(axis=1)) - profile for k in ks])


def popularity_divergences(
    ids: Ids, popularity: TrackPopularity, user_items: csr_matrix, ks: Sequence[int]
) -> tuple[Values, Values]:
    """([len(ks), B] Kullback-Leibler, [len(ks), B] Jensen-Shannon divergence) from profile to list, in bits.

    The tracks are in ten parts by popularity, each with a tenth of all listeners; p and q are the shares of a profile
    and of a list that are in each part. KL(p || q') = sum p log2(p / q'), with q' = 0.99 q + 0.01 p so that it is
    finite (Steck 2018, "Calibrated recommendations"; of popularity, Lesota et al. 2021): 0 … 6.6. Jensen-Shannon is
    (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2: 0 … 1 (Abdollahpouri et al. 2021).
    """
    own = liked(user_items)
    owners = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
    profile = _decile_shares(owners, popularity.deciles[own.indices], own.shape[0])
    found = []
    for k in ks:
        rows, places = np.nonzero(ids[:, :k] >= 0)
        answers = _decile_shares(rows, popularity.deciles[ids[rows, places]], len(ids))
        smooth, between = (1 - _SMOOTHING) * answers + _SMOOTHING * profile, (profile + answers) / 2
        symmetric = (kl_divergence(profile, between) + kl_divergence(answers, between)) / 2
        found.append((kl_divergence(profile, smooth), symmetric))
    kl, js = zip(*found, strict=True)
    return np.stack(kl), np.stack(js)


def kl_divergence(p: Values, q: Values) -> Values:
    """[B] sum of p log2(p / q) over the last axis, where parts with p = 0 add nothing. NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0, p * np.log2(p / q))
    # Rounding can bring a divergence of equal shares below 0.
    return np.asarray(np.maximum(terms.sum(axis=-1), 0))


def profile_means(user_items: csr_matrix, values: Values) -> Values:
    """[B] the mean of the `values` [T] of the tracks that each user likes; NaN for users who like none."""
    own = liked(user_items)
    return ratio(own.astype(bool).astype(np.float64) @ values, np.diff(own.indptr))


def profile_medians(user_items: csr_matrix, values: Values) -> Values:
    """[B] the median of the `values` [T] of the tracks that each user likes; NaN for users who like none."""
    from scipy.sparse import csr_matrix

    own = liked(user_items)
    order = np.argsort(values, kind="stable")
    places = np.empty(len(order), own.indices.dtype)
    places[order] = np.arange(len(order))
    # Sorted within rows by going to columns and back, which takes linear time.
    by_place = csr_matrix((own.data, places[own.indices], own.indptr), shape=own.shape).tocsc().tocsr()
    return _medians_at(values[order][by_place.indices], by_place.indptr[:-1], np.diff(by_place.indptr))


def gini(counts: NDArray[np.integer], track_count: int) -> float:
    """How unequally often `track_count` tracks are recommended, from their `counts` (those of 0 may be left out).

    sum over i of (2 i - n - 1) x_i / (n sum x) with x_1 <= … <= x_n: 0 where each is recommended equally often,
    1 - 1/n where only one is. (Fleder & Hosanagar 2009, "Blockbuster culture's next rise or fall"; Vargas & Castells
    2014.) NaN without any recommendation.
    """
    # Equal counts at once: those of one value have the places from `below` + 1 on.
    tracks = np.bincount(counts)
    tracks = tracks if len(tracks) else np.zeros(1, np.int64)
    tracks[0] = track_count - tracks[1:].sum()
    value, below = np.arange(len(tracks)), np.cumsum(tracks) - tracks
    total = int(value @ tracks)
    if not total:
        return float("nan")
    return float((value * tracks) @ (2.0 * below + tracks - track_count)) / (track_count * total)


def _decile_shares(rows: NDArray[np.integer], deciles: NDArray[np.int8], count: int) -> Values:
    """[B, 10] the share of each row's tracks that is in each decile; NaN for rows without tracks."""
    cells = np.bincount(rows * _DECILES + deciles, minlength=count * _DECILES).reshape(count, _DECILES)
    return ratio(cells, np.broadcast_to(cells.sum(axis=1, keepdims=True), cells.shape))


def _medians(ascending: Values, counts: NDArray[np.integer]) -> Values:
    """[B] medians of the first `counts` [B] values of each row."""
    rows, width = ascending.shape
    return _medians_at(ascending.ravel(), np.arange(rows) * width, counts)


def _medians_at(values: Values, starts: NDArray[np.integer], counts: NDArray[np.integer]) -> Values:
    """[B] medians of runs of sorted values."""
    medians = np.full(len(starts), np.nan)
    some: Mask = counts > 0
    low, high = starts[some] + (counts[some] - 1) // 2, starts[some] + counts[some] // 2
    medians[some] = (values[low] + values[high]) / 2
    return medians
