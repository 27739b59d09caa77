"""What every request is checked for: keys, origins, rates and bodies, on every path alike."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import serving

from crossfade.errors import LibraryError, UsageError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.library.store import Library
from crossfade.service.errors import Problem
from crossfade.service.events.client import RemoteEvents, Unreachable
from crossfade.service.middleware.api_keys import FILE_NAME, ApiKeyStore
from crossfade.service.middleware.request_limits import RateLimiter, limited_body
from crossfade.service.settings import ROLE_HEADER, Role, ServeOptions

ASK = "/get_events?user_id=u"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Library.open(tmp_path / "L", create=True) as library:
        return library.folder


def make_key(folder: Path, capsys: pytest.CaptureFixture[str], name: str = "me") -> str:
    assert main(["keys", "--library", str(folder), "--new", name]) == 0
    return str(json.loads(capsys.readouterr().out)["key"])


def is_problem(answer: Any, status: int) -> bool:
    return bool(answer.status_code == status == answer.json()["status"]) and (
        answer.headers["content-type"] == "application/problem+json"
    )


def test_a_key_opens_and_only_its_hash_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = make_key(folder, capsys)
    assert key not in (folder / FILE_NAME).read_text()
    assert (folder / FILE_NAME).stat().st_mode & 0o077 == 0
    with serving(folder, Role.EVENTS, host="0.0.0.0") as client:
        assert is_problem(client.post(ASK), 401)
        assert is_problem(client.post(ASK, headers={"X-API-Key": key + "x"}), 401)
        assert is_problem(client.post(ASK, headers={"X-API-Key": "ключ".encode()}), 401)
        assert client.post(ASK, headers={"X-API-Key": key}).status_code == 200
        assert client.post(ASK, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert is_problem(client.get("/metrics"), 401)
        assert client.get("/health/ready").status_code == 200


def test_keys_are_listed_by_name_and_revoked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = make_key(folder, capsys)
    make_key(folder, capsys, "other")
    assert main(["keys", "--library", str(folder), "--new", "me"]) == 2
    assert main(["keys", "--library", str(folder), "--revoke", "me"]) == 0
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["other"]
    assert ApiKeyStore(folder).name_of(key) is None
    (folder / FILE_NAME).write_text("[]")
    with pytest.raises(LibraryError, match="keys"):
        ApiKeyStore(folder).hashes()


def test_a_running_service_follows_keys_that_are_made_and_revoked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A revoked key used to open until the service was started again."""
    key, other = make_key(folder, capsys), make_key(folder, capsys, "other")
    with serving(folder, Role.EVENTS, host="0.0.0.0") as client:

        def status(shown: str) -> int:
            return int(client.post(ASK, headers={"X-API-Key": shown}).status_code)

        assert (status(key), status(other)) == (200, 200)
        assert main(["keys", "--library", str(folder), "--revoke", "me"]) == 0
        assert (status(key), status(other)) == (401, 200)
        capsys.readouterr()
        assert status(make_key(folder, capsys, "late")) == 200
        (folder / FILE_NAME).write_text("[]")
        assert is_problem(client.post(ASK, headers={"X-API-Key": other}), 503)
        (folder / FILE_NAME).unlink()
        assert status(other) == 401


def test_where_the_library_lies_is_no_client_s_business(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database's error names files and values; the log has it, the answer does not."""
    with serving(folder) as client:
        with Library.open(folder) as library, library.transaction() as db:
            db.execute("ALTER TABLE tracks RENAME TO tracks_of_before")
        answers = [client.get(path) for path in ("/v1/tracks/x", "/v1/audio/x", "/v1/recommendations?user_id=u")]
        client.service.follower.check()  # type: ignore[attr-defined]
        answers += [client.get("/health/ready")]
    assert all(str(folder.parent) not in answer.text for answer in answers)
    assert is_problem(answers[0], 503) and is_problem(answers[1], 503)
    assert all("no such table" not in answer.text for answer in answers)
    assert "no such table" in str([vars(record) for record in caplog.records])


def test_other_addresses_are_refused_without_a_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--host", "0.0.0.0"], ["--require-key"]):
        assert main(["serve", "--library", str(folder), "--port", "0", *wrong]) == 2
        assert "crossfade keys --new" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--host", "256.1.1.1"], ["--database", "mysql://x"]])
def test_an_unusable_address_or_database_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    ApiKeyStore(folder).add("a")
    assert main(["serve", "--library", str(folder), *wrong]) == 2
    err = capsys.readouterr().err
    assert err.startswith("crossfade: ") and err.count("\n") == 1


def test_web_pages_elsewhere_do_not_reach_a_service_without_keys(folder: Path) -> None:
    with serving(folder, Role.EVENTS) as client:
        assert is_problem(client.post(ASK, headers={"Host": "evil.example"}), 421)
        assert is_problem(client.post(ASK, headers={"Host": "[x"}), 400)
        assert client.post(ASK, headers={"Host": "127.0.0.1:8020"}).status_code == 200
        foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
        assert is_problem(client.post(ASK, headers=foreign), 403)
        assert "access-control-allow-origin" not in client.get("/health/live", headers=foreign).headers
    with serving(folder, Role.EVENTS, allowed_origins=("https://good.example",)) as client:
        good = {"Sec-Fetch-Site": "cross-site", "Origin": "https://good.example"}
        answer = client.post(ASK, headers=good)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://good.example"


def test_a_client_over_its_rate_gets_429_with_a_retry_after(folder: Path) -> None:
    with serving(folder, Role.EVENTS, requests_per_second=1.0) as client:
        answers = [client.get("/health/live") for _ in range(4)]
    assert [one.status_code for one in answers[:2]] == [200, 200]
    assert is_problem(answers[3], 429) and answers[3].headers["retry-after"] == "1"


def test_a_bucket_fills_again_and_belongs_to_one_client() -> None:
    limit = RateLimiter(2.0)
    for _ in range(4):
        limit.take("a", now=0.0)
    with pytest.raises(Problem):
        limit.take("a", now=0.1)
    limit.take("b", now=0.1)
    limit.take("a", now=0.6)
    with pytest.raises(Problem):
        limit.take("a", now=0.6)


def test_a_role_is_not_throttled_by_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recommend role asks for many clients, each of whom was counted at its door: they have no limit in common."""
    role = {ROLE_HEADER: "recommend"}
    with serving(folder, Role.EVENTS, requests_per_second=1.0) as client:
        assert {client.get("/v1/events?user_id=u", headers=role).status_code for _ in range(9)} == {200}
        assert [client.get("/v1/events?user_id=u").status_code for _ in range(3)][-1] == 429
    # Elsewhere than on one machine, a key that both have proves it; anybody else's does not.
    shared, other = make_key(folder, capsys, "roles"), make_key(folder, capsys, "other")
    with serving(folder, Role.EVENTS, requests_per_second=1.0, host="0.0.0.0", outgoing_key=shared) as client:
        for key, last in ((shared, 200), (other, 429)):
            answers = [client.get("/v1/events?user_id=u", headers={**role, "X-API-Key": key}) for _ in range(9)]
            assert answers[-1].status_code == last


def test_a_refused_question_does_not_silence_the_events_role(folder: Path) -> None:
    """A 429 to one listener's question is no reason to leave out the events of the others."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers[ROLE_HEADER] == "recommend"
        if request.url.params["user_id"] == "refused":
            return httpx.Response(429)
        return httpx.Response(200, json={"events": [], "forgotten_at": 7})

    remote = RemoteEvents(ServeOptions(library=folder, role=Role.RECOMMEND))
    remote._client._transport = httpx.MockTransport(answer)
    with pytest.raises(Unreachable, match="429"):
        remote.recent("refused", 5)
    assert remote.recent("another", 5).forgotten_at == 7
    remote.close()


def test_uploads_in_flight_are_bounded_in_number_and_in_size(folder: Path) -> None:
    """Each arrives in a temporary file: without a bound, slow clients fill the disk."""
    with serving(folder, uploads=2, upload_bytes=10_000, uploads_bytes=15_000) as client:
        uploads = client.service.app._uploads  # type: ignore[attr-defined]

        def ask(size: int = 1) -> Any:
            return client.post("/v1/classify", files={"file": b"x" * size})

        def chunked() -> Any:
            head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            return client.post("/v1/classify", content=iter([head, *[b"x" * 1000] * 7]), headers=kind)

        assert ask().status_code == 415
        with uploads.place() as grow:
            assert ask(7_000).status_code == 415
            grow(9_000)
            for answer in (ask(7_000), chunked()):
                assert is_problem(answer, 503) and "in flight" in answer.json()["detail"]
                assert answer.headers["retry-after"] == "5"
            with uploads.place():
                assert is_problem(ask(), 503)
                assert client.get("/v1/tracks").status_code == 200
        assert (uploads.count, uploads.bytes) == (0, 0)
        assert ask(7_000).status_code == 415
    with pytest.raises(UsageError, match="room for one"):
        ServeOptions(library=folder, uploads_bytes=5)


def test_a_body_that_is_too_large_is_refused(folder: Path) -> None:
    with serving(folder, Role.ALL, upload_bytes=10_000) as client:
        big = b"x" * 20_000
        assert is_problem(client.post("/v1/classify", files={"file": big}), 413)

        def chunks() -> Any:
            yield from (b'{"user_id": "' + big[:5000], *[b"x" * 2**20] * 5)

        assert is_problem(
            client.post("/v1/events", content=chunks(), headers={"Content-Type": "application/json"}), 413
        )
        assert is_problem(client.post("/v1/classify", headers={"Content-Length": str(2**30)}), 413)
        assert is_problem(client.post("/v1/events", content=b" " * 5_000_000), 413)


def test_a_body_that_does_not_come_ends_the_wait() -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()

    async def ask() -> None:
        await limited_body({"headers": []}, silent, max_bytes=10, max_seconds=0.01)()

    with pytest.raises(Problem) as caught:
        asyncio.run(ask())
    assert caught.value.status == 408


def test_answers_carry_the_request_s_id_and_unknown_addresses_are_problems(folder: Path) -> None:
    with serving(folder, Role.EVENTS) as client:
        assert client.get("/health/live", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
        made = client.get("/health/live", headers={"X-Request-ID": "a b\n"}).headers["x-request-id"]
        assert len(made) == 32
        missing = client.get("/nothing")
        assert is_problem(missing, 404) and missing.json()["request_id"] == missing.headers["x-request-id"]
        wrong = client.put("/v1/events")
        assert is_problem(wrong, 405) and wrong.headers["allow"] == "DELETE, GET, POST"


def test_metrics_count_by_endpoint_and_name_no_listener(folder: Path) -> None:
    with serving(folder, Role.EVENTS) as client:
        client.post("/get_events?user_id=secret-name")
        client.get("/made-up-address")
        text = client.get("/metrics").text
    assert 'crossfade_requests_total{endpoint="/get_events",method="POST",status="200"} 1.0' in text
    assert "secret-name" not in text and "made-up-address" not in text


def test_the_page_is_self_contained(folder: Path) -> None:
    with serving(folder) as client:
        answer = client.get("/")
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text.replace("http://www.w3.org", "") and "https://" not in answer.text
    with serving(folder, Role.EVENTS) as client:
        assert client.get("/").status_code == 404


def test_an_unexpected_exception_is_a_500_without_details(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("private")

    with serving(folder, Role.EVENTS) as client:
        store = client.service.event_store  # type: ignore[attr-defined]
        monkeypatch.setattr(store, "recent", broken)
        answer = client.post(ASK)
    assert is_problem(answer, 500) and "private" not in answer.text
    assert "private" in caplog.text
