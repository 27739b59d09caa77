"""The endpoints as the original had them, on one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving import EACH, TRACKS, camp, serving, track


@pytest.fixture
def client(made: Path, tmp_path: Path) -> Iterator[TestClient]:
    with serving(made, database=f"sqlite:///{tmp_path}/events.db") as client:
        yield client


def recs(client: TestClient, kind: str, user_id: str, k: int = 10) -> list[str]:
    answer = client.post(f"/recommendations{kind}?user_id={user_id}&k={k}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["notes"] == []
    return list(answer.json()["recs"])


def test_a_listener_is_recommended_what_their_camp_listens_to(client: TestClient) -> None:
    assert [camp(one) for one in recs(client, "", "u1", 5)] == [1] * 5


def test_somebody_unknown_gets_what_is_popular_from_each_of_the_three(client: TestClient) -> None:
    popular = recs(client, "", "stranger")
    assert len(popular) == 10
    assert recs(client, "_offline", "stranger") == recs(client, "_online", "stranger") == popular


def test_online_and_offline_come_in_turns_without_repeats(client: TestClient) -> None:
    client.post("/add_event", params={"user_id": "u0", "track_id": track(TRACKS - 1)})
    online, offline, both = (recs(client, kind, "u0") for kind in ("_online", "_offline", ""))
    assert online != offline
    expected = list(dict.fromkeys(one for pair in zip(online, offline, strict=True) for one in pair))
    assert both == expected[:10]


def test_an_event_changes_the_next_answer_and_is_listed_newest_first(client: TestClient) -> None:
    before = recs(client, "_online", "newcomer")
    for row in (TRACKS - 2, TRACKS - 3):
        added = client.post(f"/add_event?user_id=newcomer&track_id={track(row)}")
        assert added.json() == {"result": "ok"}
    after = recs(client, "_online", "newcomer")
    assert after != before and {camp(one) for one in after[:5]} == {1}
    assert client.post("/get_events?user_id=newcomer&k=1").json() == {"events": [track(TRACKS - 3)]}
    assert track(TRACKS - 2) not in after


def test_similar_tracks_are_of_the_same_camp_and_not_the_track_itself(client: TestClient) -> None:
    found = client.post("/similar_tracks", params={"track_id": track(3), "k": 5}).json()
    assert {camp(one) for one in found["similar_tracks"]} == {0}
    assert track(3) not in found["similar_tracks"]
    assert found["scores"] == sorted(found["scores"], reverse=True)


def test_a_json_body_or_a_form_equals_the_query(client: TestClient) -> None:
    expected = client.post("/recommendations?user_id=u5&k=3").json()
    assert client.post("/recommendations", json={"user_id": "u5", "k": 3}).json() == expected
    assert client.post("/recommendations", data={"user_id": "u5", "k": "3"}).json() == expected
    by_number = client.post("/get_events", json={"user_id": 123, "k": 3})
    assert by_number.json() == {"events": []}


def test_fewer_than_k_where_there_are_no_more(client: TestClient) -> None:
    assert len(recs(client, "_offline", "u1", 1000)) <= TRACKS - EACH


@pytest.mark.parametrize("k", ["0", "-1", str(10**9), "many", "1.5", ""])
@pytest.mark.parametrize("path", ["/recommendations?user_id=u1", f"/similar_tracks?track_id={track(0)}"])
def test_a_senseless_k_is_a_problem(client: TestClient, path: str, k: str) -> None:
    answer = client.post(f"{path}&k={k}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["detail"].startswith("k:")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[1]", 422),
        ('{"user_id": ["u1"]}', 422),
        ("[" * 100_000, 400),
        ('{"user_id": "\\ud800"}', 422),
        ("{}", 422),
        ('{"user_id": ""}', 422),
        ('{"user_id": "a\\u0000b"}', 422),
    ],
)
def test_a_body_that_makes_no_sense_is_a_problem(client: TestClient, body: str, status: int) -> None:
    answer = client.post("/recommendations", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize("track_id", ["nothing", "' OR 1=1 --", "../../../etc/passwd", "/etc/passwd", "a" * 512, "🎵"])
def test_an_unknown_track_is_not_found(client: TestClient, track_id: str) -> None:
    for path in ("/similar_tracks", "/add_event"):
        answer = client.post(path, params={"track_id": track_id, "user_id": "u1"})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
