"""Listeners take their data away and have it deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient
from serving import track

from crossfade.pipelines.interactions.schema import read_listens
from crossfade.pipelines.library.store import Library
from crossfade.service.routes import listeners
from crossfade.service.routes.listeners import MAX_DELETIONS, MAX_EXPORTS


def test_listeners_take_their_data_away_and_have_it_deleted(client: TestClient, folder: Path) -> None:
    client.post("/add_event", params={"user_id": "u2", "track_id": track(5)})
    known = client.get("/v1/listeners/u2").json()
    assert [one["track_id"] for one in known["events"]] == [track(5)]
    assert {one["user_id"] for one in known["listens"]} == {"u2"} and len(known["listens"]) == 10
    with Library.open(folder) as opened:
        before = read_listens(opened).collect()
    popular = client.post("/recommendations_offline?user_id=stranger").json()["recs"]
    assert client.post("/recommendations_offline?user_id=u2").json()["recs"] != popular

    gone = client.delete("/v1/listeners/u2").json()
    assert (gone["events"], gone["listens"]) == (1, 10)
    assert client.get("/v1/listeners/u2").json() == {"user_id": "u2", "events": [], "listens": []}
    with Library.open(folder) as opened:
        assert read_listens(opened).collect().equals(before.filter(pl.col("user_id") != "u2"))
    # What the models learned before is not used any more, either.
    assert client.post("/recommendations_offline?user_id=u2").json()["recs"] == popular


def test_an_export_holds_everything_and_is_read_by_the_page(client: TestClient, folder: Path) -> None:
    """More events than are read at once, many of them at the same second, each once and the newest first."""
    events = [{"event_id": f"e{n:04}", "user_id": "u2", "track_id": track(5), "time": n // 700} for n in range(2500)]
    for start in range(0, len(events), 1000):
        client.post("/v1/events", json={"events": events[start : start + 1000]})
    answer = client.get("/v1/listeners/u2")
    assert answer.headers["content-type"] == "application/json"
    assert [one["event_id"] for one in answer.json()["events"]] == [one["event_id"] for one in reversed(events)]
    assert answer.json()["events"][0] == {**events[-1], "played_ratio": None, "liked": None}
    with Library.open(folder) as opened:
        kept = read_listens(opened).filter(pl.col("user_id") == "u2").collect()
    assert answer.json()["listens"] == kept.to_dicts()


def test_exports_and_deletions_beyond_their_number_get_503_with_a_retry_after(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reads the whole log: without a bound they take all threads from those who ask for recommendations."""
    reached, go_on = threading.Semaphore(0), threading.Event()

    def slowly(*_: object) -> Iterator[pl.DataFrame]:
        reached.release()
        assert go_on.wait(60)
        return iter(())

    monkeypatch.setattr(listeners, "listens_of", slowly)
    with ThreadPoolExecutor(MAX_EXPORTS) as threads:
        answers = [threads.submit(client.get, f"/v1/listeners/u{n}") for n in range(MAX_EXPORTS)]
        for _ in answers:
            assert reached.acquire(timeout=60)
        refused = client.get("/v1/listeners/u9")
        assert refused.status_code == 503 and refused.headers["retry-after"] == "30"
        go_on.set()
        assert {one.result().status_code for one in answers} == {200}
    assert client.get("/v1/listeners/u9").status_code == 200


def test_a_deletion_that_takes_long_goes_on_behind_its_answer(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent here is gone at once; the log is written anew for one listener after the other."""
    client.post("/add_event", params={"user_id": "u2", "track_id": track(5)})
    go_on, done = threading.Event(), threading.Semaphore(0)
    really = listeners.forget_listens

    def slowly(*arguments: Any) -> int:
        assert go_on.wait(60)
        count = really(*arguments)
        done.release()
        return count

    monkeypatch.setattr(listeners, "forget_listens", slowly)
    monkeypatch.setattr(listeners, "PATIENCE_SECONDS", 0.0)
    first = client.delete("/v1/listeners/u2")
    assert first.status_code == 202 and (first.json()["events"], first.json()["listens"]) == (1, None)
    assert client.get("/v1/listeners/u2").json()["events"] == []
    for n in range(1, MAX_DELETIONS):
        assert client.delete(f"/v1/listeners/other{n}").status_code == 202
    refused = client.delete("/v1/listeners/u4")
    assert refused.status_code == 503 and refused.headers["retry-after"] == "30"
    go_on.set()
    for _ in range(MAX_DELETIONS):
        assert done.acquire(timeout=60)
    assert client.get("/v1/listeners/u2").json()["listens"] == []
    assert len(client.get("/v1/listeners/u4").json()["listens"]) == 10


def test_listeners_deleted_at_once_all_leave_and_nobody_else_does(client: TestClient, folder: Path) -> None:
    """Each deletion writes the log anew: none may be undone by another that began before it."""
    leaving = [f"u{n}" for n in range(MAX_DELETIONS)]
    with Library.open(folder) as opened:
        before = read_listens(opened).collect()
    with ThreadPoolExecutor(len(leaving)) as pool:
        answers = list(pool.map(lambda user: client.delete(f"/v1/listeners/{user}"), leaving))
    assert [(one.status_code, one.json()["listens"]) for one in answers] == [(200, 10)] * len(leaving)
    with Library.open(folder) as opened:
        assert read_listens(opened).collect().equals(before.filter(~pl.col("user_id").is_in(leaving)))
