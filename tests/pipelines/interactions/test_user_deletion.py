"""Deletion: a deleted listener is nowhere in the library's folder, and nobody else is missing."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file
from serving import serving
from small_training import OPTIONS

from crossfade.errors import LibraryError, UsageError
from crossfade.models.recommenders.base import History
from crossfade.pipelines.interactions.live_events import take_events
from crossfade.pipelines.interactions.schema import SourceLog, read_listens, sink, writing
from crossfade.pipelines.interactions.user_deletion import EVER, forget, user_hash
from crossfade.pipelines.library.folder_layout import MANIFEST, TRAINING_LOCK, describe_files
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.world import World, WorldOptions
from crossfade.pipelines.training import train as training
from crossfade.pipelines.training.train import TrainingOptions, train
from crossfade.pipelines.versions.model_version import ModelVersion
from crossfade.pipelines.versions.publish import publish, pull
from crossfade.pipelines.versions.remote_storage import Destination
from crossfade.service.events.store import EventStore, StoredEvent

WORLD = World(WorldOptions(users=60, tracks=120, artists=25, listens_per_user=40, seed=5))
OTHER = "listener-001"
NAME = pl.lit("listener-") + pl.col("user_id").str.zfill(3)


def named(number: int) -> str:
    """Long enough to be found in bytes by nothing but itself."""
    return f"listener-{number:03}"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions, the later with half of its stages taken over; the tables of a Yandex import; events."""
    folder = tmp_path_factory.mktemp("library")
    with Library.open(folder, create=True) as library:
        library.add_tracks(WORLD.track_table())
        library.add_vectors("world", WORLD.tracks.track_ids, WORLD.tracks.sound)
        listened(library, WORLD.event_table())
        train(library, OPTIONS)
        train(library, OPTIONS, force=True)
        (folder / "yandex").mkdir()
        table = WORLD.event_table().select(user_id=NAME, item_id=pl.col("track_id"))
        table.write_parquet(folder / "yandex" / "events.parquet")
    return folder


def listened(library: Library, table: pl.DataFrame) -> None:
    with writing(library, "world") as (part, _):
        sink(SourceLog(library.folder, table.with_columns(user_id=NAME).lazy()), part)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "L"))


def places_of(folder: Path, user_id: str) -> list[str]:
    """Where the id is found: in the bytes of any file, and in the columns of tables, which are compressed."""
    found = [file for file in folder.rglob("*") if file.is_file() and user_id.encode() in file.read_bytes()]
    for file in folder.rglob("*.parquet"):
        texts = pl.read_parquet(file).select(pl.col(pl.String))
        found += [file for column in texts if user_id in column.unique()]
    return sorted({str(file.relative_to(folder)) for file in found})


def test_a_deleted_listener_is_nowhere_in_the_folder(folder: Path) -> None:
    """The log, the tables, every trained version, the event store and its write-ahead log."""
    gone, tracks = named(7), [f"t{number}" for number in range(40)]
    with serving(folder) as client:
        store = client.service.event_store  # type: ignore[attr-defined]
        rows = [
            StoredEvent(event_id=f"e{user}-{track}", user_id=user, track_id=track, time=1_700_000_000)
            for track in tracks
            for user in (gone, OTHER)
        ]
        store.add(rows)
        before = {user: places_of(folder, user) for user in (gone, OTHER)}
        assert len([name for name in before[gone] if name.startswith("models/")]) >= 8
        assert {"events.db-wal", "listens/world.parquet", "yandex/events.parquet"} <= set(before[gone])
        said = client.delete(f"/v1/listeners/{gone}").json()
        assert said["events"] == 40 and said["listens"] > 0
        assert places_of(folder, gone) == []
        left = {name for name in before[OTHER] if not name.endswith("-wal")}
        assert left <= {*places_of(folder, OTHER)} | {"events.db"}
        assert store.recent(OTHER, 99).events


def test_what_a_killed_training_left_goes_with_a_listener(folder: Path) -> None:
    """But for one that is being trained: whose tables are looked through before they are published."""
    with Library.open(folder) as library:
        left = library.new_version()
        shutil.copy(library.current_version() / "users.parquet", left)
        with (folder / TRAINING_LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            assert forget(library, {user_hash(named(8)): EVER}) and left.exists()
        assert forget(library, {user_hash(named(8)): EVER}) == 0 and left.exists()
        assert forget(library, {user_hash(named(7)): EVER}) and not left.exists()
    assert places_of(folder, named(7)) == []


def test_versions_without_a_listener_are_whole(folder: Path) -> None:
    """Others' rows, lists and histories are as before; the deleted one's are empty; hashes of the manifest are true."""
    with Library.open(folder) as library:
        before = ModelVersion.load(library)
        ranked_before = before.two_stage
        row = before.user_rows[named(7)]
        rest = np.delete(np.arange(len(before.user_ids)), row)
        assert forget(library, {user_hash(named(7)): EVER}) > 0
        after = ModelVersion.load(library)
        assert after.user_ids[row] is None and named(7) not in after.user_rows
        assert [after.user_ids[other] for other in rest] == [before.user_ids[other] for other in rest]
        als = after.hybrid.als
        assert not als.user_factors[row].any() and not after.hybrid.history.warm_users[row]
        np.testing.assert_array_equal(als.user_factors[rest], before.hybrid.als.user_factors[rest])
        assert (als.history.matrix[rest] != before.hybrid.als.history.matrix[rest]).nnz == 0
        assert ranked_before is not None and after.two_stage is not None
        assert (after.two_stage.generator.last[row] == -1).all()
        assert all(np.isnan(column[row]) for column in after.two_stage.statistics.users.values())
        for one, other in zip(after.two_stage.recommend(rest, 9), ranked_before.recommend(rest, 9), strict=True):
            np.testing.assert_array_equal(one, other)
        for version in library.versions():
            said = json.loads((version / MANIFEST).read_text())["files"]
            assert len(said) > 10 and describe_files({name: version / name for name in said}) == said


def test_no_array_of_a_version_has_a_row_for_each_user_but_those_that_are_emptied(folder: Path) -> None:
    """A model that keeps something of every user has to say how to forget one."""
    with Library.open(folder) as library:
        version, users = library.current_version(), len(ModelVersion.load(library).user_ids)
    found = {
        f"{file.stem}.{name}"
        for file in version.glob("*.safetensors")
        for name, array in load_file(file).items()
        if array.shape and len(array) in (users, users + 1)
    }
    assert found == {"als.user_factors", "als.heard_indptr", "ranked.sources_last", "ranked.facts_users"}


def test_a_version_that_cannot_be_read_is_named(folder: Path) -> None:
    """Nobody is told that everything was deleted where it was not."""
    with Library.open(folder) as library:
        (library.current_version() / "users.parquet").write_bytes(b"nonsense")
        with pytest.raises(LibraryError, match=r"users\.parquet: missing or damaged .* delete its folder"):
            forget(library, {user_hash(named(7)): EVER})


def test_deletions_at_once_all_count(folder: Path) -> None:
    """Whoever rewrites the log does so alone; the later of two used to bring back the earlier's listener."""
    users = [named(number) for number in range(8)]
    start = threading.Barrier(len(users))

    def delete(user_id: str) -> None:
        with Library.open(folder) as library:
            start.wait()
            with library.rewriting():
                forget(library, {user_hash(user_id): EVER})

    threads = [threading.Thread(target=delete, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Library.open(folder) as library:
        left = set(read_listens(library).collect()["user_id"])
    assert left == {named(int(user)) for user in WORLD.event_table()["user_id"].unique()} - set(users)
    assert {user: places_of(folder, user) for user in users} == {user: [] for user in users}


def test_who_is_deleted_while_a_version_is_trained_is_not_in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that is being made has read the log before."""
    write = training.complete_version

    def deleted_meanwhile(*arguments: object) -> None:
        with Library.open(folder) as other:
            assert forget(other, {user_hash(named(7)): EVER}) > 0
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "complete_version", deleted_meanwhile)
    with Library.open(folder) as library:
        train(library, OPTIONS, force=True)
        assert places_of(folder, named(7)) == []
        assert named(8) in ModelVersion.load(library).user_rows


def test_a_listener_who_came_back_stays_in_later_versions(folder: Path) -> None:
    """What is deleted is what was before; a version that was begun later learned from what came since."""
    user = named(7)
    url = f"sqlite:///{folder / 'events.db'}"
    store = EventStore(url)
    store.forget(user)
    with Library.open(folder) as library:
        take_events(library)
        assert places_of(folder, user) == []
        moment = store.recent(user, 1).forgotten_at
        assert moment is not None
        track = WORLD.tracks.track_ids[3]
        store.add([StoredEvent(event_id="back", user_id=user, track_id=track, time=moment + 1, liked=1)])
        store.close()
        take_events(library)
        train(library, OPTIONS)
        version = library.current_version()
        # As if it had been trained a day later.
        later = version.rename(version.with_name("29991231T000000Z-000000"))
        library.publish_version(later)
        take_events(library)
        assert user in ModelVersion.load(library).user_rows
        assert len([name for name in places_of(folder, user) if name.startswith("models/")]) > 0
        assert all(later.name in name for name in places_of(folder, user) if name.startswith("models/"))


def test_pulling_does_not_bring_a_deleted_listener_back(folder: Path, tmp_path: Path) -> None:
    """What was published before knows nothing of the deletion."""
    place, pulled = Destination((tmp_path / "remote").as_uri(), {}), tmp_path / "pulled"
    with Library.open(folder) as library:
        publish(library, place)
    pull(place, pulled)
    assert places_of(pulled, named(7))
    store = EventStore(f"sqlite:///{pulled / 'events.db'}")
    store.forget(named(7))
    store.close()
    pull(place, pulled)
    assert places_of(pulled, named(7)) == [] and places_of(pulled, OTHER)


def test_versions_beyond_three_are_removed(folder: Path) -> None:
    """Nightly training does not fill the disk; the current version stays whatever its name."""
    with Library.open(folder) as library:
        first = library.current_version()
        half = library.models / "20000101T000000Z-killed"
        half.mkdir()
        young = library.models / "29990101T000000Z-run"
        young.mkdir()
        with (library.folder / TRAINING_LOCK).open("a") as file:
            # As another training does while it writes the young one.
            fcntl.flock(file, fcntl.LOCK_SH)
            names = [train(library, OPTIONS, force=True).version for _ in range(2)]
            kept = library.versions()
            assert [path.name for path in kept[:1]] == names[1:] and len(kept) == 3
            assert first in kept and not half.exists() and young.exists()
        train(library, TrainingOptions(**{**vars(OPTIONS), "keep_versions": 1}), force=True)
        assert library.versions() == [library.current_version()]
        assert not first.exists() and not young.exists()
    with pytest.raises(UsageError, match="keep_versions: 0"):
        TrainingOptions(keep_versions=0)


def test_a_history_without_users_keeps_the_others() -> None:
    arrays = {
        "heard_indptr": np.array([0, 2, 2, 5]),
        "heard_tracks": np.array([0, 3, 1, 2, 3], np.int32),
        "heard_weights": np.array([1, 2, 3, 4, 5], np.float32),
        "popularity": np.zeros(4, np.float32),
    }
    left = History.without_users(arrays, np.array([0]))
    heard = History.from_arrays(left).matrix.toarray()
    assert heard.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 3, 4, 5]]
