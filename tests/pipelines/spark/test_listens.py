"""Both engines on the same log: the same steps, counts, popularity, splits and confidences."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from crossfade.errors import DataError
from crossfade.models.evaluation.splits import by_time, by_user
from crossfade.pipelines.interactions.cleaning import CleaningOptions
from crossfade.pipelines.interactions.schema import SCHEMA, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.spark.engine import SparkEngine
from crossfade.pipelines.training.engine import LocalEngine

pytestmark = pytest.mark.slow

STRICT = CleaningOptions(users_sample=0.8, seed=3, min_track_listens=2, core=3)


def untidy_log(rng: np.random.Generator, rows: int = 3000) -> pl.DataFrame:
    """Gaps, repetitions, skips, dislikes and ratings; some users and tracks with one listen."""
    users = np.minimum(rng.zipf(1.4, rows), 120).astype(str)
    tracks = np.minimum(rng.zipf(1.3, rows), 150).astype(str)

    def sometimes(values: np.ndarray, share: float) -> list[float | None]:
        return [
            value if chosen else None for value, chosen in zip(values.tolist(), rng.random(rows) < share, strict=True)
        ]

    table = pl.DataFrame(
        {
            "user_id": sometimes(users, 0.99),
            "track_id": [
                f"é{track}" if chosen else None for track, chosen in zip(tracks, rng.random(rows) < 0.99, strict=True)
            ],
            "time": rng.integers(1_600_000_000, 1_600_900_000, rows),
            "position": rng.integers(0, 50, rows),
            "played_ratio": sometimes(rng.random(rows), 0.7),
            "plays": sometimes(rng.integers(0, 4, rows), 0.1),
            "rating": sometimes(rng.integers(1, 6, rows), 0.1),
            "liked": sometimes(rng.integers(-1, 2, rows), 0.2),
            "organic": None,
        },
        schema=SCHEMA,
        strict=False,
    )
    return pl.concat([table, table.sample(200, seed=1)])


def filled(library: Library, table: pl.DataFrame) -> Library:
    """In two files of the log."""
    for name, part in (("one [1]", table[::2]), ("two", table[1::2])):
        with writing(library, name) as (file, _):
            part.write_parquet(file)
    return library


@pytest.mark.parametrize("options", [CleaningOptions(), STRICT], ids=["default", "strict"])
def test_the_engines_clean_alike(
    engine: SparkEngine, library: Library, rng: np.random.Generator, options: CleaningOptions
) -> None:
    table = untidy_log(rng)
    filled(library, table)
    known = table["track_id"].drop_nulls().unique().sort()[3:]
    ours, theirs = (each.cleaned_log(library, known, options) for each in (LocalEngine(), engine))
    assert theirs.steps == ours.steps
    assert theirs.user_ids.to_list() == ours.user_ids.to_list()
    assert theirs.played_ids.to_list() == ours.played_ids.to_list()
    for name, figure in asdict(ours.figures).items():
        assert getattr(theirs.figures, name) == pytest.approx(figure), name
    assert (theirs.listens.listeners == ours.listens.listeners).all()
    assert abs(theirs.listens.matrix - ours.listens.matrix).max() == 0
    for split in (by_time, by_user):
        for part in ("train", "test"):
            one, other = (getattr(split(each.listens), part) for each in (ours, theirs))
            assert (one.matrix != other.matrix).nnz == 0
            assert len(one) == len(other)


def test_a_file_damaged_inside_is_said_by_both(engine: SparkEngine, library: Library, rng: np.random.Generator) -> None:
    table = untidy_log(rng)
    filled(library, table)
    file = library.listens_folder / "two.parquet"
    content = bytearray(file.read_bytes())
    content[100:600] = bytes(500)
    file.write_bytes(content)
    for each in (LocalEngine(), engine):
        with pytest.raises(DataError, match="listens") as caught:
            each.cleaned_log(library, table["track_id"].drop_nulls().unique(), CleaningOptions())
        assert "\n" not in str(caught.value)
