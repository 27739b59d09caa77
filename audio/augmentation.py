"""Changes to log-mel patches that leave the genre alone, for training on few tracks.

They work on cached patches, so that an epoch needs no decoding: gain and pitch are undone from the logarithm first.
SpecAugment: Park et al. 2019. Mixup: Zhang et al. 2018.

Shapes: B patches, F frames, M mel bands, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How much is changed; 0 switches a change off."""

    gain_decibels: float = 12.0
    """up to this much louder or softer"""
    pitch_bands: float = 3.0
    """up to this many mel bands up or down (96 bands to 8 kHz: a band is a semitone at 1 kHz)"""
    masks: int = 2
    """of each kind in a patch"""
    frame_share: float = 0.1
    band_share: float = 0.1
    """the most of a patch that one mask covers"""
    mixup: float = 0.2
    """the beta distribution's parameter"""

    def __call__(self, patches: Floats, targets: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Changed patches and the targets that go with them. Shape: [B, F, M], [B, C] -> the same"""
        changed = patches
        if self.gain_decibels:
            changed = gain(changed, rng.uniform(-1, 1, len(patches)) * self.gain_decibels)
        if self.pitch_bands:
            changed = shift_bands(changed, rng.uniform(-1, 1, len(patches)) * self.pitch_bands)
        if self.masks:
            changed = masked(changed, rng, masks=self.masks, shares=(self.frame_share, self.band_share))
        return mixed(changed, targets, rng, alpha=self.mixup) if self.mixup else (changed, targets)


def gain(patches: Floats, decibels: NDArray[np.float64]) -> Floats:
    """The patches as if the clips had been louder by so many decibels each. Shape: [B, F, M], [B] -> [B, F, M]

    What LogMel took the logarithm of is power, times its compression, plus 1.
    """
    power = np.power(10, patches, dtype=np.float32) - 1
    factor = (10 ** (decibels / 10)).astype(np.float32)[:, None, None]
    return np.log10(power * factor + 1).astype(np.float32)


def shift_bands(patches: Floats, bands: NDArray[np.float64]) -> Floats:
    """The patches moved up by so many mel bands each, in between by interpolation; the edge is repeated."""
    count = patches.shape[2]
    result = np.empty_like(patches)
    for row, amount in enumerate(bands):
        place = np.clip(np.arange(count) - amount, 0, count - 1)
        below = np.floor(place).astype(np.int64)
        share = (place - below).astype(np.float32)
        result[row] = patches[row][:, below] * (1 - share) + patches[row][:, np.minimum(below + 1, count - 1)] * share
    return result


def masked(patches: Floats, rng: np.random.Generator, *, masks: int, shares: tuple[float, float]) -> Floats:
    """SpecAugment: stretches of frames and of bands are set to the patch's mean."""
    result = patches.copy()
    fill = patches.mean(axis=(1, 2))
    for row in range(len(patches)):
        for axis, share in enumerate(shares):
            length = patches.shape[axis + 1]
            for _ in range(masks):
                width = int(rng.integers(0, max(1, round(share * length)) + 1))
                start = int(rng.integers(0, length - width + 1))
                np.moveaxis(result[row], axis, 0)[start : start + width] = fill[row]
    return result


def mixed(patches: Floats, targets: Floats, rng: np.random.Generator, *, alpha: float) -> tuple[Floats, Floats]:
    """Mixup: each patch with another one, and their targets in the same proportion."""
    other = rng.permutation(len(patches))
    share = rng.beta(alpha, alpha, len(patches)).astype(np.float32)
    # The larger share stays, so that a patch is mostly itself.
    share = np.maximum(share, 1 - share)
    images = share[:, None, None] * patches + (1 - share)[:, None, None] * patches[other]
    return images, share[:, None] * targets + (1 - share)[:, None] * targets[other]
