"""Folds for cross-validation that keep an artist's tracks together.

A random split lets a classifier recognise the artist, the album or the recording session instead of the genre (Flexer
2007; Sturm 2013). Here whole groups move between folds: all that share an artist, directly or through a collaboration.

Shapes: T tracks, C classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ..arrays import Mask
from ..catalogue import artist_matrix

Rows = NDArray[np.int64]


def joined_groups(names: Sequence[Collection[str]]) -> Rows:
    """A group number [T] for each track: tracks that share a name are one group, and so on transitively.

    A track without names is a group of its own.

    >>> joined_groups([["a"], ["a", "b"], ["c"], ["b"], []]).tolist()
    [0, 0, 1, 0, 2]
    """
    from scipy.sparse import bmat
    from scipy.sparse.csgraph import connected_components

    row_of = {name: row for row, name in enumerate(dict.fromkeys(name for of_track in names for name in of_track))}
    edges = artist_matrix([tuple(of_track) for of_track in names], row_of)
    return np.asarray(connected_components(bmat([[None, edges], [edges.T, None]]))[1][: len(names)], np.int64)


def groups_per_class(targets: Mask, groups: Rows) -> Rows:
    """How many groups have a track of each class: [C]. A class with one cannot be tested on an unheard artist."""
    return np.array([len(np.unique(groups[targets[:, c]])) for c in range(targets.shape[1])], np.int64)


def grouped_folds(targets: Mask, groups: Rows, folds: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold [T] of each track: whole groups, each class spread as evenly as its groups allow.

    Groups are dealt largest first, in an order drawn from `rng`, to the fold where their classes are rarest. A class
    with at least two groups is never in one fold alone, so that every fold can be tested by a model trained on it.

    Shape: targets [T, C] bool, groups [T]. With `groups = np.arange(T)` these are plain stratified folds.
    """
    numbers, of_track = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(numbers), targets.shape[1]))
    np.add.at(counts, of_track, targets.astype(np.float64))
    share = counts / np.maximum(counts.sum(axis=0), 1)
    order = rng.permutation(len(numbers))
    order = order[np.argsort(-share.max(axis=1)[order], kind="stable")]
    dealt = np.zeros((folds, targets.shape[1]))
    sizes = np.zeros(folds)
    left = (counts > 0).sum(axis=0)
    fold_of_group = np.empty(len(numbers), np.int64)
    for group in order:
        has = counts[group] > 0
        crowding = (dealt[:, has] * share[group, has]).sum(axis=1)
        # The last group of a class must not join all the others of it.
        whole = (dealt[:, has] > 0) & (dealt[:, has] >= dealt[:, has].sum(axis=0) - 1e-9) & (left[has] == 1)
        choice = np.lexsort((rng.random(folds), sizes, crowding.round(9), whole.sum(axis=1)))[0]
        fold_of_group[group] = choice
        dealt[choice] += share[group]
        sizes[choice] += counts[group].sum()
        left -= has
    return fold_of_group[of_track]


def splits(fold_of_track: NDArray[np.int64]) -> list[tuple[Rows, Rows]]:
    """(training rows, test rows) for every fold that has tracks."""
    return [
        (np.flatnonzero(fold_of_track != fold), np.flatnonzero(fold_of_track == fold))
        for fold in np.unique(fold_of_track)
    ]
