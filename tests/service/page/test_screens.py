"""Search, a track, For you and the player: by clicks, by keys alone, small, zoomed, and with difficult titles."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import opened
from playwright.sync_api import Browser, Page, expect
from serving import audio, track

from .conftest import ARABIC_TITLE, GONE, HTML_TITLE, LONG_SECONDS

SCREENS = ("#/", f"#/track/{track(0).replace('/', '%2F')}", "#/search/title", "#/you")


def go(page: Page, screen: str) -> None:
    """To a screen, until it has what it fetches."""
    page.evaluate("screen => { location.hash = screen; }", screen)
    expect(page.locator("main .art img").first if screen != "#/you" else page.locator("#listener")).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)


def search(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)


def listed(page: Page) -> list[str]:
    return page.locator("main .track").evaluate_all("rows => rows.map(row => row.dataset.id)")


def test_a_search_leads_to_a_track_and_its_neighbours(page: Page) -> None:
    search(page, "track 07")
    expect(page.get_by_role("status").filter(has_text="1 track")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("link", name="Title 7").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Title 7")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.locator("main .track")).to_have_count(10)
    expect(page.get_by_text("same artist").first).to_be_visible()
    search(page, "no such thing")
    expect(page.get_by_text("Nothing has all of these words")).to_be_visible()


def test_the_page_orders_as_the_service_does(page: Page) -> None:
    go(page, SCREENS[1])
    for blend in ("0", "0.5", "0.2"):
        page.get_by_role("slider", name="Blend").fill(blend)
        query = {"track_id": track(0), "k": "10", "blend": blend}
        expected = page.request.get(f"{page.url.partition('#')[0]}v1/similar_tracks", params=query).json()["tracks"]
        order = "[...document.querySelectorAll('main .track')].map(row => row.dataset.id).join()"
        page.wait_for_function(f"ids => {order} === ids.join()", arg=[one["track_id"] for one in expected])


def test_a_pasted_name_is_searched(page: Page) -> None:
    page.evaluate(
        """text => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData }));
        }""",
        " track 07\n",
    )
    expect(page.locator("main .track")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("track 07")


def test_the_player_plays_a_list_and_goes_on(page: Page) -> None:
    search(page, "album")
    page.get_by_role("button", name="Play Title 0").click()
    player = page.get_by_role("region", name="Player")
    expect(player.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Pause Title 0")).to_be_visible()
    player.get_by_role("button", name="Next").click()
    expect(player.get_by_role("link")).to_have_text(HTML_TITLE)
    position = player.get_by_role("slider", name="Position")
    expect(position).to_have_attribute("aria-valuetext", re.compile("of 0:30"))
    position.fill(f"{LONG_SECONDS - 1}")
    # The end of a track is the beginning of the next.
    expect(player.get_by_role("link")).to_have_text(ARABIC_TITLE)
    player.get_by_role("button", name="Pause").click()
    expect(player.get_by_role("button", name="Play")).to_be_visible()


def test_titles_are_text_in_any_script(page: Page) -> None:
    search(page, "artist 0")
    expect(page.get_by_role("link", name=HTML_TITLE)).to_be_visible()
    arabic = page.get_by_role("link", name=ARABIC_TITLE)
    assert arabic.evaluate("link => getComputedStyle(link).direction") == "rtl"
    page.get_by_role("link", name=HTML_TITLE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HTML_TITLE)
    expect(page).to_have_title(f"{HTML_TITLE} · Crossfade")
    expect(page.locator("main b")).to_have_count(0)


def test_a_like_counts_at_once(page: Page) -> None:
    page.get_by_role("link", name="For you").click()
    page.get_by_role("textbox", name="Listener").fill("somebody new")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("these are popular")).to_be_visible()
    before = listed(page)
    like = page.get_by_role("button", name=re.compile("^somebody new likes")).first
    like.click()
    expect(page.get_by_text("these are popular")).to_have_count(0)
    expect(page.get_by_text("because you play").first).to_be_visible()
    assert listed(page) != before
    page.reload()
    expect(page.get_by_text("You are somebody new here")).to_be_visible()


def test_by_keys_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose a file")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("track 00")
    expect(page.locator("main .track")).to_have_count(1)
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Play Title 0":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pause Title 0")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press(" ")
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Play")).to_be_visible()


def test_nothing_moves_for_who_wants_it_calm(browser: Browser, url: str) -> None:
    with opened(browser, url, reduced_motion="reduce") as page:
        go(page, SCREENS[1])
        page.get_by_role("slider", name="Blend").fill("1")
        assert page.evaluate("document.getAnimations().length") == 0


def test_colours_are_the_system_s_until_chosen(browser: Browser, url: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, url, color_scheme="dark") as page:
        dark = page.evaluate(paper)
        page.get_by_role("button", name="Light colours").click()
        light = page.evaluate(paper)
        assert dark != light
        page.reload()
        expect(page.get_by_role("button", name="Dark colours")).to_be_visible()
        assert page.evaluate(paper) == light


@pytest.fixture(params=["light", "dark"])
def themed(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    with opened(browser, url, color_scheme=request.param, reduced_motion="reduce") as page:
        yield page


@pytest.mark.slow
def test_axe_finds_nothing(themed: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Contrast, names, roles, landmarks: by axe-core, on every screen."""
    song = audio(tmp_path_factory.mktemp("song") / "song.wav", hertz=350)
    for screen in SCREENS:
        go(themed, screen)
        if screen == SCREENS[1]:
            themed.locator("main .art-button").first.click()
            expect(themed.get_by_role("region", name="Player")).to_be_visible()
        found = Axe().run(themed)
        assert found.violations_count == 0, f"{screen}: {found.generate_report()}"
    go(themed, "#/")
    themed.set_input_files("input[type=file]", song)
    expect(themed.locator(".answer .track")).to_have_count(10)
    found = Axe().run(themed)
    assert found.violations_count == 0, found.generate_report()


def test_a_track_whose_file_is_gone_says_so(browser: Browser, url: str) -> None:
    with opened(browser, url, trouble=True) as page:
        search(page, f"title {GONE}")
        page.get_by_role("button", name=f"Play Title {GONE}", exact=True).click()
        expect(page.get_by_role("region", name="Player")).to_contain_text("its audio is not here")
