"""An uploaded file is classified, compared with the library and added once, or refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from serving import TRACKS, audio, ids, service_of, track, trained

from crossfade.errors import LibraryError
from crossfade.models.genres.model import GenreModel
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer
from crossfade.pipelines.library.store import Library
from crossfade.service import uploaded_files
from crossfade.service.errors import Problem
from crossfade.service.uploaded_files import add_track


def upload(client: TestClient, path: str, file: Path, **fields: str) -> Any:
    with file.open("rb") as opened:
        return client.post(path, files={"file": (file.name, opened)}, data=fields)


def test_an_upload_is_classified_compared_and_added_once(client: TestClient, folder: Path, tmp_path: Path) -> None:
    file = audio(tmp_path / "new.wav", hertz=330)
    heard = upload(client, "/v1/classify", file).json()
    assert heard["duration_seconds"] == 6 and heard["genres"][0]["probability"] > 0
    similar = upload(client, "/v1/similar_tracks", file, k="3")
    assert len(ids(similar)) == 3 and similar.json()["heard"] == heard

    added = upload(client, "/v1/tracks", file, track_id="new/song", title="New", artist="Somebody")
    assert (added.status_code, added.json()["track_id"], added.json()["new"]) == (201, "new/song", True)
    assert ids(upload(client, "/v1/similar_tracks", file, k="1")) == ["new/song"]
    assert ids(client.get("/v1/tracks?query=somebody")) == ["new/song"]
    assert client.get("/v1/audio/new/song").content == file.read_bytes()
    assert len(ids(client.get("/v1/similar_tracks?track_id=new/song&blend=0"))) == 10

    again = upload(client, "/v1/tracks", file)
    assert (again.status_code, again.json()["track_id"], again.json()["new"]) == (200, "new/song", False)
    taken = upload(client, "/v1/tracks", audio(tmp_path / "other.wav", hertz=500), track_id=track(3))
    assert taken.status_code == 409
    with Library.open(folder) as opened:
        assert len(opened.track_ids()) == TRACKS + 1


def test_the_same_file_uploaded_twice_at_once_is_one_track(
    client: TestClient, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is told 201, the other 200; under one track_id with other audio, 409; never a database's error."""
    files = [audio(tmp_path / f"{hertz}.wav", hertz=hertz) for hertz in (347, 523, 611)]
    heard = {path: service_of(client).upload_analyzer.analyze(path) for path in files}
    hash_of = uploaded_files.content_hash

    def at_once(paths: list[Path], track_id: str | None) -> list[int]:
        start, said = threading.Barrier(len(paths)), []

        def waiting(path: Path) -> str:
            start.wait()
            return hash_of(path)

        def add(path: Path) -> None:
            try:
                said.append(add_track(folder, path, heard[path], track_id=track_id, title=None, artists=[])[1])
            except Problem as problem:
                said.append(problem.status)

        with monkeypatch.context() as patch, ThreadPoolExecutor(len(paths)) as threads:
            patch.setattr(uploaded_files, "content_hash", waiting)
            list(threads.map(add, paths))
        return sorted(said)

    assert at_once(files[:1] * 6, None) == [False] * 5 + [True]
    assert at_once(files[1:], "one/id") == [True, 409]
    with Library.open(folder) as opened:
        assert len(opened.track_ids()) == TRACKS + 2
    assert [path.suffix for path in (folder / "uploads").iterdir()] == [".wav", ".wav"]


def test_an_upload_to_a_library_with_its_own_genre_model_is_named_by_it(
    client: TestClient, folder: Path, genre_model: Path, tmp_path: Path
) -> None:
    """An upload's genres are those of the library, under their own names; training and reloading go on."""
    with Library.open(folder) as opened:
        opened.use_vocabulary(AudioAnalyzer(model=GenreModel.load(genre_model)))
    file = audio(tmp_path / "new.wav", hertz=330)
    heard = upload(client, "/v1/tracks", file, track_id="new").json()["heard"]
    assert {one["genre"] for one in heard["genres"]} == {"loud", "quiet"}
    assert client.get("/v1/tracks/new").json()["genres"] == heard["genres"]
    with Library.open(folder) as opened:
        catalogue = opened.catalogue()
    assert catalogue.genre_names == ("loud", "quiet")
    assert catalogue.genre_probabilities.any(axis=1).sum() == TRACKS + 1
    other = upload(client, "/v1/similar_tracks", audio(tmp_path / "other.wav", hertz=350), k="3")
    assert len(ids(other)) == 3
    version = trained(folder)
    service_of(client).follower.check()
    assert service_of(client).follower.trouble is None
    assert client.get("/v1/similar_tracks?track_id=new").json()["version"] == version
    assert len(ids(upload(client, "/v1/similar_tracks", file, k="3"))) == 3


def test_a_process_that_cannot_start_is_not_the_fault_of_the_upload(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What hears uploads does not start: 503 with the reason, and not "crashed the decoder"."""
    with monkeypatch.context() as patched:
        patched.setattr("crossfade.service.upload_analyzer._prepare", cannot_start)
        answer = upload(client, "/v1/classify", audio(tmp_path / "new.wav"))
    assert (answer.status_code, answer.json()["detail"]) == (503, "worker process: cannot start: no model")
    assert upload(client, "/v1/classify", tmp_path / "new.wav").status_code == 200


def cannot_start() -> None:
    raise LibraryError("no model")


@pytest.mark.parametrize(("content", "status"), [(b"just text\n" * 50, 415), (b"", 422), (b"RIFF", 415)])
def test_what_is_no_audio_is_refused(client: TestClient, content: bytes, status: int) -> None:
    for path in ("/v1/classify", "/v1/similar_tracks", "/v1/tracks"):
        answer = client.post(path, files={"file": ("song.mp3", content)})
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert client.post("/v1/classify", content=b"x", headers={"Content-Type": "audio/mpeg"}).status_code == 422
    broken = client.post("/v1/classify", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=a"})
    assert broken.status_code in (400, 422)
