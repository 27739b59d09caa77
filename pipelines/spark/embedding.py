"""Audio analysed on a cluster: what `embedding.embed` has processes of one machine do, with `mapInArrow`.

A Python worker of Spark loads the encoder once and keeps it for later tasks. A file that can't be heard is a row with
the reason. Where a worker dies, Spark gives its files to another, which takes each in a process of its own, so that a
file that crashes a decoder ends as a failure too, and not the job.

The files have to be where every worker finds them: at a URL of fsspec, or under the same path on all machines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ...audio.decoding import quiet_decoders
from ...audio.metadata import Tags
from ...audio.music_detection import Texture
from ...models.genres.vocabulary import Vocabulary
from ..audio_analysis.analyzer import AudioAnalyzer, Description, TrackAnalysis
from ..embedding.embed import Job, Outcome, Outcomes, analyze
from ..embedding.options import EmbedOptions
from ..embedding.process_pool import WorkerDied, in_workers
from ..library.store import Library
from .listens import collected, sent

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

FILES_PER_TASK = 16
TASKS_PER_CORE = 4
"""of one round: what a round found is kept in the library before the next begins"""


def _schema() -> pa.Schema:
    """A row for every file: why it could not be heard, or what `TrackAnalysis` and `Tags` hold.

    `place` counts the files, `described` and `tags` are JSON.
    """
    import pyarrow as pa

    texts = ("content_hash", "reason", "described", "tags")
    vectors = {name: pa.list_(pa.float32()) for name in ("embedding", "genres")}
    columns = dict.fromkeys(texts, pa.string()) | vectors | {"duration_seconds": pa.float64()}
    return pa.schema({"place": pa.int64(), **columns})


def outcomes(session: SparkSession, library: Library, jobs: list[Job], options: EmbedOptions) -> Outcomes:
    """What became of each file, round by round."""
    from pyspark.sql.pandas.types import from_arrow_schema

    vocabulary = library.vocabulary()
    work = partial(_analyze, genre_model=vocabulary.model, all_windows=options.windows == "all")
    model = library.analyzer().model
    multi_label = model is not None and model.card.multi_label
    size = FILES_PER_TASK * TASKS_PER_CORE * session.sparkContext.defaultParallelism
    for start in range(0, len(jobs), size):
        round_ = jobs[start : start + size]
        paths = [os.fsencode(job.file.path) for job in round_]
        files = sent(session, pl.DataFrame({"place": np.arange(len(round_)), "path": paths}))
        tasks = files.repartition(max(1, -(-len(round_) // FILES_PER_TASK)))
        for row in collected(tasks.mapInArrow(work, from_arrow_schema(_schema()))).iter_rows(named=True):
            yield round_[row["place"]], _outcome(row, vocabulary, multi_label)


def _analyze(
    batches: Iterator[pa.RecordBatch], genre_model: Path | None, all_windows: bool
) -> Iterator[pa.RecordBatch]:
    """In a worker."""
    import pyarrow as pa
    from pyspark import TaskContext

    context = TaskContext.get()
    for batch in batches:
        rows = pl.DataFrame(pa.Table.from_batches([batch]))
        paths = [Path(os.fsdecode(path)) for path in rows["path"]]
        if context is not None and context.attemptNumber():
            prepare = partial(_load, genre_model, all_windows)
            one_by_one = partial(_analyzed, genre_model, all_windows)
            found = dict(in_workers(one_by_one, paths, count=1, prepare=prepare))
        else:
            with quiet_decoders():
                found = {path: _analyzed(genre_model, all_windows, path) for path in paths}
        table = [_row(place, found[path]) for place, path in zip(rows["place"], paths, strict=True)]
        yield from pa.Table.from_pylist(table, _schema()).to_batches()


@lru_cache(maxsize=1)
def _analyzer(genre_model: Path | None, all_windows: bool) -> AudioAnalyzer:
    return AudioAnalyzer.with_genre_model(genre_model, threads=1, all_windows=all_windows).load()


def _load(genre_model: Path | None, all_windows: bool) -> None:
    _analyzer(genre_model, all_windows)


def _analyzed(genre_model: Path | None, all_windows: bool, path: Path) -> Outcome:
    return analyze(path, _analyzer(genre_model, all_windows), lambda _: False)


def _row(place: int, outcome: Outcome | WorkerDied) -> dict[str, Any]:
    """A row of `_schema`."""
    if isinstance(outcome, WorkerDied):
        return {"place": place, "reason": "crashed the decoder"}
    row = {"place": place, "content_hash": outcome.content_hash, "reason": outcome.reason}
    if outcome.tags is not None:
        row["tags"] = json.dumps(asdict(outcome.tags))
    if (analysis := outcome.analysis) is not None:
        row |= {
            "duration_seconds": analysis.duration_seconds,
            "embedding": analysis.embedding.tolist(),
            "genres": analysis.genres.tolist(),
            "described": json.dumps(asdict(analysis.description) | {"strongest_seconds": analysis.strongest_seconds}),
        }
    return row


def _outcome(row: Mapping[str, Any], vocabulary: Vocabulary, multi_label: bool) -> Outcome:
    """Back from a row."""
    tags: Any = row["tags"] and json.loads(row["tags"])
    if tags:
        tags = Tags(**tags | {name: tuple(tags[name]) for name in ("artists", "genres")})
    analysis = None
    if row["reason"] is None:
        described = json.loads(row["described"])
        texture, strongest = described.pop("texture"), described.pop("strongest_seconds")
        analysis = TrackAnalysis(
            row["duration_seconds"],
            np.array(row["embedding"], np.float32),
            np.array(row["genres"], np.float32),
            Description(**described, texture=texture and Texture(**texture)),
            vocabulary,
            multi_label,
            strongest,
        )
    return Outcome(row["content_hash"] or "", analysis, row["reason"], tags)
