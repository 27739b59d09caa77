"""Services as processes: what a kill, a swap, a signal and a missing neighbour do to those who ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from databases import postgres
from processes import free_port, running, wait_until_ready
from serving import camp, listen, track, trained

from crossfade.service.events.store import EventStore

WRITES = 10_000
KILLED_AFTER = 4_000


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/events.db"
    else:
        with postgres() as found:
            yield found


@pytest.mark.slow
def test_sigkill_loses_no_acknowledged_event(database: str, tmp_path: Path) -> None:
    """Batches of 20 from two threads, killed in the middle; sent again, they are all there once."""
    acknowledged: list[str] = []
    enough = threading.Event()

    def write(url: str, name: str) -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            for start in range(0, WRITES // 2, 20):
                events = [
                    {"event_id": f"{name}-{n}", "user_id": f"u{n % 50}", "track_id": "t", "time": n}
                    for n in range(start, start + 20)
                ]
                try:
                    answer = client.post("/v1/events", json={"events": events})
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                acknowledged.extend(answer.json()["event_ids"])
                if len(acknowledged) >= KILLED_AFTER:
                    enough.set()

    arguments = ("--role", "events", "--database", database, "--rate", "0")
    with running(tmp_path, *arguments, log=tmp_path / "log") as service:
        threads = [threading.Thread(target=write, args=(service.url, name)) for name in "ab"]
        for thread in threads:
            thread.start()
        assert enough.wait(timeout=300)
        service.kill()
        for thread in threads:
            thread.join()
    assert KILLED_AFTER <= len(acknowledged) < WRITES
    store = EventStore(database)
    kept = {one.event_id for user in range(50) for one in store.recent(f"u{user}", WRITES).events}
    store.close()
    assert set(acknowledged) <= kept
    with running(tmp_path, *arguments, log=tmp_path / "log") as service:
        enough.clear()
        for name in "ab":
            write(service.url, name)
    store = EventStore(database)
    assert sum(1 for user in range(50) for _ in store.events_of(f"u{user}")) == WRITES
    store.close()


@pytest.mark.slow
def test_a_new_version_under_load_fails_no_request(folder: Path, tmp_path: Path) -> None:
    statuses: list[int] = []
    versions: list[str] = []
    stop = threading.Event()

    def ask(url: str, number: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            while not stop.is_set():
                answer = client.get("/v1/recommendations", params={"user_id": f"u{number}", "k": 5})
                statuses.append(answer.status_code)
                versions.append(answer.json()["version"])
                statuses.append(client.post("/similar_tracks", params={"track_id": track(number)}).status_code)

    with running(folder, "--rate", "0", log=tmp_path / "log") as service:
        threads = [threading.Thread(target=ask, args=(service.url, number)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for seed in (1, 2):
                listen(folder, seed=seed)
                newest = trained(folder)
                waiting = threading.Event()
                for _ in range(1200):
                    if versions and versions[-1] == newest:
                        break
                    waiting.wait(0.1)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(statuses) == {200} and len(set(versions)) == 3 and versions[-1] == newest
        assert service.stop() == 0


def test_the_roles_run_apart_and_a_missing_one_is_a_note(folder: Path, tmp_path: Path) -> None:
    port = free_port()
    events_url = f"http://127.0.0.1:{port}"
    events = ("--role", "events", "--port", str(port))
    recommend = ("--role", "recommend")
    with (
        running(folder, *recommend, log=tmp_path / "a", CROSSFADE_EVENTS_URL=events_url) as front,
        running(folder, "--role", "similar", log=tmp_path / "b") as similar,
    ):
        ask = f"{front.url}/v1/recommendations?user_id=new&k=5"
        with running(folder, *events, log=tmp_path / "c") as back:
            sent = httpx.post(f"{back.url}/add_event", params={"user_id": "new", "track_id": track(59)})
            assert sent.json() == {"result": "ok"}
            answer = httpx.get(ask).json()
            assert answer["personal"] and answer["notes"] == []
            assert {camp(one["track_id"]) for one in answer["tracks"]} == {1}
            back.kill()
        answer = httpx.get(ask)
        assert answer.status_code == 200 and not answer.json()["personal"] and events_url in answer.json()["notes"][0]
        found = httpx.post(f"{similar.url}/similar_tracks", params={"track_id": track(1), "k": 3}).json()
        assert len(found["similar_tracks"]) == 3
        for url, path in ((front.url, "/similar_tracks"), (similar.url, "/recommendations")):
            assert httpx.post(f"{url}{path}?user_id=a&track_id=b").status_code == 404
        with running(folder, *events, log=tmp_path / "c") as back:
            wait_until_ready(back.url)
            waiting = threading.Event()
            for _ in range(100):
                if httpx.get(ask).json()["personal"]:
                    break
                waiting.wait(0.1)
            assert httpx.get(ask).json()["notes"] == []


def test_sigterm_lets_answers_finish(folder: Path, tmp_path: Path) -> None:
    with running(folder, log=tmp_path / "log") as service:
        file = (folder / "music" / "first.wav").read_bytes()
        answers: list[httpx.Response] = []

        def classify() -> None:
            answers.append(httpx.post(f"{service.url}/v1/classify", files={"file": file}, timeout=60))

        thread = threading.Thread(target=classify)
        thread.start()
        for _ in range(600):
            metrics = httpx.get(f"{service.url}/metrics").text
            if "crossfade_uploads_waiting 1.0" in metrics or answers:
                break
        assert service.stop() == 0
        thread.join()
        assert answers[0].status_code == 200
