"""Compared tracks: what a slider needs to order them by any blend, without asking again; and their covers."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
from fastapi.testclient import TestClient
from mutagen.flac import Picture
from mutagen.id3 import APIC
from mutagen.mp4 import MP4Cover
from serving import audio, fill, serving, track

from crossfade.audio.metadata import read_cover
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.demo import write_audio
from crossfade.service.cover_art import cover_art

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40


def by_blend(answer: Any, blend: float, k: int) -> list[float]:
    """The scores of the first k in the order that a page makes of an answer."""
    both = [*answer["tracks"], *answer["others"]]
    return sorted((blend * one["taste"] + (1 - blend) * one["sound"] for one in both), reverse=True)[:k]


def scores(answer: Any) -> list[float]:
    return [one["score"] for one in answer.json()["tracks"]]


def test_one_answer_has_the_order_of_every_blend(client: TestClient) -> None:
    asked = {"track_id": track(3), "k": 5}
    answer = client.get("/v1/compared_tracks", params={**asked, "blend": 0.3}).json()
    assert len(answer["tracks"]) == 5
    for blend in (0.0, 0.05, 0.3, 0.5, 0.95, 1.0):
        similar = client.get("/v1/similar_tracks", params={**asked, "blend": blend})
        assert by_blend(answer, blend, 5) == pytest.approx(scores(similar), abs=1e-5)
    for one in answer["tracks"]:
        assert one["score"] == pytest.approx(0.3 * one["taste"] + 0.7 * one["sound"], abs=1e-5)
        assert len(one["genres"]) == 3
    assert client.get("/v1/compared_tracks", params={"track_id": "x"}).status_code == 404


def test_a_file_is_compared_by_its_sound_and_its_predicted_taste(
    client: TestClient, folder: Path, tmp_path: Path
) -> None:
    file = audio(tmp_path / "new.wav", hertz=330)

    def compared(path: Path) -> Any:
        with path.open("rb") as opened:
            answer = client.post("/v1/compared_tracks", files={"file": (path.name, opened)}, data={"k": "4"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    answer = compared(file)
    assert answer["track_id"] is None and answer["heard"]["duration_seconds"] == 6
    with file.open("rb") as opened:
        similar = client.post("/v1/similar_tracks", files={"file": ("new.wav", opened)}, data={"k": "4", "blend": "1"})
    assert by_blend(answer, 1.0, 4) == pytest.approx(scores(similar), abs=1e-5)
    with file.open("rb") as opened:
        added = client.post("/v1/tracks", files={"file": ("new.wav", opened)}).json()["track_id"]
    again = compared(file)
    assert again["track_id"] == added
    assert added not in [one["track_id"] for one in (*again["tracks"], *again["others"])]


def test_a_neighbour_says_where_it_is_strongest(client: TestClient, tmp_path: Path) -> None:
    """That is where it is played from, once it is in the library."""
    file = audio(tmp_path / "new.wav", hertz=330, seconds=40)
    with file.open("rb") as opened:
        added = client.post("/v1/tracks", files={"file": ("new.wav", opened)}).json()["track_id"]
    answer = client.get("/v1/compared_tracks", params={"track_id": track(0), "k": 100}).json()
    found = {one["track_id"]: one["strongest_seconds"] for one in answer["tracks"]}
    assert found[added] in (6.7, 20.0, 33.3) and found[track(1)] is None


def test_an_untrained_library_has_sound_alone(tmp_path: Path) -> None:
    fill(tmp_path / "L")
    with serving(tmp_path / "L") as client:
        answer = client.get("/v1/compared_tracks", params={"track_id": track(3), "k": 5}).json()
    assert [one["taste"] for one in answer["tracks"]] == [None] * 5 and answer["others"] == []
    assert all(one["sound"] == one["score"] for one in answer["tracks"])


def test_a_cover_is_that_of_the_file_or_drawn(client: TestClient, folder: Path) -> None:
    drawn = client.get(f"/v1/covers/{track(0)}")
    assert drawn.headers["content-type"] == "image/svg+xml" and drawn.text.startswith("<svg")
    with Library.open(folder) as library:
        path = library.path_of(track(0))
    file = mutagen.File(path)
    assert file is not None
    file.add_tags()
    file.tags.add(APIC(type=3, mime="image/png", data=PNG))
    file.save()
    cover = client.get(f"/v1/covers/{track(0)}")
    assert (cover.headers["content-type"], cover.content) == ("image/png", PNG)
    assert client.get("/v1/covers/nothing").status_code == 404


@pytest.mark.parametrize("suffix", ["mp3", "flac", "m4a", "ogg"])
def test_the_front_cover_of_every_format(suffix: str, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / f"a.{suffix}"
    write_audio(path, 0.1 * rng.normal(size=44_100).astype(np.float32))
    assert read_cover(path) is None
    picture = Picture()
    picture.type, picture.mime, picture.data = 3, "image/png", PNG
    file = mutagen.File(path)
    assert file is not None
    if file.tags is None:
        file.add_tags()
    if suffix == "mp3":
        file.tags.add(APIC(type=4, desc="back", mime="image/png", data=PNG + b"back"))
        file.tags.add(APIC(type=3, desc="front", mime="image/png", data=PNG))
    elif suffix == "flac":
        file.add_picture(picture)
    elif suffix == "m4a":
        file.tags["covr"] = [MP4Cover(PNG, MP4Cover.FORMAT_PNG)]
    else:
        file["metadata_block_picture"] = [base64.b64encode(picture.write()).decode()]
    file.save()
    assert read_cover(path) == PNG


def test_no_cover_of_what_is_no_picture_or_no_audio(tmp_path: Path) -> None:
    path = audio(tmp_path / "a.wav")
    file = mutagen.File(path)
    assert file is not None
    file.add_tags()
    file.tags.add(APIC(type=3, mime="image/svg+xml", data=b"<svg onload=alert(1)>"))
    file.save()
    assert read_cover(path) is None
    (tmp_path / "b.mp3").write_bytes(b"nothing")
    assert read_cover(tmp_path / "b.mp3") is None


def test_art_is_that_of_the_embedding(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(50, 20)).astype(np.float32)
    assert cover_art(vectors[3], vectors) == cover_art(vectors[3].copy(), vectors) != cover_art(vectors[4], vectors)
    assert cover_art(np.zeros(0, np.float32), np.zeros((1, 0), np.float32)).startswith("<svg")
