"""Hand-crafted descriptors of a clip, as in Tzanetakis & Cook (2002) and FMA's features.csv.

Frame-wise curves from librosa, each summed up over time by seven statistics, and the tempo.

Shapes: F frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import AudioError, optional_module
from .decoding import Recording
from .windows import SILENCE

SAMPLE_RATE = 22050
"""what papers and librosa use"""
HOP = 512
"""samples between frames: 23 ms"""
EXCERPT_SECONDS = 30
"""that a file is described by"""
LEAST_SAMPLES = 12 * HOP
"""enough frames for the second derivative"""
CURVES: tuple[tuple[str, int], ...] = (
    ("mfcc", 20),
    ("mfcc_delta", 20),
    ("mfcc_delta2", 20),
    ("chroma", 12),
    ("tonnetz", 6),
    ("contrast", 7),
    ("centroid", 1),
    ("bandwidth", 1),
    ("rolloff", 1),
    ("flatness", 1),
    ("zero_crossings", 1),
    ("rms", 1),
    ("onset", 1),
)
"""name and number of curves"""
STATISTICS = ("mean", "std", "skew", "kurtosis", "median", "low", "high")
"""of each curve over time; low and high are the 5th and 95th percentile"""
NAMES: tuple[str, ...] = (
    *(f"{name}_{n}_{statistic}" for name, count in CURVES for n in range(count) for statistic in STATISTICS),
    "tempo_bpm",
)


def descriptors_of_file(path: Path) -> NDArray[np.float32]:
    """`descriptors` of the file's middle half minute, or of its first where the middle is silent; AudioError."""
    with Recording(path, SAMPLE_RATE) as recording:
        length = EXCERPT_SECONDS * SAMPLE_RATE
        start = max(0, round(recording.duration_seconds * SAMPLE_RATE) - length) // 2
        samples = recording.clip(start, length).samples
        if np.abs(samples).max(initial=0) < SILENCE:
            samples = recording.clip(0, length).samples
    if len(samples) == 0 or np.abs(samples).max() < SILENCE:
        raise AudioError("silent" if len(samples) else "too short")
    return descriptors(samples)


def descriptors(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers called NAMES, of a clip at SAMPLE_RATE.

    Loudness does not count: the clip is scaled to a peak of 1. One shorter than LEAST_SAMPLES is repeated.
    """
    librosa = optional_module("librosa", "descriptors")
    peak = float(np.abs(samples).max(initial=0))
    y = samples / peak if peak > 0 else samples
    if len(y) < LEAST_SAMPLES:
        y = np.resize(y, LEAST_SAMPLES)
    power = np.abs(librosa.stft(y, n_fft=2048, hop_length=HOP)) ** 2
    magnitude = np.sqrt(power)
    mel = librosa.feature.melspectrogram(S=power, sr=SAMPLE_RATE, n_mels=128)
    decibels = librosa.power_to_db(mel)
    mfcc = librosa.feature.mfcc(S=decibels, n_mfcc=20)
    # Tuning is not estimated: on noise there is none, and librosa warns.
    chroma = librosa.feature.chroma_stft(S=power, sr=SAMPLE_RATE, tuning=0.0)
    onset = librosa.onset.onset_strength(S=decibels, sr=SAMPLE_RATE, hop_length=HOP)
    found = {
        "mfcc": mfcc,
        "mfcc_delta": librosa.feature.delta(mfcc, mode="nearest"),
        "mfcc_delta2": librosa.feature.delta(mfcc, order=2, mode="nearest"),
        "chroma": chroma,
        "tonnetz": librosa.feature.tonnetz(chroma=chroma),
        "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=SAMPLE_RATE),
        "centroid": librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        "bandwidth": librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE),
        "rolloff": librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        "flatness": librosa.feature.spectral_flatness(S=magnitude),
        "zero_crossings": librosa.feature.zero_crossing_rate(y, hop_length=HOP),
        "rms": librosa.feature.rms(S=magnitude),
        "onset": onset[None],
    }
    tempo = librosa.feature.tempo(onset_envelope=onset, sr=SAMPLE_RATE, hop_length=HOP)
    parts = [summary(found[name]).ravel() for name, _ in CURVES]
    result = np.concatenate([*parts, tempo[:1]])
    return np.nan_to_num(result.astype(np.float32))


def summary(curves: NDArray[np.floating]) -> NDArray[np.float64]:
    """STATISTICS of each curve over time.

    Shape: [K, F] -> [K, 7]
    """
    values = np.asarray(curves, np.float64)
    mean = values.mean(axis=1)
    std = values.std(axis=1)
    centred = (values - mean[:, None]) / np.maximum(std, 1e-12)[:, None]
    low, median, high = np.percentile(values, [5, 50, 95], axis=1)
    skew, kurtosis = (centred**3).mean(axis=1), (centred**4).mean(axis=1)
    return np.stack([mean, std, skew, kurtosis, median, low, high], axis=1)
