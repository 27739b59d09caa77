"""Who is credited: guests and remixers from titles, parts of joint names, and bands that stay whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crossfade.models.arrays import GrowingRows
from crossfade.pipelines.library.artist_credits import Credits
from crossfade.pipelines.library.store import Library

KNOWN = [
    ["Sia"],
    ["Fetty Wap"],
    ["Tyler, The Creator"],
    ["Fire"],
    ["Diplo"],
    ["Ryan Lewis"],
    ["Big Sean"],
    ["Various Artists"],
    ["Camila Cabello"],
]


@pytest.mark.parametrize(
    ("artist", "title", "others"),
    [
        ("David Guetta", "Bang My Head (feat. Sia & Fetty Wap)", ["Sia", "Fetty Wap"]),
        ("Kali Uchis", "After The Storm [ft. Tyler, The Creator]", ["Tyler, The Creator"]),
        ("A", "One feat. Sia - Radio Edit", ["Sia"]),
        ("A", "One (Featuring sia)", ["Sia"]),
        ("A", "One (feat. Nobody Knows, Big Sean & Sia)", ["Nobody Knows", "Big Sean", "Sia"]),
        ("A", "One (feat. Sia) - feat. Sia", ["Sia"]),
        ("A", "Bad Things (with Camila Cabello)", ["Camila Cabello"]),
        ("A", "Dance (With Me)", []),
        ("A", "Secrets - Diplo Remix", ["Diplo"]),
        ("A", "Secrets (Diplo's Remix)", ["Diplo"]),
        ("A", "Secrets - Radio Edit", []),
        ("A", "Aircraft", []),
        ("A", "Left. Feat", []),
        ("Sia", "Alive (feat. Sia)", []),
        ("Simon & Garfunkel", "America", []),
        ("Earth, Wind & Fire", "September", []),
        ("Tyler, The Creator", "Yonkers", []),
        ("Macklemore & Ryan Lewis", "Thrift Shop", ["Ryan Lewis"]),
        ("Sia & Diplo", "Together", ["Sia", "Diplo"]),
        ("Rufus feat. Chaka Khan", "Tell Me", ["Rufus", "Chaka Khan"]),
        ("Yusuf / Cat Stevens", "Wild World", ["Yusuf", "Cat Stevens"]),
        ("Various Artists", "Medley", []),
        ("AC/DC", "Thunderstruck", []),
        ("A", "", []),
        ("A", None, []),
    ],
)
def test_credits(artist: str, title: str | None, others: list[str]) -> None:
    assert Credits(KNOWN).of([artist], title) == (artist, *others)


def test_a_guest_alone_is_known_in_the_titles_that_name_more() -> None:
    credits = Credits([["A"], ["B"]], ["One (feat. Zed Bee)", "Two (feat. Somebody)"])
    assert credits.of(["Zed Bee & Whoever"], "Three (feat. somebody)") == ("Zed Bee & Whoever", "Zed Bee", "Somebody")


def test_no_artist_and_a_guest() -> None:
    assert Credits([]).of([], "One (feat. Sia)") == ("Sia",)


def test_a_library_credits_guests_in_its_catalogue_and_shows_artists_as_they_came(tmp_path: Path) -> None:
    library = Library.open(tmp_path / "L", create=True)
    library.add_tracks(
        pl.DataFrame({"track_id": ["1", "2"], "title": ["One (feat. B)", "Two"], "artists": [["A"], ["B"]]})
    )
    assert library.catalogue().artists == (("A", "B"), ("B",))
    assert library.tracks()["artists"].to_list() == [["A"], ["B"]]


def test_growing_never_changes_what_was_handed_out(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(5, 3)).astype(np.float32)
    more = rng.normal(size=(400, 3)).astype(np.float32)
    grown, view = GrowingRows(rows), rows
    views = []
    for row in more:
        grown, view = grown.plus(len(view), row[None])
        views.append(view)
    # Somebody else goes on from the middle.
    _, other = grown.plus(len(views[100]), np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(other[:-1], views[100])
    for count, seen in enumerate(views, 1):
        np.testing.assert_array_equal(seen, np.concatenate([rows, more[:count]]))
