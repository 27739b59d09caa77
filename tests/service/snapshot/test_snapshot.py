"""The service follows its library: versions, tracks and embeddings that come, change and go."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from serving import TRACKS, camp, fill, ids, listen, service_of, serving, track, trained

from crossfade.pipelines.library.store import Library


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
