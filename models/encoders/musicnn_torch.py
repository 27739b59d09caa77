"""MusiCNN as a torch module, for training on: the same numbers as the ONNX graph, written the way the paper draws it.

Shapes: B windows, F = 187 frames, M = 96 mel bands, C channels, D = 200, G = 50 tags.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .musicnn import EPSILON, MIDDLE, TEMPORAL, TIMBRAL, Corpus, weights


class _Block(nn.Module):
    """Convolution, ReLU, batch norm."""

    def __init__(self, channels: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, kernel)
        self.norm = nn.BatchNorm2d(channels, eps=EPSILON)

    def forward(self, image: Tensor) -> Tensor:
        """Padded over time to keep its length, not over frequency. Shape: [B, 1, F, M] -> [B, C, F, M']"""
        frames = self.conv.kernel_size[0]
        before = (frames - 1) // 2
        padded = functional.pad(image, (0, 0, before, frames - 1 - before))
        maps: Tensor = self.norm(functional.relu(self.conv(padded)))
        return maps


class _Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs, eps=EPSILON)


class MusiCNNModule(nn.Module):
    """Log-mel windows to embeddings and tag logits."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.ModuleDict({"norm": nn.BatchNorm2d(1, eps=EPSILON)})
        self.timbral_38, self.timbral_67 = _Block(204, (7, 38)), _Block(204, (7, 67))
        self.temporal_128, self.temporal_64, self.temporal_32 = (_Block(51, (n, 1)) for n in (128, 64, 32))
        self.middle_1, self.middle_2, self.middle_3 = _Block(64, (7, 561)), _Block(64, (7, 64)), _Block(64, (7, 64))
        self.pool = nn.ModuleDict({"norm": nn.BatchNorm1d(1506, eps=EPSILON)})
        self.embedding = _Dense(1506, 200)
        self.tags = nn.ModuleDict({"dense": nn.Linear(200, 50)})
        self.dropout = nn.Dropout(0.5)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: [B, F, M] -> [B, D], [B, G]"""
        image = self.input["norm"](log_mel[:, None])
        front = torch.cat([getattr(self, layer)(image).amax(dim=3) for layer in TIMBRAL + TEMPORAL], dim=1)
        stages = [front]
        for layer in MIDDLE:
            maps = getattr(self, layer)(stages[-1].transpose(1, 2)[:, None])[..., 0]
            stages.append(maps if layer == MIDDLE[0] else maps + stages[-1])
        route = torch.cat(stages, dim=1)
        pooled = torch.stack([route.amax(dim=2), route.mean(dim=2)], dim=2).flatten(1)
        hidden = functional.relu(self.embedding.dense(self.dropout(self.pool["norm"](pooled))))
        embedding = self.embedding.norm(hidden)
        return embedding, self.tags["dense"](self.dropout(embedding))


def pretrained_musicnn(corpus: Corpus) -> MusiCNNModule:
    """The published network, in evaluation mode."""
    module = MusiCNNModule()
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in weights(corpus).items()}
    missing = module.load_state_dict(state, strict=False).missing_keys
    unexpected = [name for name in missing if not name.endswith("num_batches_tracked")]
    if unexpected:
        raise ValueError(f"musicnn-{corpus}: no numbers for {', '.join(unexpected)}")
    return module.eval()
