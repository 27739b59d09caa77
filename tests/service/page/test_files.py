"""The page's files: complete, small, sent once, and nobody else's."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crossfade.service.routes.page import _takes_gzip

MAX_BYTES = 250_000
"""of the first load, compressed"""


def linked(text: str) -> set[str]:
    """The files that a page's or module's text loads, by name."""
    found = re.findall(r'(?:href|src)="page/([^"]+)"|from ?"\./([^"]+)"', text)
    return {one or other for one, other in found}


def test_the_first_load_is_small_compressed_and_complete(client: TestClient) -> None:
    first = client.get("/")
    names, total = linked(first.text), len(client.get("/", headers={"Accept-Encoding": "gzip"}).content)
    assert {"app.js", "style.css", "icon.svg"} <= names
    for name in sorted(names):
        with client.stream("GET", f"/page/{name}") as answer:
            total += sum(len(part) for part in answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        assert "default-src 'none'; script-src 'self';" in answer.headers["content-security-policy"]
        plain = client.get(f"/page/{name}", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        # Whatever a module imports is asked for at once, and not when the module has come.
        inner = linked(plain.text)
        assert {f"vendor/{one}" if name.startswith("vendor/") else one for one in inner} <= names
        assert "http://" not in plain.text.replace("http://www.w3.org", "") and "https://" not in plain.text
    assert total < MAX_BYTES, total


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    for name, kept in (("page/style.css", "no-cache"), ("page/vendor/htm-3.1.1.js", "immutable"), ("", "no-cache")):
        answer = client.get(f"/{name}")
        assert kept in answer.headers["cache-control"]
        again = client.get(f"/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/style.css", headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_there_is_nothing_else(client: TestClient) -> None:
    for name in ("none.js", "../app.py", "%2e%2e/app.py", "vendor"):
        assert client.get(f"/page/{name}").status_code == 404


def test_every_vendored_file_has_its_notice() -> None:
    vendor = Path(str(files("crossfade.service"))) / "page" / "vendor"
    notice = (vendor / "NOTICE").read_text()
    for file in vendor.glob("*.js"):
        assert file.name in notice


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("*", True),
        ("gzip;q=0.0, br", False),
    ],
)
def test_only_who_takes_gzip_is_sent_gzip(accepted: str, taken: bool) -> None:
    assert _takes_gzip(accepted) is taken
