"""Radio stays near its seed, learns from skips and does not repeat itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient
from serving import TRACKS, camp, ids, service_of, serving, track

from crossfade.pipelines.library.store import Library


@pytest.fixture
def audible(folder: Path) -> Path:
    """All tracks have files."""
    with Library.open(folder) as library, library.transaction() as db:
        for row in range(1, TRACKS):
            db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (os.fsencode(f"/m/{row}.wav"), track(row)))
    return folder


def asked(client: TestClient, **seed: Any) -> list[str]:
    return ids(client.post("/v1/radio", json=seed))


def test_radio_goes_on_from_a_track_or_an_artist_without_end(audible: Path) -> None:
    with serving(audible) as client:
        heard = [track(3)]
        for _ in range(2):
            found = asked(client, track_ids=[track(3)], played=heard[1:], k=8)
            assert {camp(one) for one in found} == {0} and not set(found) & set(heard)
            heard += found
        by_artist = asked(client, artist="artist 8", k=5)
        assert {camp(one) for one in by_artist} == {1}
        everything = asked(client, track_ids=[track(3)], exclude=[track(row) for row in range(TRACKS)])
        assert everything == []
        assert client.post("/v1/radio", json={"artist": "nobody"}).status_code == 404
        assert client.post("/v1/radio", json={}).status_code == 422
        assert client.post("/v1/radio", json={"text": "calm piano"}).status_code == 422


def test_what_is_skipped_moves_it_away(audible: Path) -> None:
    """A seed between the camps turns to the one that is not skipped."""
    seeds = [track(3), track(33)]
    with serving(audible) as client:
        for skipped in (0, 1):
            away = asked(client, track_ids=seeds, skipped=[track(30 * skipped + row) for row in range(10, 14)], k=6)
            assert {camp(one) for one in away} == {1 - skipped}


def test_only_what_can_be_played_here_is_played(client: TestClient) -> None:
    assert asked(client, track_ids=[track(3)]) == [track(0)]


def test_an_artist_and_a_file_that_change_are_followed(audible: Path) -> None:
    """A track is a seed of the artists that it has now, and is played while its file is there."""
    with serving(audible) as client:
        asked(client, artist="ARTIST 0", k=5)
        with Library.open(audible) as library:
            library.add_tracks(pl.DataFrame({"track_id": [track(3)], "artists": [["Straße", "Artist 0"]]}))
            library.add_tracks(pl.DataFrame({"track_id": [track(0)], "artists": [["Somebody"]]}))
            with library.transaction() as db:
                db.execute("UPDATE tracks SET path = NULL WHERE track_id = ?", (track(4),))
        service_of(client).follower.check()
        table = service_of(client).follower.snapshot.table
        assert table.by_artist("artist 0").tolist() == [1, 2, 3, 4]
        assert table.by_artist("STRASSE").tolist() == [3] and table.by_artist("somebody").tolist() == [0]
        near = asked(client, track_ids=[track(3)], k=TRACKS)
        assert len(near) == TRACKS - 2 and track(4) not in near
        assert asked(client, artist="strasse", k=TRACKS)


def test_the_playback_order_keeps_the_first_and_all_others(client: TestClient) -> None:
    given = [track(row) for row in (0, 40, 1, 41, 2, 42)]
    found = client.post("/v1/playback_order", json={"track_ids": given}).json()["track_ids"]
    assert found[0] == given[0] and sorted(found) == sorted(given)
    assert [camp(one) for one in found] == [0, 0, 0, 1, 1, 1]
    assert client.post("/v1/playback_order", json={"track_ids": ["none"]}).status_code == 404
    assert client.post("/v1/playback_order", json={"track_ids": []}).json() == {"track_ids": []}
