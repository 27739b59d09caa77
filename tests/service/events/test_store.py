"""The event store, the same on SQLite and PostgreSQL, and the endpoints in front of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import postgres
from fastapi.testclient import TestClient
from serving import serving

from crossfade.errors import UsageError
from crossfade.service.events.store import EventStore, RecentEvents, StoredEvent
from crossfade.service.settings import Role


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('events')}/events.db"
    else:
        with postgres() as found:
            yield found


@pytest.fixture
def store(url: str, request: pytest.FixtureRequest) -> Iterator[EventStore]:
    opened = EventStore(url)
    yield opened
    opened.close()


def event(event_id: str, user_id: str, track_id: str = "a", time: int = 1, **more: float) -> StoredEvent:
    return StoredEvent(event_id=event_id, user_id=user_id, track_id=track_id, time=time, **more)


def test_events_come_back_newest_first_as_they_were(store: EventStore) -> None:
    events = [
        event("order-1", "order", "a", 5, played_ratio=0.123456789),
        event("order-2", "order", "'; DROP TABLE events; --", 9, liked=-1),
        event("order-3", "order", "🎵\n\\", 9),
    ]
    store.add(events)
    assert store.recent("order", 10) == RecentEvents((events[2], events[1], events[0]))
    assert store.recent("order", 1).events == (events[2],)
    assert store.recent("nobody", 10) == RecentEvents(())


def test_all_events_come_by_the_page_newest_first(store: EventStore) -> None:
    """A listener's export holds each once, also where a page ends within a second."""
    events = [event(f"page-{n}", "page", time=n // 700) for n in range(2500)]
    store.add(events)
    assert list(store.events_of("page")) == events[::-1]
    assert list(store.events_of("nobody")) == []


def test_an_event_is_written_once_however_often_it_is_sent(store: EventStore) -> None:
    first = event("once-1", "once")
    receipt = store.add([first, first, event("once-2", "once")])
    assert (receipt.accepted, receipt.duplicates, receipt.conflicts) == (2, 1, [])
    again = store.add([event("once-1", "once", time=7)])
    assert (again.accepted, again.duplicates, again.conflicts) == (0, 1, [])
    other = store.add([event("once-1", "once", "b")])
    assert (other.accepted, other.conflicts) == (0, ["once-1"])
    assert [one.track_id for one in store.recent("once", 10).events] == ["a", "a"]


def test_threads_that_send_the_same_events_write_each_once(store: EventStore) -> None:
    accepted = []

    def send() -> None:
        accepted.extend(store.add([event(f"race-{n}", "race")]).accepted for n in range(20))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(accepted) == len(store.recent("race", 100).events) == 20


def test_only_the_listener_s_own_events_are_deleted(store: EventStore) -> None:
    store.add([event("own-1", "own"), event("own-2", "own"), event("other-1", "other")])
    assert store.remove("own", ["own-1", "other-1", "nothing"]) == 1
    assert [one.event_id for one in store.recent("own", 9).events] == ["own-2"]
    assert [one.event_id for one in store.recent("other", 9).events] == ["other-1"]


def test_a_forgotten_listener_has_no_events_and_may_come_back(store: EventStore) -> None:
    store.add([event("gone-1", "gone"), event("stays-1", "stays")])
    assert store.forget("gone") == 1
    assert store.recent("gone", 9).events == () and store.recent("gone", 9).forgotten_at is not None
    assert store.forget("gone") == 0
    store.add([event("gone-2", "gone")])
    assert len(store.recent("gone", 9).events) == len(store.recent("stays", 9).events) == 1


def test_a_second_opening_finds_what_the_first_wrote(store: EventStore, url: str) -> None:
    store.add([event("again-1", "again")])
    other = EventStore(url)
    assert len(other.recent("again", 9).events) == 1
    other.close()


@pytest.mark.parametrize("wrong", ["mysql://localhost/x", "nonsense", "sqlite://", ""])
def test_an_unusable_database_is_an_error_without_its_password(wrong: str) -> None:
    with pytest.raises(UsageError, match="event store"):
        EventStore(wrong)


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[TestClient]:
    """The events role alone, without a library: it accepts every track."""
    with serving(tmp_path, Role.EVENTS, database=url) as client:
        yield client


def test_a_batch_is_accepted_listed_and_deleted(client: TestClient) -> None:
    batch = [{"user_id": "b/1", "track_id": f"t{n}", "event_id": f"batch-{n}", "time": n, "liked": 1} for n in range(3)]
    answer = client.post("/v1/events", json={"events": [*batch, {"user_id": "b/1", "track_id": "t9"}]}).json()
    assert (answer["accepted"], answer["duplicates"], answer["conflicts"]) == (4, 0, [])
    assert answer["event_ids"][:3] == ["batch-0", "batch-1", "batch-2"] and len(answer["event_ids"][3]) == 32
    assert client.post("/v1/events", json={"events": batch}).json()["duplicates"] == 3
    listed = client.get("/v1/events", params={"user_id": "b/1", "k": 2}).json()["events"]
    assert [one["track_id"] for one in listed] == ["t9", "t2"]
    deleted = client.delete("/v1/events", params={"user_id": "b/1", "event_id": ["batch-0", "batch-1", "x"]})
    assert deleted.json() == {"deleted": 2}
    assert client.post("/get_events?user_id=b/1").json() == {"events": ["t9", "t2"]}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [{"user_id": "u"}],
        [{"user_id": 1, "track_id": "t"}],
        [{"user_id": "u", "track_id": "t", "time": -1}],
        [{"user_id": "u", "track_id": "t", "time": 2**70}],
        [{"user_id": "u", "track_id": "t", "liked": 2}],
        [{"user_id": "u", "track_id": "t", "rating": 2}],
        [{"user_id": "u", "track_id": "a\0b"}],
        [{"user_id": "u", "track_id": "t"}] * 1001,
    ],
)
def test_a_batch_with_one_bad_event_is_refused_whole(client: TestClient, events: list[object]) -> None:
    answer = client.post("/v1/events", json={"events": events})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_malformed_json_is_a_bad_request(client: TestClient) -> None:
    answer = client.post("/v1/events", content=b'{"events": [', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "body: not JSON")


def test_the_events_role_is_ready_and_has_no_recommendations(client: TestClient) -> None:
    assert client.get("/health/ready").json()["events"] in ("sqlite", "postgresql")
    assert client.get("/v1/recommendations?user_id=u").status_code == 404
