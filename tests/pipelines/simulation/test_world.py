"""The synthetic world: its truth is in its listens, and its files are what the readers of real logs expect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crossfade.errors import UsageError
from crossfade.models.catalogue import COLLECTIVE_ARTISTS
from crossfade.pipelines.interactions.importer import import_log
from crossfade.pipelines.interactions.options import ImportOptions
from crossfade.pipelines.interactions.statistics import DAY_SECONDS
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.simulation.habits import Habits
from crossfade.pipelines.simulation.log_writer import write_yambda, write_yandex
from crossfade.pipelines.simulation.tracks import EPOCH_SECONDS
from crossfade.pipelines.simulation.world import World, WorldOptions

SMALL = WorldOptions(users=300, tracks=500, artists=60, listens_per_user=40)


@pytest.fixture(scope="module")
def world() -> World:
    return World(SMALL)


def test_the_same_options_give_the_same_world_and_another_seed_another_one(world: World) -> None:
    assert world.event_table().equals(World(SMALL).event_table())
    other = World(WorldOptions(users=300, tracks=500, artists=60, listens_per_user=40, seed=1))
    assert not np.array_equal(world.tracks.latents, other.tracks.latents)


def test_listeners_come_in_order_of_time_and_hear_nothing_before_its_release(world: World) -> None:
    events = world.event_table()
    released = dict(zip(world.tracks.track_ids, world.tracks.released_at.tolist(), strict=True))
    assert events.height == world.user_listens.sum()
    assert events.select((pl.col("time").diff().over("user_id").drop_nulls() >= 0).all()).item()
    assert (events["time"] >= events["track_id"].replace_strict(released)).all()
    assert events["time"].min() >= EPOCH_SECONDS  # type: ignore[operator]
    assert events["time"].max() < EPOCH_SECONDS + (SMALL.days + 1) * DAY_SECONDS  # type: ignore[operator]


def test_popularity_and_activity_have_heavy_tails(world: World) -> None:
    listens = world.listens()
    for rows, count in ((listens.track_rows, listens.track_count), (listens.user_rows, listens.user_count)):
        counts = np.sort(np.bincount(rows, minlength=count))[::-1]
        assert counts[: count // 10].sum() > 0.25 * counts.sum()


def test_listeners_play_finish_and_like_what_is_near_their_taste(world: World) -> None:
    events = pl.concat(
        pl.DataFrame({"u": e.user_rows, "t": e.track_rows, "ratio": e.played_ratios, "liked": e.liked})
        for e in world.blocks()
    )
    match = np.einsum("ek,ek->e", world.user_tastes[events["u"]], world.tracks.latents[events["t"]])
    by_chance = world.user_tastes[events["u"]] @ world.tracks.latents[events["t"]].mean(axis=0)
    assert match.mean() > by_chance.mean() + 0.2
    finished, liked = events["ratio"].to_numpy() >= 0.5, events["liked"].to_numpy()
    assert match[finished].mean() > match[~finished].mean()
    assert match[liked > 0].mean() > match[liked == 0].mean() > match[liked < 0].mean()


def test_sound_differs_within_an_artist(world: World) -> None:
    tracks = world.tracks
    spread = np.var(tracks.sound, axis=0).sum()
    first = np.array([names[0] for names in tracks.artists])
    within = np.mean(
        [np.var(tracks.sound[first == name], axis=0).sum() for name in set(first) if sum(first == name) > 3]
    )
    assert 0.2 * spread < within < 0.9 * spread


def _explained(world: World) -> float:
    """The share of the latent points' variance that a ridge regression reads off the sound of other tracks."""
    sound, latents = world.tracks.sound.astype(float), world.tracks.latents
    half = len(sound) // 2
    centred = np.c_[sound, np.ones(len(sound))]
    gram = centred[:half].T @ centred[:half] + np.eye(centred.shape[1])
    predicted = centred[half:] @ np.linalg.solve(gram, centred[:half].T @ latents[:half])
    rest = np.sum((latents[half:] - predicted) ** 2)
    return float(1 - rest / np.sum((latents[half:] - latents[:half].mean(axis=0)) ** 2))


def test_the_link_decides_how_much_sound_says_about_taste() -> None:
    shares = [
        _explained(World(WorldOptions(users=1, tracks=3_000, artists=1_500, link=link))) for link in (0, 0.5, 0.8, 1)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.05
    assert shares[-1] > 0.8


def test_planted_groups_are_found_again_in_what_people_play() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    from sklearn.metrics import adjusted_rand_score

    from crossfade.models.recommenders.als import ALS, ALSOptions

    world = World(WorldOptions(users=600, tracks=1_000, artists=100))
    als = ALS(ALSOptions(factors=32, threads=1))
    als.fit(world.listens())
    tastes = als.user_factors / np.linalg.norm(als.user_factors, axis=1, keepdims=True)
    found = cluster.KMeans(world.options.groups, n_init=3, random_state=0).fit_predict(tastes)
    assert adjusted_rand_score(world.user_groups, found) >= 0.8


def test_as_a_catalogue_various_artists_is_no_artist(world: World) -> None:
    catalogue = world.catalogue()
    assert len(catalogue) == SMALL.tracks and catalogue.has_sound.all()
    assert not {name.lower() for name in catalogue.artist_names} & COLLECTIVE_ARTISTS


def test_the_yandex_reader_reads_what_the_world_writes(world: World, tmp_path: Path) -> None:
    write_yandex(world, tmp_path / "log")
    interactions = pl.read_parquet(tmp_path / "log" / "interactions.parquet")
    assert interactions.height == world.user_listens.sum()
    assert interactions.select((pl.col("track_seq").diff().over("user_id").drop_nulls() == 1).all()).item()
    names = pl.read_parquet(tmp_path / "log" / "catalog_names.parquet")
    assert names.select("id", "type").is_unique().all() and not names["id"].is_unique().all()
    with Library.open(tmp_path / "library", create=True) as library:
        summary = import_log(library, tmp_path / "log", ImportOptions(format="yandex"))
        assert summary.record()["users"] == SMALL.users
        tracks = library.tracks()
        row = world.tracks.titles[0], list(world.tracks.artists[0])
        assert tracks.filter(track_id="1").select("title", "artists").row(0) == row
        assert any(genre.startswith("other_genre_") for genres in tracks["genres"] for genre in genres)
    assert not list((tmp_path / "log").glob(".parts-*"))


def test_the_yambda_reader_reads_what_the_world_writes(world: World, tmp_path: Path) -> None:
    write_yambda(world, tmp_path / "log")
    listens = pl.read_parquet(tmp_path / "log" / "listens.parquet")
    assert listens.height == world.user_listens.sum()
    assert listens.schema["timestamp"] == pl.UInt32 and (listens["timestamp"] % 5 == 0).all()
    with Library.open(tmp_path / "library", create=True) as library:
        summary = import_log(library, tmp_path / "log", ImportOptions(format="yambda"))
        assert summary.record()["users"] == SMALL.users
        sound = library.catalogue("yambda").sound
        np.testing.assert_allclose(np.linalg.norm(sound, axis=1), 1, atol=1e-5)


def test_a_log_does_not_depend_on_how_it_is_cut_into_blocks(world: World) -> None:
    first = next(world.blocks())
    assert first.user_rows[0] == 0
    assert len(np.unique(np.concatenate([events.user_rows for events in world.blocks()]))) == SMALL.users


@pytest.mark.parametrize("wrong", [{"users": 0}, {"link": 1.5}, {"repeat": -0.1}])
def test_an_impossible_world_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        WorldOptions(**wrong)  # type: ignore[arg-type]


def _played(habits: Habits) -> tuple[World, pl.DataFrame]:
    world = World(WorldOptions(users=200, tracks=600, artists=60, listens_per_user=60, repeat=0.0, habits=habits))
    events = pl.concat(
        pl.DataFrame({"user": block.user_rows, "track": block.track_rows, "time": block.times})
        for block in world.blocks()
    )
    tracks = pl.DataFrame(
        {
            "track": np.arange(600, dtype=np.int32),
            "artist": [names[0] for names in world.tracks.artists],
            "released": world.tracks.released_at,
            "fame": np.log(world.tracks.popularity),
        }
    )
    return world, events.join(tracks, on="track", maintain_order="left")


def _same_artist(events: pl.DataFrame) -> float:
    return float((events["artist"] == events["artist"].shift()).mean())


def _spread_of_fame(events: pl.DataFrame) -> float:
    return float(events.group_by("user").agg(pl.col("fame").mean())["fame"].std())


def _nearness_in_time(events: pl.DataFrame) -> float:
    return -float(events.group_by("user").agg(pl.col("released").std())["released"].mean())


def _share_of_new(events: pl.DataFrame) -> float:
    return float((events["time"] - events["released"] < 30 * DAY_SECONDS).mean())


def _change_of_fame(events: pl.DataFrame) -> float:
    """How unlike the first and the last third of the log are in what they play."""
    old = events.filter(pl.col("released") < EPOCH_SECONDS)
    third = (old["time"] - EPOCH_SECONDS) // (100 * DAY_SECONDS)
    counts = [np.bincount(old["track"].filter(third == part), minlength=600) for part in (0, 2)]
    return -float(np.corrcoef(*counts)[0, 1])


@pytest.mark.parametrize(
    ("habits", "shows"),
    [
        (Habits(loyalty=0.4), _same_artist),
        (Habits(mainstream=0.8), _spread_of_fame),
        (Habits(eras=4.0), _nearness_in_time),
        (Habits(novelty=3.0), _share_of_new),
        (Habits(trends=1.5), _change_of_fame),
    ],
)
def test_a_habit_shows_in_what_is_played(habits: Habits, shows: Callable[[pl.DataFrame], float]) -> None:
    world, events = _played(habits)
    without = shows(_played(Habits())[1])
    assert shows(events) > without + 0.1 * abs(without)
    assert (events["time"] >= events["released"]).all()
    assert events.height == world.user_listens.sum()


@pytest.mark.parametrize(("name", "value"), [("loyalty", 1.5), ("eras", -1.0)])
def test_an_impossible_habit_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        Habits(**{name: value})
