"""The Python API: data frames in and out, the same answers as the models and commands behind it, one-line errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
from conftest import ROOT
from sounds import music_like

import crossfade
from crossfade.models.recommenders.registry import REGISTRY


@pytest.fixture(scope="module")
def interactions() -> pl.DataFrame:
    """Two camps of users and items that never meet; user ids are text, item ids numbers."""
    users, items = np.divmod(np.flatnonzero(np.random.default_rng(0).random((40, 40)) < 0.4), 40)
    together = (users < 20) == (items < 20)
    return pl.DataFrame({"user_id": [f"u{row}" for row in users[together]], "item_id": items[together] + 100})


def test_recommendations_stay_in_the_camp(interactions: pl.DataFrame) -> None:
    found = crossfade.recommender("als", factors=8).fit(interactions).recommend(["u3", "u30"], k=4)
    assert found.columns == ["user_id", "item_id", "score", "rank"]
    assert found["rank"].to_list() == [1, 2, 3, 4] * 2
    assert ((found["item_id"] < 120) == (found["user_id"] == "u3")).all()
    assert not len(found.join(interactions, on=["user_id", "item_id"]))


def test_pandas_in_pandas_out_and_the_same_numbers(interactions: pl.DataFrame) -> None:
    ours = crossfade.recommender("item-knn").fit(interactions).recommend(k=3)
    theirs = crossfade.recommender("item-knn").fit(interactions.to_pandas()).recommend(k=3)
    assert isinstance(theirs, pd.DataFrame)
    pd.testing.assert_frame_equal(theirs, ours.to_pandas())


def test_somebody_unknown_gets_what_is_popular(interactions: pl.DataFrame) -> None:
    model = crossfade.recommender("als", factors=8).fit(interactions)
    most = interactions["item_id"].value_counts().sort("count", "item_id", descending=[True, False])["count"][0]
    found = model.recommend(["nobody"], k=1)["item_id"][0]
    assert (interactions["item_id"] == found).sum() == most


@pytest.mark.parametrize("name", ["popular", "als", "content", "hybrid"])
def test_every_model_has_the_same_verbs(name: str, interactions: pl.DataFrame) -> None:
    items = pl.DataFrame({"item_id": range(100, 150), "vector": np.random.default_rng(1).normal(size=(50, 8)).tolist()})
    model = crossfade.recommender(name)
    model.fit(interactions, items if REGISTRY[name].by_content else None)
    assert len(model.recommend(["u1"], k=5)) == 5
    assert model.similar([100], k=3).columns == ["item_id", "similar_item_id", "score", "rank"]


def test_an_item_without_interactions_is_recommended_by_its_sound(interactions: pl.DataFrame) -> None:
    """Item 200 sounds like the second camp."""
    ids = [*range(100, 140), 200]
    sound = [[1.0, 0.1] if item < 120 else [0.1, 1.0] for item in ids]
    model = crossfade.recommender("content").fit(interactions, pl.DataFrame({"item_id": ids, "vector": sound}))
    found = model.recommend(["u30", "u3"], k=30)
    assert 200 in found.filter(pl.col("user_id") == "u30")["item_id"].head(21)
    assert 200 not in found.filter(pl.col("user_id") == "u3")["item_id"].head(9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda frame: crossfade.recommender("eas"), "eas: no such model; there are popular"),
        (lambda frame: crossfade.recommender("als", factor=3), "als: no option factor; there are alpha, factors"),
        (lambda frame: crossfade.recommender("als").recommend(["u1"]), "als: not fitted yet"),
        (lambda frame: crossfade.recommender("als").fit(frame.drop("item_id")), "interactions: no column item_id"),
        (lambda frame: crossfade.recommender("als").fit(frame.head(0)), "interactions: no rows"),
        (lambda frame: crossfade.recommender("als").fit(frame, frame), "als: learns from interactions alone"),
        (lambda frame: crossfade.recommender("als").fit(frame.with_columns(weight=pl.lit("x"))), "interactions: wei"),
        (lambda frame: crossfade.recommender("popular").fit(frame).similar([7]), "7: no such item"),
    ],
)
def test_errors_are_one_line_that_names_what_is_wrong(wrong: object, message: str, interactions: pl.DataFrame) -> None:
    with pytest.raises(crossfade.CrossfadeError) as raised:
        wrong(interactions)  # type: ignore[operator]
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)


def test_a_folder_of_music_is_embedded_and_searched(tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for name, seed in (("a", 0), ("b", 1), ("c", 2)):
        soundfile.write(music / f"{name}.wav", music_like(6.0, 16_000, np.random.default_rng(seed)), 16_000)
    classified = crossfade.classify(music / "a.wav")
    assert classified.genres[0].probability >= classified.genres[1].probability
    with crossfade.Library(tmp_path / "L") as library:
        assert library.embed(music, workers=1).embedded == 3
        assert sorted(library.tracks()["track_id"]) == ["a.wav", "b.wav", "c.wav"]
        nearest = library.similar("a.wav", k=2)
        assert [one.track_id for one in library.similar(music / "a.wav", k=2)] == [one.track_id for one in nearest]


def test_the_page_runs(tmp_path: Path) -> None:
    """The code of docs/python_api.md, as one script."""
    music = tmp_path / "Music"
    music.mkdir()
    for file in (tmp_path / "song.mp3", music / "one.flac", music / "two.flac"):
        soundfile.write(file, music_like(4.0, 16_000, np.random.default_rng(len(file.name))), 16_000)
    text = (ROOT / "docs" / "python_api.md").read_text()
    script = tmp_path / "page.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)))
    environment = os.environ | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert (tmp_path / "log" / "listens.parquet").is_file()


def test_importing_is_instant_and_light() -> None:
    """Nothing heavy is imported before it is used."""
    heavy = "{'numpy', 'torch', 'polars', 'faiss'}"
    code = f"import crossfade, sys; crossfade.CrossfadeError; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_name_that_is_not_public_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(AttributeError, match="no attribute 'clasify'; it has AudioError"):
        crossfade.clasify  # noqa: B018


@pytest.mark.parametrize("name", REGISTRY)
def test_every_model_takes_its_own_options(name: str) -> None:
    with pytest.raises(crossfade.UsageError, match=f"{name}: no option nonsense; there are"):
        crossfade.recommender(name, nonsense=1)


def test_a_model_without_options_keeps_its_own_defaults() -> None:
    """Of the last thirty days: two listens of the item b, against the three of a."""
    days = [0, 0, 0, 100, 100]
    frame = pl.DataFrame({"user_id": list("vwxyz"), "item_id": list("aaabb"), "time": [86_400 * day for day in days]})
    for name, first in (("popular", "a"), ("recent-popular", "b")):
        assert crossfade.recommender(name).fit(frame).recommend(["nobody"], k=1).rows()[0][1] == first


@pytest.fixture(scope="module")
def listening() -> crossfade.DemoListening:
    return crossfade.demo_listening(users=120, tracks=150, artists=20, listens_per_user=30)


def test_an_evaluation_is_the_rows_of_the_command(listening: crossfade.DemoListening) -> None:
    asked = {"models": ["als", "content"], "scenarios": ["warm"], "ks": [5], "resamples": 50}
    rows = crossfade.evaluate(listening.interactions, listening.items, **asked)
    ndcg = rows.filter(metric="ndcg", k=5, slice="warm")
    assert ndcg["model"].to_list() == ["popular", "recent-popular", "item-knn", "ease", "als", "content"]
    assert ((ndcg["low"] <= ndcg["value"]) & (ndcg["value"] <= ndcg["high"])).all()
    pandas = crossfade.evaluate(listening.interactions.to_pandas(), listening.items.to_pandas(), **asked)
    quality = pl.col("k").is_not_null()
    pd.testing.assert_frame_equal(
        pl.from_pandas(pandas).filter(quality).select(ndcg.columns[:7]).to_pandas(),
        rows.filter(quality).select(ndcg.columns[:7]).to_pandas(),
        check_dtype=False,
    )
    few = crossfade.evaluate(listening.interactions, **asked | {"models": [crossfade.recommender("als", factors=1)]})
    worse = few.filter(metric="ndcg", model="als")["value"][0]
    assert worse < ndcg.filter(model="als")["value"][0]
    told = listening.interactions.with_columns(organic=pl.col("item_id").cast(pl.String).str.len_chars() > 2)
    slices = crossfade.evaluate(told, **asked | {"models": ["als"]})["slice"].unique().to_list()
    assert {"warm, organic listens", "warm, recommended listens", "warm, light listeners"} <= set(slices)
    with pytest.raises(crossfade.DataError, match="organic: a column of String"):
        crossfade.evaluate(told.with_columns(pl.col("organic").cast(pl.String)), **asked)
    with pytest.raises(crossfade.UsageError, match="evaluate: no option scenario; there are"):
        crossfade.evaluate(listening.interactions, scenario="warm")


def test_the_hybrid_gives_reasons_from_the_users_own_history(listening: crossfade.DemoListening) -> None:
    model = crossfade.recommender("hybrid", factors=16).fit(listening.interactions, listening.items)
    found = model.recommend(["1", "2"], k=5, because=True)
    assert found.columns == ["user_id", "item_id", "score", "rank", "because"] and found["because"].count()
    own = found.drop_nulls("because").join(
        listening.interactions, left_on=["user_id", "because"], right_on=["user_id", "item_id"], how="anti"
    )
    assert not len(own)
    assert found.drop("because").equals(model.recommend(["1", "2"], k=5))


@pytest.mark.parametrize("format", ["yambda", "yandex"])
def test_a_demo_log_is_written_as_the_formats_that_listens_reads(
    listening: crossfade.DemoListening, format: str, tmp_path: Path
) -> None:
    from crossfade.pipelines.commands.main import main

    listening.write(tmp_path / "log", format)  # type: ignore[arg-type]
    with crossfade.Library(tmp_path / "L"):
        pass
    assert not main(["listens", str(tmp_path / "log"), "--format", format, "--library", str(tmp_path / "L"), "--json"])


def test_demo_music_is_rendered_once_and_labelled(tmp_path: Path) -> None:
    options = {"artists_per_style": 1, "tracks_per_artist": 1, "shortest_seconds": 1, "longest_seconds": 1}
    music = crossfade.demo_music(tmp_path, **options)
    files = [tmp_path / path for path in music["path"]]
    changed = [file.stat().st_mtime_ns for file in files]
    assert music.equals(crossfade.demo_music(tmp_path, **options))
    assert [file.stat().st_mtime_ns for file in files] == changed


def test_the_former_name_of_a_parameter_says_what_it_is_now(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="genre_model"), pytest.raises(crossfade.LibraryError):
        crossfade.classify("song.mp3", model=tmp_path / "none")
    with pytest.warns(DeprecationWarning, match="windows"), crossfade.Library(tmp_path / "L") as library:
        assert library.embed(all_windows=True).embedded == 0
