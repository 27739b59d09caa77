"""HEAR's API over every encoder: a model, and embeddings of clips or of moments in them, as torch tensors.

Turian et al., "HEAR: Holistic Evaluation of Audio Representations" (PMLR 176, 2022). The three functions are public as
`crossfade.load_model` and so on, so that the benchmark's tools take `crossfade` as the module to test.

Shapes: C clips, N samples, T moments, D dimensions.
"""

from __future__ import annotations

import numpy as np

from ...audio.windows import Grid
from ...errors import MissingExtra, UsageError
from ...models.arrays import Floats
from ...models.encoders.base import Encoder
from ...models.encoders.transformers import PREFIX
from .feature_sources import encoder_named

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtra("HEAR's API", "train") from error

HOP_MILLISECONDS = 50.0
"""from one moment to the next: the longest that HEAR recommends"""
_TOGETHER = 32
"""windows in memory at once"""


class HearModel(nn.Module):
    """An encoder with the attributes that HEAR asks for. It runs where the encoder runs, wherever the clips are."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sample_rate = encoder.sample_rate
        self.scene_embedding_size = self.timestamp_embedding_size = encoder.dimensions

    def clips(self, audio: Tensor) -> Floats:
        """The samples of clips [C, N]; UsageError for anything else."""
        if audio.ndim != 2 or not audio.shape[1]:
            raise UsageError(f"audio: shape {tuple(audio.shape)}; clips are [clips, samples] at {self.sample_rate} Hz")
        samples: Floats = audio.detach().to("cpu", torch.float32).numpy()
        return samples


def load_model(model_file_path: str = "") -> HearModel:
    """An encoder by its name: musicnn-msd (the default), musicnn-mtt, or a model of transformers by name or folder."""
    name = model_file_path or "musicnn-msd"
    return HearModel(encoder_named(name if name.startswith(("musicnn-", PREFIX)) else PREFIX + name))


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """The mean over all windows of a clip, as `classify` and `embed` cut a file. Shape: [C, N] -> [C, D]

    A clip shorter than a window is repeated to fill one.
    """
    grid = Grid(model.encoder.window_samples, model.encoder.hop_samples)
    return _stacked([_embedded(model.encoder, grid.whole(clip)).mean(axis=0) for clip in model.clips(audio)], audio)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Windows centred on a moment every 50 ms, zeros beyond the ends; and the moments in milliseconds.

    Shape: [C, N] -> [C, T, D], [C, T]
    """
    clips, size = model.clips(audio), model.encoder.window_samples
    samples = clips.shape[1]
    moments = np.arange(np.ceil(samples * 1000 / model.sample_rate / HOP_MILLISECONDS)) * HOP_MILLISECONDS
    # Each from its own moment: a rounded hop would drift away from it.
    starts = np.round(moments * model.sample_rate / 1000).astype(np.intp)
    padded = np.pad(clips, ((0, 0), (size // 2, size)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, starts]
    embeddings = _stacked([_embedded(model.encoder, one) for one in windows], audio)
    times = torch.from_numpy(np.tile(moments.astype(np.float32), (len(clips), 1)))
    return embeddings, times.to(audio.device)


def _embedded(encoder: Encoder, windows: Floats) -> Floats:
    """A part at a time, since neighbouring windows overlap and would take many times the memory of the clip."""
    parts = range(0, len(windows), _TOGETHER)
    return np.concatenate([encoder.embed(np.ascontiguousarray(windows[at : at + _TOGETHER])) for at in parts])


def _stacked(embeddings: list[Floats], audio: Tensor) -> Tensor:
    return torch.from_numpy(np.stack(embeddings).astype(np.float32)).to(audio.device)
