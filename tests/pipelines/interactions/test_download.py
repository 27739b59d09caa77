"""Downloads, against a server on the loopback that can be told to misbehave."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crossfade.errors import DataError, UsageError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions import download as module
from crossfade.pipelines.interactions.download import fetch, fetch_file

BODY = bytes(range(256)) * 20_000


@dataclass
class Server:
    """One file at /data.bin, and how it is served."""

    url: str = ""
    body: bytes = BODY
    etag: str | None = '"one"'
    cut_after: int | None = None
    """bytes after which the connection ends, once"""
    always_cut: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append({name.lower(): value for name, value in self.headers.items()})
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/data.bin")
                for name, value in state.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                return
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
                return
            if self.path not in ("/data.bin", "/data.zip"):
                self.send_error(404)
                return
            start = 0
            wanted = self.headers.get("Range", "")
            if wanted and state.etag is not None and self.headers.get("If-Range") == state.etag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(state.body):
                self.send_error(416)
                return
            rest = state.body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.body) - 1}/{len(state.body)}")
            if state.etag is not None:
                self.send_header("ETag", state.etag)
            if self.path == "/data.bin":
                for name, value in state.headers.items():
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut, state.cut_after = state.cut_after, state.cut_after if state.always_cut else None
            self.wfile.write(rest if cut is None else rest[:cut])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_address[1]}/data.bin"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def test_the_file_arrives_whole_and_only_once(server: Server, tmp_path: Path) -> None:
    seen: list[int] = []
    first = fetch_file(server.url, tmp_path, progress=lambda done, total: seen.append(done))
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert (first.status, first.bytes, first.sha256) == ("fetched", len(BODY), hashlib.sha256(BODY).hexdigest())
    assert seen[-1] == len(BODY) and len(seen) > 1
    assert fetch_file(server.url, tmp_path).status == "unchanged"
    assert len(server.requests) == 1
    assert not list(tmp_path.glob("*.part*"))


def test_a_file_that_was_damaged_since_is_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch_file(server.url, tmp_path)
    (tmp_path / "data.bin").write_bytes(bytes(len(BODY)))
    assert fetch_file(server.url, tmp_path).status == "fetched"
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_dropped_connection_is_carried_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1_000_000
    assert fetch_file(server.url, tmp_path).bytes == len(BODY)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert server.requests[1]["range"] == "bytes=1000000-"
    assert server.requests[1]["if-range"] == '"one"'


def test_a_server_that_never_sends_all_is_given_up(server: Server, tmp_path: Path) -> None:
    server.cut_after, server.always_cut, server.etag = 1_000_000, True, None
    with pytest.raises(DataError, match=r"no connection|bytes came"):
        fetch_file(server.url, tmp_path)


def test_a_killed_download_is_carried_on_by_the_next_run(server: Server, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int | None) -> None:
        raise Killed

    with pytest.raises(Killed):
        fetch_file(server.url, tmp_path, progress=kill)
    assert 0 < (tmp_path / "data.bin.part").stat().st_size < len(BODY)
    assert not (tmp_path / "data.bin").exists()
    assert fetch_file(server.url, tmp_path).status == "resumed"
    assert (tmp_path / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"two"', None], ids=["another file", "no validator"])
def test_another_file_is_never_glued_to_the_old_part(server: Server, tmp_path: Path, etag: str | None) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"old" * 1000)
    (tmp_path / "data.bin.part.json").write_text(f'{{"url": "{server.url}", "validator": "\\"one\\""}}')
    server.etag = etag
    assert fetch_file(server.url, tmp_path).status == "fetched"
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(bytes(len(BODY) + 1))
    (tmp_path / "data.bin.part.json").write_text(f'{{"url": "{server.url}", "validator": "\\"one\\""}}')
    fetch_file(server.url, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_wrong_hash_is_refused_and_nothing_is_left(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its sha256 is [0-9a-f]{64}, it should be 0{64}"):
        fetch_file(server.url, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Linked-Etag": f'"{"0" * 64}"'},
        {"Repr-Digest": "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"},
        {"x-amz-request-id": "1"},
    ],
    ids=["hub", "digest", "storage"],
)
def test_the_hash_that_the_server_announces_is_checked(server: Server, tmp_path: Path, headers: dict[str, str]) -> None:
    server.headers = headers
    if "x-amz-request-id" in headers:
        server.etag = f'"{"0" * 32}"'
    with pytest.raises(DataError, match="damaged on the way"):
        fetch_file(server.url.replace("data.bin", "moved" if "X-Linked-Etag" in headers else "data.bin"), tmp_path)


def test_the_right_announced_hashes_pass(server: Server, tmp_path: Path) -> None:
    server.headers = {"X-Linked-Etag": f'"{hashlib.sha256(BODY).hexdigest()}"', "x-amz-request-id": "1"}
    server.etag = f'"{hashlib.md5(BODY).hexdigest()}"'
    assert fetch_file(server.url.replace("data.bin", "moved"), tmp_path).bytes == len(BODY)


def test_what_can_go_wrong_is_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the server says 404"):
        fetch_file(server.url.replace("data.bin", "other"), tmp_path)
    with pytest.raises(DataError, match="is not allowed"):
        fetch_file(server.url.replace("data.bin", "elsewhere"), tmp_path)
    with pytest.raises(DataError, match=r"no connection \(.*is there a network\?"):
        fetch_file("http://127.0.0.1:1/data.bin", tmp_path)
    with pytest.raises(UsageError, match="there are: yambda"):
        list(fetch("nothing", tmp_path))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        list(fetch(server.url, tmp_path, sha256="abc"))


def test_an_archive_of_a_data_set_is_unpacked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ml/ratings.csv", "userId,movieId,rating,timestamp\n")
    server.body = archive.getvalue()
    monkeypatch.setattr(module, "DATA_SETS", {"movielens": (server.url.replace("data.bin", "data.zip"),)})
    assert [fetched.status for fetched in fetch("movielens", tmp_path)] == ["fetched"]
    assert (tmp_path / "ml" / "ratings.csv").is_file()


def test_the_command_prints_what_came(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", server.url, "--out", str(tmp_path / "new")]) == 0
    assert '"status": "fetched"' in capsys.readouterr().out
    assert main(["fetch", "http://127.0.0.1:1/x", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
