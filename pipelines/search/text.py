"""Finding tracks by a description, through a model that puts sound and text into one space (CLAP).

The model's embedding of each track is kept in the library as vectors under the encoder's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import LibraryError, UsageError
from ...models.arrays import l2_normalize, top_k
from ...models.encoders.transformers import NO_TEXT, PREFIX, HubEncoder
from ..audio_analysis.feature_sources import encoder_named, extract_all
from ..library.progress import Progress, silent
from ..library.store import Library
from .similar import Neighbour

BATCH = 16


def embed_library(library: Library, name: str, progress: Progress = silent) -> dict[str, str]:
    """Embeds all tracks with audio that have no vector of the encoder; gives track_id -> reason of those that fail.

    Committed in batches: an interrupted run carries on where it stopped.
    """
    # Loaded here, before the threads of `extract_all` use it.
    encoder = encoder_named(f"{PREFIX}{name}")
    if not isinstance(encoder, HubEncoder) or not encoder.embeds_text:
        raise UsageError(f"--encoder {name}: {NO_TEXT}")
    missing = library.tracks_without_vector(encoder.name)
    failed: dict[str, str] = {}
    paths = [Path(os.fsdecode(path)) for path in missing.values()]
    batch: dict[str, np.ndarray] = {}

    def commit() -> None:
        if batch:
            library.add_vectors(encoder.name, list(batch), np.stack(list(batch.values())))
            batch.clear()

    try:
        for done, (track_id, file) in enumerate(zip(missing, extract_all(paths, [encoder.name]), strict=True), 1):
            if file.reason:
                failed[track_id] = file.reason
            else:
                batch[track_id] = file.windows[encoder.name].mean(axis=0)
            if len(batch) == BATCH:
                commit()
            progress(done, len(missing))
    finally:
        commit()
    return failed


def find(library: Library, text: str, k: int, *, encoder: str | None = None) -> Iterator[Neighbour]:
    """The k tracks nearest to a description, best first."""
    if not text.strip():
        raise UsageError("find: the text is empty")
    sets = [name for name in library.vector_names() if name.startswith(PREFIX)]
    name = f"{PREFIX}{encoder}" if encoder else next(iter(sets), None)
    if name is None or name not in sets:
        raise LibraryError(
            f"{library.folder}: not embedded by a model of text and sound; name one with --encoder "
            "(laion/larger_clap_music, or its folder)"
        )
    model = HubEncoder.open(name.removeprefix(PREFIX))
    vectors = library.vectors(name)
    scores = l2_normalize(vectors) @ model.embed_text([text])[0]
    ids, values = top_k(np.where(vectors.any(axis=1), scores, -np.inf), k)
    tracks = library.tracks()
    for row, score in zip(ids.tolist(), values.tolist(), strict=True):
        yield Neighbour.of(library, tracks.row(row, named=True), round(score, 4))
