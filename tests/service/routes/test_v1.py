"""The current API on one process: reasons, uploads, tracks, listeners' data, and following the library."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from serving import TRACKS, audio, camp, fill, library, listen, serving, track, trained

from crossfade.errors import LibraryError
from crossfade.models.genres.model import GenreModel
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer
from crossfade.pipelines.interactions.schema import read_listens
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.versions.model_version import ModelVersion
from crossfade.service import uploaded_files
from crossfade.service.app import Service
from crossfade.service.errors import Problem
from crossfade.service.routes import listeners
from crossfade.service.routes.listeners import MAX_DELETIONS, MAX_EXPORTS
from crossfade.service.settings import Role
from crossfade.service.snapshot.recommendations import BUSY, RANKING_SLOTS, RecommendationService
from crossfade.service.uploaded_files import add_track


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copytree(made, tmp_path / "L"))


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with serving(folder) as client:
        yield client


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["track_id"] for one in answer.json()["tracks"]]


def service_of(client: TestClient) -> Service:
    found: Service = client.service  # type: ignore[attr-defined]
    return found


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


def test_tracks_are_found_by_all_words(client: TestClient) -> None:
    assert ids(client.get("/v1/tracks?query=TITLE 07.wav")) == [track(7)]
    assert len(ids(client.get("/v1/tracks?query=artist&k=3"))) == 3
    assert ids(client.get("/v1/tracks?query=nothing")) == []
    known = client.get(f"/v1/tracks/{track(7)}").json()
    assert (known["title"], known["artists"], known["moods"]) == ("Title 7", ["Artist 1"], ["calm"])
    assert client.get("/v1/tracks/nothing").status_code == 404


def test_what_an_older_version_did_not_keep_of_a_track_is_null(client: TestClient, folder: Path) -> None:
    older = '{"confident": true, "moods": ["calm"], "tempo_bpm": 98.0, "key": "D minor", "loudness_lufs": -9.1}'
    with Library.open(folder) as opened, opened.transaction() as db:
        db.execute("UPDATE heard SET description = ? WHERE content_hash = 'hash7'", (older,))
    known = client.get(f"/v1/tracks/{track(7)}").json()
    assert (known["tempo_bpm"], known["key"]) == (98, "D minor")
    assert known["tempo_alternative_bpm"] is known["tempo_confidence"] is known["key_confidence"] is None


def test_audio_is_given_in_ranges(client: TestClient, folder: Path) -> None:
    whole = client.get(f"/v1/audio/{track(0)}")
    assert whole.status_code == 200 and whole.headers["content-type"].startswith("audio/")
    part = client.get(f"/v1/audio/{track(0)}", headers={"Range": "bytes=4-9"})
    assert (part.status_code, part.content) == (206, whole.content[4:10])
    assert client.get(f"/v1/audio/{track(0)}", headers={"Range": f"bytes={10**9}-"}).status_code == 416
    assert client.get(f"/v1/audio/{track(1)}").status_code == 404


def raw(client: TestClient, target: str) -> tuple[int, str]:
    """(status, body) of a GET whose path arrives as it is written: HTTP clients resolve `..` before they send it."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(target),
        "raw_path": target.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize(
    "path", ["../library.db", "..%2Flibrary.db", "%2e%2e/library.db", "%2Fetc%2Fpasswd", "/etc/passwd", "library.db"]
)
@pytest.mark.parametrize("place", ["audio", "tracks"])
def test_a_path_is_no_track_id(client: TestClient, place: str, path: str) -> None:
    """However it is written, it reaches the route whole, is looked up as an id and found nowhere."""
    status, body = raw(client, f"/v1/{place}/{path}")
    assert status == 404 and f"{unquote(path)}: no such track" in body


def test_only_audio_in_embedded_folders_is_given_away(client: TestClient, folder: Path, tmp_path: Path) -> None:
    """The database may be a stranger's; what it says of paths is checked against what was embedded here."""
    with Library.open(folder) as opened:
        (music,) = opened.places()
    elsewhere = audio(tmp_path / "elsewhere.wav")
    link, note, inside = music / "link.wav", music / "passwords.txt", audio(music / "inside.wav")
    link.unlink(missing_ok=True)
    link.symlink_to(elsewhere)
    note.write_text("secret")
    outside = f"{music}/{os.path.relpath(elsewhere, music)}"
    for path in ("/etc/passwd", elsewhere, link, note, music, outside, "first.wav", f"{music}/\0.wav"):
        relocate(folder, path)
        answer = client.get(f"/v1/audio/{track(2)}")
        assert answer.status_code == 404 and str(music) not in answer.text, path
        assert client.get(f"/v1/tracks/{track(2)}").json()["has_audio"] is False
    for path in (inside, f"{music}/../{music.name}/inside.wav"):
        relocate(folder, path)
        assert client.get(f"/v1/audio/{track(2)}").content == inside.read_bytes()
        assert client.get(f"/v1/tracks/{track(2)}").json()["has_audio"] is True


def relocate(folder: Path, path: str | Path) -> None:
    """What the database says of where the third track is."""
    with Library.open(folder) as opened, opened.transaction() as db:
        db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (os.fsencode(path), track(2)))


def upload(client: TestClient, path: str, file: Path, **fields: str) -> Any:
    with file.open("rb") as opened:
        return client.post(path, files={"file": (file.name, opened)}, data=fields)


def test_an_upload_is_classified_compared_and_added_once(client: TestClient, folder: Path, tmp_path: Path) -> None:
    file = audio(tmp_path / "new.wav", hertz=330)
    heard = upload(client, "/v1/classify", file).json()
    assert heard["duration_seconds"] == 6 and heard["genres"][0]["probability"] > 0
    similar = upload(client, "/v1/similar_tracks", file, k="3")
    assert len(ids(similar)) == 3 and similar.json()["heard"] == heard

    added = upload(client, "/v1/tracks", file, track_id="new/song", title="New", artist="Somebody")
    assert (added.status_code, added.json()["track_id"], added.json()["new"]) == (201, "new/song", True)
    assert ids(upload(client, "/v1/similar_tracks", file, k="1")) == ["new/song"]
    assert ids(client.get("/v1/tracks?query=somebody")) == ["new/song"]
    assert client.get("/v1/audio/new/song").content == file.read_bytes()
    assert len(ids(client.get("/v1/similar_tracks?track_id=new/song&blend=0"))) == 10

    again = upload(client, "/v1/tracks", file)
    assert (again.status_code, again.json()["track_id"], again.json()["new"]) == (200, "new/song", False)
    taken = upload(client, "/v1/tracks", audio(tmp_path / "other.wav", hertz=500), track_id=track(3))
    assert taken.status_code == 409
    with Library.open(folder) as opened:
        assert len(opened.track_ids()) == TRACKS + 1


def test_the_same_file_uploaded_twice_at_once_is_one_track(
    client: TestClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is told 201, the other 200; under one track_id with other audio, 409; never a database's error."""
    files = [audio(tmp_path / f"{hertz}.wav", hertz=hertz) for hertz in (347, 523, 611)]
    heard = {path: service_of(client).upload_analyzer.analyze(path) for path in files}
    hash_of = uploaded_files.content_hash

    def at_once(paths: list[Path], track_id: str | None) -> list[int]:
        start, said = threading.Barrier(len(paths)), []

        def waiting(path: Path) -> str:
            start.wait()
            return hash_of(path)

        def add(path: Path) -> None:
            try:
                said.append(add_track(folder, path, heard[path], track_id=track_id, title=None, artists=[])[1])
            except Problem as problem:
                said.append(problem.status)

        with monkeypatch.context() as patch, ThreadPoolExecutor(len(paths)) as threads:
            patch.setattr(uploaded_files, "content_hash", waiting)
            list(threads.map(add, paths))
        return sorted(said)

    assert at_once(files[:1] * 6, None) == [False] * 5 + [True]
    assert at_once(files[1:], "one/id") == [True, 409]
    with Library.open(folder) as opened:
        assert len(opened.track_ids()) == TRACKS + 2
    assert [path.suffix for path in (folder / "uploads").iterdir()] == [".wav", ".wav"]


def test_an_upload_to_a_library_with_its_own_genre_model_is_named_by_it(
    client: TestClient, folder: Path, genre_model: Path, tmp_path: Path
) -> None:
    """An upload's genres are those of the library, under their own names; training and reloading go on."""
    with Library.open(folder) as opened:
        opened.use_vocabulary(AudioAnalyzer(model=GenreModel.load(genre_model)))
    file = audio(tmp_path / "new.wav", hertz=330)
    heard = upload(client, "/v1/tracks", file, track_id="new").json()["heard"]
    assert {one["genre"] for one in heard["genres"]} == {"loud", "quiet"}
    assert client.get("/v1/tracks/new").json()["genres"] == heard["genres"]
    with Library.open(folder) as opened:
        catalogue = opened.catalogue()
    assert catalogue.genre_names == ("loud", "quiet")
    assert catalogue.genre_probabilities.any(axis=1).sum() == TRACKS + 1
    other = upload(client, "/v1/similar_tracks", audio(tmp_path / "other.wav", hertz=350), k="3")
    assert len(ids(other)) == 3
    version = trained(folder)
    service_of(client).follower.check()
    assert service_of(client).follower.trouble is None
    assert client.get("/v1/similar_tracks?track_id=new").json()["version"] == version
    assert len(ids(upload(client, "/v1/similar_tracks", file, k="3"))) == 3


def test_a_process_that_cannot_start_is_not_the_fault_of_the_upload(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What hears uploads does not start: 503 with the reason, and not "crashed the decoder"."""
    with monkeypatch.context() as patched:
        patched.setattr("crossfade.service.upload_analyzer._prepare", cannot_start)
        answer = upload(client, "/v1/classify", audio(tmp_path / "new.wav"))
    assert (answer.status_code, answer.json()["detail"]) == (503, "worker process: cannot start: no model")
    assert upload(client, "/v1/classify", tmp_path / "new.wav").status_code == 200


def cannot_start() -> None:
    raise LibraryError("no model")


@pytest.mark.parametrize(("content", "status"), [(b"just text\n" * 50, 415), (b"", 422), (b"RIFF", 415)])
def test_what_is_no_audio_is_refused(client: TestClient, content: bytes, status: int) -> None:
    for path in ("/v1/classify", "/v1/similar_tracks", "/v1/tracks"):
        answer = client.post(path, files={"file": ("song.mp3", content)})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert client.post("/v1/classify", content=b"x", headers={"Content-Type": "audio/mpeg"}).status_code == 422
    broken = client.post("/v1/classify", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=a"})
    assert broken.status_code in (400, 422)


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

    def slowly(*_: object) -> Iterator[dict[str, Any]]:
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


def test_a_new_version_is_taken_up_and_a_broken_one_is_not(client: TestClient, folder: Path) -> None:
    follower = service_of(client).follower
    first = client.get("/health/ready").json()["version"]
    listen(folder, seed=5)
    second = trained(folder)
    follower.check()
    assert client.get("/health/ready").json()["version"] == second != first

    broken = folder / "models" / "broken"
    shutil.copytree(folder / "models" / second, broken)
    (broken / "hybrid.safetensors").write_bytes(b"half")
    (folder / "models" / "current").write_text("broken\n")
    follower.check()
    ready = client.get("/health/ready").json()
    assert ready["version"] == second and "hybrid.safetensors" in ready["notes"][0]
    assert client.get("/v1/recommendations?user_id=u1").json()["version"] == second


def remove_tracks(library: Library, *track_ids: str) -> None:
    with library.transaction() as db:
        db.executemany("DELETE FROM tracks WHERE track_id = ?", [(track_id,) for track_id in track_ids])


def test_tracks_that_the_library_gains_or_loses_are_followed(client: TestClient, folder: Path) -> None:
    with Library.open(folder) as opened:
        remove_tracks(opened, track(3))
        opened.add_tracks(pl.DataFrame({"track_id": ["brand new"], "artists": [["Artist 11"]]}))
    service_of(client).follower.check()
    assert client.post("/similar_tracks", params={"track_id": track(3)}).status_code == 404
    everything = ids(client.get("/v1/recommendations?user_id=u0&k=100"))
    assert track(3) not in everything and "brand new" in everything


def test_only_what_came_is_read_and_what_went_is_noticed(client: TestClient, folder: Path) -> None:
    follower = service_of(client).follower

    def add(*track_ids: str) -> None:
        with Library.open(folder) as opened:
            opened.add_tracks(pl.DataFrame({"track_id": track_ids, "artists": [["Artist 1"]] * len(track_ids)}))
        follower.check()

    def found() -> set[str]:
        return set(ids(client.get("/v1/tracks?query=newcomer")))

    first = follower.snapshot
    add("newcomer 1", "newcomer 2")
    assert found() == {"newcomer 1", "newcomer 2"} and follower.snapshot.table is first.table
    assert first.tracks.row_of("newcomer 1") is None and len(first) == TRACKS
    with Library.open(folder) as opened:
        remove_tracks(opened, "newcomer 2")
        # In the database it gets the row of the one that went.
        opened.add_tracks(pl.DataFrame({"track_id": ["newcomer 3"]}))
    follower.check()
    assert found() == {"newcomer 1", "newcomer 3"}
    add("newcomer 2")
    assert found() == {"newcomer 1", "newcomer 2", "newcomer 3"}
    before = follower.snapshot
    follower.check()
    assert follower.snapshot is before
    assert {"newcomer 1", "newcomer 2"} <= set(ids(client.get("/v1/recommendations?user_id=u0&k=100")))


def test_without_a_library_the_answer_is_unavailable_until_there_is_one(tmp_path: Path, made: Path) -> None:
    folder = tmp_path / "later"
    with serving(folder) as client:
        for path in ("/recommendations?user_id=a", "/similar_tracks?track_id=a", "/add_event?user_id=a&track_id=b"):
            answer = client.post(path)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        shutil.copytree(made, folder)
        service_of(client).follower.check()
        assert client.get("/health/ready").status_code == 200
        assert len(ids(client.get("/v1/recommendations?user_id=u1"))) == 10


def test_a_damaged_library_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "library.db").write_bytes(b"SQLite format 3\0" + bytes(200))
    with serving(tmp_path) as client:
        answer = client.post("/recommendations?user_id=a")
        assert answer.status_code == 503 and "library.db" in answer.json()["detail"]


def test_a_library_that_is_not_trained_answers_by_sound(tmp_path: Path) -> None:
    fill(tmp_path)
    with serving(tmp_path) as client:
        assert {camp(one) for one in ids(client.get(f"/v1/similar_tracks?track_id={track(0)}&k=5"))} == {0}
        assert "not trained" in client.post("/recommendations?user_id=a").json()["detail"]
        client.post("/add_event", params={"user_id": "a", "track_id": track(40)})
        found = client.post("/recommendations?user_id=a&k=5").json()["recs"]
        assert len(found) == 5 and {camp(one) for one in found} == {1}
        assert "not trained" in client.get("/health/ready").json()["notes"][0]


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


def test_a_title_and_a_path_that_change_are_taken_up(client: TestClient, folder: Path) -> None:
    """By any program, without a track that comes or goes."""
    follower = service_of(client).follower
    before = follower.snapshot
    with Library.open(folder) as opened:
        opened.add_tracks(pl.DataFrame({"track_id": [track(7)], "title": ["Quite another"]}))
        with opened.transaction() as db:
            db.execute("UPDATE tracks SET path = NULL WHERE track_id = ?", (track(0),))
            db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (bytes(folder / "first.wav"), track(7)))
    follower.check()
    [found] = client.get("/v1/tracks?query=quite another").json()["tracks"]
    assert found["track_id"] == track(7) and found["has_audio"]
    assert ids(client.get("/v1/tracks?query=title 07.wav")) == []
    [first] = client.get("/v1/tracks?query=07.wav").json()["tracks"]
    assert first["title"] == "Quite another"
    assert not client.get("/v1/tracks?query=00.wav").json()["tracks"][0]["has_audio"]
    assert follower.snapshot.tracks.index is before.tracks.index, "nothing was loaded again for it"


@pytest.mark.parametrize("is_trained", [True, False])
def test_an_embedding_that_changes_is_taken_up(client: TestClient, tmp_path: Path, is_trained: bool) -> None:
    """A track that is heard again sounds as it was heard, at once and after a restart; its listeners stay."""
    folder = service_of(client).options.library
    if not is_trained:
        folder = tmp_path / "untrained"
        fill(folder)
    swapped = {track(1): track(TRACKS - 1), track(TRACKS - 1): track(1)}
    with serving(folder) as client:
        follower = service_of(client).follower

        def alike(track_id: str, blend: int) -> list[str]:
            return ids(client.get("/v1/similar_tracks", params={"track_id": track_id, "blend": blend, "k": 5}))

        by_sound, by_taste = alike(track(1), 0), alike(track(1), 1)
        with Library.open(folder) as opened, opened.transaction() as db:
            for one, other in swapped.items():
                digest = f"hash{int(other[12:14])}"
                db.execute("UPDATE tracks SET content_hash = ? WHERE track_id = ?", (digest, one))
        follower.check()
        sounds = alike(track(TRACKS - 1), 0)
        assert {camp(one) for one in alike(track(1), 0)} == {1} and sounds == by_sound
        if is_trained:
            assert alike(track(1), 1) == by_taste
    with serving(folder) as client:
        assert alike(track(TRACKS - 1), 0) == sounds


def test_an_untrained_library_goes_by_the_newest_listens(tmp_path: Path) -> None:
    """Not by those of the highest rows."""
    fill(tmp_path)
    with serving(tmp_path) as client:
        old = [{"user_id": "a", "track_id": track(TRACKS - 1 - n), "time": n} for n in range(20)]
        new = [{"user_id": "a", "track_id": track(n), "time": 100 + n} for n in range(20)]
        client.post("/v1/events", json={"events": [*old, *new]})
        found = client.get("/v1/recommendations?user_id=a&k=5").json()["tracks"]
        assert {camp(one["track_id"]) for one in found} == {0}
        assert {one["because"]["track_id"] for one in found} <= {track(n) for n in range(20)}
