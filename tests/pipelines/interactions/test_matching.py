"""Matching by artist and title."""

from __future__ import annotations

import polars as pl
import pytest

from crossfade.pipelines.interactions.matching import match


def tracks(*rows: tuple[str, list[str] | None, str | None]) -> pl.DataFrame:
    schema = {"track_id": pl.String, "artists": pl.List(pl.String), "title": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


LIBRARY = tracks(
    ("queen.flac", ["Queen"], "Don't Stop Me Now"),
    ("beyonce.mp3", ["Beyoncé", "JAY-Z"], "Crazy in Love"),
    ("beatles.ogg", ["The Beatles"], "Help!"),
    ("live.ogg", ["The Beatles"], "Help! (Live)"),
    ("a/one.mp3", ["Twice"], "Same"),
    ("b/one.mp3", ["twice"], "same"),
    ("chk.mp3", ["!!!"], "???"),
    ("kino.mp3", ["Кино"], "Группа крови"),
    ("nameless.mp3", [], None),
)


@pytest.mark.parametrize(
    ("artists", "title", "found"),
    [
        (["Queen"], "Don't Stop Me Now", "queen.flac"),
        (["QUEEN"], "dont stop me now", "queen.flac"),
        (["Queen"], "Don’t Stop Me Now - 2011 Remaster", "queen.flac"),
        (["Queen"], "Don't Stop Me Now (Remastered 2011) [Explicit]", "queen.flac"),
        (["Beyonce"], "Crazy In Love (feat. Jay-Z)", "beyonce.mp3"),
        (["Jay Z", "Somebody"], "Crazy in Love", "beyonce.mp3"),
        (["Beatles"], "Help", "beatles.ogg"),
        (["Beatles"], "Help (live)", "live.ogg"),
        (["Beatles"], "Help! - Mono Version", "beatles.ogg"),
        (["!!!"], "???", "chk.mp3"),
        (["КИНО"], "Группа Крови", "kino.mp3"),
    ],
)
def test_the_same_recording_under_other_spellings(artists: list[str], title: str, found: str) -> None:
    matches = match(tracks(("7", artists, title)), LIBRARY)
    assert matches.pairs.rows() == [("7", found)]
    assert matches.record() == {"matched": 1, "ambiguous": 0, "unmatched": 0}


@pytest.mark.parametrize(
    ("artists", "title"),
    [
        (["Queen"], "Don't Stop Me Now (Acoustic)"),
        (["Queen"], "Don't Stop Me Now - Live at Wembley"),
        (["Queens"], "Don't Stop Me Now"),
        ([], "Help!"),
        (None, "Help!"),
        (["Queen"], None),
    ],
)
def test_other_recordings_and_nameless_tracks_stay_apart(artists: list[str] | None, title: str | None) -> None:
    assert match(tracks(("7", artists, title)), LIBRARY).record() == {"matched": 0, "ambiguous": 0, "unmatched": 1}


def test_what_fits_twice_is_left_alone() -> None:
    assert match(tracks(("7", ["Twice"], "Same")), LIBRARY).record() == {"matched": 0, "ambiguous": 1, "unmatched": 0}


def test_every_track_is_matched_ambiguous_or_unmatched() -> None:
    ours = tracks(("1", ["Queen"], "Don't stop me now"), ("2", ["Twice"], "Same"), ("3", ["X"], "Y"), ("4", None, None))
    assert match(ours, LIBRARY).record() == {"matched": 1, "ambiguous": 1, "unmatched": 2}


def test_a_library_matches_itself() -> None:
    own = LIBRARY.filter(pl.col("track_id").str.contains("one|nameless").not_())
    pairs = match(own, own).pairs
    assert pairs["track_id"].to_list() == pairs["library_track_id"].to_list() == sorted(own["track_id"])
