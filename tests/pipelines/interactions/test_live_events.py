"""Events of the service become listens: each counts once, before and after a training, and deleted ones never again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from databases import postgres
from serving import fill, listen, serving, track

from crossfade.errors import DataError
from crossfade.pipelines.commands.main import main
from crossfade.pipelines.interactions.live_events import events_mark, listened_tracks, take_events
from crossfade.pipelines.interactions.schema import mixed_clocks, read_listens
from crossfade.pipelines.library.store import Library
from crossfade.service.events.store import EventStore, StoredEvent
from crossfade.service.snapshot.recommendations import trained_events, trained_listener, with_events

NOW = 1_700_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "L")
    listen(tmp_path / "L")
    return tmp_path / "L"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'events.db'}"
    else:
        with postgres() as found:
            yield found


def event(number: int, user_id: str, row: int, **more: float) -> StoredEvent:
    return StoredEvent(event_id=f"e{number}", user_id=user_id, track_id=track(row), time=NOW + number, **more)


def test_events_are_part_of_the_log_up_to_the_mark(folder: Path, url: str) -> None:
    store = EventStore(url)
    with Library.open(folder) as library:
        before = read_listens(library).collect()
        assert events_mark(library) is None
        store.add([event(2, "u1", 3, liked=-1), event(1, "new", 5, played_ratio=0.25)])
        assert take_events(library, url) == {"events": 2, "deleted": 0}
        rows = pl.read_parquet(library.listens_folder / "events.parquet")
        assert rows["user_id"].to_list() == ["new", "u1"] and rows["position"].is_sorted()
        assert (rows["played_ratio"][0], rows["liked"][1], rows["plays"][0]) == (0.25, -1, None)
        mark = events_mark(library)
        store.add([event(3, "u1", 4)])
        assert [one.event_id for one in store.recent("u1", 9, after=mark).events] == ["e3"]
        assert len(store.recent("u1", 9, after="another store:3").events) == 2
        assert take_events(library, url)["events"] == 3 and events_mark(library) != mark

        # Deleted, imported again, and still not there.
        assert store.forget("u1") == 2
        deleted = int((before["user_id"] == "u1").sum())
        assert take_events(library, url) == {"events": 1, "deleted": deleted}
        listen(folder)
        assert take_events(library, url) == {"events": 1, "deleted": deleted}
        users = read_listens(library).collect()["user_id"]
        assert "u1" not in users and "u2" in users and "new" in users
        # Nobody is given the number of an event that was deleted.
        store.add([event(4, "u1", 6)])
        assert [one.event_id for one in store.recent("u1", 9, after=events_mark(library)).events] == ["e4"]
        store.remove("new", ["e1"])
        store.forget("u1")
        assert take_events(library, url)["events"] == 0
        assert not (library.listens_folder / "events.parquet").exists()
    store.close()


def test_listened_tracks_are_those_of_the_log_and_of_the_events(folder: Path, url: str) -> None:
    """Before a training takes the events and after it; so that no manifest renames them and nothing forgets them."""
    with Library.open(folder) as library:
        logged = set(read_listens(library).collect()["track_id"])
        unknown = replace(event(3, "new", 0), track_id="unknown")
        assert listened_tracks(library) == logged
        store = EventStore(url)
        store.add([event(1, "u1", 3), event(2, "u2", 3), unknown])
        assert listened_tracks(library, url) == logged | {track(3), "unknown"}
        take_events(library, url)
        assert listened_tracks(library, url) == listened_tracks(library) == logged | {track(3), "unknown"}
        store.forget("new")
        take_events(library, url)
        assert listened_tracks(library, url) == logged | {track(3)}
    store.close()


def test_events_come_last_in_a_log_that_has_only_an_order(folder: Path) -> None:
    with Library.open(folder) as library:
        part = next(library.listens_folder.glob("*.parquet"))
        table = pl.read_parquet(part)
        table.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("position")).write_parquet(part)
        store = EventStore(f"sqlite:///{folder / 'events.db'}")
        store.add([event(1, "u1", 3)])
        store.close()
        take_events(library)
        assert mixed_clocks(library) is None
        last = read_listens(library).sort("position").collect().row(-1, named=True)
        assert (last["user_id"], last["track_id"]) == ("u1", track(3))


def test_after_a_training_an_event_counts_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Batch = live: repeated plays and a later dislike are worth to the service what they are to the next training."""
    train = ["train", "--library", str(folder), "--json"]
    assert main(train) == 0
    with serving(folder) as client:
        service = client.service  # type: ignore[attr-defined]
        store = service.event_store
        snapshot = service.follower.snapshot
        row = snapshot.model.user_rows["u1"]
        known, other = snapshot.model.hybrid.user_history(row).track_rows[:2].tolist()
        plays = [("u1", 3), ("u1", 3), ("fresh", 4), ("u1", known), ("u1", known), ("u1", known), ("u1", other)]
        store.add([event(n, *what) for n, what in enumerate(plays)])
        # In one second: the later one counts.
        store.add([replace(event(20 + n, "u1", other, liked=liked), time=NOW + 20) for n, liked in enumerate([1, -1])])

        def weights(user: str) -> dict[int, float]:
            snapshot = service.follower.snapshot
            recent = store.recent(user, 100, after=trained_events(snapshot, user))
            listened = with_events(snapshot, trained_listener(snapshot, user, recent), recent.events).history
            return dict(zip(listened.track_rows.tolist(), listened.weights.tolist(), strict=True))

        before = {user: weights(user) for user in ("u1", "u2", "fresh")}
        found = [before["u1"][row] for row in (3, known, other)]
        assert found == pytest.approx([np.log2(3), np.log2(5), -1])
        capsys.readouterr()
        assert main(train) == 0
        assert "9 events" in capsys.readouterr().err
        service.follower.check()
        assert {user: weights(user).keys() for user in before} == {user: before[user].keys() for user in before}
        for user in before:
            np.testing.assert_allclose([*weights(user).values()], [*before[user].values()])
        store.add([event(9, "u1", 7)])
        assert weights("u1").keys() - before["u1"].keys() == {7}


def test_a_store_that_is_none_is_an_error(folder: Path) -> None:
    (folder / "events.db").write_bytes(b"not a database, but long enough to be taken for one" * 10)
    with Library.open(folder) as library:
        with pytest.raises(DataError, match=r"events\.db"):
            take_events(library)
        with pytest.raises(DataError, match="nowhere"):
            take_events(library, "sqlite:///nowhere.db")
