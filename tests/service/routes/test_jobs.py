"""Jobs over HTTP: the commands that somebody would type, for those who may manage the library."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import audio, copied, serving, track

from crossfade.pipelines.library import jobs as module
from crossfade.pipelines.library.jobs import Jobs
from crossfade.pipelines.library.store import Library
from crossfade.service.middleware.api_keys import ApiKeyStore


def ended(client: TestClient, job: Any) -> dict[str, Any]:
    """What became of the job that an answer tells of."""
    assert job.status_code == 202, job.text
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/v1/jobs/{job.json()['job_id']}").json()
        if found["state"] != "running":
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_a_folder_is_embedded_and_seen_by_the_service(tmp_path: Path) -> None:
    """Into a library that is not there yet; then again, without naming it."""
    (tmp_path / "music").mkdir()
    audio(tmp_path / "music" / "one.wav")
    (tmp_path / "music" / "two.mp3").write_text("no music")
    with serving(tmp_path / "L") as client:
        assert client.get("/v1/library").json()["exists"] is False
        assert client.post("/v1/jobs", json={"kind": "embed"}).status_code == 422
        refused = client.post("/v1/jobs", json={"kind": "embed", "folder": str(tmp_path / "none")})
        assert refused.status_code == 422 and "no such folder" in refused.json()["detail"]
        done = ended(client, client.post("/v1/jobs", json={"kind": "embed", "folder": str(tmp_path / "music")}))
        assert done["state"] == "done" and done["command"].startswith("crossfade embed /")
        assert done["progress"]["done"] == done["progress"]["total"] == 2
        assert done["answers"][0]["embedded"] == 1
        known = client.get("/v1/library").json()
        assert (known["tracks"], known["analyzed"], known["failures"], known["folders"]) == (1, 1, 1, ["music"])
        assert [one["file"] for one in known["failed"]] == ["two.mp3"] and "not audio" in known["failed"][0]["reason"]
        assert sum(one["tracks"] for one in known["genres"]) == 1
        again = ended(client, client.post("/v1/jobs", json={"kind": "embed"}))
        assert again["answers"][0]["unchanged"] == 1


def test_tracks_whose_files_are_gone_are_found_and_forgotten(client: TestClient, folder: Path) -> None:
    with Library.open(folder) as library:
        gone = library.path_of(track(0))
        assert gone is not None
    audio(gone.with_name("another.wav"))
    gone.unlink()
    found = ended(client, client.post("/v1/jobs", json={"kind": "missing"}))
    assert [one["track_id"] for one in found["answers"]] == [track(0)] and found["answers"][0]["forgotten"] is False
    forgotten = ended(client, client.post("/v1/jobs", json={"kind": "forget"}))
    assert forgotten["answers"][0]["forgotten"] is True
    assert client.get("/v1/library").json()["with_file"] == 0


def test_a_dropped_log_is_imported_and_replaces_the_one_of_its_name(client: TestClient, folder: Path) -> None:
    before = client.get("/v1/library/listens").json()
    assert (before["listens"], before["users"], before["tracks"]) == (400, 40, before["tracks_in_library"])
    for plays in (3, 2):
        rows = "".join(f"new,{track(row)},{1_700_000_000 + row}\n" for row in range(plays))
        file = {"file": ("../My export.csv", f"user_id,track_id,time\n{rows}")}
        done = ended(client, client.post("/v1/listens", files=file, data={"format": "csv"}))
        assert done["state"] == "done", done
    after = client.get("/v1/library/listens").json()
    assert (after["listens"], after["users"]) == (402, 41)
    assert after["first_day"] == after["last_day"] == "2023-11-14"
    assert not list((folder / "jobs").rglob("*.csv"))
    wrong = client.post("/v1/listens", files={"file": ("a.csv", "x")}, data={"format": "xls"})
    assert wrong.status_code == 422 and wrong.json()["detail"].startswith("format: 'xls'; there are ")


def test_one_job_at_a_time_in_all_processes(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND", ("sh", "-c"))
    jobs = Jobs(folder)
    job = jobs.start(jobs.prepare(), "test", ["exec sleep 60"], {})
    assert job is not None
    refused = client.post("/v1/jobs", json={"kind": "train"})
    assert refused.status_code == 409 and "another one is running" in refused.json()["detail"]
    upload = client.post("/v1/listens", files={"file": ("a.csv", "user_id,track_id\nu,t")})
    assert upload.status_code == 409 and len(list((folder / "jobs").glob("[0-9]*"))) == 1
    assert [one["state"] for one in client.get("/v1/jobs").json()["jobs"]] == ["running"]
    client.post(f"/v1/jobs/{job.number}/cancel")
    with serving(folder) as other:
        deadline = time.monotonic() + 60
        while (state := other.get("/v1/jobs").json()["jobs"][0]["state"]) == "running" and time.monotonic() < deadline:
            time.sleep(0.01)
    assert state == "cancelled"
    assert client.get("/v1/jobs/99").status_code == client.post("/v1/jobs/99/cancel").status_code == 404


MANAGED = (
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/1"),
    ("POST", "/v1/jobs/1/cancel"),
    ("POST", "/v1/listens"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys"),
    ("DELETE", "/v1/keys/phone"),
    ("PUT", "/v1/versions/current"),
    ("DELETE", "/v1/listeners/u2"),
    ("POST", "/v1/playlists/1/send"),
)


@pytest.mark.parametrize(("method", "path"), MANAGED)
def test_who_may_listen_may_not_manage(played: tuple[TestClient, TestClient], method: str, path: str) -> None:
    """Strangers get 401, a phone's key 403, and on the service's own machine what a proxy passed on is a stranger's."""
    open_to_all, local = played
    assert open_to_all.request(method, path).status_code == 401
    refused = open_to_all.request(method, path, headers={"X-API-Key": PHONE})
    assert refused.status_code == 403 and "--manage" in refused.json()["detail"]
    for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        assert local.request(method, path, headers={name: "1.2.3.4"}).status_code == 403


PHONE = ""


@pytest.fixture(scope="module")
def played(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service that others can reach, and one that only this machine can."""
    global PHONE
    folder = copied(made, tmp_path_factory.mktemp("managed") / "L")
    PHONE = ApiKeyStore(folder).add("phone")
    with serving(folder, host="0.0.0.0") as one, serving(folder) as other:
        yield one, other


def test_a_key_that_manages_makes_and_revokes_others(folder: Path) -> None:
    owner = {"X-API-Key": ApiKeyStore(folder).add("owner", manages=True)}
    with serving(folder, host="0.0.0.0") as client:
        assert client.get("/v1/library", headers=owner).json()["may_manage"] is True
        made = client.post("/v1/keys", json={"name": "phone"}, headers=owner)
        assert made.status_code == 201
        phone = {"X-API-Key": made.json()["key"]}
        assert client.get("/v1/library", headers=phone).json()["may_manage"] is False
        assert client.post("/v1/keys", json={"name": "phone"}, headers=owner).status_code == 422
        names = client.get("/v1/keys", headers=owner).json()["keys"]
        assert names == [{"name": "owner", "manages": True}, {"name": "phone", "manages": False}]
        assert client.delete("/v1/keys/phone", headers=owner).status_code == 204
        assert client.get("/v1/library", headers=phone).status_code == 401


def test_an_earlier_version_is_gone_back_to(client: TestClient, folder: Path) -> None:
    (only,) = client.get("/v1/versions").json()["versions"]
    assert only["current"] and only["listens"] and only["trained_at"]
    with Library.open(folder) as library:
        later = library.new_version()
        shutil.copytree(library.models / only["name"], later, dirs_exist_ok=True)
        library.publish_version(later)
    found = client.put("/v1/versions/current", json={"name": later.name}).json()
    assert [one["name"] for one in found["versions"]] == [later.name, only["name"]]
    assert found["in_use"] == later.name
    back = client.put("/v1/versions/current", json={"name": only["name"]}).json()
    assert [one["current"] for one in back["versions"]] == [False, True] and back["in_use"] == only["name"]
    assert client.put("/v1/versions/current", json={"name": "../.."}).status_code == 404
