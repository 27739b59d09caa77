"""The Python API: data frames in and out, the same answers as the models and commands behind it, one-line errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
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


def test_importing_is_instant_and_light() -> None:
    """Nothing heavy is imported before it is used."""
    heavy = "{'numpy', 'torch', 'polars', 'faiss'}"
    code = f"import crossfade, sys; crossfade.CrossfadeError; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_name_that_is_not_public_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(AttributeError, match="no attribute 'clasify'; it has AudioError"):
        crossfade.clasify  # noqa: B018
