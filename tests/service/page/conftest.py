"""A library whose first tracks can be played and have difficult titles, served to a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import MICROPHONE, chromium, opened, served
from playwright.sync_api import Browser, Page
from serving import audio, copied, track

from crossfade.pipelines.analysis.track_map import laid_out, layouts_of
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.versions.model_version import ModelVersion

HTML_TITLE = "<img src=x onerror=\"document.title='broken'\"> & <b>bold</b>"
ARABIC_TITLE = "أغنية الشتاء الطويل (live)"
GONE = 4
"""the row of the track whose file was deleted"""
SHORT = 5
"""the row of a track that is played to its end, of 3 seconds"""
LONG_SECONDS = 30
"""of the others: none ends while a busy machine looks for a button"""


@pytest.fixture(scope="session")
def played(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that every module of stories begins with."""
    folder = copied(made, tmp_path_factory.mktemp("page") / "L")
    titles = {1: HTML_TITLE, 2: ARABIC_TITLE, 5: "unbroken" * 40}
    with Library.open(folder) as library:
        with library.transaction() as db:
            for row in range(6):
                path = audio(
                    folder / "music" / f"{row}.wav", hertz=220 + 40 * row, seconds=3 if row == SHORT else LONG_SECONDS
                )
                db.execute("UPDATE tracks SET path = ? WHERE track_id = ?", (os.fsencode(path), track(row)))
            for row, title in titles.items():
                db.execute("UPDATE tracks SET title = ? WHERE track_id = ?", (title, track(row)))
        # As crossfade train does: no story waits for it.
        trained = ModelVersion.load(library)
        for layout in layouts_of(trained):
            laid_out(library, trained, library.current_name, layout)
    (folder / "music" / f"{GONE}.wav").unlink()
    return folder


@pytest.fixture(scope="module")
def owned(played: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: what a story adds is in no other module's lists, whichever runs first."""
    return copied(played, tmp_path_factory.mktemp("owned") / "L")


@pytest.fixture(scope="module")
def url(owned: Path) -> Iterator[str]:
    with served(owned) as url:
        yield url


# One for each module: a browser's event loop would be in the way of other tests' own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*MICROPHONE) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    with opened(browser, url) as page:
        yield page
