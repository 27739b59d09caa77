"""Vectors of another encoder beside the library's own embeddings: an audio model of transformers over every track.

They are kept under the encoder's name (`hub:NAME`), to be searched by it, trained on or described by text.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ...models.encoders.transformers import PREFIX, HubEncoder
from ..audio_analysis.feature_sources import encoder_named, extract_all
from ..library.progress import Progress, silent
from ..library.store import Library

BATCH = 16


def open_encoder(name: str) -> HubEncoder:
    """The model by its name on the hub or its folder, NAME@LAYER for a layer; the one that `embed_tracks` takes."""
    encoder = encoder_named(PREFIX + name.removeprefix(PREFIX))
    if not isinstance(encoder, HubEncoder):
        raise UsageError(f"--encoder {name}: {encoder.name} is no model of transformers; name one, or its folder")
    return encoder


def embed_tracks(library: Library, encoder: HubEncoder, progress: Progress = silent) -> tuple[int, dict[str, str]]:
    """Embeds all tracks with audio that have no vector of the encoder; how many, and track_id -> reason of those
    that failed.

    Committed in batches: an interrupted run carries on where it stopped.
    """
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
    return len(missing) - len(failed), failed
