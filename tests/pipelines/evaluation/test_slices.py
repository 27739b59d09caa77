"""Groups of what is to be found: they divide it, by popularity and by how listens came about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix
from small_ranking import CATALOGUE, LISTENS

from crossfade.models.evaluation.popularity import TRACK_GROUPS, TrackPopularity
from crossfade.models.interactions import Clock, Interactions, to_find
from crossfade.pipelines.evaluation.protocols import EvaluationSlice, plan
from crossfade.pipelines.evaluation.slices import SliceGroups, _listen_groups


def test_groups_of_tracks_divide_what_is_to_be_found() -> None:
    pairs = LISTENS.user_rows.astype(np.int64) * LISTENS.track_count + LISTENS.track_rows
    once = LISTENS.take(np.sort(np.unique(pairs, return_index=True)[1]))
    organic = (np.arange(len(once)) % 3 - 1).astype(np.int8)
    listens, catalogue = replace(once, organic=organic), CATALOGUE
    (scenario,) = plan(listens, catalogue, scenarios=("warm",))
    (part,) = scenario.slices
    groups = SliceGroups.of(part, scenario.split, catalogue, TrackPopularity(scenario.split.train.listeners))
    tracks = [groups.truth[name] for name in TRACK_GROUPS]
    assert abs(sum(tracks[1:], tracks[0]) - part.truth).nnz == 0
    test = scenario.split.test
    assert test.organic is not None
    for name, told in (("organic listens", 1), ("recommended listens", 0)):
        pairs = {
            (user, track)
            for user, track, each in zip(test.user_rows, test.track_rows, test.organic, strict=True)
            if each == told
        }
        rows, columns = part.truth.nonzero()
        expected = {pair for pair in zip(part.user_rows[rows], columns, strict=True) if pair in pairs}
        rows, columns = groups.truth[name].nonzero()
        assert set(zip(part.user_rows[rows], columns, strict=True)) == expected
        assert expected


def test_a_track_was_found_as_its_first_listen_was() -> None:
    """User 0 listened to track 0 organically first, to track 1 by recommendation first; 2 is not told, 3 disliked."""
    first = np.array([[0, 0, 5, 1], [0, 1, 5, 0], [0, 0, 6, 0], [0, 1, 6, 1], [0, 2, 5, -1], [0, 3, 5, 1]])
    users, tracks, times, organic = first.astype(np.int32).T
    weights = np.array([1, 1, 1, 1, 1, -1], np.float32)
    test = Interactions(
        users, tracks, weights, 1, 4, times.astype(np.int64), Clock.TIME, organic=organic.astype(np.int8)
    )
    part = EvaluationSlice("warm", np.array([0], np.int32), to_find(test.matrix), csr_matrix((1, 4), dtype=np.float32))
    found = _listen_groups(part, test)
    assert {name: truth.indices.tolist() for name, truth in found.items()} == {
        "organic listens": [0],
        "recommended listens": [1],
    }
