"""What the hybrid chooses on validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from planted import planted

from crossfade.models.evaluation.splits import thinned
from crossfade.models.hybrid.crossfade import Crossfade, HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.hybrid.tuning import tuned_options
from crossfade.models.hybrid.validation import hold_out
from crossfade.models.recommenders.als import ALSOptions

WORLD = planted(users=300, artists=50, each=6)
SMALL = ALSOptions(factors=16, regularization=5.0)


def test_users_of_the_validation_are_folded_in_as_they_are_served() -> None:
    held = hold_out(WORLD.train, WORLD.catalogue, SMALL, np.random.default_rng(0))
    assert held is not None
    part = held.slice(held.others)
    model = Hybrid(WORLD.catalogue, als=SMALL, options=HybridOptions(crossfade=Crossfade(4.0))).fit(held.train)
    np.testing.assert_array_equal(part.factors, model.fold_in(held.train.matrix[part.users]))


def test_what_is_thinned_leaves_most_of_what_can_be_learned() -> None:
    """Of the tracks with three listeners or more: a tenth of all tracks can be all that many listen to."""
    quota = np.where(np.arange(len(WORLD.catalogue)) % 3, 1, -1)
    log = thinned(WORLD.train, quota, np.random.default_rng(0)).train
    held = hold_out(log, WORLD.catalogue, SMALL, np.random.default_rng(0))
    assert held is not None
    well_known = int((log.listeners >= 3).sum())
    assert well_known < (log.listeners > 0).sum() / 2
    assert 0 < held.warm.sum() - len(held.others) <= well_known / 10


def test_where_nothing_can_be_predicted_cold_tracks_have_no_gain_and_warm_ones_are_as_good_as_by_als() -> None:
    """No sound and no artists, as of a log without a library."""
    blank = replace(
        WORLD.catalogue, artists=((),) * len(WORLD.catalogue), sound=np.zeros((len(WORLD.catalogue), 0), np.float32)
    )
    options, figures = tuned_options(WORLD.train, blank, SMALL, np.random.default_rng(0))
    assert options.crossfade.cold_gain == 1 and options.prior.debias == 0
    assert figures["ndcg_warm"] >= 0.99 * figures["ndcg_warm_als"]


def test_where_the_prior_misleads_little_is_left_of_it() -> None:
    """Sound without a link to taste and artists given out by chance: ALS decides, and warm tracks do not suffer."""
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(WORLD.catalogue))
    wrong = replace(
        WORLD.catalogue,
        artists=tuple(WORLD.catalogue.artists[row] for row in shuffled),
        sound=rng.normal(size=WORLD.catalogue.sound.shape).astype(np.float32),
    )
    right, _ = tuned_options(WORLD.train, WORLD.catalogue, SMALL, np.random.default_rng(1))
    options, figures = tuned_options(WORLD.train, wrong, SMALL, np.random.default_rng(1))
    assert figures["ndcg_warm"] >= 0.98 * figures["ndcg_warm_als"]
    assert options.crossfade.tau <= right.crossfade.tau
