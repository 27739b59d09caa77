"""What a genre model hears of a file, by the name of the source, with a cache.

    descriptors          librosa's numbers of the middle 30 seconds
    log-mel              spectrogram windows for the CNN
    musicnn-msd          embedding (200) and tag logits (50) of each window; so musicnn-mtt
    musicnn-mel          MusiCNN's spectrogram windows, to train it on
    hub:NAME[@LAYER]     an audio model of transformers, by name or local folder
    input:hub:NAME       what its feature extractor makes of each window, to train it on

Shapes: W windows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...audio import descriptors
from ...audio.decoding import Recording
from ...audio.log_mel import LogMel
from ...audio.windows import SILENCE, Grid, excerpts
from ...errors import MACHINE_FAULTS, AudioError, LibraryError, ResourceError
from ...models.encoders.base import Encoder, Tagger
from ...models.encoders.fine_tuning import INPUT_SOURCE, MEL_SOURCE
from ...models.encoders.musicnn import Corpus, MusiCNN
from ...models.encoders.transformers import PREFIX, HubEncoder
from ...models.genres.model import GenreModel
from ...models.storage import content_hash, replacing

Floats = NDArray[np.float32]

DESCRIPTOR_SECONDS = 30
PATCH_FRAMES = 230
"""of the CNN: 3.7 s at 62.5 frames a second (Won et al. 2020, short-chunk CNN)"""
PATCH_POOL = 2
"""neighbouring frames are averaged: half the work, and 32 ms still tell a rhythm"""
PATCH = LogMel()
_VERSIONS = {"descriptors": 1, "log-mel": 1, "musicnn-msd": 1, "musicnn-mtt": 1, MEL_SOURCE: 1}
"""raised when what a source says changes, so that an old cache is not believed"""


@dataclass(frozen=True)
class Answer:
    """What `classify --model` says of one file."""

    genres: list[tuple[str, float]]
    """(genre, probability), best first"""
    confident: bool


def hear(path: Path, source: str) -> Floats:
    """What one source says of a file: [W, …]. Raises AudioError."""
    if source == "descriptors":
        return _descriptors(path)
    if source == "log-mel":
        return _patches(path)
    encoder = _encoder_behind(source)
    said = _answers(encoder) if source == encoder.name else _inputs(encoder)
    with Recording(path, encoder.sample_rate) as recording:
        grid = Grid(encoder.window_samples, encoder.hop_samples)
        parts = [said(excerpt.windows) for excerpt in excerpts(recording, grid)]
    return np.concatenate(parts).astype(np.float32)


def _encoder_behind(source: str) -> Encoder:
    return encoder_named("musicnn-msd" if source == MEL_SOURCE else source.removeprefix(INPUT_SOURCE))


def _answers(encoder: Encoder) -> Callable[[Floats], Floats]:
    """Embeddings of windows, beside the tags' logits where there are tags."""
    if isinstance(encoder, Tagger):
        tagger = encoder
        return lambda windows: np.concatenate(tagger.embed_and_tag(windows), axis=1)
    return encoder.embed


def _inputs(encoder: Encoder) -> Callable[[Floats], Floats]:
    """What an encoder's network is given of windows."""
    if isinstance(encoder, MusiCNN):
        return encoder.log_mel.in_torch
    if isinstance(encoder, HubEncoder):
        return encoder.features
    raise LibraryError(f"source {encoder.name!r}: has no network to be trained on")


@lru_cache(maxsize=4)
def encoder_named(source: str) -> Encoder:
    """The encoder behind a source; one thread each, since files are heard side by side."""
    corpus = source.removeprefix("musicnn-")
    if source.startswith("musicnn-") and corpus in {str(member) for member in Corpus}:
        return MusiCNN(Corpus(corpus), threads=1)
    if source.startswith(PREFIX):
        whole = source.removeprefix(PREFIX)
        name, _, layer = whole.rpartition("@")
        return HubEncoder.open(name, layer=int(layer)) if name and layer.isdecimal() else HubEncoder.open(whole)
    raise LibraryError(f"source {source!r}: not known; the model may come from a newer version")


def _descriptors(path: Path) -> Floats:
    with Recording(path, descriptors.SAMPLE_RATE) as recording:
        wanted = DESCRIPTOR_SECONDS * descriptors.SAMPLE_RATE
        start = max(0, round(recording.duration_seconds * descriptors.SAMPLE_RATE) - wanted) // 2
        samples = recording.clip(start, wanted).samples
        if np.abs(samples).max(initial=0) < SILENCE:
            samples = recording.clip(0, wanted).samples
    if len(samples) == 0 or np.abs(samples).max() < SILENCE:
        raise AudioError("silent" if len(samples) else "too short")
    return descriptors.descriptors(samples)[None]


def _patches(path: Path) -> Floats:
    length = (PATCH_FRAMES - 1) * PATCH.hop_samples + PATCH.fft_samples
    with Recording(path, PATCH.sample_rate) as recording:
        grid = Grid(length, PATCH_FRAMES * PATCH.hop_samples)
        found = [PATCH.in_torch(part.windows) for part in excerpts(recording, grid)]
    patches = np.concatenate(found)
    shape = (len(patches), PATCH_FRAMES // PATCH_POOL, PATCH_POOL, PATCH.bands)
    return np.asarray(patches.reshape(shape).mean(axis=2), np.float32)


def answer(model: GenreModel, path: Path) -> Answer:
    """The genres of one file by a trained model. Raises AudioError.

    >>> answer(GenreModel.load(folder), Path("song.mp3")).genres[0]  # doctest: +SKIP
    ('jazz', 0.93)
    """
    probabilities = model.predict({source: [hear(path, source)] for source in model.sources})[0]
    return Answer(model.ranked(probabilities), model.confident(probabilities))


def default_cache() -> Path:
    """Where features are kept between runs: $XDG_CACHE_HOME/crossfade, else ~/.cache/crossfade."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossfade" / "features"


def sample_rate(source: str) -> int:
    """Hz at which a source listens."""
    match source:
        case "descriptors":
            return descriptors.SAMPLE_RATE
        case "log-mel":
            return PATCH.sample_rate
        case _:
            return _encoder_behind(source).sample_rate


@dataclass
class FeatureCache:
    """Features by the content of the file, so that a renamed file is not heard twice and a changed one is."""

    folder: Path = field(default_factory=default_cache)

    def path(self, content: str, source: str) -> Path:
        safe = source if source in _VERSIONS else "hub-" + content_hash(source.encode(), "sha256")[:16]
        return self.folder / f"{safe}.{_VERSIONS.get(source, 1)}" / content[:2] / f"{content}.npy"

    def get(self, content: str, source: str) -> NDArray[Any] | None:
        try:
            found: NDArray[Any] = np.load(self.path(content, source), allow_pickle=False)
            return found
        except (OSError, ValueError, EOFError):
            return None

    def put(self, content: str, source: str, windows: NDArray[Any]) -> None:
        path = self.path(content, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, windows)


@dataclass(frozen=True)
class Found:
    """What was heard of one file, or why it was not."""

    row: int
    content: str
    windows: dict[str, NDArray[Any]]
    reason: str = ""


def hear_all(
    paths: Sequence[Path], sources: Sequence[str], cache: FeatureCache, *, workers: int | None = None
) -> Iterator[Found]:
    """Every file through every source, in order; a file that cannot be heard comes with a reason.

    What was heard stays in the cache, so that an interrupted run carries on where it stopped.
    """
    work = partial(_hear_one, sources=tuple(sources), cache=cache)
    # Threads: decoding, FFTs and networks run outside the interpreter's lock, and nothing has to be started twice.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        try:
            yield from pool.map(work, range(len(paths)), paths)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _hear_one(row: int, path: Path, sources: tuple[str, ...], cache: FeatureCache) -> Found:
    try:
        content = content_hash(path, "sha256")
    except OSError as error:
        if error.errno in MACHINE_FAULTS:
            raise ResourceError(f"{path}: {error.strerror}; what was heard stays in the cache") from None
        return Found(row, "", {}, f"not readable: {error.strerror}")
    windows: dict[str, NDArray[Any]] = {}
    for source in sources:
        found = cache.get(content, source)
        if found is None:
            try:
                found = hear(path, source)
            except AudioError as error:
                return Found(row, content, {}, error.reason)
            if source in ("log-mel", MEL_SOURCE) or source.startswith(INPUT_SOURCE):
                # Half precision, which a network does not notice, lets a large data set stay in memory.
                found = found.astype(np.float16)
            cache.put(content, source, found)
        windows[source] = found
    return Found(row, content, windows)
