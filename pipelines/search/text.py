"""Finding tracks by a description, through a model that puts sound and text into one space (CLAP).

What the model hears of each track is kept in the library as vectors under the encoder's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import AudioError, LibraryError, UsageError
from ...models.arrays import top_k
from ...models.encoders.transformers import PREFIX, HubEncoder
from ..audio_analysis.feature_sources import extract
from ..library.store import Library

BATCH = 16
Tick = Callable[[int, int], None]
"""(tracks heard so far, of how many)"""


@dataclass(frozen=True)
class Found:
    """One answer."""

    track_id: str
    path: str | None
    artist: str | None
    title: str | None
    score: float
    """cosine between text and sound, -1 … 1"""


def hear_library(library: Library, name: str, tick: Tick | None = None) -> dict[str, str]:
    """Hears all tracks with audio that the encoder has not heard; returns track_id -> reason for those it can't hear.

    Committed in batches: an interrupted run carries on where it stopped.
    """
    encoder = HubEncoder.open(name)
    if not encoder.embeds_text:
        raise UsageError(f"--encoder {name}: knows no text; a CLAP model does (laion/clap-htsat-unfused)")
    rows = library.query(
        "SELECT track_id, path FROM tracks WHERE path NOTNULL AND track_row NOT IN "
        "(SELECT track_row FROM vectors WHERE name = ?) ORDER BY track_row",
        (encoder.name,),
    )
    failed: dict[str, str] = {}
    batch: list[tuple[str, np.ndarray]] = []

    def commit() -> None:
        if batch:
            library.add_vectors(encoder.name, [one for one, _ in batch], np.stack([vector for _, vector in batch]))
            batch.clear()

    try:
        for done, (track_id, path) in enumerate(rows, 1):
            try:
                windows = extract(Path(path.decode("utf-8", "surrogateescape")), encoder.name)
                batch.append((track_id, windows.mean(axis=0)))
            except AudioError as error:
                failed[track_id] = error.reason
            if len(batch) == BATCH:
                commit()
            if tick:
                tick(done, len(rows))
    finally:
        commit()
    return failed


def find(library: Library, text: str, k: int, *, encoder: str | None = None) -> Iterator[Found]:
    """The k tracks nearest to a description, best first."""
    if not text.strip():
        raise UsageError("find: the text is empty")
    heard = [name for name in library.sounds() if name.startswith(PREFIX)]
    name = f"{PREFIX}{encoder}" if encoder else next(iter(heard), None)
    if name is None or name not in heard:
        raise LibraryError(
            f"{library.folder}: not heard by a model that knows text; name one with --encoder "
            "(laion/clap-htsat-unfused, or its folder)"
        )
    model = HubEncoder.open(name.removeprefix(PREFIX))
    catalogue = library.catalogue(name)
    length = np.linalg.norm(catalogue.sound, axis=1)
    scores = (catalogue.sound @ model.embed_text([text])[0]) / np.maximum(length, 1e-12)
    ids, values = top_k(np.where(length > 0, scores, -np.inf).astype(np.float32), k)
    tracks = library.tracks()
    for row, score in zip(ids.tolist(), values.tolist(), strict=True):
        one = tracks.row(row, named=True)
        artist = ", ".join(one["artists"]) or None
        yield Found(one["track_id"], one["path"], artist, one["title"], round(score, 4))
