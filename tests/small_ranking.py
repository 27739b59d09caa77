"""A small world to rank in: its split, options that are quick to fit, and how tests ask for candidates."""

from __future__ import annotations

import numpy as np

from crossfade.models.confidence_weights import States
from crossfade.models.evaluation.splits import by_time
from crossfade.models.hybrid.crossfade import HybridOptions
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.interactions import Interactions
from crossfade.models.ranking.candidates import (
    CandidateGenerator,
    CandidateOptions,
    Candidates,
)
from crossfade.models.ranking.dataset import TwoStageOptions
from crossfade.models.ranking.features import FeatureTable, features, joined
from crossfade.models.ranking.ranker import (
    RankerOptions,
)
from crossfade.models.ranking.sources import Pairs
from crossfade.models.ranking.two_stage import TwoStageRecommender
from crossfade.models.ranking.user_profile import UserProfile
from crossfade.models.recommenders.als import ALSOptions
from crossfade.pipelines.simulation.world import World, WorldOptions

WORLD = World(WorldOptions(users=120, tracks=150, artists=30, listens_per_user=40, seed=5))
LISTENS, CATALOGUE = WORLD.listens(), WORLD.catalogue()
SPLIT = by_time(LISTENS)
OPTIONS = TwoStageOptions(
    candidates=CandidateOptions(most=60),
    ranker=RankerOptions(iterations=15, threads=1, least_positives=20),
)
NOBODY_ASIDE = np.zeros(LISTENS.user_count, bool)


def fitted(listens: Interactions) -> Hybrid:
    return Hybrid(CATALOGUE, als=ALSOptions(factors=16, threads=1), options=HybridOptions()).fit(listens)


def warm(hybrid: Hybrid, count: int = 20) -> np.ndarray:
    return np.flatnonzero(hybrid.history.warm_users)[:count].astype(np.int32)


def each(generator: CandidateGenerator, users: np.ndarray, **options: object) -> list[Candidates]:
    """The candidates of some users, one by one."""
    return [generator.candidates_of([generator.trained_profile(user)], **options) for user in users.tolist()]


def plays(count: int) -> tuple[States, np.ndarray]:
    return States(plays=np.ones(count, np.float32)), np.zeros(count, np.int64)


def table_of_users(recommender: TwoStageRecommender, users: np.ndarray) -> FeatureTable:
    generator, statistics = recommender.generator, recommender.statistics
    return joined([features(generator, statistics, found) for found in each(generator, users)])


def scores_of(generator: CandidateGenerator, user: UserProfile, source: str, rows: np.ndarray) -> np.ndarray:
    """One user's scores of tracks, which are in order of row, by one source."""
    place_of = np.full(generator.track_count, -1, np.int32)
    place_of[rows] = np.arange(len(rows))
    return generator.sources([user])[source].scores(Pairs.of_lists([rows]), place_of)
