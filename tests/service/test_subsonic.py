"""Playlists are put into a player that speaks Subsonic's API: found, made, replaced, and never somebody else's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from processes import free_port
from serving import serving, track

from crossfade.errors import UsageError
from crossfade.service import subsonic
from crossfade.service.settings import PLAYER_VARIABLES, PlayerAccount

PASSWORD = "sesame"


class Player:
    """A stub of a player: songs and playlists, answered as Navidrome answers."""

    def __init__(self) -> None:
        self.songs = [
            {"id": f"s{row}", "title": f"Title {row}", "artist": f"Artist {row // 5}", "duration": 6}
            for row in range(3)
        ]
        self.songs.append({"id": "longer", "title": "title 0", "artist": "Artist 0 & friends", "duration": 600})
        self.songs.append({"id": "cover", "title": "Title 0", "artist": "Somebody", "duration": 6})
        self.playlists: list[dict[str, Any]] = []

    def answer(self, method: str, asked: dict[str, list[str]]) -> dict[str, Any]:
        one = {name: values[0] for name, values in asked.items()}
        if one["t"] != md5((PASSWORD + one["s"]).encode()).hexdigest() or one["u"] != "me":
            return {"status": "failed", "error": {"code": 40, "message": "Wrong username or password"}}
        return {"status": "ok", "version": "1.16.1", **getattr(self, method)(one, asked)}

    def search3(self, one: dict[str, str], _: object) -> dict[str, Any]:
        found = [song for song in self.songs if one["query"].casefold() in str(song["title"]).casefold()]
        return {"searchResult3": {"song": found} if found else {}}

    def getPlaylists(self, *_: object) -> dict[str, Any]:
        return {"playlists": {"playlist": self.playlists} if self.playlists else {}}

    def createPlaylist(self, one: dict[str, str], asked: dict[str, list[str]]) -> dict[str, Any]:
        if "playlistId" not in one:
            self.playlists.append({"id": f"p{len(self.playlists)}", "name": one["name"], "owner": "me"})
        made = self._playlist(one.get("playlistId", self.playlists[-1]["id"]))
        made["songs"] = asked["songId"]
        return {"playlist": made}

    def updatePlaylist(self, one: dict[str, str], asked: dict[str, list[str]]) -> dict[str, Any]:
        changed = self._playlist(one["playlistId"])
        changed.update({name: one[name] for name in ("name", "comment") if name in one})
        changed["songs"] += asked.get("songIdToAdd", [])
        return {}

    def _playlist(self, number: str) -> dict[str, Any]:
        return next(one for one in self.playlists if one["id"] == number)


@pytest.fixture
def player() -> Iterator[tuple[Player, str]]:
    stub = Player()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            content = stub.answer(url.path.removeprefix("/rest/"), parse_qs(url.query))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"subsonic-response": content}).encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield stub, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(folder: Path, player: tuple[Player, str]) -> Iterator[TestClient]:
    with serving(folder, player=PlayerAccount(player[1], "me", PASSWORD)) as client:
        yield client


def made(client: TestClient, *rows: int) -> str:
    wanted = {"name": "Rain", "track_ids": [track(row) for row in rows]}
    return f"/v1/playlists/{client.post('/v1/playlists', json=wanted).json()['playlist_id']}"


def test_a_playlist_is_put_there_and_replaced(
    client: TestClient, player: tuple[Player, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By title, artist and length; the rest is said to be left out. Few songs fit into an address."""
    stub, _ = player
    monkeypatch.setattr(subsonic, "_SONGS_AT_ONCE", 2)
    address = made(client, 2, 0, 1, 50)
    assert client.post(f"{address}/send").json() == {"file": None, "tracks": 3, "left_out": 1}
    (put,) = stub.playlists
    assert (put["name"], put["songs"]) == ("Rain", ["s2", "s0", "s1"])
    client.put(address, json={"revision": 1, "name": "Sun", "track_ids": [track(1)]})
    assert client.post(f"{address}/send").json()["tracks"] == 1
    assert [(one["name"], one["songs"]) for one in stub.playlists] == [("Sun", ["s1"])]


def test_somebody_else_s_playlist_is_left_alone(client: TestClient, player: tuple[Player, str]) -> None:
    player[0].playlists.append({"id": "theirs", "name": "Rain", "songs": ["s2"]})
    refused = client.post(f"{made(client, 0)}/send")
    assert refused.status_code == 409 and "rename one of the two" in refused.json()["detail"]
    assert player[0].playlists == [{"id": "theirs", "name": "Rain", "songs": ["s2"]}]


def test_what_the_player_does_not_have_or_say_is_explained(
    client: TestClient, folder: Path, player: tuple[Player, str]
) -> None:
    nothing = client.post(f"{made(client, 50)}/send")
    assert (nothing.status_code, nothing.json()["detail"]) == (409, "Rain: the player has none of its tracks")
    accounts = {
        "Wrong username or password": PlayerAccount(player[1], "me", "wrong"),
        "does not answer": PlayerAccount(f"http://127.0.0.1:{free_port()}", "me", PASSWORD),
    }
    for said, account in accounts.items():
        with serving(folder, player=account) as other:
            detail = other.post(f"{made(other, 0)}/send").json()["detail"]
            assert said in detail and PASSWORD not in detail and "&t=" not in detail


def test_the_environment_names_a_player_as_a_whole_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLAYER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert PlayerAccount.of_environment() is None
    monkeypatch.setenv(PLAYER_VARIABLES[0], "http://player:4533")
    with pytest.raises(UsageError, match="belong to it"):
        PlayerAccount.of_environment()
    monkeypatch.setenv(PLAYER_VARIABLES[1], "me")
    monkeypatch.setenv(PLAYER_VARIABLES[2], PASSWORD)
    account = PlayerAccount.of_environment()
    assert account == PlayerAccount("http://player:4533", "me", PASSWORD) and PASSWORD not in repr(account)
