"""Playlists stay as they were made, whatever becomes of their tracks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl

from crossfade.pipelines.library.playlist_files import ListedFile, jspf, m3u
from crossfade.pipelines.library.store import Library


def tracks(library: Library, *track_ids: str) -> None:
    library.add_tracks(pl.DataFrame({"track_id": track_ids, "title": [one.upper() for one in track_ids]}))


def test_a_playlist_takes_tracks_once_and_is_changed_and_removed(library: Library) -> None:
    made = library.add_to_playlist("Rain", ["b", "a", "b"])
    assert made.track_ids == ("b", "a") and library.playlist(made.playlist_id) == made
    longer = library.add_to_playlist("Rain", ["a", "c"])
    assert longer.track_ids == ("b", "a", "c") and longer.revision > made.revision
    assert library.add_to_playlist("Rain", ["a"]) == longer
    changed = library.change_playlist(replace(longer, name="Sun", track_ids=("c", "c")))
    assert library.playlists() == [changed] and library.playlist_named("Rain") is None
    assert library.remove_playlist(made.playlist_id) and not library.remove_playlist(made.playlist_id)
    # A number does not come twice: who still shows the old one must not change the new one.
    assert library.add_to_playlist("Rain", []).playlist_id > made.playlist_id


def test_tracks_that_take_other_ids_stay_in_their_places(library: Library) -> None:
    tracks(library, "a", "b", "c")
    made = library.add_to_playlist("all", ["c", "b", "a", "gone"])
    library.rename_tracks({"a": "b", "b": "a"})
    renamed = library.playlist(made.playlist_id)
    assert renamed is not None and renamed.track_ids == ("c", "a", "b", "gone")
    listed = library.listed_tracks(renamed.track_ids)
    assert [(one.title, one.in_library) for one in listed] == [("C", True), ("B", True), ("A", True), (None, False)]


def test_m3u_and_jspf_name_what_a_line_and_a_uri_can_hold() -> None:
    files = [
        ListedFile(Path("a b/ä.mp3"), "One\nline", "Somebody", 61.4),
        ListedFile(Path("#1.mp3"), "First"),
        ListedFile(Path("new\nline.mp3"), "Nobody can play this"),
    ]
    lines = m3u(files).decode().splitlines()
    assert lines == ["#EXTM3U", "#EXTINF:61,Somebody - One line", "a b/ä.mp3", "#EXTINF:-1,First", "./#1.mp3"]
    found = json.loads(jspf("Mine", files))["playlist"]
    assert found["title"] == "Mine" and len(found["track"]) == 3
    assert found["track"][0] == {
        "location": ["a%20b/%C3%A4.mp3"], "title": "One\nline", "creator": "Somebody", "duration": 61400
    }  # fmt: skip
