"""The map's file and the names of its points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from serving import TRACKS, audio, camp, fill, service_of, serving, track

from crossfade.audio.metadata import released_at
from crossfade.pipelines.library.store import Library

LAYOUTS = ("sound", "taste", "both")
KINDS = {"x": np.dtype("<u2"), "y": np.dtype("<u2")}


def read(content: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """(header, columns), as the documentation says."""
    size = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + size])
    assert size % 4 == 0
    columns, start = {}, 4 + size
    for name in header["columns"]:
        kind = KINDS.get(name, np.dtype(np.uint8))
        columns[name] = np.frombuffer(content, kind, header["count"], start)
        start += columns[name].nbytes
    assert start == len(content)
    return header, columns


def names(client: TestClient, header: dict[str, Any]) -> list[str]:
    answer = client.get("/v1/map/tracks", params={"place": list(range(header["count"]))}).json()
    assert answer["revision"] == header["revision"]
    assert [one["place"] for one in answer["tracks"]] == list(range(header["count"]))
    return [one["track_id"] for one in answer["tracks"]]


def test_every_track_has_a_place_near_those_that_sound_alike(client: TestClient) -> None:
    header, columns = read(client.get("/v1/map").content)
    assert names(client, header) == [track(row) for row in range(TRACKS)]
    places = np.stack([columns["x"], columns["y"]], axis=1).astype(float)
    camps = np.array([camp(track(row)) for row in range(TRACKS)])
    distances = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(TRACKS, np.inf))
    assert (camps[distances.argmin(axis=1)] == camps).all()
    model = service_of(client).follower.snapshot.model
    assert model is not None
    np.testing.assert_allclose(columns["weight"] / 254, model.hybrid.weights, atol=0.5 / 254)
    np.testing.assert_allclose(2 ** (columns["listeners"] / 8) - 1, model.hybrid.listeners, rtol=0.05, atol=0.05)
    assert [header["genres"][place] for place in columns["genre"]] == [header["genres"][0]] * TRACKS
    assert [header["artists"][place] for place in columns["artist"]] == [f"Artist {row // 5}" for row in range(TRACKS)]
    assert (columns["year"] == 255).all()


def test_the_same_tracks_are_laid_out_by_sound_by_taste_and_by_both(client: TestClient) -> None:
    maps = {layout: read(client.get("/v1/map", params={"layout": layout}).content) for layout in LAYOUTS}
    headers = [header for header, _ in maps.values()]
    assert [header["layout"] for header in headers] == headers[0]["layouts"] == list(LAYOUTS)
    assert len({header["revision"] for header in headers}) == 1
    for name in ("genre", "listeners", "weight", "artist", "group"):
        assert len({columns[name].tobytes() for _, columns in maps.values()}) == 1
    assert len({columns["x"].tobytes() for _, columns in maps.values()}) == len(LAYOUTS)
    # Two camps of listeners: no group has tracks of both.
    group = maps["taste"][1]["group"]
    camps = np.array([camp(track(row)) for row in range(TRACKS)])
    assert not set(group[camps == 0]) & set(group[camps == 1])
    assert len(headers[0]["groups"]) == group.max() + 1
    (rock,) = {region["name"] for region in headers[0]["regions"] if region["kind"] == "genre"}
    assert rock == headers[0]["genres"][0]
    assert client.get("/v1/map?layout=colour").status_code == 422


def test_a_song_is_placed_where_a_track_of_its_sound_is(client: TestClient) -> None:
    _, columns = read(client.get("/v1/map").content)
    with Library.open(service_of(client).follower.folder) as library:
        vectors = library.vectors("encoder")
    for row in (3, 41):
        found = client.post("/v1/map/place", json={"embedding": vectors[row].tolist()}).json()
        place = columns["x"][row] / 65_534, columns["y"][row] / 65_534
        assert (found["x"], found["y"]) == pytest.approx(place, abs=1e-3)
    for wrong, status in (([1.0, 2.0], 409), ([0.0] * 200, 409), ([], 422), (["a"], 422)):
        assert client.post("/v1/map/place", json={"embedding": wrong}).status_code == status


def test_a_path_leads_from_one_track_to_another(client: TestClient) -> None:
    asked = {"start": track(2), "end": track(40), "k": 8}
    found = client.get("/v1/path", params=asked).json()["tracks"]
    assert (found[0]["track_id"], found[-1]["track_id"]) == (track(2), track(40)) and len(found) == 8
    assert all(-1 <= one["score"] <= 1 and one["title"] for one in found)
    for wrong, status in (({"end": "nothing"}, 404), ({"end": track(2)}, 422), ({"k": 1}, 422), ({"blend": 2}, 422)):
        assert client.get("/v1/path", params=asked | wrong).status_code == status


def test_a_track_that_comes_moves_nobody(client: TestClient, tmp_path: Path) -> None:
    header, before = read(client.get("/v1/map").content)
    song = audio(tmp_path / "song.wav", hertz=400)
    with song.open("rb") as file:
        client.post("/v1/tracks", files={"file": file}, data={"track_id": "new"}).raise_for_status()
    newer, after = read(client.get("/v1/map").content)
    assert newer["count"] == TRACKS + 1 and newer["revision"] != header["revision"]
    for name in before:
        np.testing.assert_array_equal(after[name][:TRACKS], before[name])
    assert names(client, newer)[-1] == "new"
    # Nor does a restart.
    with serving(service_of(client).follower.folder) as other:
        again, restarted = read(other.get("/v1/map").content)
    assert again["revision"] == newer["revision"]
    np.testing.assert_array_equal(restarted["x"], after["x"])


def test_years_are_of_the_release(client: TestClient) -> None:
    years = ("2000", "1999-12-31", "1890", "5970")
    known = {track(row): released_at(year) for row, year in enumerate(years)}
    follower = service_of(client).follower
    with Library.open(follower.folder) as library, library.transaction() as db:
        db.executemany("UPDATE tracks SET released_at = ? WHERE track_id = ?", [(at, one) for one, at in known.items()])
    follower.check()
    _, columns = read(client.get("/v1/map").content)
    assert columns["year"][:5].tolist() == [100, 99, 0, 254, 255]


def test_a_track_that_went_is_not_drawn(client: TestClient) -> None:
    _, before = read(client.get("/v1/map").content)
    follower = service_of(client).follower
    with Library.open(follower.folder) as library, library.transaction() as db:
        db.execute("DELETE FROM tracks WHERE track_id = ?", (track(0),))
    follower.check()
    newer, after = read(client.get("/v1/map").content)
    np.testing.assert_array_equal(after["x"], before["x"][1:])
    assert names(client, newer) == [track(row) for row in range(1, TRACKS)]


def test_it_is_sent_once(client: TestClient) -> None:
    first = client.get("/v1/map")
    assert first.headers["content-encoding"] == "gzip"
    again = client.get("/v1/map", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_points_are_found_by_words_and_by_tracks(client: TestClient) -> None:
    def places(**asked: Any) -> list[int]:
        return [one["place"] for one in client.get("/v1/map/tracks", params=asked).json()["tracks"]]

    assert places(query="track 07") == [7]
    assert places(query="title", k=3) == [0, 1, 2]
    assert places(track_id=[track(5), "nothing", track(2)]) == [5, 2]
    assert places(place=[-1, 3, TRACKS, 3]) == [3]
    assert places() == places(query=" ") == []


@pytest.mark.parametrize("asked", ["place=one", "k=0", "query=" + 201 * "a", "track_id=", "&".join(201 * ["place=1"])])
def test_what_cannot_be_asked_is_explained(client: TestClient, asked: str) -> None:
    answer = client.get(f"/v1/map/tracks?{asked}")
    assert answer.status_code == 422 and answer.json()["detail"]


def test_an_untrained_library_is_drawn_without_listeners(tmp_path: Path) -> None:
    fill(tmp_path / "L")
    with serving(tmp_path / "L") as client:
        header, columns = read(client.get("/v1/map").content)
    assert header["count"] == TRACKS and header["version"] is None
    assert header["layouts"] == ["sound"]
    assert all((columns[name] == 255).all() for name in ("listeners", "weight", "group"))


def test_an_empty_library_has_an_empty_map(tmp_path: Path) -> None:
    Library.open(tmp_path / "L", create=True).close()
    with serving(tmp_path / "L") as client:
        header, _ = read(client.get("/v1/map").content)
        assert header["count"] == 0
        assert client.get("/v1/map/tracks?place=0&query=a").json()["tracks"] == []
    assert not (tmp_path / "L" / "track_map.json").exists()
