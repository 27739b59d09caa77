"""Hearing one file: decode, windows, both taggers, descriptors.

Shapes: W windows, D dimensions of the embedding, K genres.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...audio.decoding import Recording
from ...audio.key import chroma, key_name
from ...audio.loudness import integrated_lufs
from ...audio.music_detection import Texture, texture
from ...audio.tempo import pulse, tempo_bpm
from ...audio.windows import PLACES, Grid, excerpts
from ...models.encoders.base import Floats
from ...models.encoders.musicnn import Corpus, MusiCNN
from ...models.genres.model import GenreModel, rolled_up
from ...models.genres.vocabulary import BUILT_IN, Tagging, Vocabulary, moods, name


@dataclass(frozen=True)
class Description:
    """What can be said of a track in words and numbers, besides its genres."""

    confident: bool
    moods: list[str]
    tempo_bpm: float | None
    key: str | None
    loudness_lufs: float | None


@dataclass(frozen=True, eq=False)
class Heard:
    """A track as it was heard."""

    duration_seconds: float
    embedding: Floats
    """[D] mean over the windows"""
    genres: Floats
    """[K] probabilities"""
    description: Description
    vocabulary: Vocabulary = BUILT_IN
    """what the K genres are called"""
    multi_label: bool = False
    """whether several genres may be true at once"""

    def ranked_genres(self) -> list[dict[str, Any]]:
        """`{"genre", "probability"}`, best first; of a model with sub-genres, their parents too."""
        named = rolled_up(dict(zip(self.vocabulary.genres, self.genres.tolist(), strict=True)), self.multi_label)
        order = sorted(named.items(), key=lambda pair: -pair[1])
        return [{"genre": genre, "probability": round(probability, 4)} for genre, probability in order]

    def record(self) -> dict[str, Any]:
        """The fields that `crossfade classify` prints after the path."""
        return {
            "duration_seconds": round(self.duration_seconds, 3),
            "genres": self.ranked_genres(),
            **asdict(self.description),
        }


@dataclass(frozen=True)
class Ear:
    """Hears files with the default encoder."""

    threads: int | None = None
    """cores for one file; None for all"""
    every: bool = False
    """hear all windows"""
    model: GenreModel | None = None
    """what names the genres; None is the vocabulary of `models.genres.vocabulary`"""

    @property
    def vocabulary(self) -> Vocabulary:
        """What the genres of its answers are called."""
        return BUILT_IN if self.model is None else self.model.vocabulary

    @cached_property
    def encoder(self) -> MusiCNN:
        """What embeddings come from."""
        return MusiCNN(Corpus.MSD, self.threads)

    @cached_property
    def _second(self) -> MusiCNN:
        """Knows classical, choirs and opera; hears at most three windows."""
        return MusiCNN(Corpus.MTT, self.threads)

    def load(self) -> Self:
        """Loads its models and libraries now: what cannot be loaded is then not the fault of the first file."""
        for encoder in (self.encoder, self._second):
            encoder.embed(np.zeros((1, encoder.window_samples), np.float32))
        if self.model is not None:
            from .feature_sources import sample_rate

            for source in self.model.sources:
                sample_rate(source)
        return self

    def hear(self, path: str | os.PathLike[str]) -> Heard:
        """Raises AudioError, whose reason is what `crossfade failures` prints."""
        encoder = self.encoder
        mel = encoder.log_mel
        frame_rate = mel.sample_rate / mel.hop_samples
        embeddings, logits, kept, textures, powers = [], [], [], [], []
        pulses, pitches = np.zeros(1), np.zeros(12)
        with Recording(path, encoder.sample_rate, metered=True) as recording:
            grid = Grid(encoder.window_samples, encoder.hop_samples)
            for excerpt in excerpts(recording, grid, every=self.every):
                log_mel = mel(excerpt.windows)
                found, tags = encoder.from_log_mel(log_mel)
                embeddings.append(found)
                logits.append(tags)
                kept.append(_thinned(log_mel))
                textures.append(texture(log_mel, mel))
                powers.append(excerpt.clip.step_powers)
                pulses = pulses + pulse(log_mel, frame_rate)
                pitches += chroma(excerpt.clip)
            duration_seconds = recording.duration_seconds
        second = self._second
        msd = Tagging(encoder.tags, np.concatenate(logits) - encoder.prior)
        mtt = Tagging(second.tags, second.from_log_mel(_thinned(np.concatenate(kept)))[1] - second.prior)
        naming = name(msd, mtt)
        tempo = tempo_bpm(pulses, frame_rate)
        loudness = integrated_lufs(powers)
        description = Description(
            naming.confident and _mean(textures).musical,
            moods(msd, mtt),
            None if tempo is None else round(tempo, 1),
            key_name(pitches),
            None if loudness is None else round(loudness, 1),
        )
        windows = np.concatenate(embeddings)
        heard = Heard(duration_seconds, windows.mean(axis=0), naming.probabilities, description)
        if self.model is None:
            return heard
        return self._renamed(self.model, heard, path, np.hstack([windows, np.concatenate(logits)]))

    def _renamed(self, model: GenreModel, heard: Heard, path: str | os.PathLike[str], windows: Floats) -> Heard:
        """With the genres of a trained model, which may want to hear the file in its own way."""
        from .feature_sources import extract

        features = {
            source: [windows if source == self.encoder.name else extract(Path(path), source)]
            for source in model.sources
        }
        probabilities = model.predict(features)[0]
        # A non-music check is no part of a trained model; abstaining below its threshold is.
        description = replace(heard.description, confident=model.confident(probabilities))
        return replace(
            heard,
            genres=probabilities.astype(np.float32),
            description=description,
            vocabulary=model.vocabulary,
            multi_label=model.card.multi_label,
        )


def _thinned(windows: Floats) -> Floats:
    """At most three windows, where a track's default excerpts lie. Shape: [W, …] -> [≤ 3, …]"""
    if len(windows) <= len(PLACES):
        return windows
    return windows[[int(place * len(windows)) for place in PLACES]]


def _mean(textures: list[Texture]) -> Texture:
    columns = np.array([[one.gaps, one.occupancy, one.change_db] for one in textures])
    return Texture(*(float(value) for value in columns.mean(axis=0)))
