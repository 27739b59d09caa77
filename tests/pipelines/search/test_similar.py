"""Similar tracks by what the library has: sound, taste, or both; a half that is not there is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("implicit")

from crossfade.models.arrays import l2_normalize
from crossfade.models.hybrid.local_scaling import LocalScaling
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.schema import conform
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.world import World, WorldOptions
from crossfade.pipelines.versions.track_index import TrackIndex

WORLD = World(WorldOptions(users=120, tracks=60, artists=12, listens_per_user=25, seed=2))
SILENT, NEW = WORLD.tracks.track_ids[0], "new"
"""a track that only listens are known of, and one that only its sound is known of"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of libraries by what they have: taste, sound or both; `untrained` has listens."""
    folder = tmp_path_factory.mktemp("libraries")
    events = conform(WORLD.event_table().lazy()).collect()
    for name in ("taste", "both", "sound", "untrained"):
        with Library.open(folder / name, create=True) as library:
            library.add_tracks(WORLD.track_table().select("track_id"))
            if name in ("both", "sound"):
                ids = [*WORLD.tracks.track_ids[1:], NEW]
                library.add_vectors("features", ids, np.vstack([WORLD.tracks.sound[1:], WORLD.tracks.sound[:1]]))
            library.listens_folder.mkdir()
            events.write_parquet(library.listens_folder / "log.parquet")
        if name in ("taste", "both"):
            assert main(["train", "--library", str(folder / name)]) == 0
    return folder


@pytest.fixture
def run(libraries: Path, capsys: pytest.CaptureFixture[str]):
    def answer(name: str, *words: object) -> tuple[int, list[dict[str, object]], list[str]]:
        capsys.readouterr()
        status = main(["similar", *map(str, words), "--library", str(libraries / name)])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], err.splitlines()

    return answer


def ids(found: list[dict[str, object]]) -> list[object]:
    return [line["track_id"] for line in found]


def test_a_library_of_listens_alone_answers_by_taste(run) -> None:
    """`similar TRACK_ID` in a library that has only listens: no refusal, the same with and without --blend 1."""
    status, found, errors = run("taste", SILENT, "-k", 5)
    assert (status, len(found), errors) == (0, 5, [])
    assert run("taste", SILENT, "-k", 5, "--blend", 1) == (0, found, [])
    assert SILENT not in ids(found)


def test_a_track_is_asked_by_the_halves_it_has(run) -> None:
    assert run("both", SILENT, "-k", 5)[:2] == run("both", SILENT, "-k", 5, "--blend", 1)[:2]
    by_sound, by_taste, by_both = (run("both", "8", "-k", 5, "--blend", blend)[1] for blend in (0, 1, 0.5))
    assert ids(by_sound) != ids(by_taste)
    assert run("both", "8", "-k", 5)[1] == by_both
    assert ids(run("both", "8", "-k", 5, "--sound", "features")[1]) == ids(by_sound)
    assert ids(run("sound", "8", "-k", 5)[1]) == ids(run("sound", "8", "-k", 5, "--blend", 0)[1]) == ids(by_sound)


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("taste", (SILENT, "--blend", 0), "only 1 (taste) can be asked"),
        ("taste", (SILENT, "--blend", 0.5), "only 1 (taste) can be asked"),
        ("taste", (SILENT, "--sound", "features"), "there are: none"),
        ("sound", ("8", "--blend", 0.5), "is not trained"),
        ("sound", (SILENT,), "has no sound"),
        ("untrained", (SILENT,), "it is not trained yet"),
        ("both", (SILENT, "--blend", 0), "only 1 (taste) can be asked"),
        ("both", (SILENT, "--sound", "features"), "has no sound"),
        ("both", ("8", "--sound", "features", "--blend", 1), "features is sound alone"),
    ],
)
def test_a_half_that_is_not_there_is_one_clear_line(run, name: str, words: tuple[object, ...], why: str) -> None:
    status, found, errors = run(name, *words)
    assert status > 0 and found == [] and len(errors) == 1
    assert errors[0].startswith("crossfade: ") and why in errors[0]


def test_sound_alone_is_the_locally_scaled_cosine(run, libraries: Path) -> None:
    """The command's answers, those of the service's index, and the formula of `local_scaling` are the same."""
    with Library.open(libraries / "sound") as library:
        index, vectors = TrackIndex.of_sound(library), l2_normalize(library.vectors("features"))
    rows, scores = index.compressed().similar("8", 10)
    found = run("sound", "8", "-k", 10)[1]
    assert ids(found) == [index.track_ids[row] for row in rows]
    np.testing.assert_allclose([line["score"] for line in found], scores, atol=1e-6)
    weights, row = LocalScaling(vectors).weights, index.row("8")
    expected = 1 - (1 - vectors[rows] @ vectors[row]) * weights[rows] * weights[row]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_the_nearest_are_in_order_of_row_and_each_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of hundreds of equal tracks every one is an answer, and none twice, however many are asked for."""
    names = [f"{number:03}" for number in range(300)]
    with Library.open(tmp_path / "L", create=True) as library:
        library.add_vectors("features", names, np.tile(np.eye(3, dtype=np.float32), (100, 1)))
    assert main(["similar", "000", "--library", str(tmp_path / "L"), "-k", "299"]) == 0
    found = ids([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert found == [*names[3::3], *(name for name in names if int(name) % 3)]


def test_only_tracks_of_a_genre_an_artist_or_some_years(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that fit, in the order that they have among all; the track that is asked for need not fit."""
    names = [f"{number:02}" for number in range(40)]
    years = [int(np.datetime64(f"{1960 + number}-06-01", "s").astype(int)) for number in range(40)]
    labels = [["Jazz", "Bop"] if number % 3 else ["Rock"] for number in range(40)]
    artists = [[f"Ann {number % 2}", "Bé"] for number in range(40)]
    table = {"track_id": names, "genres": labels, "artists": artists, "released_at": years}
    with Library.open(tmp_path / "L", create=True) as library:
        library.add_tracks(pl.DataFrame(table))
        library.add_vectors("features", names, np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32))

    def found(*words: str) -> list[object]:
        assert main(["similar", "00", "--library", str(tmp_path / "L"), "-k", "40", *words]) == 0
        return ids([json.loads(line) for line in capsys.readouterr().out.splitlines()])

    every = found()
    assert found("--genre", "jazz") == [name for name in every if int(name) % 3]
    assert found("--artist", "ann 1", "--years", "1970-1979") == [
        name for name in every if 10 <= int(name) < 20 and int(name) % 2
    ]
    assert found("--years", "1961", "--genre", "bop") == ["01"] and found("--artist", "Bé") == every
    assert found("--genre", "Polka") == []
    for years in ("then", "1980-1970"):
        assert main(["similar", "00", "--library", str(tmp_path / "L"), "--years", years]) == 2
        assert f"--years {years}" in capsys.readouterr().err
