"""The analysis of one audio file: decoding, windows, both taggers, tempo, key and loudness.

Shapes: W windows, D dimensions of the embedding, K genres.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...audio.decoding import Recording, resampled
from ...audio.key import SAMPLE_RATE, Key, chroma, key
from ...audio.loudness import Powers, integrated_lufs
from ...audio.music_detection import Texture, texture
from ...audio.tempo import Pulse, Tempo, pulse, tempo
from ...audio.windows import PLACES, Grid, excerpts
from ...models.arrays import Floats
from ...models.encoders.musicnn import Corpus, MusiCNN
from ...models.genres.vocabulary import BUILT_IN, Tagging, Vocabulary, moods, name, rolled_up

if TYPE_CHECKING:
    from ...models.genres.model import GenreModel

_WINDOWS_AT_ONCE = 9
"""that the encoder takes in one go, at least: enough for several cores"""


@dataclass(frozen=True)
class Description:
    """Moods, tempo, key and loudness of a track; None where unclear."""

    confident: bool
    """whether its first genre is to be believed"""
    moods: list[str]
    mood_lifts: list[float] = field(default_factory=list)
    """how many times the odds of the average track each mood has"""
    tempo_bpm: float | None = None
    tempo_alternative_bpm: float | None = None
    """the second best; a wrong tempo is mostly this one"""
    tempo_confidence: float | None = None
    """0 … 1, how likely the tempo is right"""
    key: str | None = None
    key_alternative: str | None = None
    key_confidence: float | None = None
    """0 … 1, how likely the key is exactly right"""
    loudness_lufs: float | None = None
    loudness_spread_lu: float | None = None
    """between the loudest and the quietest part that was heard; None where it was one part"""
    heard_seconds: float | None = None
    """how much of the file all this is of"""
    texture: Texture | None = None
    """what tells music from speech, calls, tones and noise"""

    @classmethod
    def of(
        cls,
        confident: bool,
        moods: dict[str, float],
        tempo: Tempo | None,
        key: Key | None,
        *,
        powers: Sequence[Powers],
        heard_seconds: float,
        texture: Texture,
    ) -> Self:
        """Rounded as it is printed and kept; `powers` are the steps of each part that was heard."""
        loudness = integrated_lufs(powers)
        levels = [level for part in powers if (level := integrated_lufs([part])) is not None]
        return cls(
            confident,
            list(moods),
            [round(lift, 1) for lift in moods.values()],
            round(tempo.bpm, 1) if tempo else None,
            round(tempo.alternative_bpm, 1) if tempo else None,
            round(tempo.confidence, 2) if tempo else None,
            key.name if key else None,
            key.alternative if key else None,
            round(key.confidence, 2) if key else None,
            None if loudness is None else round(loudness, 1),
            round(max(levels) - min(levels), 1) if len(levels) > 1 else None,
            round(heard_seconds, 1),
            Texture(round(texture.gaps, 3), round(texture.occupancy, 3), round(texture.change_db, 2)),
        )


@dataclass(frozen=True, eq=False)
class TrackAnalysis:
    """The analysis of a track."""

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
    strongest_seconds: float | None = None
    """the middle of the loudest excerpt, to be played first; None where the track was not heard in excerpts"""

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
class AudioAnalyzer:
    """Analyses files with the default encoder."""

    threads: int | None = None
    """cores for one file; None for all"""
    all_windows: bool = False
    """of the file, not nine of them"""
    model: GenreModel | None = None
    """what names the genres; None is the vocabulary of `models.genres.vocabulary`"""

    @classmethod
    def with_genre_model(
        cls, folder: Path | None, *, threads: int | None = None, all_windows: bool = False
    ) -> AudioAnalyzer:
        """One whose genres are named by the model in a folder; LibraryError where there is none."""
        if folder is None:
            return cls(threads, all_windows)
        from ...models.genres.model import GenreModel

        return cls(threads, all_windows, GenreModel.load(folder))

    @property
    def vocabulary(self) -> Vocabulary:
        """What the genres of its analyses are called."""
        return BUILT_IN if self.model is None else self.model.vocabulary

    @cached_property
    def encoder(self) -> MusiCNN:
        """What embeddings come from."""
        return MusiCNN(Corpus.MSD, self.threads)

    @cached_property
    def _second_tagger(self) -> MusiCNN:
        """Of classical music, choirs and opera, which the encoder has no tags for; takes at most three windows."""
        return MusiCNN(Corpus.MTT, self.threads)

    def load(self) -> Self:
        """Loads its models and libraries now: what cannot be loaded is then not the fault of the first file."""
        for loading in (self.encoder.session, self._second_tagger.session):
            loading.result()
        if self.model is not None:
            from .feature_sources import sample_rate

            for source in self.model.sources:
                sample_rate(source)
        return self

    def analyze(self, path: str | os.PathLike[str]) -> TrackAnalysis:
        """Raises AudioError, whose reason is what `crossfade failures` prints."""
        encoder, second = self.encoder, self._second_tagger
        # Mentioned here, both load while the file is decoded.
        _ = encoder.session, second.session
        mel = encoder.log_mel
        outputs, waiting, thinned, textures, powers = [], [], [], [], []
        pulses, pitches, heard_seconds = Pulse(), np.zeros(1), 0.0
        with Recording(path, encoder.sample_rate, metered=True) as recording:
            grid = Grid(encoder.window_samples, encoder.hop_samples)
            for excerpt in excerpts(recording, grid, all_windows=self.all_windows):
                mel_power = mel.power(excerpt.windows)
                log_mel = mel.compressed(mel_power)
                waiting.append(log_mel)
                if sum(map(len, waiting)) >= _WINDOWS_AT_ONCE:
                    outputs.append(encoder.from_log_mel(np.concatenate(waiting)))
                    waiting.clear()
                thinned.append(_thinned(log_mel))
                textures.append(texture(mel_power, mel))
                powers.append(excerpt.clip.step_powers)
                heard_seconds += excerpt.clip.duration_seconds
                # No further than the clip goes: one that is too short was repeated, which is no beat.
                frames = mel_power.reshape(-1, mel.bands)[: len(excerpt.clip.samples) // mel.hop_samples]
                pulses += pulse(frames)
                pitches = pitches + chroma(resampled(excerpt.clip, SAMPLE_RATE))
            duration_seconds = recording.duration_seconds
        if waiting:
            outputs.append(encoder.from_log_mel(np.concatenate(waiting)))
        windows, logits = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
        msd = Tagging(encoder.tags, logits - encoder.prior)
        mtt = Tagging(second.tags, second.from_log_mel(_thinned(np.concatenate(thinned)))[1] - second.prior)
        if self.model is None:
            naming = name(msd, mtt)
            genres, confident = naming.probabilities, naming.confident and _mean(textures).musical
        else:
            features = self._features(self.model, path, np.hstack([windows, logits]))
            probabilities = self.model.predict(features)[0]
            # A non-music check is no part of a trained model; abstaining below its threshold is.
            genres, confident = probabilities.astype(np.float32), self.model.confident(probabilities)
        description = Description.of(
            confident,
            moods(msd, mtt),
            tempo(pulses),
            key(pitches),
            powers=powers,
            heard_seconds=heard_seconds,
            texture=_mean(textures),
        )
        multi_label = self.model is not None and self.model.card.multi_label
        strongest = _strongest_place(powers)
        return TrackAnalysis(
            duration_seconds,
            windows.mean(axis=0),
            genres,
            description,
            self.vocabulary,
            multi_label,
            None if strongest is None else round(strongest * duration_seconds, 1),
        )

    def _features(self, model: GenreModel, path: str | os.PathLike[str], windows: Floats) -> dict[str, list[Floats]]:
        """What a trained model takes of the file; `windows` are those of this analyser's encoder."""
        from .feature_sources import extract

        own = self.encoder.name
        return {source: [windows if source == own else extract(Path(path), source)] for source in model.sources}


def _strongest_place(powers: list[NDArray[np.float64]]) -> float | None:
    """The place in the track, 0 … 1, of the excerpt with the largest mean power."""
    if len(powers) != len(PLACES) or not all(map(len, powers)):
        return None
    return PLACES[int(np.argmax([power.mean() for power in powers]))]


def _thinned(windows: Floats) -> Floats:
    """At most three windows, where a track's default excerpts lie. Shape: [W, …] -> [≤ 3, …]"""
    if len(windows) <= len(PLACES):
        return windows
    return windows[[int(place * len(windows)) for place in PLACES]]


def _mean(textures: list[Texture]) -> Texture:
    columns = np.array([[one.gaps, one.occupancy, one.change_db] for one in textures])
    return Texture(*(float(value) for value in columns.mean(axis=0)))
