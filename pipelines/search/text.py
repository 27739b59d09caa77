"""Finding tracks by a description, through a model that puts sound and text into one space (CLAP).

The model's embedding of each track is kept in the library as vectors under the encoder's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import AudioError, LibraryError, UsageError
from ...models.arrays import l2_normalize, top_k
from ...models.encoders.transformers import PREFIX, HubEncoder
from ..audio_analysis.feature_sources import extract
from ..library.progress import Progress, silent
from ..library.store import Library
from .similar import Neighbour

BATCH = 16


def embed_library(library: Library, name: str, progress: Progress = silent) -> dict[str, str]:
    """Embeds all tracks with audio that have no vector of the encoder; gives track_id -> reason of those that fail.

    Committed in batches: an interrupted run carries on where it stopped.
    """
    encoder = HubEncoder.open(name)
    if not encoder.embeds_text:
        raise UsageError(f"--encoder {name}: knows no text; a CLAP model does (laion/clap-htsat-unfused)")
    missing = library.tracks_without_vector(encoder.name)
    failed: dict[str, str] = {}
    batch: list[tuple[str, np.ndarray]] = []

    def commit() -> None:
        if batch:
            library.add_vectors(encoder.name, [one for one, _ in batch], np.stack([vector for _, vector in batch]))
            batch.clear()

    try:
        for done, (track_id, path) in enumerate(missing.items(), 1):
            try:
                windows = extract(Path(os.fsdecode(path)), encoder.name)
                batch.append((track_id, windows.mean(axis=0)))
            except AudioError as error:
                failed[track_id] = error.reason
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
            "(laion/clap-htsat-unfused, or its folder)"
        )
    model = HubEncoder.open(name.removeprefix(PREFIX))
    vectors = library.vectors(name)
    scores = l2_normalize(vectors) @ model.embed_text([text])[0]
    ids, values = top_k(np.where(vectors.any(axis=1), scores, -np.inf), k)
    tracks = library.tracks()
    for row, score in zip(ids.tolist(), values.tolist(), strict=True):
        one = tracks.row(row, named=True)
        artist = ", ".join(one["artists"]) or None
        yield Neighbour(one["track_id"], one["path"], artist, one["title"], round(score, 4))
