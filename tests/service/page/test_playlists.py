"""Playlists by mouse and by keys: made, put into another order, renamed, taken away as files, deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import opened
from playwright.sync_api import APIResponse, Browser, Page, Response, Route, expect
from serving import track

from crossfade.pipelines.library.store import Library

from .conftest import ARABIC_TITLE, HTML_TITLE

NAME = "<i>Rain</i> & شتاء"


@pytest.fixture
def number(owned: Path) -> int:
    """Of a playlist of four tracks; one of them is not in the library any more."""
    with Library.open(owned) as library:
        library.replace_playlists([])
        return library.add_to_playlist(NAME, [track(0), track(1), "gone/track.mp3", track(2)]).playlist_id


@pytest.fixture
def page(browser: Browser, url: str, number: int) -> Iterator[Page]:
    with opened(browser, f"{url}/#/playlists/{number}") as page:
        expect(page.locator(".sortable li")).to_have_count(4)
        yield page


def order(owned: Path, number: int) -> tuple[str, ...]:
    with Library.open(owned) as library:
        found = library.playlist(number)
        assert found is not None
        return found.track_ids


def kept(page: Page) -> object:
    return page.expect_response(lambda answer: answer.request.method == "PUT" and answer.ok)


def test_by_mouse_and_by_keys_tracks_take_other_places(page: Page, owned: Path, number: int) -> None:
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    expect(page.get_by_text("not in the library any more")).to_be_visible()
    first, last = page.locator(".handle").first, page.locator(".sortable li").last
    with kept(page):  # type: ignore[attr-defined]
        first.hover()
        page.mouse.down()
        box = last.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
    assert order(owned, number) == (track(1), "gone/track.mp3", track(2), track(0))
    handle = page.get_by_role("button", name=re.compile("^Move Title 0,"))
    handle.focus()
    with kept(page):  # type: ignore[attr-defined]
        handle.press("ArrowUp")
    assert order(owned, number) == (track(1), "gone/track.mp3", track(0), track(2))
    expect(page.get_by_role("button", name=re.compile("^Move Title 0,"))).to_be_focused()
    expect(page.get_by_text("Title 0 is number 3 of 4 now.")).to_be_attached()
    with kept(page):  # type: ignore[attr-defined]
        page.get_by_role("button", name=f"Remove {ARABIC_TITLE}").click()
    assert order(owned, number) == (track(1), "gone/track.mp3", track(0))


def test_quick_changes_are_all_kept(page: Page, owned: Path, number: int) -> None:
    """Each is a change of what the one before left, however long that takes."""
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first_answer(route: Route) -> None:
        if route.request.method == "PUT" and not held:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    def is_last(answer: Response) -> bool:
        return answer.request.method == "PUT" and answer.request.post_data_json["track_ids"][2] == track(0)

    page.route("**/v1/playlists/*", hold_the_first_answer)
    page.get_by_role("button", name=re.compile("^Move Title 0,")).press("ArrowDown")
    handle = page.get_by_role("button", name="Move Title 0, number 2", exact=False)
    expect(handle).to_be_focused()
    with page.expect_response(is_last) as last:
        handle.press("ArrowDown")
        expect(page.get_by_text("Title 0 is number 3 of 4 now.")).to_be_attached()
        [(route, answer)] = held
        route.fulfill(response=answer)
    assert last.value.ok
    assert order(owned, number) == (track(1), "gone/track.mp3", track(0), track(2))
    expect(page.locator(".sortable li").nth(2)).to_have_attribute("data-id", track(0))


def test_it_is_renamed_ordered_and_deleted(page: Page, owned: Path, number: int) -> None:
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="Name of the playlist").fill("Sun")
    with kept(page):  # type: ignore[attr-defined]
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sun")).to_be_visible()
    with kept(page):  # type: ignore[attr-defined]
        page.get_by_role("button", name="Crossfaded order").click()
    found = order(owned, number)
    assert found[0] == track(0) and found[-1] == "gone/track.mp3" and len(found) == 4
    page.get_by_role("button", name="Delete Sun").click()
    page.get_by_role("button", name="Delete Sun for good").click()
    expect(page.get_by_text("None yet.")).to_be_visible()
    page.get_by_role("textbox", name="Name of a new playlist").fill("New")
    page.get_by_role("button", name="New playlist").click()
    expect(page.get_by_role("heading", name="New")).to_be_visible()


def test_it_is_played_and_saved_for_other_players(page: Page) -> None:
    page.get_by_role("button", name="Play", exact=True).click()
    player = page.get_by_role("region", name="Player")
    expect(player.get_by_role("button", name="Pause")).to_be_visible()
    player.get_by_role("button", name="Next").click()
    expect(player.get_by_role("link").first).to_have_text(HTML_TITLE)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as M3U8").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert [line for line in lines if line[0] != "#"] == ["0.wav", "1.wav", "2.wav"]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSPF").click()
    assert json.loads(Path(saved.value.path()).read_text())["playlist"]["title"] == NAME
    page.get_by_role("button", name="Send to the player").click()
    expect(page.get_by_text("is among the music now, without 1 track whose file is gone")).to_be_visible()


def test_a_change_made_elsewhere_is_not_overwritten(browser: Browser, url: str, owned: Path, number: int) -> None:
    with opened(browser, f"{url}/#/playlists/{number}", trouble=True) as page:
        expect(page.locator(".sortable li")).to_have_count(4)
        with Library.open(owned) as library:
            library.add_to_playlist(NAME, [track(5)])
        page.get_by_role("button", name="Remove Title 0").click()
        expect(page.get_by_text("was changed meanwhile")).to_be_visible()
        expect(page.locator(".sortable li")).to_have_count(5)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, number: int, scheme: str) -> None:
    with opened(browser, f"{url}/#/playlists/{number}", color_scheme=scheme, reduced_motion="reduce") as page:
        for screen in (f"#/playlists/{number}", "#/playlists"):
            page.evaluate("screen => { location.hash = screen; }", screen)
            expect(page.locator("main li").first).to_be_visible()
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


def test_a_track_of_any_list_is_put_on_a_playlist_and_queued(page: Page, owned: Path, number: int) -> None:
    page.get_by_role("searchbox", name="Search title").fill("title 3")
    more = page.get_by_role("button", name="More for Title 3", exact=True)
    more.click()
    sheet = page.get_by_role("dialog", name="Title 3")
    sheet.get_by_role("button", name=NAME).click()
    expect(page.get_by_text("has 5 tracks now.")).to_be_visible()
    assert order(owned, number)[-1] == track(3)
    expect(more).to_be_focused()
    more.press("Enter")
    sheet.get_by_role("button", name="Queue it").click()
    expect(page.get_by_role("region", name="Player").get_by_role("link").first).to_have_text("Title 3")
    more.press("Enter")
    expect(sheet).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)
