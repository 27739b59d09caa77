"""What goes wrong is explained and recovered from: a service that fails, is away, asks for a key, or has little; a
window with little room; files that are gone or are no music."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from browsing import DROP, opened, served
from playwright.sync_api import Browser, Page, Route, expect
from processes import free_port
from serving import audio, copied, fill, track

from crossfade.pipelines.library.playlists import Playlist
from crossfade.pipelines.library.store import Library
from crossfade.service.middleware.api_keys import ApiKeyStore

from .conftest import ARABIC_TITLE, GONE, LONG_SECONDS

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ZOOMED = {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2}
"""a window of 1280 x 900 at 200 %"""
BROKEN = "an error in Crossfade itself; the log has it"


def address(row: int) -> str:
    return f"track/{track(row).replace('/', '%2F')}"


SCREENS = ("", address(0), address(5), "search/title", "map", "you", "room", "playlists", "playlists/1", "library")


def go(page: Page, screen: str) -> None:
    """To a screen, until it has what it fetches."""
    page.evaluate("screen => { location.hash = screen; }", f"#/{screen}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)


def seek(page: Page, seconds: float) -> None:
    # Before the browser knows the audio's length, the slider ends at the one that the library has.
    page.wait_for_function("seconds => document.querySelector('.seek input').max > seconds", arg=seconds)
    page.get_by_role("region", name="Player").get_by_role("slider", name="Position").fill(f"{seconds}")


def plays(page: Page) -> None:
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()


@pytest.fixture(scope="module")
def owned(played: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a playlist of difficult titles, one of them without its file."""
    folder = copied(played, tmp_path_factory.mktemp("trouble") / "L")
    with Library.open(folder) as library:
        library.replace_playlists([Playlist(1, "unbroken" * 20, tuple(track(row) for row in (0, 1, GONE, 5, 2)))])
    return folder


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "zoomed"])
def test_nothing_is_cut_off_where_there_is_little_room(browser: Browser, url: str, size: dict[str, object]) -> None:
    with opened(browser, url, trouble=True, **size) as page:
        page.evaluate("localStorage.setItem('crossfade-listener', 'u1')")
        page.reload()
        for screen in SCREENS:
            go(page, screen)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), screen
        links = page.get_by_role("navigation", name="Screens").get_by_role("link")
        assert len(set(links.evaluate_all("all => all.map(one => one.offsetTop)"))) == 1, "the navigation is one row"
        go(page, "playlists/1")
        page.get_by_role("button", name="Play", exact=True).click()
        plays(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        go(page, "room")
        arabic = page.locator(".sortable").get_by_role("link", name=ARABIC_TITLE)
        assert arabic.evaluate("link => getComputedStyle(link).direction") == "rtl"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_by_keys_alone_and_calm(browser: Browser, url: str) -> None:
    with opened(browser, f"{url}/#/playlists/1", reduced_motion="reduce") as page:
        rename = page.get_by_role("button", name="Rename")
        expect(rename).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_be_focused()
        page.keyboard.press("Tab")
        expect(rename).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        plays(page)
        assert page.evaluate("document.getAnimations().length") == 0
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        expect(page.get_by_text("is number 2 of 5 now.")).to_be_attached()
        page.keyboard.press("ArrowUp")
        expect(page.get_by_text("is number 1 of 5 now.")).to_be_attached()


def test_the_music_goes_on_past_a_track_whose_file_is_gone(browser: Browser, url: str, owned: Path) -> None:
    with Library.open(owned) as library:
        number = library.add_to_playlist("gap", [track(0), track(GONE), track(2)]).playlist_id
    with opened(browser, f"{url}/#/playlists/{number}", trouble=True) as page:
        page.get_by_role("button", name="Play Title 0").click()
        plays(page)
        seek(page, LONG_SECONDS - 1)
        go(page, "room")
        expect(page.locator("li.playing")).to_have_attribute("data-id", track(2))
        expect(page.get_by_text("its audio is not here")).to_be_visible()


def test_a_failing_api_is_explained_in_its_place_and_the_rest_works(browser: Browser, url: str) -> None:
    def fails(route: Route) -> None:
        route.fulfill(status=500, json={"detail": BROKEN})

    failing = ("**/v1/compared_tracks*", "**/v1/map", "**/v1/jobs", "**/v1/versions", "**/v1/radio")
    with opened(browser, url, trouble=True, routes=dict.fromkeys(failing, fails)) as page:
        alert = page.get_by_role("alert")
        go(page, address(0))
        expect(alert).to_have_text(BROKEN)
        expect(page.locator(".bars li")).to_have_count(6)
        go(page, "map")
        expect(alert).to_have_text(BROKEN)
        page.unroute("**/v1/map")
        page.route("**/v1/map/tracks*", fails)
        page.reload()
        page.get_by_role("searchbox", name="Find on the map").fill("title")
        expect(alert).to_have_text(BROKEN)
        go(page, "library")
        expect(alert).to_have_count(2)
        expect(page.get_by_text("400 listens")).to_be_visible()
        go(page, "room")
        page.get_by_role("searchbox", name="A track, an artist").fill("Title 0")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("list", name="Seeds").get_by_role("button", name="Title 0").first.click()
        expect(page.get_by_text(BROKEN)).to_be_visible()


def test_a_service_that_was_restarted_is_found_again(browser: Browser, owned: Path, tmp_path: Path) -> None:
    """What was being shown comes back by itself; a change and a song that were lost are said to be."""
    port = free_port()
    with served(owned, port=port) as url:
        context = opened(browser, f"{url}/#/playlists/1", trouble=True)
        page = context.__enter__()
        expect(page.locator(".sortable li")).to_have_count(5)
    try:
        page.get_by_role("button", name="Remove Title 0").click()
        expect(page.locator(".banner")).to_be_visible()
        expect(page.locator(".sortable li")).to_have_count(5)
        song = audio(tmp_path / "song.wav", hertz=300)
        page.evaluate(DROP, [song.name, "audio/wav", base64.b64encode(song.read_bytes()).decode()])
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        # A screen whose module was never fetched.
        page.get_by_role("link", name="Library").click()
        with served(owned, port=port):
            expect(page.locator(".banner")).to_have_count(0)
            expect(page.get_by_text("tracks, all of them heard")).to_be_visible()
            go(page, "song")
            page.get_by_role("button", name="Try again").click()
            expect(page.locator(".bars li")).to_have_count(6)
    finally:
        context.__exit__(None, None, None)


def test_a_key_is_asked_for_and_asked_again_when_it_is_revoked(browser: Browser, owned: Path) -> None:
    keys = ApiKeyStore(owned)
    key = keys.add("reader")
    with served(owned, require_key=True) as url, opened(browser, url, trouble=True) as page:
        page.get_by_label("This service asks for a key.").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".tiles img")).to_have_count(12)
        go(page, "playlists/1")
        page.get_by_role("button", name="Play Title 0").click()
        plays(page)
        keys.revoke("reader")
        page.get_by_role("button", name="Remove Title 0").click()
        page.get_by_label("This key does not open the service any more.").fill(keys.add("another"))
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".sortable li")).to_have_count(5)


def test_an_untrained_library_goes_by_sound(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / "L")
    with served(tmp_path / "L") as url, opened(browser, f"{url}/#/{address(0)}", trouble=True) as page:
        expect(page.locator("main .track")).to_have_count(10)
        expect(page.get_by_role("slider", name="Blend")).to_be_disabled()
        expect(page.get_by_text("By sound alone")).to_be_visible()
        expect(page.locator(".why").first).to_have_attribute("aria-label", re.compile(r"^Alike by sound \d\d %$"))
        go(page, "map")
        expect(page.locator("#colouring option")).to_have_text(["Genre", "Artist"])
        expect(page.get_by_role("group", name="Near is alike by")).to_have_count(0)
        go(page, "you")
        page.get_by_role("textbox", name="Listener").fill("new")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("button", name="new likes Title 0").click()
        expect(page.get_by_role("list", name="Recommended for new")).to_be_visible()
        expect(page.get_by_text("because you play Title 0").first).to_be_visible()
        go(page, "room")
        page.get_by_role("searchbox", name="A track, an artist").fill("title 3")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("list", name="Seeds").get_by_role("button", name="Title 3").first.click()
        expect(page.locator(".sortable li")).to_have_count(1)
        go(page, "library")
        expect(page.get_by_text("None yet. Import a listening history")).to_be_visible()


def test_an_empty_library_says_on_every_screen_what_to_do(browser: Browser, tmp_path: Path) -> None:
    Library.open(tmp_path / "L", create=True).close()
    with served(tmp_path / "L") as url, opened(browser, url, trouble=True) as page:
        expect(page.get_by_role("heading", name="The library is empty")).to_be_visible()
        for screen, said in (
            ("map", "The map is empty"),
            ("playlists", "None yet."),
            ("library", "It is empty: name a folder of music"),
            ("room", "Nothing plays."),
        ):
            go(page, screen)
            expect(page.get_by_text(said)).to_be_visible()
        page.get_by_role("searchbox", name="A track, an artist").fill("title 3")
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_text("Nothing has all of these words.")).to_be_visible()
        go(page, "")
        page.set_input_files("input[type=file]", audio(tmp_path / "song.wav"))
        expect(page.locator(".bars li")).to_have_count(6)
        expect(page.get_by_text("nothing to compare it with yet")).to_be_visible()
        page.get_by_role("button", name="Add to library").click()
        expect(page.get_by_text("is a track of the library now")).to_be_visible()


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
