"""Audio analysed by Spark: the same embeddings, failures as rows, and workers that may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import music_like

from crossfade.audio.metadata import read_tags
from crossfade.pipelines.audio_analysis.analyzer import AudioAnalyzer
from crossfade.pipelines.embedding.embed import embed
from crossfade.pipelines.embedding.options import EmbedOptions
from crossfade.pipelines.library.store import Library
from crossfade.pipelines.spark import embedding
from crossfade.pipelines.spark.engine import SparkEngine

pytestmark = pytest.mark.slow

RATE = 16_000
VECTOR_TOLERANCE = 1e-5


def test_files_at_a_url_are_embedded_though_every_worker_dies_once(
    engine: SparkEngine, library: Library, source: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze = embedding._analyze

    def dying_once(batches: Iterator[Any], **options: Any) -> Iterator[Any]:
        from pyspark import TaskContext

        if TaskContext.get().attemptNumber() == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return analyze(batches, **options)

    monkeypatch.setattr(embedding, "_analyze", dying_once)
    song = source / "disc 1" / "é.flac"
    song.parent.mkdir()
    soundfile.write(song, music_like(4, RATE, rng, bpm=90), RATE)
    (source / "broken.mp3").write_bytes(b"no audio at all")
    url = Path(source.as_uri().replace("%C3%A9", "é"))

    summary = embed(library, [url], EmbedOptions(), engine=engine.outcomes)
    assert (summary.embedded, summary.failed) == (1, 1)
    assert library.paths() == {"disc 1/é.flac": f"file://{song}".encode()}
    assert [Path(os.fsdecode(file.path)).name for file in library.failures()] == ["broken.mp3"]

    expected = AudioAnalyzer(threads=1).analyze(song)
    vector = library.vector("disc 1/é.flac", "encoder")
    assert vector is not None
    np.testing.assert_allclose(vector, expected.embedding, atol=VECTOR_TOLERANCE)
    genres = list(library.genres_of("disc 1/é.flac").values())
    np.testing.assert_allclose(genres, expected.genres, atol=VECTOR_TOLERANCE)
    assert library.description_of("disc 1/é.flac")["tempo_bpm"] == expected.description.tempo_bpm
    assert library.tracks()["title"].to_list() == [read_tags(song).title]

    again = embed(library, [url], EmbedOptions(), engine=engine.outcomes)
    assert (again.embedded, again.unchanged, again.failed) == (0, 1, 1)
