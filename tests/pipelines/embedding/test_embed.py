"""Embedding a collection: resumable, nothing lost, and tracks that keep who they are."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from sounds import music_like

from crossfade.errors import AudioError, CrossfadeError, DataError, LibraryError, ResourceError, UsageError
from crossfade.models.catalogue import Catalogue
from crossfade.models.genres.classical import fit_ridge
from crossfade.models.genres.heads import FeatureSlice, HeadClassifier, Normalisation, PooledFeatures, fit_head
from crossfade.models.genres.model import Card, GenreModel
from crossfade.models.genres.vocabulary import GENRES
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis
from crossfade.pipelines.embedding.embed import BATCH_TRACKS, EmbedSummary, embed
from crossfade.pipelines.embedding.options import EmbedOptions
from crossfade.pipelines.embedding.process_pool import WorkerDied, in_workers
from crossfade.pipelines.interactions.schema import conform
from crossfade.pipelines.library.import_export import export
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.similar import query_for

RATE = 16_000
VECTOR_TOLERANCE = 1e-5


def song(path: Path, seed: int, seconds: float = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, music_like(seconds, RATE, np.random.default_rng(seed), bpm=80 + 10 * seed), RATE)
    return path


def run(library: Path, *places: Path, **options: Any) -> EmbedSummary:
    with Library.open(library, create=True) as opened:
        return embed(opened, places, EmbedOptions(workers=1, **options), lambda done, total: None)


def paths(library: Path) -> dict[str, str | None]:
    with Library.open(library) as opened:
        files = {track_id: opened.path_of(track_id) for track_id in opened.track_ids()}
    return {track_id: path and path.name for track_id, path in files.items()}


def failures(library: Path) -> dict[str, str]:
    with Library.open(library) as opened:
        return {Path(os.fsdecode(file.path)).name: reason for file, reason in opened.failures().items()}


def counts(summary: EmbedSummary) -> tuple[int, int, int]:
    return summary.embedded, summary.unchanged, summary.failed


@pytest.fixture
def processes() -> None:
    """For a test that analyzes in worker processes, as users do; the others save themselves the start of one a run."""


@pytest.fixture(autouse=True)
def without_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def work_here(work: Any, items: Any, *, count: int, prepare: Any) -> Any:
        prepare()
        return ((item, work(item)) for item in items)

    if "processes" not in request.fixturenames:
        monkeypatch.setattr("crossfade.pipelines.embedding.embed.in_workers", work_here)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    for number, name in enumerate(("a/one.wav", "a/two.wav", "b/one.wav")):
        song(folder / name, number)
    return folder


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    return tmp_path / "L"


@pytest.mark.usefixtures("processes")
def test_a_second_run_does_nothing_and_a_changed_file_is_embedded_again(music: Path, lib: Path) -> None:
    assert counts(run(lib, music)) == (3, 0, 0)
    assert paths(lib) == {"a/one.wav": "one.wav", "a/two.wav": "two.wav", "b/one.wav": "one.wav"}
    assert counts(run(lib, music)) == (0, 3, 0)
    os.utime(music / "a/one.wav")
    assert counts(run(lib, music)) == (0, 3, 0)
    song(music / "a/one.wav", 9)
    assert counts(run(lib, music)) == (1, 2, 0)
    assert len(paths(lib)) == 3


def test_a_track_keeps_its_id_when_its_file_moves(music: Path, lib: Path) -> None:
    run(lib, music)
    (music / "a/two.wav").rename(music / "renamed.wav")
    summary = run(lib, music)
    assert (counts(summary), summary.moved, summary.missing) == ((0, 2, 0), 1, 0)
    assert paths(lib)["a/two.wav"] == "renamed.wav"
    assert len(paths(lib)) == 3


def test_the_same_audio_twice_is_two_tracks_with_one_embedding(music: Path, lib: Path) -> None:
    shutil.copy(music / "a/one.wav", music / "copy.wav")
    assert counts(run(lib, music)) == (4, 0, 0)
    with Library.open(lib) as opened:
        assert opened._query("SELECT count(*) FROM heard") == [(3,)]
        catalogue = opened.catalogue()
    by_id = dict(zip(catalogue.track_ids, catalogue.sound, strict=True))
    np.testing.assert_array_equal(by_id["copy.wav"], by_id["a/one.wav"])


def test_failures_have_reasons_and_are_retried_when_they_change(music: Path, lib: Path) -> None:
    (music / "bad.mp3").write_text("no music " * 50)
    (music / "labels.csv").write_text("path,genre\n")
    assert counts(run(lib, music)) == (3, 0, 1)
    assert failures(lib)["bad.mp3"].startswith("cannot be decoded")
    assert counts(run(lib, music)) == (0, 3, 1)
    assert counts(run(lib, music, retry=True)) == (0, 3, 1)
    song(music / "good.wav", 5).rename(music / "bad.mp3")
    assert counts(run(lib, music)) == (1, 3, 0)
    assert failures(lib) == {}


def test_failures_of_files_that_are_gone_go_with_them(music: Path, lib: Path, tmp_path: Path) -> None:
    for bad in (music / "a/bad.mp3", music / "b/bad2.mp3", music / "b/bad3.mp3"):
        bad.write_text("no music " * 50)
    assert counts(run(lib, music)) == (3, 0, 3)
    (music / "a/bad.mp3").unlink()
    (music / "b/bad2.mp3").unlink()
    assert counts(run(lib, music / "a")) == (0, 2, 0)
    # What is not under the folders of this run was not looked at.
    assert set(failures(lib)) == {"bad2.mp3", "bad3.mp3"}
    assert counts(run(lib, music)) == (0, 3, 1)
    assert set(failures(lib)) == {"bad3.mp3"}
    # A file of the manifest that is not there is a failure, in a second run as well.
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,track_id\na/none.wav,t\n")
    for _ in range(2):
        run(lib, music, manifest=manifest)
        assert set(failures(lib)) == {"bad3.mp3", "none.wav"}


def test_two_folders_with_the_same_names_are_all_kept(music: Path, lib: Path) -> None:
    run(lib, music / "a", music / "b")
    assert set(paths(lib)) == {"one.wav", "two.wav", "b/one.wav"}
    assert counts(run(lib, music / "a", music / "b")) == (0, 3, 0)


def test_odd_names_are_kept_as_bytes(tmp_path: Path, lib: Path) -> None:
    folder = tmp_path / "odd"
    for number, name in enumerate((b"new\nline.wav", b"not \xff utf8.wav", "žluťoučký.wav".encode())):
        song(folder / "plain.wav", number).rename(folder / os.fsdecode(name))
    assert counts(run(lib, folder)) == (3, 0, 0)
    assert counts(run(lib, folder)) == (0, 3, 0)
    with Library.open(lib) as opened:
        stored = set(opened.paths().values())
        assert opened.tracks()["track_id"].to_list() == [
            r"new" + "\n" + "line.wav",
            r"not \xff utf8.wav",
            "žluťoučký.wav",
        ]
    assert os.fsencode(folder) + b"/not \xff utf8.wav" in stored


def test_a_manifest_names_tracks(music: Path, lib: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(
        "path,track_id,title,artist,genre,released_at\n"
        "a/one.wav,T1,One,X; Y,jazz,1971\n"
        "a/two.wav,T1,Two,X,,\n"
        "gone.wav,T3,,,,\n"
    )
    assert counts(run(lib, music, manifest=manifest)) == (2, 0, 2)
    reasons = failures(lib)
    assert reasons["two.wav"].startswith("track_id T1 is already ")
    assert "manifest.csv, line 3" in reasons["two.wav"]
    assert reasons["gone.wav"].startswith("no such file")
    with Library.open(lib) as opened:
        track = opened.tracks().row(0, named=True)
    assert (track["track_id"], track["title"], track["artists"], track["genres"]) == ("T1", "One", ["X", "Y"], ["jazz"])
    assert track["released_at"] == 31_536_000


def test_what_was_embedded_is_remembered_beside_the_database(music: Path, lib: Path, tmp_path: Path) -> None:
    """Only there the service gives audio away; a database that came from elsewhere says nothing of it."""
    elsewhere = song(tmp_path / "elsewhere.wav", 9)
    manifest = tmp_path / "lists" / "manifest.csv"
    manifest.parent.mkdir()
    manifest.write_text(f"path,track_id\n{elsewhere},e\n")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    odd.mkdir()
    run(lib, music)
    run(lib, music, manifest=manifest)
    run(lib, odd)
    with Library.open(lib) as library:
        assert library.places() == [music, tmp_path, odd]
        (lib / "places.json").write_text("nonsense")
        with pytest.raises(LibraryError, match=r"places\.json: damaged"):
            library.places()


def test_a_manifest_without_its_columns_is_refused(music: Path, lib: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file,track_id\n")
    with pytest.raises(DataError, match=r"manifest\.csv: no column path; found file, track_id"):
        run(lib, music, manifest=manifest)


def test_ids_from_a_tag(tmp_path: Path, lib: Path) -> None:
    import mutagen

    path = tmp_path / "music" / "a.flac"
    song(path, 1)
    tagged = mutagen.File(path)
    tagged["musicbrainz_trackid"], tagged["artist"], tagged["title"] = ["mb-1"], ["X", "Y"], ["Song"]
    tagged.save()
    run(lib, path.parent, id_field="musicbrainz_trackid")
    with Library.open(lib) as opened:
        track = opened.tracks().row(0, named=True)
    assert (track["track_id"], track["title"], track["artists"]) == ("mb-1", "Song", ["X", "Y"])


def test_a_library_of_another_encoder_is_refused(music: Path, lib: Path) -> None:
    with Library.open(lib, create=True) as opened, opened.transaction() as db:
        db.execute("INSERT INTO about VALUES ('encoder', 'clap')")
    with pytest.raises(LibraryError, match="embedded with clap, not musicnn-msd"):
        run(lib, music)


def test_a_genre_model_names_the_whole_library_and_stays(music: Path, lib: Path, genre_model: Path) -> None:
    run(lib, music)
    with Library.open(lib) as opened:
        before = opened.catalogue()
    assert counts(run(lib, music, genre_model=genre_model)) == (0, 3, 0)
    song(music / "new.wav", 7)
    assert counts(run(lib, music)) == (1, 3, 0)
    with Library.open(lib) as opened:
        after = opened.catalogue()
        assert after.genre_names == ("loud", "quiet")
    assert after.genre_probabilities.shape == (4, 2)
    np.testing.assert_allclose(after.genre_probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(after.sound[:3], before.sound)


@pytest.fixture
def deviating_model(tmp_path: Path, rng: np.random.Generator) -> Path:
    """As `genre_model`, but it wants the deviation over windows, too, which the library does not store."""
    windows = [rng.normal(size=(3, 250)).astype(np.float32) for _ in range(20)]
    pooled = PooledFeatures((FeatureSlice("musicnn-msd", 0, 200),), "mean+std")
    targets = np.eye(3, dtype=bool)[np.arange(20) % 3]
    head = fit_head(pooled.vectors({"musicnn-msd": windows}), targets, Normalisation.STANDARD, fit_ridge)
    GenreModel(Card("probe", "encoder", ("x", "y", "z")), HeadClassifier(pooled, head)).save(tmp_path / "D")
    return tmp_path / "D"


def genres(library: Path) -> dict[str, dict[str, float]]:
    with Library.open(library) as opened:
        return {track_id: opened.genres_of(track_id) for track_id in opened.track_ids()}


def test_a_genre_model_given_with_a_mistyped_folder_changes_nothing(music: Path, lib: Path, genre_model: Path) -> None:
    """The folder is looked at before the library's genres are touched."""
    run(lib, music)
    before = genres(lib)
    with pytest.raises(UsageError, match="no such file or folder"):
        run(lib, music / "typo", genre_model=genre_model)
    assert genres(lib) == before
    assert set(before["a/one.wav"]) == set(GENRES)


def test_genres_stay_with_their_names_until_each_is_replaced(music: Path, lib: Path, deviating_model: Path) -> None:
    """Embedding one file with a genre model leaves the others their genres, those whose files are gone included."""
    run(lib, music)
    before = genres(lib)
    (music / "b/one.wav").unlink()
    assert counts(run(lib, music / "a/one.wav", genre_model=deviating_model)) == (1, 0, 0)
    after = genres(lib)
    assert set(after.pop("a/one.wav")) == {"x", "y", "z"}
    assert after == {track_id: before[track_id] for track_id in after}
    with Library.open(lib) as opened:
        export(opened, lib / "out")
    table = pl.read_parquet(lib / "out" / "genres.parquet")
    assert table.columns == ["track_id", "x", "y", "z", *GENRES]
    for row in table.iter_rows(named=True):
        assert {name: value for name, value in row.items() if value is not None} == pytest.approx(
            {"track_id": row["track_id"], **genres(lib)[row["track_id"]]}
        )
    assert counts(run(lib, music)) == (1, 1, 0)
    assert {frozenset(named) for named in genres(lib).values()} == {frozenset("xyz"), frozenset(GENRES)}
    assert set(genres(lib)["b/one.wav"]) == set(GENRES)


def test_what_a_genre_model_can_name_from_stored_embeddings_is_not_decoded_again(
    music: Path, lib: Path, genre_model: Path
) -> None:
    """Naming by the stored embeddings gives what hearing the files anew gives, whether they are there or not."""
    run(lib, music)
    run(lib.with_name("anew"), music, genre_model=genre_model)
    for file in music.rglob("*.wav"):
        file.rename(file.with_suffix(".gone"))
    song(music / "a/new.wav", 5)
    assert counts(run(lib, music / "a/new.wav", genre_model=genre_model)) == (1, 0, 0)
    found, expected = genres(lib), genres(lib.with_name("anew"))
    for track_id, named in expected.items():
        assert found[track_id] == pytest.approx(named, abs=VECTOR_TOLERANCE)
    with Library.open(lib) as opened, Library.open(lib.with_name("anew")) as anew:
        said = "SELECT content_hash, description FROM heard WHERE content_hash IN (SELECT content_hash FROM tracks)"
        descriptions = {digest: json.loads(text) for digest, text in opened._query(said)}
        for digest, text in anew._query(said):
            assert descriptions[digest] == json.loads(text)


def test_other_files_are_analyzed_with_the_vocabulary_of_the_library(music: Path, lib: Path, genre_model: Path) -> None:
    """One analyzer for all: the library's genre model names what is asked about, and a missing one is one line."""
    run(lib, music, genre_model=genre_model)
    with Library.open(lib) as opened:
        heard = opened.analyzer().analyze(music / "a/one.wav")
        assert heard.vocabulary == opened.vocabulary()
        assert dict(zip(heard.vocabulary.genres, heard.genres.tolist(), strict=True)) == opened.genres_of("a/one.wav")
        query = query_for(opened, str(song(music / "other.wav", 8)))
        assert isinstance(query.track, Catalogue) and query.track.genre_names == ("loud", "quiet")
        shutil.rmtree(genre_model)
        with pytest.raises(LibraryError, match=r"its genre model is gone .* --genre-model M"):
            opened.analyzer()


def test_a_manifest_for_a_folder_that_is_embedded_already_counts(music: Path, lib: Path, tmp_path: Path) -> None:
    """Whether a manifest comes with the first run or with a later one, the library is the same; and it is said."""
    manifest = tmp_path / "manifest.csv"
    lines = ["path,track_id,title,artist", "a/one.wav,a/two.wav,One,X", "a/two.wav,a/one.wav,Two,Y", "b/one.wav,T3,,"]
    manifest.write_text("\n".join(lines) + "\n")
    run(lib, music)
    with Library.open(lib) as opened:
        opened.add_tracks(pl.DataFrame({"track_id": ["T3"], "title": ["From a log"]}))
    later = run(lib, music, manifest=manifest)
    assert (counts(later), later.renamed) == ((0, 3, 0), 3)
    first = run(lib.with_name("first"), music, manifest=manifest)
    assert (counts(first), first.renamed) == ((3, 0, 0), 0)
    expected = paths(lib.with_name("first"))
    assert paths(lib) == expected == {"a/two.wav": "one.wav", "a/one.wav": "two.wav", "T3": "one.wav"}
    with Library.open(lib) as opened:
        told = {row["track_id"]: (row["title"], row["artists"]) for row in opened.tracks().iter_rows(named=True)}
    assert told == {"a/two.wav": ("One", ["X"]), "a/one.wav": ("Two", ["Y"]), "T3": ("From a log", [])}
    again = run(lib, music, manifest=manifest)
    assert (counts(again), again.renamed) == ((0, 3, 0), 0)


def test_a_manifest_names_a_file_that_was_moved(music: Path, lib: Path, tmp_path: Path) -> None:
    """A moved file keeps its track, which takes the manifest's id."""
    run(lib, music)
    (music / "a/two.wav").rename(music / "moved.wav")
    (tmp_path / "manifest.csv").write_text("path,track_id\nmoved.wav,T2\n")
    assert run(lib, music, manifest=tmp_path / "manifest.csv").renamed == 1
    assert paths(lib) == {"a/one.wav": "one.wav", "T2": "moved.wav", "b/one.wav": "one.wav"}


def test_a_manifest_does_not_take_the_id_of_another_file(music: Path, lib: Path, tmp_path: Path) -> None:
    """An id that another file keeps is refused by name, and nobody loses theirs."""
    run(lib, music)
    (tmp_path / "manifest.csv").write_text("path,track_id\na/one.wav,a/two.wav\na/two.wav,b/one.wav\n")
    assert run(lib, music, manifest=tmp_path / "manifest.csv").renamed == 0
    assert paths(lib) == {"a/one.wav": "one.wav", "a/two.wav": "two.wav", "b/one.wav": "one.wav"}
    assert set(failures(lib)) == {"one.wav", "two.wav"}
    assert counts(run(lib, music)) == (0, 3, 0)
    assert failures(lib) == {}


def test_a_track_that_was_listened_to_keeps_the_id_that_its_listens_go_by(
    music: Path, lib: Path, tmp_path: Path
) -> None:
    """A later manifest loses no listens: it is refused for these tracks, by name."""
    run(lib, music)
    with Library.open(lib) as opened:
        opened.listens_folder.mkdir()
        listens = pl.DataFrame({"user_id": ["u"], "track_id": ["a/one.wav"]})
        conform(listens.lazy()).collect().write_parquet(opened.listens_folder / "log.parquet")
    (tmp_path / "manifest.csv").write_text("path,track_id\na/one.wav,a/two.wav\na/two.wav,a/one.wav\nb/one.wav,B\n")
    summary = run(lib, music, manifest=tmp_path / "manifest.csv")
    assert (counts(summary), summary.renamed) == ((0, 1, 2), 1)
    assert paths(lib) == {"a/one.wav": "one.wav", "a/two.wav": "two.wav", "B": "one.wav"}
    assert failures(lib)["one.wav"].startswith("cannot become a/two.wav: listens know it as a/one.wav (")


def test_a_model_that_does_not_load_in_a_worker_stops_the_run() -> None:
    """A worker that cannot start is no file's fault: one line, and the next run hears the files."""
    with pytest.raises(ResourceError, match="worker process: cannot start: weights: damaged"):
        list(in_workers(_square_or_die, range(8), count=2, prepare=partial(_refuse, "weights: damaged")))
    with pytest.raises(ResourceError, match="worker process: cannot start: not enough memory"):
        list(in_workers(_square_or_die, range(8), count=2, prepare=_run_out))
    with pytest.raises(ResourceError, match="worker process: died while it loaded"):
        list(in_workers(_square_or_die, range(8), count=2, prepare=_die))


def _without_memory() -> AudioError:
    """As `audio.decoding` raises it."""
    error = AudioError("cannot be decoded: asks for more memory than there is")
    error.__cause__ = MemoryError()
    return error


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (MemoryError(), "one.wav: no memory left to analyse it; what was embedded is kept"),
        (_without_memory(), "one.wav: no memory left to analyse it; what was embedded is kept"),
        (OSError(errno.EIO, "Input/output error"), "one.wav: Input/output error; what was embedded is kept"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "one.wav: No space left on device; what was embedded is kept",
        ),
        (LibraryError("clap: cannot be loaded"), "one.wav: not analysed: clap: cannot be loaded"),
        (ImportError("No module named 'torch'"), "one.wav: not analysed: No module named 'torch'"),
    ],
)
def test_faults_of_the_program_or_of_the_disk_stop_the_run(
    music: Path, lib: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, line: str
) -> None:
    """What is not the file's fault is not recorded as a failure; what was heard before it stays."""
    run(lib, music / "b")
    with monkeypatch.context() as patch, pytest.raises(CrossfadeError, match=line):
        _failing(patch, {"a/one.wav": fault})
        run(lib, music)
    assert failures(lib) == {}
    assert set(paths(lib).values()) == {"one.wav"}
    assert counts(run(lib, music)) == (2, 1, 0)


def test_faults_of_a_file_are_recorded(music: Path, lib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One strange file ends no run."""
    faults = {"a/one.wav": PermissionError(errno.EACCES, "Permission denied"), "a/two.wav": ValueError("odd")}
    _failing(monkeypatch, faults)
    assert counts(run(lib, music)) == (1, 0, 2)
    assert failures(lib) == {"one.wav": "not readable: Permission denied", "two.wav": "unexpected ValueError: odd"}


def _failing(monkeypatch: pytest.MonkeyPatch, faults: dict[str, Exception]) -> None:
    """Analyzing these files (by the end of their paths) raises."""

    def analyze(analyzer: AudioAnalyzer, path: Path) -> TrackAnalysis:
        for name, fault in faults.items():
            if str(path).endswith(name):
                raise fault
        return whole(analyzer, path)

    whole = AudioAnalyzer.analyze
    monkeypatch.setattr(AudioAnalyzer, "analyze", analyze)


def _refuse(why: str) -> None:
    raise LibraryError(why)


def _run_out() -> None:
    raise MemoryError


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _square_or_die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def _nothing() -> None: ...


def test_a_crash_is_blamed_on_the_culprit_alone() -> None:
    results = dict(in_workers(_square_or_die, range(8), count=2, prepare=_nothing))
    assert isinstance(results.pop(3), WorkerDied)
    assert results == {number: number * number for number in range(8) if number != 3}


def snapshot(lib: Path) -> tuple[set[tuple[Any, ...]], dict[str, np.ndarray]]:
    with Library.open(lib) as opened:
        rows = set(opened._query("SELECT content_hash, path FROM tracks")) | set(
            opened._query("SELECT path, reason FROM failures")
        )
        vectors = {
            digest: np.frombuffer(blob, np.float32)
            for digest, blob in opened._query("SELECT content_hash, embedding FROM heard")
        }
    return rows, vectors


@pytest.mark.slow
def test_a_killed_run_is_carried_on_to_the_same_library(tmp_path: Path) -> None:
    """Killed after a commit and before the end: what was committed is kept, and only the rest is heard."""
    folder, lib = tmp_path / "music", tmp_path / "L"
    for number in range(2 * BATCH_TRACKS):
        song(folder / f"{number:02}.wav", number, seconds=3)
    (folder / "bad.mp3").write_text("no music")
    run(tmp_path / "whole", folder)
    expected, vectors = snapshot(tmp_path / "whole")
    command = [sys.executable, "-m", "crossfade.pipelines", "embed", str(folder), "--library", str(lib), "--json"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and not ((lib / "library.db").exists() and _tracks(lib)):
        pass
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = _tracks(lib)
    assert 0 < kept < 2 * BATCH_TRACKS
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["unchanged"], summary["embedded"]) == (kept, 2 * BATCH_TRACKS - kept)
    found, resumed = snapshot(lib)
    assert found == expected
    assert resumed.keys() == vectors.keys()
    for digest, vector in vectors.items():
        np.testing.assert_allclose(resumed[digest], vector, atol=VECTOR_TOLERANCE)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_embedded_and_names_the_way_on(tmp_path: Path) -> None:
    folder = tmp_path / "music"
    for number in range(60):
        song(folder / f"{number:02}.wav", number, seconds=3)
    command = [sys.executable, "-m", "crossfade.pipelines", "embed", str(folder), "--library", str(tmp_path / "L")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    database = tmp_path / "L" / "library.db"
    while process.poll() is None and (not database.exists() or not _tracks(tmp_path / "L")):
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate()
    assert process.returncode == 130
    assert "the same command carries on" in messages
    assert "Traceback" not in messages
    assert _tracks(tmp_path / "L") >= 1


def _tracks(lib: Path) -> int:
    try:
        with Library.open(lib) as opened:
            return int(opened._query("SELECT count(*) FROM tracks")[0][0])
    except LibraryError:
        return 0
