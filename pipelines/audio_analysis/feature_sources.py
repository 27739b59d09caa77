"""Features of audio files for genre models, by the name of their source, with a cache.

    descriptors          librosa's numbers of the middle 30 seconds
    log-mel              spectrogram windows for the CNN
    musicnn-msd          embedding (200) and tag logits (50) of each window; so musicnn-mtt
    musicnn-mel          MusiCNN's spectrogram windows, to train it on
    hub:NAME[@LAYER]     an audio model of transformers, by name or local folder
    input:hub:NAME       windows of what its feature extractor makes of the sound, to train it on

Shapes: W windows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
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
from ...audio.windows import Grid, excerpts
from ...errors import MACHINE_FAULTS, AudioError, LibraryError, ResourceError
from ...models.arrays import Floats
from ...models.encoders.musicnn import MEL_SOURCE, Corpus, MusiCNN
from ...models.encoders.transformers import INPUT_SOURCE, PREFIX, HubEncoder
from ...models.machine import available_cores
from ...models.storage import content_hash, replacing

PATCH_FRAMES = 230
"""of the CNN: 3.7 s at 62.5 frames a second (Won et al. 2020, short-chunk CNN)"""
PATCH_POOL = 2
"""neighbouring frames are averaged: half the work, and 32 ms are enough for rhythm"""
PATCH = LogMel()
_VERSIONS = {"descriptors": 1, "log-mel": 1, "musicnn-msd": 1, "musicnn-mtt": 1, MEL_SOURCE: 1}
_HUB_VERSION = 2
"""raised when what a source computes changes, so that an old cache is not used; _HUB_VERSION for all of transformers"""


def extract(path: Path, source: str) -> Floats:
    """The features of one source: [W, …]. Raises AudioError."""
    if source == "descriptors":
        return descriptors.descriptors_of_file(path)[None]
    if source == "log-mel":
        return _patches(path)
    encoder = _encoder_behind(source)
    with Recording(path, encoder.sample_rate) as recording:
        grid = Grid(encoder.window_samples, encoder.hop_samples)
        parts = [_of_windows(encoder, source, excerpt.windows) for excerpt in excerpts(recording, grid)]
    return np.concatenate(parts).astype(np.float32)


def _encoder_behind(source: str) -> MusiCNN | HubEncoder:
    return encoder_named("musicnn-msd" if source == MEL_SOURCE else source.removeprefix(INPUT_SOURCE))


def _of_windows(encoder: MusiCNN | HubEncoder, source: str, windows: Floats) -> Floats:
    """What the encoder's network takes; or its embeddings, beside the tags' logits where there are tags."""
    if source != encoder.name:
        return encoder.features(windows)
    if isinstance(encoder, MusiCNN):
        return np.concatenate(encoder.embed_and_tag(windows), axis=1)
    return encoder.embed(windows)


@lru_cache(maxsize=4)
def encoder_named(source: str) -> MusiCNN | HubEncoder:
    """The encoder behind a source; one thread each, since files are read in parallel."""
    corpus = source.removeprefix("musicnn-")
    if source.startswith("musicnn-") and corpus in {str(member) for member in Corpus}:
        return MusiCNN(Corpus(corpus), threads=1)
    if source.startswith(PREFIX):
        whole = source.removeprefix(PREFIX)
        name, _, layer = whole.rpartition("@")
        return HubEncoder.open(name, layer=int(layer)) if name and layer.isdecimal() else HubEncoder.open(whole)
    raise LibraryError(f"source {source!r}: not known; the model may come from a newer version")


def _patches(path: Path) -> Floats:
    length = (PATCH_FRAMES - 1) * PATCH.hop_samples + PATCH.fft_samples
    with Recording(path, PATCH.sample_rate) as recording:
        grid = Grid(length, PATCH_FRAMES * PATCH.hop_samples)
        patches = np.concatenate([PATCH.in_torch(part.windows) for part in excerpts(recording, grid)])
    shape = (len(patches), PATCH_FRAMES // PATCH_POOL, PATCH_POOL, PATCH.bands)
    return np.asarray(patches.reshape(shape).mean(axis=2), np.float32)


def sample_rate(source: str) -> int:
    """Hz at which a source reads audio."""
    rates = {"descriptors": descriptors.SAMPLE_RATE, "log-mel": PATCH.sample_rate}
    return rates[source] if source in rates else _encoder_behind(source).sample_rate


@dataclass
class FeatureCache:
    """Features by the content of the file, so that a renamed file is not read twice and a changed one is."""

    folder: Path = field(
        default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossfade/features"
    )

    def path(self, content: str, source: str) -> Path:
        safe = source if source in _VERSIONS else "hub-" + content_hash(source.encode(), "sha256")[:16]
        return self.folder / f"{safe}.{_VERSIONS.get(source, _HUB_VERSION)}" / content[:2] / f"{content}.npy"

    def get(self, content: str, source: str) -> NDArray[Any] | None:
        try:
            windows: NDArray[Any] = np.load(self.path(content, source), allow_pickle=False)
            return windows
        except (OSError, ValueError, EOFError):
            return None

    def put(self, content: str, source: str, windows: NDArray[Any]) -> None:
        path = self.path(content, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, windows)


@dataclass(frozen=True)
class FileFeatures:
    """The features of one file, or why there are none."""

    row: int
    content: str
    """SHA-256"""
    windows: dict[str, NDArray[Any]]
    """by source"""
    reason: str = ""


def extract_all(
    paths: Sequence[Path], sources: Sequence[str], cache: FeatureCache | None = None
) -> Iterator[FileFeatures]:
    """The features of every file, in order; a file that cannot be decoded comes with a reason.

    They stay in the cache, where there is one, so that an interrupted run carries on where it stopped.
    """
    # Threads: decoding, FFTs and networks run outside the interpreter's lock, and nothing has to be started twice.
    with ThreadPoolExecutor(available_cores()) as pool:
        try:
            yield from pool.map(partial(_extract_cached, sources=sources, cache=cache), range(len(paths)), paths)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _extract_cached(row: int, path: Path, sources: Sequence[str], cache: FeatureCache | None) -> FileFeatures:
    try:
        content = content_hash(path, "sha256")
    except OSError as error:
        if error.errno in MACHINE_FAULTS:
            raise ResourceError(f"{path}: {error.strerror}; what was heard stays in the cache") from None
        return FileFeatures(row, "", {}, f"not readable: {error.strerror}")
    by_source: dict[str, NDArray[Any]] = {}
    for source in sources:
        windows = None if cache is None else cache.get(content, source)
        if windows is None:
            try:
                windows = extract(path, source)
            except AudioError as error:
                return FileFeatures(row, content, {}, error.reason)
            if source in ("log-mel", MEL_SOURCE) or source.startswith(INPUT_SOURCE):
                # Half precision, which a network does not notice, lets a large data set stay in memory.
                windows = windows.astype(np.float16)
            if cache is not None:
                cache.put(content, source, windows)
        by_source[source] = windows
    return FileFeatures(row, content, by_source)
