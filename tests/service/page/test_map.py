"""The map: seen, hovered, clicked, filtered, searched and walked by keys; and without tracks, listeners or WebGL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import opened
from playwright.sync_api import Browser, Locator, Page, expect
from serving import camp, track

from crossfade.pipelines.library.store import Library

from .conftest import ARABIC_TITLE

COLOURS = """canvas => {
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return new Set(pixels).size;
}"""
INK = """canvas => {
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return pixels.filter(one => one !== pixels[0]).length;
}"""
BLIND = """() => {
    const known = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
        return kind === "2d" ? known.call(this, kind, ...more) : null;
    };
}"""
"""a browser without WebGL"""


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url + "/#/map", reduced_motion="reduce") as page:
        drawn(page)
        yield page


def drawn(page: Page) -> Locator:
    """The canvas, when there are points on it."""
    canvas = page.locator(".points canvas")
    canvas.wait_for()
    page.wait_for_function(f"() => ({COLOURS})(document.querySelector('.points canvas')) > 1")
    return canvas


def ring(page: Page, kind: str) -> tuple[float, float]:
    """The middle of a mark on the map, in pixels of the window."""
    box = page.locator(f"circle.{kind}").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def show(page: Page, words: str) -> None:
    """Finds a track and chooses it."""
    page.get_by_role("searchbox", name="Find on the map").fill(words)
    page.locator(".found .track").nth(0).get_by_role("link", name=re.compile("on the map$")).click()
    expect(page.locator("circle.selected")).to_have_count(1)
    expect(page.locator(".marks line")).to_have_count(10)


def test_a_point_says_what_it_is_and_a_click_plays_it(page: Page) -> None:
    show(page, "track 02")
    x, y = ring(page, "selected")
    page.get_by_role("link", name="Let go of it").click()
    expect(page.locator(".marks line")).to_have_count(0)
    page.mouse.move(x, y)
    expect(page.locator(".tip")).to_contain_text(ARABIC_TITLE)
    expect(page.locator(".tip")).to_contain_text("Artist 0")
    page.mouse.click(x, y)
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("region", name="Player").locator("a.title")).to_have_text(ARABIC_TITLE)
    expect(page.get_by_role("region", name="The chosen track")).to_contain_text(ARABIC_TITLE)


def test_the_lines_lead_to_the_true_neighbours(page: Page) -> None:
    show(page, "track 07")
    for blend in ("0", "0.5"):
        page.get_by_role("slider", name="Blend").fill(blend)
        query = {"track_id": track(7), "k": "10", "blend": blend}
        expected = page.request.get(f"{page.url.partition('#')[0]}v1/similar_tracks", params=query).json()["tracks"]
        ids = [one["track_id"] for one in expected]
        rows = "[...document.querySelectorAll('[aria-label=\"The chosen track\"] .track')]"
        page.wait_for_function(f"ids => {rows}.map(row => row.dataset.id).join() === ids.join()", arg=ids)
        expect(page.locator(".marks line")).to_have_count(10)
        assert all(camp(one) == camp(track(7)) for one in ids)


def test_the_address_is_a_place_on_the_map(page: Page) -> None:
    show(page, "track 07")
    assert page.url.endswith(f"#/map/{track(7).replace('/', '%2F').replace(' ', '%20')}")
    page.reload()
    expect(page.locator(".marks line")).to_have_count(10)
    show(page, "track 41")
    page.go_back()
    expect(page.get_by_role("region", name="The chosen track").get_by_role("link", name="Title 7")).to_be_visible()


def test_the_legend_filters(page: Page, owned: Path) -> None:
    with Library.open(owned) as library:
        tracks = len(library.track_ids())
    page.get_by_role("combobox", name="Colour by").select_option(label="How far it has crossed over to taste")
    everything = page.locator(".points canvas").evaluate(COLOURS)
    legend = page.get_by_role("list", name="Colours")
    counts = [int(text) for text in legend.locator("button .sub").all_inner_texts()]
    assert sum(counts) == tracks and len(counts) > 1
    first = legend.get_by_role("button").first
    first.click()
    expect(first).to_have_attribute("aria-pressed", "true")
    assert page.locator(".points canvas").evaluate(COLOURS) != everything
    # What is not shown cannot be hit either.
    show(page, "track 00")
    legend.get_by_role("button", name="Show all").click()
    expect(first).to_have_attribute("aria-pressed", "false")


def test_a_search_is_marked_and_flown_to(page: Page) -> None:
    before = page.locator(".points canvas").evaluate(INK)
    page.get_by_role("searchbox", name="Find on the map").fill("artist 11")
    # The five of Artist 11, and track 11.
    expect(page.locator("circle.hit")).to_have_count(6)
    page.get_by_role("searchbox", name="Find on the map").fill("track 50")
    expect(page.locator("circle.hit")).to_have_count(1)
    page.wait_for_function(f"before => ({INK})(document.querySelector('.points canvas')) !== before", arg=before)
    page.get_by_role("searchbox", name="Find on the map").fill("no such thing")
    expect(page.get_by_text("Nothing has all of these words")).to_be_visible()
    expect(page.locator("circle.hit")).to_have_count(0)


def test_the_map_is_dragged_and_zoomed(page: Page) -> None:
    show(page, "track 07")
    box = page.locator(".points").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = ring(page, "selected")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y - 40, steps=4)
    page.mouse.up()
    after = ring(page, "selected")
    assert after == pytest.approx((before[0] - 60, before[1] - 40), abs=1)
    # A drag is no click.
    expect(page.get_by_role("region", name="The chosen track").get_by_role("link", name="Title 7")).to_be_visible()
    page.mouse.move(*after)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(50)
    assert ring(page, "selected") == pytest.approx(after, abs=1)


def test_by_keys_alone(page: Page) -> None:
    picture = page.get_by_role("application", name=re.compile("Map of 6[0-9] tracks"))
    picture.focus()
    ink = page.locator(".points canvas").evaluate(INK)
    for _ in range(4):
        page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"ink => ({INK})(document.querySelector('.points canvas')) !== ink", arg=ink)
    page.keyboard.press("Enter")
    expect(page.locator("circle.selected")).to_have_count(1)
    expect(picture).to_be_focused()
    page.keyboard.press("0")


def test_without_webgl_it_is_the_same(browser: Browser, url: str) -> None:
    with opened(browser, url, reduced_motion="reduce") as page:
        page.add_init_script(f"({BLIND})()")
        page.goto(url + "/#/map")
        page.reload()
        drawn(page)
        show(page, "track 07")


def test_a_finger_plays(browser: Browser, url: str) -> None:
    size = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(browser, url + "/#/map", reduced_motion="reduce", **size) as page:
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        show(page, "track 01")
        page.locator(".points").scroll_into_view_if_needed()
        page.evaluate("scrollTo(0, 0)")
        x, y = ring(page, "neighbour")
        before = page.url
        page.touchscreen.tap(x, y)
        page.wait_for_url(lambda url: url != before)
        expect(page.locator("circle.selected")).to_have_count(1)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, scheme: str) -> None:
    with opened(browser, url + "/#/map", color_scheme=scheme, reduced_motion="reduce") as page:
        drawn(page)
        show(page, "track 07")
        expect(page.locator(".loading")).to_have_count(0)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_a_track_that_is_not_on_the_map_is_said_to_be_none(browser: Browser, url: str) -> None:
    with opened(browser, url + "/#/map/nothing", trouble=True) as page:
        expect(page.get_by_text("This track is not on the map")).to_be_visible()
