"""Finding tracks by a description, through a model that puts sound and text into one space (CLAP, PE-AV).

The model's embedding of each track is kept in the library as vectors under the encoder's name.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import LibraryError, UsageError
from ...models.arrays import l2_normalize, top_k
from ...models.encoders.transformers import NO_TEXT, PREFIX
from ..embedding.encoder_vectors import embed_tracks, open_encoder
from ..library.progress import Progress, silent
from ..library.store import Library
from .similar import Neighbour


def embed_library(library: Library, name: str, progress: Progress = silent) -> dict[str, str]:
    """Embeds what is new to a model of sound and text; gives track_id -> reason of those that fail."""
    encoder = open_encoder(name)
    if not encoder.embeds_text:
        raise UsageError(f"--encoder {name}: {NO_TEXT}")
    return embed_tracks(library, encoder, progress)[1]


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
    model = open_encoder(name)
    vectors = library.vectors(name)
    scores = l2_normalize(vectors) @ model.embed_text([text])[0]
    ids, values = top_k(np.where(vectors.any(axis=1), scores, -np.inf), k)
    track_ids = library.track_ids()
    for row, score in zip(ids.tolist(), values.tolist(), strict=True):
        if (track := library.track(track_ids[row])) is not None:
            yield Neighbour.of(library, track, round(score, 4))
