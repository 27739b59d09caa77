"""Re-ranking for diversity, artists and discoveries."""

from __future__ import annotations

import numpy as np
import pytest
from small_ranking import warm

from crossfade.errors import UsageError
from crossfade.models.hybrid.model import Hybrid
from crossfade.models.ranking.diversity import RerankingOptions, relist, rerank
from crossfade.models.ranking.two_stage import TwoStageRecommender


def table_of(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[list[int]], np.ndarray]:
    sound = rng.normal(size=(30, 8)).astype(np.float32)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    return rng.random(30).astype(np.float32), sound, [[n % 6] for n in range(30)], np.arange(30) % 10 == 0


def test_without_reranking_the_order_is_by_score(rng: np.random.Generator) -> None:
    scores, *rest = table_of(rng)
    assert rerank(scores, *rest, 10, RerankingOptions()).tolist() == np.argsort(-scores)[:10].tolist()


def test_artists_are_capped(rng: np.random.Generator) -> None:
    places = rerank(*table_of(rng), 10, RerankingOptions(per_artist=1))
    assert sorted(place % 6 for place in places) == list(range(6))


def test_diversity_lowers_similarity(rng: np.random.Generator) -> None:
    scores, sound, artists, fresh = table_of(rng)

    def similarity(diversity: float) -> float:
        chosen = sound[rerank(scores, sound, artists, fresh, 8, RerankingOptions(diversity=diversity))]
        return float((chosen @ chosen.T).sum())

    assert similarity(1.0) < similarity(0.5) < similarity(0.0)


def test_discoveries_get_their_share(rng: np.random.Generator) -> None:
    scores, sound, artists, fresh = table_of(rng)
    scores[fresh] = -1
    places = rerank(scores, sound, artists, fresh, 10, RerankingOptions(discovery=0.2))
    assert fresh[places].sum() == 2
    assert fresh[places[:5]].sum() == 1


def test_reranked_lists_are_made_of_the_two_stages_answers(recommender: TwoStageRecommender, hybrid: Hybrid) -> None:
    rows = warm(hybrid, 4)
    answers = recommender.recommend(rows, 50)
    ids, scores = relist(hybrid, answers, 10, RerankingOptions(per_artist=1, diversity=0.3))
    for mine in ids:
        artists = np.concatenate([hybrid.artists[row].indices for row in mine[mine >= 0]])
        assert len(np.unique(artists)) == len(artists)
    assert np.isfinite(scores[ids >= 0]).all()
    for wrong in ({"diversity": 2.0}, {"discovery": -0.1}, {"per_artist": 0}):
        with pytest.raises(UsageError):
            RerankingOptions(**wrong)
