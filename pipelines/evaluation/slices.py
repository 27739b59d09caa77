"""Slices of what a scenario has measured: groups of its users and of the tracks to find, without another fit or list.

Of users (light to heavy, niche to mainstream listeners; models/evaluation/user_groups.py) the values of one list are
averaged over each group. Of tracks (head, middle and tail, by the track's and by the artist's popularity;
models/evaluation/popularity.py), and of organic and recommended listens where the log tells them apart, only the
tracks of the group count as relevant: the list stays that of all tracks, users with none of the group have no value.

Shapes: B users of a slice, T tracks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ...models.arrays import Ids, Mask, kept_entries
from ...models.catalogue import Catalogue
from ...models.evaluation import metrics
from ...models.evaluation.metrics import Values
from ...models.evaluation.popularity import ARTIST_GROUPS, TRACK_GROUPS, TrackPopularity
from ...models.evaluation.splits import Split
from ...models.evaluation.user_groups import ACTIVITY_GROUPS, MAINSTREAM_GROUPS, activity_groups, mainstream_groups
from ...models.interactions import Interactions
from .protocols import EvaluationSlice

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LISTEN_GROUPS = ("organic listens", "recommended listens")
USER_GROUPS = (*ACTIVITY_GROUPS, *MAINSTREAM_GROUPS)
TARGET_GROUPS = (*TRACK_GROUPS, *ARTIST_GROUPS, *LISTEN_GROUPS)
GROUPS = (*USER_GROUPS, *TARGET_GROUPS)
"""what a row of a group has as `group`, and behind the name of the whole slice and a comma as `slice`"""
DIVIDED_SCENARIOS = ("warm", "repeats", "yambda")
"""those whose first slice has groups: its users are in training, and so are the tracks it is about"""
OF_USERS = ("recall", "ndcg", "mrr", "popularity_bias", "popularity_shift", "tail_share")
"""metrics of groups of users; recall and NDCG are those of groups of tracks"""


@dataclass(frozen=True, eq=False)
class SliceGroups:
    """The groups within a slice; those without users are left out."""

    users: Mapping[str, Mask]
    """group -> [B] its users"""
    truth: Mapping[str, csr_matrix]
    """group -> [B, T] the relevant tracks that are of it"""

    @classmethod
    def of(cls, part: EvaluationSlice, split: Split, catalogue: Catalogue, popularity: TrackPopularity) -> Self:
        """Groups of a slice of users who are in training."""
        users = dict(_named(ACTIVITY_GROUPS, activity_groups(split.train, part.user_rows)))
        users |= _named(MAINSTREAM_GROUPS, mainstream_groups(part.history, popularity))
        truth = {}
        for names, groups in (
            (TRACK_GROUPS, popularity.groups),
            (ARTIST_GROUPS, popularity.artist_groups(catalogue.artist_matrix)),
        ):
            for name, tracks in _named(names, groups):
                truth[name] = kept_entries(part.truth, tracks[part.truth.indices])
        truth |= _listen_groups(part, split.test)
        return cls(
            {name: mask for name, mask in users.items() if mask.any()},
            {name: matrix for name, matrix in truth.items() if matrix.nnz},
        )

    def values(
        self, ids: Ids, measured: Mapping[tuple[str, int], Values], ks: Sequence[int]
    ) -> Iterator[tuple[str, int, dict[tuple[str, int], Values]]]:
        """(group, its users, (metric, k) -> one value per user of it), of lists and of what was measured of them."""
        for name, mask in self.users.items():
            yield name, int(mask.sum()), {at: each[mask] for at, each in measured.items() if at[0] in OF_USERS}
        for name, truth in self.truth.items():
            relevant = metrics.relevant_counts(truth)
            some = relevant > 0
            hits, relevant = metrics.hits(ids, truth)[some], relevant[some]
            found = {("recall", k): metrics.recall(hits, relevant, k) for k in ks}
            yield name, len(hits), found | {("ndcg", k): metrics.ndcg(hits, relevant, k) for k in ks}


def _named(names: Sequence[str], groups: NDArray[np.int8]) -> Iterator[tuple[str, Mask]]:
    return ((name, groups == number) for number, name in enumerate(names))


def _listen_groups(part: EvaluationSlice, test: Interactions) -> dict[str, csr_matrix]:
    """Relevant tracks whose first listen in the test part was organic, and those where it was recommended."""
    if test.organic is None:
        return {}
    order = np.arange(len(test)) if test.times is None else np.argsort(test.times, kind="stable")
    order = order[test.likes[order]]
    pairs = test.user_rows[order].astype(np.int64) * test.track_count + test.track_rows[order]
    distinct, first = np.unique(pairs, return_index=True)
    organic = test.organic[order[first]]
    rows = np.repeat(part.user_rows.astype(np.int64), np.diff(part.truth.indptr))
    asked = rows * test.track_count + part.truth.indices
    places = np.minimum(np.searchsorted(distinct, asked), len(distinct) - 1)
    found = np.where(distinct[places] == asked, organic[places], -1)
    return {name: kept_entries(part.truth, found == value) for name, value in zip(LISTEN_GROUPS, (1, 0), strict=True)}
