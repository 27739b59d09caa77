"""What one listener is shown, and who there is to pick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from serving import EACH, USERS, ids, service_of, track

from crossfade.pipelines.interactions.schema import SourceLog, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.service.routes import profiles


def test_described_recommendations_are_the_recommendations(client: TestClient) -> None:
    asked = {"user_id": "u0", "k": 20}
    described = client.get("/v1/described_recommendations", params=asked)
    assert ids(described) == ids(client.get("/v1/recommendations", params=asked))
    model = service_of(client).follower.snapshot.model
    assert model is not None
    for one in described.json()["tracks"]:
        row = model.row(one["track_id"])
        assert one["weight"] == round(float(model.hybrid.weights[row]), 3)
        assert one["listeners"] == int(model.hybrid.listeners[row])
        assert len(one["genres"]) == 3 and one["moods"] == ["calm"] and one["duration_seconds"] == 6.0
    nobody = client.get("/v1/described_recommendations", params={"user_id": "new", "k": 20}).json()
    assert not nobody["personal"] and not any(one["known_artist"] for one in nobody["tracks"])


def test_artists_are_known_once_listened_to(client: TestClient) -> None:
    event = {"user_id": "new", "track_id": track(0), "liked": 1}
    client.post("/v1/events", json={"events": [event]}).raise_for_status()
    found = client.get("/v1/described_recommendations", params={"user_id": "new", "k": 50}).json()["tracks"]
    assert {one["track_id"] for one in found if one["known_artist"]} == {track(row) for row in range(1, 5)}


def test_a_listener_s_picture_is_of_log_and_events(client: TestClient) -> None:
    shown = client.get("/v1/profile", params={"user_id": "u1"}).json()
    assert shown["tracks"] == EACH and shown["months"] == [] and shown["used_to_love"] == []
    assert sum(one["share"] for one in shown["genres"]) == 1
    assert sum(one["tracks"] for one in shown["artists"]) == EACH
    nobody = {"user_id": "new", "tracks": 0, "genres": [], "decades": [], "artists": [], "months": []}
    assert client.get("/v1/profile", params={"user_id": "new"}).json() == nobody | {"used_to_love": []}
    day = 86_400
    events = [{"user_id": "new", "track_id": track(3), "time": day * n, "played_ratio": 1.0} for n in range(4)]
    events.append({"user_id": "new", "track_id": track(7), "time": 200 * day})
    client.post("/v1/events", json={"events": events}).raise_for_status()
    shown = client.get("/v1/profile", params={"user_id": "new"}).json()
    assert shown["tracks"] == 2 and [one["listens"] for one in shown["months"]] == [4, 0, 0, 0, 0, 0, 1]
    assert [one["track_id"] for one in shown["used_to_love"]] == [track(3)]


def test_the_listeners_of_the_training_can_be_found(client: TestClient) -> None:
    found = client.get("/v1/profiles", params={"k": 1000}).json()["listeners"]
    assert len(found) == USERS and all(one["tracks"] == EACH for one in found)
    found = client.get("/v1/profiles", params={"query": "U1", "k": 5}).json()["listeners"]
    assert [one["user_id"] for one in found] == ["u1", "u10", "u11", "u12", "u13"]


def test_who_listens_is_told_to_who_manages_alone(client: TestClient) -> None:
    keys = service_of(client).app.api_keys  # type: ignore[attr-defined]
    headers = {"X-API-Key": keys.add("a listener's")}
    assert client.get("/v1/profile", params={"user_id": "u0"}, headers=headers).status_code == 200
    assert client.get("/v1/profiles", headers=headers).status_code == 403
    headers = {"X-API-Key": keys.add("mine", manages=True)}
    assert client.get("/v1/profiles", headers=headers).status_code == 200


def test_the_log_is_read_once_for_a_listener_until_it_changes(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    really = profiles.listens_of

    def counted(library: Library, user_id: str) -> Iterator[pl.DataFrame]:
        read.append(user_id)
        return really(library, user_id)

    monkeypatch.setattr(profiles, "listens_of", counted)

    def months(user_id: str) -> int:
        shown = client.get("/v1/profile", params={"user_id": user_id}).json()
        return sum(month["listens"] for month in shown["months"])

    assert (months("u1"), months("u1"), read) == (0, 0, ["u1"])
    with Library.open(folder) as library, writing(library, "later") as (part, _):
        rows = [("u1", track(row), 1_700_000_000) for row in range(3)]
        sink(SourceLog(folder, pl.DataFrame(rows, schema=["user_id", "track_id", "time"], orient="row").lazy()), part)
    assert (months("u1"), months("u2"), read) == (3, 0, ["u1", "u1", "u2"])
    # Who was deleted is gone from what is kept, too.
    client.delete("/v1/listeners/u1")
    assert months("u1") == 0
