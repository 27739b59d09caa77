"""The library's screen: what is there, jobs, a dropped history, versions, keys, listeners, and who may do what."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import DROP, opened, served
from playwright.sync_api import Browser, Page, expect
from serving import copied, track

from crossfade.pipelines.library import jobs as module
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.library.tracks import StoredFile
from crossfade.service.middleware.api_keys import ApiKeyStore

from .conftest import GONE

SCREEN = "/#/library"


@pytest.fixture
def fresh(played: Path, tmp_path: Path) -> Path:
    """A copy that the story may change, with a file that could not be heard."""
    folder = copied(played, tmp_path / "L")
    with Library.open(folder) as library:
        library.add_failure(StoredFile(str(folder / "music" / "<b>.mp3").encode(), 1, 1), "not audio")
    return folder


@pytest.fixture
def page(browser: Browser, fresh: Path) -> Iterator[Page]:
    with served(fresh) as url, opened(browser, url + SCREEN) as page:
        yield page


def test_it_shows_what_is_there_and_what_failed(page: Page) -> None:
    expect(page.get_by_text("tracks, all of them heard")).to_be_visible()
    expect(page.get_by_role("list", name="Tracks by tempo").get_by_role("listitem")).to_have_count(1)
    expect(page.get_by_text("400 listens of 40 listeners")).to_be_visible()
    failed = page.get_by_role("list", name="Files that could not be heard")
    expect(failed).to_have_text("<b>.mp3 not audio")
    expect(page.get_by_role("region", name="Trained versions").get_by_text("answers now")).to_be_visible()


def test_a_folder_that_is_not_there_is_explained(browser: Browser, url: str, tmp_path: Path) -> None:
    with opened(browser, url + SCREEN, trouble=True) as page:
        page.get_by_role("textbox", name="Folder of music").fill(str(tmp_path / "none"))
        page.get_by_role("button", name="Hear it").click()
        expect(page.get_by_text("no such folder; name it as its full path")).to_be_visible()


def test_a_job_is_watched_cancelled_and_found_after_a_restart(
    browser: Browser, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo 'hearing: 3 of 12, 1.0 a second, 9 s left' >&2; echo 'one: odd' >&2; exec sleep 60"
    monkeypatch.setattr(module, "COMMAND", ("sh", "-c", script))
    with served(fresh) as url, opened(browser, url + SCREEN) as page:
        page.get_by_role("button", name="Train").click()
        running = page.get_by_role("region", name="Running job")
        expect(running.get_by_text("3 of 12, 1.0 a second, 9 s left")).to_be_visible()
        expect(running.get_by_label("Log")).to_have_text("one: odd")
        expect(page.get_by_role("button", name="Find duplicates")).to_be_disabled()
    with served(fresh) as url, opened(browser, url + SCREEN) as page:
        page.get_by_role("region", name="Running job").get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("cancelled")).to_be_visible()
        expect(page.get_by_role("button", name="Find duplicates")).to_be_enabled()


def test_files_that_are_gone_are_found_and_forgotten(page: Page) -> None:
    page.get_by_role("button", name="Find missing files").click()
    expect(page.get_by_role("list", name="Missing files")).to_contain_text(track(GONE))
    page.get_by_role("button", name="Forget 1 track").click()
    page.get_by_role("button", name="Forget 1 track for good").click()
    expect(page.get_by_text("Forget missing files")).to_be_visible()
    expect(page.get_by_role("region", name="Running job")).to_have_count(0)
    page.get_by_role("button", name="Find missing files").click()
    expect(page.get_by_text("No file is missing.")).to_be_visible()


def test_a_history_that_is_dropped_anywhere_is_imported(page: Page, fresh: Path) -> None:
    log = "user_id,track_id,time\n" + "".join(f"new,{track(row)},170000000{row}\n" for row in range(3))
    page.evaluate("() => { location.hash = '#/you'; }")
    expect(page.get_by_role("heading", name="For you")).to_be_visible()
    page.evaluate(DROP, ["My plays.csv", "text/csv", base64.b64encode(log.encode()).decode()])
    expect(page.get_by_text("My plays.csv")).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("403 listens of 41 listeners")).to_be_visible()
    expect(page.get_by_text("csv-my-plays")).to_be_visible()


def test_an_earlier_version_is_used_again(page: Page, fresh: Path) -> None:
    with Library.open(fresh) as library:
        first = library.current_version()
        later = library.new_version()
        shutil.copytree(first, later, dirs_exist_ok=True)
        library.publish_version(later)
    page.reload()
    page.get_by_role("button", name="Use this").click()
    expect(page.get_by_text("This version answers now.")).to_be_visible()
    expect(page.get_by_role("row").last.get_by_text("answers now")).to_be_visible()
    with Library.open(fresh) as library:
        assert library.current_version() == first


def test_a_key_is_made_shown_once_and_revoked(page: Page, fresh: Path) -> None:
    page.get_by_role("textbox", name="Name of a new key").fill("phone")
    page.get_by_role("button", name="Make a key").click()
    shown = page.get_by_text("shown this once").locator("code").inner_text()
    assert ApiKeyStore(fresh).name_of(shown) == "phone"
    page.get_by_role("button", name="Revoke phone").click()
    page.get_by_role("button", name="Revoke phone for good").click()
    expect(page.get_by_role("button", name="Revoke phone")).to_have_count(0)
    assert ApiKeyStore(fresh).hashes() == {}


def test_a_listener_s_data_is_saved_and_deleted(page: Page) -> None:
    page.get_by_role("textbox", name="Listener").fill("u2")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save their data").click()
    assert len(json.loads(Path(saved.value.path()).read_text())["listens"]) == 10
    page.get_by_role("button", name="Delete u2").click()
    page.get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="Delete u2").click()
    page.get_by_role("button", name="Delete u2 for good").click()
    expect(page.get_by_text("u2 is deleted: 10 listens.")).to_be_visible()


def test_who_may_only_listen_is_told_so(browser: Browser, fresh: Path) -> None:
    key = ApiKeyStore(fresh).add("phone")
    with served(fresh, require_key=True) as url, opened(browser, url + SCREEN, trouble=True) as page:
        page.get_by_label("This service asks for a key.").fill(key)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_text("may listen, not manage")).to_be_visible()
        expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
        expect(page.get_by_role("region", name="Trained versions")).to_be_visible()


def test_an_empty_library_asks_for_a_folder(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path / "L") as url, opened(browser, url + SCREEN, trouble=True) as page:
        expect(page.get_by_text("It is empty: name a folder of music")).to_be_visible()
        expect(page.get_by_role("button", name="Train")).to_be_disabled()
        expect(page.get_by_role("button", name="Hear it")).to_be_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, fresh: Path, scheme: str) -> None:
    with served(fresh) as url, opened(browser, url + SCREEN, color_scheme=scheme, reduced_motion="reduce") as page:
        expect(page.get_by_text("400 listens")).to_be_visible()
        expect(page.get_by_role("region", name="Trained versions")).to_be_visible()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
