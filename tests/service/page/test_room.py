"""The listening room: one track passes into the next, radio goes on and learns, and plays count for the listener."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import opened
from playwright.sync_api import Browser, Page, expect
from serving import audio, copied, track

from crossfade.pipelines.library.store import Library

from .conftest import LONG_SECONDS

FILES = 24
SHORT = 9
"""the row of the track that is played to its end"""


@pytest.fixture(scope="module")
def owned(played: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both camps have tracks that can be played."""
    folder = copied(played, tmp_path_factory.mktemp("room") / "L")
    with Library.open(folder) as library, library.transaction() as db:
        for place, row in enumerate([*range(FILES // 2), *range(30, 30 + FILES // 2)]):
            path = audio(
                folder / "music" / f"room {row}.wav",
                hertz=200 + 20 * place,
                seconds=4 if row == SHORT else LONG_SECONDS,
            )
            db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (os.fsencode(path), track(row)))
    return folder


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, f"{url}/#/room") as page:
        yield page


def begin_radio(page: Page, title: str) -> None:
    page.get_by_role("searchbox", name="A track, an artist").fill(title)
    page.get_by_role("button", name="Find").click()
    page.get_by_role("list", name="Seeds").get_by_role("button", name=title).first.click()
    expect(page.get_by_text("Goes on from")).to_be_visible()


def queued(page: Page) -> list[str]:
    return page.locator(".sortable li").evaluate_all("rows => rows.map(row => row.dataset.id)")


def test_radio_goes_on_and_moves_away_from_what_is_skipped(page: Page) -> None:
    begin_radio(page, "Title 8")
    expect(page.locator(".sortable li")).to_have_count(11)
    assert queued(page)[0] == track(8)
    with page.expect_request("**/v1/radio") as asked:
        page.get_by_role("region", name="Player").get_by_role("button", name="Next").click()
    expect(page.get_by_text("further from Title 8")).to_be_visible()
    assert asked.value.post_data_json["skipped"] == [track(8)]
    expect(page.get_by_text("2 of ")).to_be_visible()
    page.get_by_role("button", name="Stop the radio").click()
    expect(page.get_by_text("Goes on from")).to_have_count(0)
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()


def test_one_track_passes_into_the_next_and_counts(page: Page) -> None:
    page.evaluate("localStorage.setItem('crossfade-listener', 'somebody')")
    page.reload()
    begin_radio(page, f"Title {SHORT}")
    page.get_by_label("Crossfade", exact=True).fill("1")
    second = page.locator(".sortable li").nth(1).get_attribute("data-id")
    with page.expect_request("**/v1/events") as told:
        # At the end of the first, both are heard: the second has begun.
        expect(page.locator(".sortable li.playing")).to_have_attribute("data-id", second or "")
    (event,) = told.value.post_data_json["events"]
    assert (event["user_id"], event["track_id"]) == ("somebody", track(SHORT)) and event["played_ratio"] > 0.5


def test_the_queue_is_ordered_and_becomes_a_playlist(page: Page, owned: Path) -> None:
    begin_radio(page, "Title 8")
    page.get_by_role("region", name="Player").get_by_role("button", name="Pause").click()
    before = queued(page)
    with page.expect_response("**/v1/playback_order"):
        page.get_by_role("button", name="Crossfaded order").click()
    assert queued(page)[0] == before[0] and sorted(queued(page)) == sorted(before)
    page.get_by_role("button", name="Remove Title 8").click()
    expect(page.locator(".sortable li")).to_have_count(len(before) - 1)
    page.get_by_role("textbox", name="Name of the playlist").fill("From the radio")
    page.get_by_role("button", name="Save as playlist").click()
    expect(page.get_by_text("“From the radio” has 10 tracks now.")).to_be_visible()
    page.get_by_role("link", name="Playlists").click()
    page.get_by_role("link", name="From the radio").click()
    expect(page.locator(".sortable li")).to_have_count(10)


def test_media_keys_and_the_radio_of_the_player(page: Page) -> None:
    page.get_by_role("searchbox", name="Search title").fill("title 8")
    page.get_by_role("button", name="Play Title 8").click()
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
    assert page.evaluate("navigator.mediaSession.metadata.title") == "Title 8"
    page.get_by_role("button", name="Radio").click()
    page.get_by_role("button", name="Queue").click()
    expect(page.locator(".sortable li")).to_have_count(11)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, scheme: str) -> None:
    with opened(browser, f"{url}/#/room", color_scheme=scheme, reduced_motion="reduce") as page:
        begin_radio(page, "Title 8")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
