"""What is made with the map: playlists by a lasso, paths, other layouts and colours, and where a dropped song lands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import opened
from playwright.sync_api import Browser, Locator, Page, expect
from serving import audio, track

from .test_map import COLOURS, drawn, ring, show


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url + "/#/map", reduced_motion="reduce") as page:
        drawn(page)
        yield page


def lasso(page: Page, *, whole: bool = False) -> Locator:
    """Draws around the upper left quarter, or all, with the mouse; gives the card of what is within."""
    page.get_by_role("button", name="Draw a playlist").click()
    box = page.locator(".points").bounding_box()
    assert box is not None
    across, down = (box["width"] - 9, box["height"] - 9) if whole else (box["width"] / 2, box["height"] / 2)
    page.mouse.move(box["x"] + 9, box["y"] + 9)
    page.mouse.down()
    for x, y in ((across, 9), (across, down), (9, down), (9, 20)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    expect(page.locator("polygon.lasso")).to_have_count(1)
    page.mouse.up()
    expect(page.locator("polygon.lasso")).to_have_count(0)
    return page.get_by_role("region", name="What you drew around")


def end_path_at(page: Page, row: int) -> Locator:
    """Chooses where a path ends by its name; gives the path's card."""
    page.get_by_role("button", name="A path from here").click()
    card = page.get_by_role("region", name="The path")
    expect(card.get_by_text("Where should it end?")).to_be_visible()
    page.get_by_role("searchbox", name="Find on the map").fill(f"track {row}")
    page.locator(f".found [data-id='{track(row)}']").get_by_role("link", name=re.compile("on the map$")).click()
    return card


def test_a_lasso_makes_a_playlist(page: Page) -> None:
    card = lasso(page, whole=True)
    expect(card.get_by_role("status")).to_have_text(re.compile("^6[0-9] tracks$"))
    count = int(card.get_by_role("status").inner_text().split()[0])
    expect(card.get_by_text(f"and {count - 30} more")).to_be_visible()
    card.get_by_role("textbox", name="Name of the playlist").fill("All <b>of it</b>")
    card.get_by_role("button", name="Save as a playlist").click()
    expect(page.get_by_text(f"“All <b>of it</b>” has {count} tracks now.")).to_be_visible()
    card.get_by_role("button", name="Play them").click()
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
    card.get_by_role("button", name="Let go of them").click()
    expect(card).to_have_count(0)


def test_a_lasso_takes_what_is_within_and_shown(page: Page) -> None:
    part = int(lasso(page).get_by_role("status").inner_text().split()[0])
    assert 0 < part < 60
    page.get_by_role("combobox", name="Colour by").select_option(label="Listeners")
    legend = page.get_by_role("list", name="Colours").get_by_role("button").first
    only = int(legend.locator(".sub").inner_text())
    legend.click()
    expect(lasso(page, whole=True).get_by_role("status")).to_contain_text(f"{only} track")


def test_what_is_in_sight_is_taken_by_a_key(page: Page) -> None:
    picture = page.get_by_role("application", name=re.compile("^Map of"))
    picture.focus()
    page.keyboard.press("l")
    expect(page.get_by_role("region", name="What you drew around").get_by_role("status")).to_contain_text("tracks")


def test_a_path_is_drawn_and_played(page: Page) -> None:
    show(page, "track 01")
    card = end_path_at(page, 50)
    rows = card.get_by_role("list", name="The path").get_by_role("listitem")
    expect(rows.first).to_have_attribute("data-id", track(1))
    expect(rows.last).to_have_attribute("data-id", track(50))
    expect(page.locator("circle.stop")).to_have_count(rows.count())
    expect(rows.nth(1)).to_contain_text("% like the one before")
    card.get_by_role("combobox", name="Length").select_option(label="5 tracks")
    expect(rows).to_have_count(5)
    expect(page.locator("polyline.route")).to_have_count(1)
    card.get_by_role("button", name="Play them").click()
    expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
    card.get_by_role("button", name="Close the path").click()
    expect(page.locator("polyline.route")).to_have_count(0)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_the_points_cross_over_from_sound_to_taste(browser: Browser, url: str, motion: str) -> None:
    with opened(browser, url + "/#/map", reduced_motion=motion) as page:
        drawn(page)
        show(page, "track 07")
        before = ring(page, "selected")
        page.get_by_role("button", name="Taste", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your music, near what the same people play")
        page.wait_for_function(
            "([x, y]) => { const box = document.querySelector('circle.selected').getBoundingClientRect();"
            " return Math.hypot(box.x + box.width / 2 - x, box.y + box.height / 2 - y) > 3; }",
            arg=before,
        )
        # When they have arrived, the regions have their names again, and the track is still chosen.
        expect(page.locator("svg.names")).to_have_count(1)
        expect(page.locator("circle.selected")).to_have_count(1)


def test_all_colours_and_regions(page: Page) -> None:
    expect(page.locator(".names text").first).to_be_visible()
    pictures = set()
    select = page.get_by_role("combobox", name="Colour by")
    for name in ("Genre", "Artist", "Who listens to it", "Listeners"):
        select.select_option(label=name)
        expect(page.get_by_role("list", name="Colours").get_by_role("button").first).to_be_visible()
        pictures.add(page.locator(".points canvas").evaluate(COLOURS))
    assert len(pictures) > 2
    picture = "document.querySelector('.points canvas').toDataURL()"
    before = page.evaluate(picture)
    page.get_by_role("list", name="Regions").get_by_role("button").first.click()
    page.wait_for_function(f"before => {picture} !== before", arg=before)


def test_a_dropped_song_lands(page: Page, tmp_path: Path) -> None:
    page.get_by_role("link", name="Drop a song").click()
    page.set_input_files("input[type=file]", audio(tmp_path / "new <b>one.wav", hertz=300))
    landing = page.get_by_role("link", name="Show it on the map")
    expect(landing.locator(".song-mark")).to_contain_text("new <b>one")
    landing.click()
    drawn(page)
    expect(page.locator(".points .song-mark")).to_contain_text("new <b>one")
    page.get_by_role("button", name="new <b>one").click()
    expect(page.locator(".points .song-mark")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, scheme: str) -> None:
    with opened(browser, url + "/#/map", color_scheme=scheme, reduced_motion="reduce") as page:
        drawn(page)
        lasso(page, whole=True)
        show(page, "track 01")
        end_path_at(page, 50)
        expect(page.locator("polyline.route")).to_have_count(1)
        expect(page.locator(".loading")).to_have_count(0)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
