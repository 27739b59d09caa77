"""For you: somebody is picked or made, and the list answers to what they like, dislike and play."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import opened
from playwright.sync_api import Browser, Page, expect
from serving import track

from .conftest import SHORT

DAY = 86_400


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url + "/#/you", reduced_motion="reduce") as page:
        yield page


def be(page: Page, name: str) -> None:
    page.get_by_role("textbox", name="Listener").fill(name)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("main .loading")).to_have_count(0)


def listed(page: Page) -> list[str]:
    return page.locator("main ol.tracks .track").evaluate_all("rows => rows.map(row => row.dataset.id)")


def happened(page: Page, *events: dict[str, object]) -> None:
    answer = page.request.post(page.url.partition("#")[0] + "v1/events", data={"events": list(events)})
    assert answer.ok, answer.text()


def test_somebody_of_the_log_is_picked(page: Page) -> None:
    page.get_by_role("list", name="Listeners of the log").get_by_role("button", name="u1", exact=False).first.click()
    expect(page.get_by_text(re.compile("^You are u[0-9]+ here"))).to_be_visible()
    expect(page.get_by_text("because you play").first).to_be_visible()
    expect(page.locator(".crossed[role=img]").first).to_have_attribute(
        "aria-label", re.compile("% by taste, .* by sound")
    )
    picture = page.get_by_role("region", name="Your picture")
    expect(picture.get_by_role("list", name="Your genres").get_by_role("listitem").first).to_be_visible()
    page.get_by_role("button", name="Somebody else?").click()
    expect(page.get_by_text("Who is listening?")).to_be_visible()


def test_the_list_answers_to_likes_and_dislikes(page: Page) -> None:
    be(page, "likes <b>much")
    expect(page.get_by_text("Press ♥ on a few")).to_be_visible()
    before = listed(page)
    page.get_by_role("button", name=re.compile("^likes <b>much likes")).first.click()
    expect(page.get_by_text("Your list has changed")).to_be_visible()
    expect(page.get_by_text("because you play").first).to_be_visible()
    assert listed(page) != before
    gone = listed(page)[0]
    page.get_by_role("button", name=re.compile("^Not for me")).first.click()
    expect(page.locator(f"main ol.tracks [data-id='{gone}']")).to_have_count(0)


def test_what_is_played_to_its_end_changes_the_list(page: Page) -> None:
    be(page, "plays")
    page.get_by_role("searchbox").fill(f"track {SHORT:02}")
    page.locator(f"main [data-id='{track(SHORT)}'] .art-button").click()
    page.get_by_role("link", name="For you").click()
    expect(page.get_by_text("because you play").first).to_be_visible()


def test_mixes_by_what_is_new_by_mood_and_by_length(page: Page) -> None:
    be(page, "u0")
    whole = listed(page)
    expect(page.get_by_role("textbox", name="Name of the playlist")).to_have_value("for u0")
    page.get_by_role("button", name="calm").click()
    expect(page.get_by_role("textbox", name="Name of the playlist")).to_have_value("calm for u0")
    assert listed(page) == whole
    page.get_by_role("combobox", name="How long").select_option(label="half an hour")
    # Six seconds each: all that there are.
    page.wait_for_function("few => document.querySelectorAll('main ol.tracks .track').length > few", arg=len(whole))
    page.get_by_role("button", name="New to you").click()
    expect(page.get_by_role("button", name="New to you")).to_have_attribute("aria-pressed", "true")
    assert len(listed(page)) < 60
    page.get_by_role("button", name="Save as a playlist").click()
    expect(page.get_by_text("“calm new half an hour for u0” has")).to_be_visible()


def test_what_was_loved_comes_back(page: Page) -> None:
    happened(page, *({"user_id": "loves", "track_id": track(3), "time": DAY * day} for day in range(4)))
    happened(page, {"user_id": "loves", "track_id": track(9), "time": 200 * DAY})
    be(page, "loves")
    expect(page.get_by_role("list", name="You used to love")).to_contain_text("Title 3")
    months = page.get_by_role("img", name=re.compile("^Listens a month: 1970-01 4, 1970-02 0"))
    expect(months).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, url: str, scheme: str) -> None:
    with opened(browser, url + "/#/you", color_scheme=scheme, reduced_motion="reduce") as page:
        for who in ("", "u0"):
            if who:
                be(page, who)
                expect(page.get_by_role("region", name="Your picture")).to_be_visible()
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
