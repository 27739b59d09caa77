"""Pretrained encoders trained on: the encoder with a linear layer for the genres, in place of `CnnShape`'s network.

The filters nearest to the sound stay as they were learnt from far more music than a user has: MusiCNN's front end,
the convolutions of Wav2Vec2 and HuBERT. So do the statistics of batch norms, which small batches would spoil.

Shapes: B windows, F frames, M mel bands, D dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .musicnn import Corpus
from .transformers import PREFIX, HubEncoder, from_config, pooled

if TYPE_CHECKING:
    import torch

MEL_SOURCE = "musicnn-mel"
"""windows of MusiCNN's log-mel"""
INPUT_SOURCE = "input:"
"""before an encoder's name: windows of what its feature extractor makes of the sound"""
HEAD_GAIN = 10.0
"""the new layer learns so much faster than the encoder, under one learning rate"""


@dataclass(frozen=True)
class TunedShape:
    """An encoder and a linear layer on its embedding."""

    kind: ClassVar[str] = "fine-tuned"
    classes: int
    encoder: str
    """musicnn-msd, musicnn-mtt or hub:NAME"""
    config: dict[str, Any] = field(default_factory=dict)
    """of a transformers model; its network is built anew from it when a saved model is loaded"""

    @classmethod
    def of(cls, classes: int, encoder: str) -> TunedShape:
        """With the transformers model's own configuration."""
        if not encoder.startswith(PREFIX):
            return cls(classes, encoder)
        return cls(classes, encoder, HubEncoder.open(encoder.removeprefix(PREFIX)).model.config.to_dict())

    @property
    def source(self) -> str:
        return f"{INPUT_SOURCE}{self.encoder}" if self.encoder.startswith(PREFIX) else MEL_SOURCE

    def network(self, *, pretrained: bool) -> torch.nn.Module:
        """Windows [B, …] -> scores [B, C]; the new layer is drawn from torch's global generator.

        Not `pretrained`, all numbers are about to be loaded.
        """
        from torch import Tensor, nn

        class Tuned(nn.Module):
            def __init__(self, encoder: nn.Module, dimensions: int, classes: int) -> None:
                super().__init__()
                self.encoder, self.scores = encoder, nn.Linear(dimensions, classes)

            def train(self, mode: bool = True) -> Tuned:
                super().train(mode)
                _keep_statistics(self)
                return self

            def forward(self, windows: Tensor) -> Tensor:
                result: Tensor = HEAD_GAIN * self.scores(self.encoder(windows))
                return result

        if self.source == MEL_SOURCE:
            return Tuned(_musicnn(Corpus(self.encoder.removeprefix("musicnn-")), pretrained), 200, self.classes)
        encoder = _transformer(self, pretrained)
        return Tuned(encoder, encoder.dimensions, self.classes)


def _musicnn(corpus: Corpus, pretrained: bool) -> torch.nn.Module:
    from torch import Tensor

    from .musicnn_torch import MusiCNNModule
    from .musicnn_torch import pretrained as published

    class Embedding(MusiCNNModule):
        def forward(self, log_mel: Tensor) -> Tensor:  # type: ignore[override]
            embedding: Tensor = self.dropout(super().forward(log_mel)[0])
            return embedding

    module = Embedding()
    if pretrained:
        module.load_state_dict(published(corpus).state_dict())
    for name, child in module.named_children():
        if name.startswith(("input", "timbral", "temporal")):
            child.requires_grad_(False)
    return module


def _transformer(shape: TunedShape, pretrained: bool) -> Any:
    from torch import Tensor, nn

    class Embedding(nn.Module):
        def __init__(self, core: Any) -> None:
            super().__init__()
            self.core = core
            # Its masking draws from NumPy's global generator, and training would not repeat.
            core.config.apply_spec_augment = False
            self.dimensions = getattr(core.config, "hidden_size", None) or core.config.d_model

        def forward(self, inputs: Tensor) -> Tensor:
            return pooled(self.core, inputs)

    name = shape.encoder.removeprefix(PREFIX)
    core = HubEncoder.open(name).core if pretrained else from_config(shape.config)
    if hasattr(core, "freeze_feature_encoder"):
        core.freeze_feature_encoder()
    return Embedding(core)


def _keep_statistics(module: torch.nn.Module) -> None:
    from torch.nn.modules.batchnorm import _BatchNorm

    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
