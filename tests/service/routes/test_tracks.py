"""Tracks by search, and their audio: in ranges, and from embedded folders alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient
from serving import audio, ids, track

from crossfade.pipelines.library.store import Library


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
