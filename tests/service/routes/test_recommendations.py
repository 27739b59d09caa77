"""What is recommended and why: reasons, events folded in, sessions, the blend, ranking slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving import TRACKS, camp, ids, service_of, serving, track

from crossfade.pipelines.versions.model_version import ModelVersion
from crossfade.service.settings import Role
from crossfade.service.snapshot.recommendations import BUSY, RANKING_SLOTS, RecommendationService


def test_recommendations_say_because_of_what(client: TestClient) -> None:
    answer = client.get("/v1/recommendations", params={"user_id": "u1", "k": 5}).json()
    assert answer["personal"] and answer["version"]
    for one in answer["tracks"]:
        assert camp(one["track_id"]) == camp(one["because"]["track_id"]) == 1
        assert one["title"].startswith("Title") and one["artists"]
    scores = [one["score"] for one in answer["tracks"]]
    assert scores == sorted(scores, reverse=True)


def test_new_events_are_folded_into_the_next_answer(client: TestClient) -> None:
    before = client.get("/v1/recommendations?user_id=fresh").json()
    assert not before["personal"]
    played = [{"user_id": "fresh", "track_id": track(row), "liked": 1} for row in (TRACKS - 1, TRACKS - 2)]
    client.post("/v1/events", json={"events": played})
    after = client.get("/v1/recommendations?user_id=fresh&k=5").json()
    assert after["personal"] and {camp(one["track_id"]) for one in after["tracks"]} == {1}
    assert {one["because"]["track_id"] for one in after["tracks"]} <= {track(TRACKS - 1), track(TRACKS - 2)}
    again = ids(client.get("/v1/recommendations?user_id=fresh&k=60&allow_seen=true"))
    assert track(TRACKS - 1) in again


def test_a_session_needs_no_listener(client: TestClient) -> None:
    found = ids(client.post("/v1/sessions", json={"track_ids": [track(1), track(2)], "k": 4}))
    assert {camp(one) for one in found} == {0} and not {track(1), track(2)} & set(found)
    assert client.post("/v1/sessions", json={"track_ids": ["nothing"]}).status_code == 404


def test_blend_goes_from_sound_to_taste(client: TestClient) -> None:
    by_sound, by_taste = (ids(client.get(f"/v1/similar_tracks?track_id={track(0)}&blend={b}")) for b in (0, 1))
    assert by_sound != by_taste
    assert client.get(f"/v1/similar_tracks?track_id={track(0)}&blend=1.1").status_code == 422


def test_the_recommend_role_answers_without_the_events_role_with_a_note(made: Path) -> None:
    with serving(made, Role.RECOMMEND, events_url="http://127.0.0.1:1") as client:
        answer = client.get("/v1/recommendations?user_id=u1&k=5")
        assert {camp(one) for one in ids(answer)} == {1}
        assert "127.0.0.1:1" in answer.json()["notes"][0]
        assert answer.headers["crossfade-incomplete"] == "events"
        original = client.post("/recommendations?user_id=u1&k=5").json()
        assert len(original["recs"]) == 5 and original["notes"]


def test_folding_in_agrees_with_the_trained_model(client: TestClient) -> None:
    """Fast = slow: what is served is what `Hybrid.recommend` says of the same listens."""
    snapshot = service_of(client).follower.snapshot
    assert snapshot.model is not None
    hybrid = snapshot.model.hybrid
    heard = hybrid.history.matrix[[4]]
    rows, scores = hybrid.recommend_from(heard, 10)
    mine, its_scores = hybrid.candidates(hybrid.user_history(4), 10)
    np.testing.assert_array_equal(mine, rows[0])
    np.testing.assert_allclose(its_scores, scores[0], rtol=1e-4)


def test_without_a_free_ranking_slot_the_hybrid_answers_with_a_note(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(made) as client:
        service = service_of(client)
        ranker: Any = "one that nobody may ask"
        monkeypatch.setattr(ModelVersion, "two_stage", ranker)
        recommender = RecommendationService(service.follower, service.event_source)
        for _ in range(RANKING_SLOTS):
            assert recommender._slots.acquire(blocking=False)
        busy, cold = recommender.live("u1", 5), recommender.live("nobody", 5)
        assert busy.notes == (BUSY,) and len(busy.rows) == 5
        assert cold.notes == () and not cold.personal
