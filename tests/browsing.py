"""A real browser at a real address: Chromium, and the service in a thread of this process."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import uvicorn
from conftest import need
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, expect, sync_playwright

from crossfade.service.app import Service
from crossfade.service.settings import ServeOptions

Routes = dict[str, Callable[[Route], None]]
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio")
MICROPHONE = ("--use-fake-device-for-media-stream",)
PATIENCE = 20_000.0
"""milliseconds: a busy machine is no failure"""
DROP = """([name, type, content]) => {
    const carried = new DataTransfer();
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
    carried.items.add(new File([bytes], name, { type }));
    for (const kind of ["dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried }));
    }
}"""
"""what a file that is dropped on the page does"""


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need("chromium", found is not None, "scripts/dev/ci-setup installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(folder: Path, *, port: int = 0, **options: Any) -> Iterator[str]:
    """The address of the service on a library, until the block ends."""
    service = Service(ServeOptions(library=folder, requests_per_second=0.0, **options))
    # The collection after a load is quick in a process of its own; here it would look at all of pytest.
    with patch("gc.unfreeze"):
        service.follower.check()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    config = uvicorn.Config(service.app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def opened(
    browser: Browser, url: str, *, trouble: bool = False, routes: Routes | None = None, **options: Any
) -> Iterator[Page]:
    """A page at the address; `routes` answer some requests in the service's place.

    Where no trouble is expected, the console has to stay empty; requests to anywhere else there must never be."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def on_request(request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in ("data", "blob") and asked.netloc != urlsplit(url).netloc:
            complaints.append(f"fetches {request.url}")

    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page = context.new_page()
    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(f"throws {error}"))
    page.on("request", on_request)
    for pattern, answer in (routes or {}).items():
        page.route(pattern, answer)
    try:
        page.goto(url)
        yield page
        if not trouble:
            assert not complaints, complaints
        assert not [one for one in complaints if one.startswith(("throws", "fetches"))]
    finally:
        context.close()
