"""The screens of listening and managing where there is little room, no mouse, no library, no key, or no service."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from browsing import DROP, opened, served
from playwright.sync_api import Browser, Page, expect
from processes import free_port
from serving import fill, track

from crossfade.pipelines.library.playlists import Playlist
from crossfade.pipelines.library.store import Library
from crossfade.service.middleware.api_keys import ApiKeyStore

from .conftest import ARABIC_TITLE, GONE
from .test_screens import PHONE, ZOOMED

NEW_SCREENS = ("library", "playlists", "playlists/1", "room")


def go(page: Page, screen: str) -> None:
    page.evaluate("screen => { location.hash = screen; }", f"#/{screen}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)


@pytest.fixture(scope="module")
def owned(played: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a playlist of difficult titles, one of them without its file."""
    folder = Path(shutil.copytree(played, tmp_path_factory.mktemp("robust") / "L"))
    with Library.open(folder) as library:
        library.replace_playlists([Playlist(1, "unbroken" * 20, tuple(track(row) for row in (0, 1, GONE, 5, 2)))])
    return folder


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "zoomed"])
def test_nothing_is_cut_off_where_there_is_little_room(browser: Browser, owned: Path, size: dict[str, object]) -> None:
    with served(owned) as url, opened(browser, url, trouble=True, **size) as page:
        for screen in NEW_SCREENS:
            go(page, screen)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), screen
        go(page, "playlists/1")
        page.get_by_role("button", name="Play", exact=True).click()
        expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        go(page, "room")
        arabic = page.locator(".sortable").get_by_role("link", name=ARABIC_TITLE)
        assert arabic.evaluate("link => getComputedStyle(link).direction") == "rtl"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_by_keys_alone_and_calm(browser: Browser, owned: Path) -> None:
    with served(owned) as url, opened(browser, f"{url}/#/playlists/1", reduced_motion="reduce") as page:
        rename = page.get_by_role("button", name="Rename")
        expect(rename).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        page.keyboard.press("Tab")
        expect(rename).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
        assert page.evaluate("document.getAnimations().length") == 0
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        with page.expect_response(lambda answer: answer.request.method == "PUT"):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        expect(page.get_by_text("is number 1 of 5 now.")).to_be_attached()


def test_the_music_goes_on_past_a_track_whose_file_is_gone(browser: Browser, owned: Path) -> None:
    with Library.open(owned) as library:
        number = library.add_to_playlist("gap", [track(0), track(GONE), track(2)]).playlist_id
    with served(owned) as url, opened(browser, f"{url}/#/playlists/{number}", trouble=True) as page:
        page.get_by_role("button", name="Play Title 0").click()
        go(page, "room")
        expect(page.locator("li.playing")).to_have_attribute("data-id", track(2))
        expect(page.get_by_text("its audio is not here")).to_be_visible()


def test_a_service_that_was_restarted_is_found_again(browser: Browser, owned: Path) -> None:
    """What was being shown comes back by itself; a change that was lost is said to be."""
    port = free_port()
    with served(owned, port=port) as url:
        context = opened(browser, f"{url}/#/playlists/1", trouble=True)
        page = context.__enter__()
        expect(page.locator(".sortable li")).to_have_count(5)
    try:
        page.get_by_role("button", name="Remove Title 0").click()
        expect(page.locator(".banner")).to_be_visible()
        expect(page.locator(".sortable li")).to_have_count(5)
        # A screen whose module was never fetched.
        page.get_by_role("link", name="Library").click()
        with served(owned, port=port):
            expect(page.locator(".banner")).to_have_count(0)
            expect(page.get_by_text("tracks, all of them heard")).to_be_visible()
    finally:
        context.__exit__(None, None, None)


def test_an_expired_key_is_asked_for_again(browser: Browser, owned: Path) -> None:
    keys = ApiKeyStore(owned)
    key = keys.add("reader")
    with served(owned, require_key=True) as url, opened(browser, f"{url}/#/playlists", trouble=True) as page:
        page.get_by_label("This service asks for a key.").fill(key)
        page.get_by_role("button", name="Use it").click()
        page.get_by_role("link", name="unbroken").click()
        expect(page.locator(".sortable li")).to_have_count(5)
        page.get_by_role("button", name="Play Title 0").click()
        expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
        keys.revoke("reader")
        page.get_by_role("button", name="Remove Title 0").click()
        expect(page.get_by_text("This key does not open the service any more.")).to_be_visible()
        page.get_by_label("This key does not").fill(keys.add("another"))
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".sortable li")).to_have_count(5)


@pytest.mark.parametrize("kind", ["empty", "untrained"])
def test_with_little_in_it_every_screen_says_what_to_do(browser: Browser, tmp_path: Path, kind: str) -> None:
    if kind == "untrained":
        fill(tmp_path / "L")
    else:
        Library.open(tmp_path / "L", create=True).close()
    with served(tmp_path / "L") as url, opened(browser, url) as page:
        go(page, "room")
        expect(page.get_by_text("Nothing plays.")).to_be_visible()
        page.get_by_role("searchbox", name="A track, an artist").fill("title 3")
        page.get_by_role("button", name="Find").click()
        if kind == "empty":
            expect(page.get_by_text("Nothing has all of these words.")).to_be_visible()
        else:
            page.get_by_role("list", name="Seeds").get_by_role("button", name="Title 3").first.click()
            expect(page.locator(".sortable li")).to_have_count(1)
        go(page, "playlists")
        expect(page.get_by_text("None yet.")).to_be_visible()
        go(page, "library")
        expect(page.get_by_text("None yet. Import a listening history")).to_be_visible()


def test_what_is_no_history_and_what_is_too_large_is_explained(browser: Browser, owned: Path) -> None:
    """A PDF on the library's screen, and an export beyond the limit of uploads."""
    with served(owned, upload_bytes=100_000) as url, opened(browser, f"{url}/#/library") as page:
        expect(page.get_by_text("tracks, all of them heard")).to_be_visible()
        content = base64.b64encode(b"x" * 200_000).decode()
        page.evaluate(DROP, ["paper.pdf", "application/pdf", content[:100]])
        expect(page.get_by_text("paper.pdf is a PDF")).to_be_visible()
        page.evaluate(DROP, ["plays.csv", "text/csv", content])
        page.get_by_role("button", name="Import", exact=True).click()
        expect(page.get_by_text("crossfade listens FILE --format csv reads it")).to_be_visible()
