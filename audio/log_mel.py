"""The log-mel spectrogram, one definition for every encoder that asks for one: in numpy alone, and in torchaudio.

Hann-windowed power spectra, triangular filters on Slaney's mel scale with unit area, then log10(10,000 x + 1) as in
musicnn (Pons & Serra 2019). In float32 throughout: the reference's float16 overflows on any loud recording.

Shapes: B clips, N samples, F frames, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torchaudio.transforms import MelSpectrogram

Floats = NDArray[np.float32]

_CACHED_SAMPLES = 2**16
"""of frames that are worked on at a time"""


def power_spectra(frames: Floats) -> Floats:
    """Squared magnitudes of Hann-windowed frames of even length N, in float32. Shape: [..., N] -> [..., N // 2 + 1]"""
    # By default numpy transforms float32 in double, which takes half as long again; the window makes up for the factor.
    spectra = np.fft.rfft(frames * _hann(frames.shape[-1]), norm="forward")
    power = np.square(spectra.real, dtype=np.float32)
    power += spectra.imag**2
    return power


@lru_cache
def _hann(samples: int) -> Floats:
    """Periodic, times its length."""
    phase = 2 * np.pi * np.arange(samples) / samples
    return (samples * (0.5 - 0.5 * np.cos(phase))).astype(np.float32)


@dataclass(frozen=True)
class LogMel:
    """Options of a log-mel spectrogram; calling it computes one.

    >>> LogMel()(np.zeros((1, 48128), np.float32)).shape
    (1, 187, 96)
    """

    sample_rate: int = 16_000
    fft_samples: int = 512
    hop_samples: int = 256
    bands: int = 96
    compression: float = 10_000.0

    def __call__(self, clips: Floats) -> Floats:
        """Log-mel power of frames that lie wholly inside the clips (none is padded).

        Shape: [B, N] -> [B, F, M] with F = 1 + (N - fft_samples) // hop_samples
        """
        return self.compressed(self.power(clips))

    def compressed(self, power: Floats) -> Floats:
        """The logarithm of mel power."""
        scaled: Floats = power * np.float32(self.compression)
        scaled += np.float32(1)
        # A third of the time of log10, which numpy does one by one.
        scaled = np.log(scaled, out=scaled)
        scaled *= np.float32(1 / np.log(10))
        return scaled

    def power(self, clips: Floats) -> Floats:
        """Mel power before the logarithm. Shape: [B, N] -> [B, F, M]"""
        frames = np.lib.stride_tricks.sliding_window_view(clips, self.fft_samples, axis=1)[:, :: self.hop_samples]
        mel_power = np.empty((*frames.shape[:2], self.bands), np.float32)
        # Few at a time: what lies between two steps stays in the processor's cache.
        block = _CACHED_SAMPLES // self.fft_samples
        for clip, bands in zip(frames, mel_power, strict=True):
            for start in range(0, len(clip), block):
                bands[start : start + block] = power_spectra(clip[start : start + block]) @ self._filters
        return mel_power

    def in_torch(self, clips: Floats) -> Floats:
        """The same within 1e-4, in about half the time, where a network is trained and torch is there anyway.

        Shape: [B, N] -> [B, F, M]
        """
        import torch

        with torch.inference_mode():
            power = self._transform(torch.tensor(clips)).mul_(self.compression).add_(1)
            return np.asarray(power.log10_().transpose(1, 2).numpy(), np.float32)

    @cached_property
    def _transform(self) -> MelSpectrogram:
        from torchaudio.transforms import MelSpectrogram

        sizes = {"n_fft": self.fft_samples, "hop_length": self.hop_samples, "n_mels": self.bands}
        return MelSpectrogram(self.sample_rate, **sizes, center=False, norm="slaney", mel_scale="slaney")

    @cached_property
    def _filters(self) -> Floats:
        """[fft_samples // 2 + 1, M] triangles between neighbouring centres, each of unit area in Hz."""
        nyquist = self.sample_rate / 2
        frequencies = np.linspace(0, nyquist, self.fft_samples // 2 + 1)[:, None]
        edges = mel_to_hz(np.linspace(0, hz_to_mel(nyquist), self.bands + 2))
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        rising = (frequencies - low) / (centre - low)
        falling = (high - frequencies) / (high - centre)
        return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)


# Slaney's Auditory Toolbox (1998): linear below 1 kHz, 27 mel per factor of 6.4 above.
_LINEAR_HZ = 200 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: float) -> float:
    """
    >>> round(hz_to_mel(1000.0), 9)
    15.0
    """
    return float(hz / _LINEAR_HZ if hz < _KNEE_HZ else _KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """[M] mel to [M] Hz, the inverse of `hz_to_mel`."""
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HZ, above)
