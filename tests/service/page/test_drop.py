"""Drop a song: what it is and what is like it, by real clicks; and what is no song is said to be none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from browsing import DROP, opened
from playwright.sync_api import Browser, Page, Route, expect
from serving import audio


def drop(page: Page, name: str, content: bytes, kind: str = "audio/wav") -> None:
    page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])


def neighbours(page: Page) -> list[str]:
    return page.locator(".answer .track").evaluate_all("rows => rows.map(row => row.dataset.id)")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return audio(tmp_path / "my_new song.wav", hertz=330, seconds=5)


def test_a_dropped_song_is_drawn_heard_and_compared(page: Page, song: Path) -> None:
    drop(page, song.name, song.read_bytes())
    expect(page.get_by_role("heading", level=1)).to_have_text("my new song")
    bars = page.get_by_role("list", name="Genres, the likeliest first").get_by_role("listitem")
    expect(bars).to_have_count(6)
    rows = page.get_by_role("list", name="The ten most like it, the nearest first").get_by_role("listitem")
    expect(rows).to_have_count(10)
    for fact in ("Tempo", "Key", "Loudness", "Length"):
        expect(page.locator("dt", has_text=fact)).to_be_visible()
    expect(page.locator("dd").last).to_have_text("0:05")
    drawn = """canvas => {
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(Array.from({length: pixels.length / 4}, (_, n) => pixels[4 * n] >> 4)).size;
    }"""
    page.wait_for_function(f"() => ({drawn})(document.querySelector('canvas')) > 4")
    page.get_by_role("img", name="Waveform").click(position={"x": 200, "y": 20})
    expect(page.get_by_role("button", name="Pause", exact=True)).to_be_visible()


def test_the_slider_orders_anew_at_once_and_asks_nobody(page: Page, song: Path) -> None:
    page.set_input_files("input[type=file]", song)
    slider = page.get_by_role("slider", name="Blend of sound and taste")
    expect(slider).to_be_enabled()
    expect(page.locator(".landing .song-mark")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/covers/" not in request.url else None)
    before = neighbours(page)
    slider.fill("1")
    page.wait_for_function(f"() => document.querySelector('.answer .track').dataset.id !== {json.dumps(before[0])}")
    assert len(neighbours(page)) == 10 and asked == []
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "5 % sound, 95 % taste")


def test_a_song_is_added_and_known_the_next_time(page: Page, song: Path) -> None:
    page.set_input_files("input[type=file]", song)
    page.get_by_role("button", name="Add to library").click()
    expect(page.get_by_text("is a track of the library now")).to_be_visible()
    page.get_by_role("link", name="In your library").click()
    expect(page.locator(".facts")).to_be_visible()
    page.go_back()
    drop(page, "again.wav", song.read_bytes())
    expect(page.get_by_role("link", name="In your library")).to_be_visible()


@pytest.mark.slow
def test_ten_seconds_of_the_microphone(browser: Browser, url: str) -> None:
    with opened(browser, url, permissions=["microphone"]) as page:
        page.get_by_role("button", name="Record ten seconds").click()
        expect(page.get_by_role("button", name="stop")).to_contain_text("8 s left")
        page.get_by_role("button", name="stop").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Recording")
        expect(page.locator(".bars li")).to_have_count(6)


def test_without_the_microphone_it_is_said_why(page: Page) -> None:
    page.get_by_role("button", name="Record ten seconds").click()
    expect(page.get_by_text("The microphone is not allowed here")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "kind", "content", "said"),
    [
        ("paper.pdf", "application/pdf", b"%PDF-1.7", "paper.pdf is a PDF. Drop an audio file"),
        ("photo.jpg", "image/jpeg", b"\xff\xd8\xff", "photo.jpg is no song"),
        ("folder", "", b"", "is empty, or a folder"),
    ],
)
def test_what_is_no_song_is_not_sent(page: Page, song: Path, name: str, kind: str, content: bytes, said: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    drop(page, name, content, kind)
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Drop a song")
    assert sent == []
    drop(page, song.name, song.read_bytes())
    expect(page.get_by_text(said)).to_have_count(0)


def test_a_file_that_is_too_large_is_not_sent(browser: Browser, url: str, song: Path) -> None:
    def limited(route: Route) -> None:
        answer: Any = route.fetch().json()
        route.fulfill(json=answer | {"upload_bytes": 2**16})

    with opened(browser, url, routes={"**/health/ready": limited}) as page:
        expect(page.get_by_role("contentinfo")).to_contain_text("tracks")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        drop(page, song.name, song.read_bytes())
        expect(page.get_by_text("the service takes 0 MB at most")).to_be_visible()
        assert sent == []


def test_a_broken_file_is_explained(browser: Browser, url: str) -> None:
    with opened(browser, url, trouble=True) as page:
        drop(page, "broken.mp3", b"not a song" * 300, "audio/mpeg")
        expect(page.get_by_role("alert")).to_contain_text("This file: cannot be decoded: not audio")
        page.get_by_role("link", name="Drop another song").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Drop a song")
