"""Playlists over HTTP: what was made is there after a restart, and nobody overwrites what they have not seen."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient
from serving import serving, track

from crossfade.pipelines.library.store import Library


def test_a_playlist_is_made_changed_and_deleted(client: TestClient, folder: Path) -> None:
    made = client.post("/v1/playlists", json={"name": " Rain ", "track_ids": [track(0), track(1)]})
    assert made.status_code == 201 and (made.json()["name"], made.json()["tracks"]) == ("Rain", 2)
    more = client.post("/v1/playlists", json={"name": "Rain", "track_ids": [track(1), track(2)]})
    assert more.status_code == 200 and more.json()["tracks"] == 3
    address = f"/v1/playlists/{made.json()['playlist_id']}"
    known = client.get(address).json()
    assert [one["title"] for one in known["tracks"]] == ["Title 0", "Title 1", "Title 2"]
    assert [one["has_audio"] for one in known["tracks"]] == [True, False, False]
    turned = {"revision": known["revision"], "name": "Sun", "track_ids": [track(2), track(0)]}
    assert [one["track_id"] for one in client.put(address, json=turned).json()["tracks"]] == [track(2), track(0)]
    with serving(folder) as again:
        assert [one["name"] for one in again.get("/v1/playlists").json()["playlists"]] == ["Sun"]
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == client.delete(address).status_code == 404


def test_changes_that_cannot_be_are_refused(client: TestClient) -> None:
    made = client.post("/v1/playlists", json={"name": "Rain"}).json()
    client.post("/v1/playlists", json={"name": "Sun"})
    address = f"/v1/playlists/{made['playlist_id']}"
    unknown = client.post("/v1/playlists", json={"name": "Rain", "track_ids": ["none"]})
    assert unknown.status_code == 404 and unknown.json()["detail"] == "none: no such track"
    assert client.put(address, json={"revision": 1, "name": "Sun"}).status_code == 409
    assert client.put(address, json={"revision": 1, "track_ids": [track(3)]}).status_code == 200
    late = client.put(address, json={"revision": 1, "track_ids": []})
    assert late.status_code == 409 and "changed meanwhile" in late.json()["detail"]
    for name in ("", "  ", "two\nlines", "x" * 201):
        assert client.post("/v1/playlists", json={"name": name}).status_code == 422
    assert client.get(f"/v1/playlists/{2**70}").status_code == 422


def test_files_for_other_players_begin_at_the_embedded_folder(client: TestClient, folder: Path) -> None:
    made = client.post("/v1/playlists", json={"name": "Rain", "track_ids": [track(1), track(0)]}).json()
    address = f"/v1/playlists/{made['playlist_id']}/file"
    m3u = client.get(address, params={"format": "m3u8"})
    assert m3u.text.splitlines() == ["#EXTM3U", "#EXTINF:6,Artist 0 - Title 0", "first.wav"]
    assert "attachment" in m3u.headers["content-disposition"] and str(folder) not in m3u.text
    jspf = client.get(address, params={"format": "jspf"}).json()["playlist"]
    assert (jspf["title"], [one["location"] for one in jspf["track"]]) == ("Rain", [["first.wav"]])


def test_a_playlist_is_sent_to_the_player_among_the_music(client: TestClient, folder: Path) -> None:
    """In place of what was sent before, under whatever name, and never of somebody else's file."""
    with Library.open(folder) as library:
        first = library.path_of(track(0))
        assert first is not None
    music = first.parent
    made = client.post("/v1/playlists", json={"name": "AC/DC: best?", "track_ids": [track(1), track(0)]}).json()
    address = f"/v1/playlists/{made['playlist_id']}"
    sent = client.post(f"{address}/send").json()
    assert sent == {"file": "music/AC_DC_ best_.m3u8", "tracks": 1, "left_out": 1}
    lines = (music / "AC_DC_ best_.m3u8").read_text().splitlines()
    assert lines[0] == "#EXTM3U" and lines[-1] == "first.wav"
    client.put(address, json={"revision": 1, "name": "Sun"})
    assert client.post(f"{address}/send").json()["file"] == "music/Sun.m3u8"
    assert [one.name for one in music.glob("*.m3u8")] == ["Sun.m3u8"]
    (music / "Rain.m3u8").write_text("mine")
    client.put(address, json={"revision": 2, "name": "Rain"})
    refused = client.post(f"{address}/send")
    assert refused.status_code == 409 and (music / "Rain.m3u8").read_text() == "mine"
    empty = client.post("/v1/playlists", json={"name": "None"}).json()["playlist_id"]
    assert client.post(f"/v1/playlists/{empty}/send").status_code == 409
