"""The log-mel front end: one definition, the same as librosa's and torchaudio's."""

from __future__ import annotations

import numpy as np
import pytest
from librosa.filters import mel
from scipy.signal import get_window

from crossfade.audio.log_mel import LogMel, hz_to_mel, mel_to_hz

LOG_TOLERANCE = 1e-4


@pytest.fixture
def loud(rng: np.random.Generator) -> np.ndarray:
    """Full scale, where float16 overflows."""
    return rng.uniform(-1, 1, (2, 48_128)).astype(np.float32)


def test_equals_librosa(loud: np.ndarray) -> None:
    """librosa's filters over the power of each frame: `melspectrogram` is the same, but compiled for half a minute."""
    bands = mel(sr=16_000, n_fft=512, n_mels=96)
    for clip in loud:
        frames = np.stack([clip[start : start + 512] for start in range(0, len(clip) - 511, 256)])
        power = np.abs(np.fft.rfft(frames * get_window("hann", 512))) ** 2 @ bands.T
        np.testing.assert_allclose(LogMel()(clip[None])[0], np.log10(1 + 10_000 * power), atol=LOG_TOLERANCE)


@pytest.mark.parametrize("options", [LogMel(), LogMel(22_050, 1024, 512, 64, 1.0)])
def test_torchaudio_and_numpy_agree(options: LogMel, loud: np.ndarray) -> None:
    """torchaudio's transform gives the numbers of the core's log-mel, whatever the level; read-only clips too."""
    for level in (1.0, 1e-3, 0.0):
        clips = (loud * np.float32(level))[:, 5:20_006]
        clips.flags.writeable = False
        found = options.in_torch(clips)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, options(clips), atol=LOG_TOLERANCE)


def test_loud_music_stays_finite_and_float32(loud: np.ndarray) -> None:
    found = LogMel()(loud * 100)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_a_batch_is_its_clips(loud: np.ndarray) -> None:
    np.testing.assert_array_equal(LogMel()(loud), np.concatenate([LogMel()(clip[None]) for clip in loud]))


def test_mel_scale_is_inverted() -> None:
    hertz = np.array([0.0, 100.0, 999.0, 1000.0, 1001.0, 8000.0])
    np.testing.assert_allclose(mel_to_hz(np.array([hz_to_mel(h) for h in hertz])), hertz, atol=1e-9)
