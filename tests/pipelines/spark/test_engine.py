"""A training on Spark: as good as the local one, and read by what reads that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted import planted
from polars.testing import assert_frame_equal
from small_training import OPTIONS, WORLD

from crossfade.models.evaluation.metrics import hits, recall, relevant_counts
from crossfade.models.evaluation.splits import by_chance
from crossfade.models.interactions import to_find
from crossfade.models.recommenders.als import ALS, ALSOptions, Solver, solve
from crossfade.pipelines.interactions.schema import SourceLog, sink, writing
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.search.recommend import recommend
from crossfade.pipelines.spark.engine import SparkEngine
from crossfade.pipelines.training.batch_tables import VersionLists
from crossfade.pipelines.training.train import train
from crossfade.pipelines.versions.model_version import ModelVersion

pytestmark = pytest.mark.slow

RECALL_TOLERANCE = 0.01
SCORE_TOLERANCE = 1e-5
OPTIONS_OF_ALS = ALSOptions(factors=8, regularization=5, iterations=10, threads=1)
"""few factors, many iterations: what is learned depends little on where it began"""


def test_als_finds_as_much_as_the_local_one(engine: SparkEngine) -> None:
    split = by_chance(planted(users=400, artists=50, each=6).train, np.random.default_rng(0))
    truth = to_find(split.test.matrix, split.train.matrix)
    users = np.arange(split.train.user_count, dtype=np.int32)

    def measured(solver: Solver) -> float:
        als = ALS(OPTIONS_OF_ALS, solver=solver).fit(split.train)
        ids, _ = als.recommend(users, 20)
        return float(np.nanmean(recall(hits(ids, truth), relevant_counts(truth), 20)))

    local = measured(solve)
    assert local > 0.2
    assert abs(measured(engine.solver) - local) <= RECALL_TOLERANCE


def test_its_version_is_read_as_any_other(engine: SparkEngine, library: Library, tmp_path: Path) -> None:
    library.add_tracks(WORLD.track_table())
    library.add_vectors("world", WORLD.tracks.track_ids, WORLD.tracks.sound)
    with writing(library, "world") as (part, _):
        sink(SourceLog(tmp_path, WORLD.event_table().lazy()), part)
    summary = train(library, OPTIONS, engine=engine)
    again = train(library, OPTIONS, engine=engine)
    assert again.version == summary.version
    assert again.unchanged == ("hybrid", "ranking", "artefacts")
    version = ModelVersion.load(library)
    assert version.metadata["engine"] == "spark"
    (lists,) = recommend(version, ["1", "nobody"], 5)
    assert lists["user_id"].value_counts().sort("user_id")["count"].to_list() == [5, 5]
    here = VersionLists(version, OPTIONS.artefacts)
    users = np.flatnonzero(version.hybrid.history.warm_users).astype(np.int32)
    for table, expected in (here.of_users(users) | here.of_tracks(np.arange(len(version), dtype=np.int32))).items():
        written = pl.read_parquet(library.current_version() / "artefacts" / f"{table}.parquet")
        assert_frame_equal(written, expected, rel_tol=SCORE_TOLERANCE)
