"""What goes wrong is explained and recovered from: a service that fails, is away, asks for a key, or has nothing."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from browsing import DROP, opened, served
from playwright.sync_api import Browser, Route, expect
from processes import free_port
from serving import audio, fill, track

from crossfade.pipelines.library.store import Library
from crossfade.service.middleware.api_keys import ApiKeyStore

TRACK = f"#/track/{track(0).replace('/', '%2F')}"


def test_a_failing_api_is_explained_and_the_rest_works(browser: Browser, url: str) -> None:
    def fails(route: Route) -> None:
        route.fulfill(status=500, json={"detail": "an error in Crossfade itself; the log has it"})

    with opened(browser, url + "/" + TRACK, trouble=True, routes={"**/v1/compared_tracks*": fails}) as page:
        expect(page.get_by_role("alert")).to_have_text("an error in Crossfade itself; the log has it")
        expect(page.locator(".bars li")).to_have_count(6)


def test_a_service_that_was_restarted_is_found_again(browser: Browser, owned: Path, tmp_path: Path) -> None:
    port = free_port()
    with served(owned, port=port) as url:
        context = opened(browser, url, trouble=True)
        page = context.__enter__()
        expect(page.locator(".tiles li")).to_have_count(12)
    try:
        page.get_by_role("searchbox").fill("track 07")
        expect(page.get_by_role("status").filter(has_text="does not answer")).to_be_visible()
        song = audio(tmp_path / "song.wav", hertz=300)
        page.evaluate(DROP, [song.name, "audio/wav", base64.b64encode(song.read_bytes()).decode()])
        again = page.get_by_role("button", name="Try again")
        expect(again).to_be_visible()
        with served(owned, port=port):
            expect(page.get_by_role("status").filter(has_text="does not answer")).to_have_count(0)
            again.click()
            expect(page.locator(".bars li")).to_have_count(6)
    finally:
        context.__exit__(None, None, None)


def test_a_key_is_asked_for_and_asked_again_when_it_is_revoked(browser: Browser, owned: Path) -> None:
    keys = ApiKeyStore(owned)
    key = keys.add("reader")
    with served(owned, require_key=True) as url, opened(browser, url, trouble=True) as page:
        expect(page.get_by_text("This service asks for a key.")).to_be_visible()
        page.get_by_label("This service asks for a key.").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator(".tiles img")).to_have_count(12)
        page.evaluate("screen => { location.hash = screen; }", TRACK)
        page.get_by_role("button", name="Play Title 0").click()
        expect(page.get_by_role("region", name="Player").get_by_role("button", name="Pause")).to_be_visible()
        keys.revoke("reader")
        page.get_by_role("searchbox").fill("track 07")
        expect(page.get_by_text("This key does not open the service any more.")).to_be_visible()


def test_an_untrained_library_has_neighbours_by_sound(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / "L")
    with served(tmp_path / "L") as url, opened(browser, url + "/" + TRACK) as page:
        expect(page.locator("main .track")).to_have_count(10)
        expect(page.get_by_role("slider", name="Blend")).to_be_disabled()
        expect(page.get_by_text("By sound alone")).to_be_visible()
        expect(page.locator(".why").first).to_have_attribute("aria-label", re.compile(r"^Alike by sound \d\d %$"))


def test_an_empty_library_says_what_to_do_and_hears_all_the_same(browser: Browser, tmp_path: Path) -> None:
    Library.open(tmp_path / "L", create=True).close()
    with served(tmp_path / "L") as url, opened(browser, url, trouble=True) as page:
        expect(page.get_by_role("heading", name="The library is empty")).to_be_visible()
        page.set_input_files("input[type=file]", audio(tmp_path / "song.wav"))
        expect(page.locator(".bars li")).to_have_count(6)
        expect(page.get_by_text("nothing to compare it with yet")).to_be_visible()
        page.get_by_role("button", name="Add to library").click()
        expect(page.get_by_text("is a track of the library now")).to_be_visible()
