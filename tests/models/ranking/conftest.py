"""What is fitted once for the tests of ranking."""

from __future__ import annotations

import pytest
from small_ranking import CATALOGUE, OPTIONS, SPLIT, fitted

from crossfade.models.hybrid.model import Hybrid
from crossfade.models.ranking.candidates import CandidateGenerator
from crossfade.models.ranking.two_stage import TwoStageRecommender


@pytest.fixture(scope="session")
def hybrid() -> Hybrid:
    return fitted(SPLIT.train)


@pytest.fixture(scope="session")
def recommender(hybrid: Hybrid) -> TwoStageRecommender:
    return TwoStageRecommender(CATALOGUE, hybrid=hybrid, options=OPTIONS).fit(SPLIT.train)


@pytest.fixture(scope="session")
def generator(hybrid: Hybrid) -> CandidateGenerator:
    return CandidateGenerator(hybrid, OPTIONS.candidates).fit(SPLIT.train)
