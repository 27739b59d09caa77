"""What the prior is worth in the synthetic world, where the tracks of an artist sound different."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from crossfade.models.arrays import top_k
from crossfade.models.evaluation.metrics import hits, recall, relevant_counts
from crossfade.models.evaluation.splits import known_artists
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.prior import ContentPrior, PriorOptions
from crossfade.models.recommenders.als import ALSOptions
from crossfade.models.recommenders.content import Content
from crossfade.pipelines.simulation.world import World, WorldOptions

K = 20


@cache
def measured(link: float) -> dict[str, tuple[float, float]]:
    """Recall@20 among cold tracks of known and of new artists: of the hybrid, of artist means and of sound alone."""
    options = WorldOptions(users=800, tracks=900, artists=90, link=link, fresh=0.0, seed=1)
    world = World(options)
    catalogue, listens = world.catalogue(), world.listens()
    rng = np.random.default_rng(0)
    cold = np.zeros(len(catalogue), bool)
    cold[rng.permutation(len(catalogue))[:150]] = True
    cold |= catalogue.artist_matrix @ (rng.random(len(catalogue.artist_names)) < 0.15).astype(np.float32) > 0
    test = cold[listens.track_rows]
    train, test_listens = listens.take(~test), listens.take(test & (listens.weights >= 1))
    hybrid = Hybrid(catalogue, als=ALSOptions(factors=16), seed=1).fit(train)
    als, warm = hybrid.als, hybrid.history.warm_tracks
    plain = ContentPrior(PriorOptions(sound="none", shrinkage=1e-6)).fit(als.track_factors, warm, catalogue)
    users = np.arange(train.user_count, dtype=np.int32)
    ids, scores = Content(catalogue).fit(train).recommend(users, len(catalogue), allow_seen=True)
    by_sound = np.full((len(users), len(catalogue)), -np.inf, np.float32)
    owners, places = np.nonzero(ids >= 0)
    by_sound[owners, ids[owners, places]] = scores[owners, places]
    known = known_artists(catalogue, warm)

    def recalls(cells: np.ndarray) -> tuple[float, float]:
        found = []
        for rows in (np.flatnonzero(cold & known), np.flatnonzero(cold & ~known)):
            truth = test_listens.matrix[:, rows].tocsr()
            nearest, _ = top_k(np.asarray(cells[:, rows], np.float32), K)
            found.append(float(np.nanmean(recall(hits(nearest, truth), relevant_counts(truth), K))))
        return found[0], found[1]

    return {
        "hybrid": recalls(hybrid.scores(als.user_factors, hybrid.history.liked)),
        "artist mean": recalls(als.user_factors @ plain.of_catalogue.T),
        "sound": recalls(by_sound),
    }


@pytest.mark.slow
def test_where_sound_says_what_the_artist_does_not() -> None:
    found = measured(0.9)
    assert found["hybrid"][0] >= 1.1 * found["artist mean"][0]
    assert found["hybrid"][1] >= 1.1 * found["sound"][1]


@pytest.mark.slow
def test_the_gain_grows_with_the_link_and_without_one_there_is_none() -> None:
    gains = [measured(link)["hybrid"][0] / measured(link)["artist mean"][0] for link in (0.0, 0.5, 0.9)]
    assert gains[0] < gains[1] < gains[2]
    assert gains[0] < 1.1
