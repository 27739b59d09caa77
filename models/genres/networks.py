"""Networks on windows of sound: a short-chunk residual CNN from scratch, or a pretrained encoder that is trained on.

The CNN is that of Won et al. 2020, "Evaluation of CNN-based automatic music tagging models", in a size that a CPU can
train: a log-mel patch is treated as a picture, residual blocks halve time and frequency until little is left, then
maximum and mean over what remains. An encoder gets a linear layer for the genres; its filters nearest to the sound stay
as they were learnt from far more music than a user has (MusiCNN's front end, the convolutions of Wav2Vec2 and HuBERT),
and so do the statistics of its batch norms, which small batches would spoil. A track's scores are the mean over its
windows.

Shapes: N tracks, W windows of each, B windows of a batch, F frames, M mel bands, D dimensions, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...audio.augmentation import Augmentation
from ...errors import LibraryError
from ..arrays import Floats
from ..encoders.musicnn import Corpus, MusiCNN
from ..encoders.musicnn_torch import MusiCNNModule, pretrained_musicnn
from ..encoders.transformers import PREFIX, HubEncoder, from_config, input_source, mean_of_sound
from ..nn.training_loop import Curve, Schedule, Watch, device, seeded, state_arrays, tensor, train
from ..storage import Arrays
from .classical import Targets
from .heads import WindowFeatures

HEAD_GAIN = 10.0
"""the new layer of an encoder learns so much faster than the encoder, under one learning rate"""
PATCHES_PER_EPOCH = 3
"""of each track, at most"""


@dataclass(frozen=True)
class CnnShape:
    """Sizes of the short-chunk CNN."""

    classes: int
    bands: int = 96
    channels: tuple[int, ...] = (16, 32, 48, 64, 96)
    """of each residual block; every block halves time and frequency"""
    dropout: float = 0.3

    @property
    def source(self) -> str:
        """The features it needs."""
        return "log-mel"

    def network(self, *, pretrained: bool) -> nn.Module:
        """The untrained network: patches [B, F, M] -> scores [B, C]. Initialised from torch's global generator."""
        return _ShortChunk(self)


@dataclass(frozen=True)
class FineTunedShape:
    """An encoder and a linear layer on its embedding."""

    classes: int
    encoder: str
    """musicnn-msd, musicnn-mtt or hub:NAME"""
    config: dict[str, Any] = field(default_factory=dict)
    """of a transformers model; its network is built anew from it when a saved model is loaded"""

    @property
    def source(self) -> str:
        """The features it needs."""
        return input_source(self.encoder)

    def network(self, *, pretrained: bool) -> nn.Module:
        """Windows [B, …] -> scores [B, C]; the new layer is drawn from torch's global generator.

        Not `pretrained`, all numbers are about to be loaded.
        """
        if not self.encoder.startswith(PREFIX):
            corpus = Corpus(self.encoder.removeprefix("musicnn-"))
            return _FineTuned(_MusiCNNEmbedding(corpus, pretrained), MusiCNN.dimensions, self.classes)
        name = self.encoder.removeprefix(PREFIX)
        embedding = _TransformerEmbedding(HubEncoder.open(name).model if pretrained else from_config(self.config))
        return _FineTuned(embedding, embedding.dimensions, self.classes)


Shape = CnnShape | FineTunedShape
SHAPES: dict[str, type[Shape]] = {"cnn": CnnShape, "fine-tuned": FineTunedShape}
"""by the type under which a model folder records them"""


def shape_of(classes: int, encoder: str | None) -> Shape:
    """The CNN's, or an encoder's with its own configuration."""
    if encoder is None:
        return CnnShape(classes)
    if not encoder.startswith(PREFIX):
        return FineTunedShape(classes, encoder)
    return FineTunedShape(classes, encoder, HubEncoder.open(encoder.removeprefix(PREFIX)).model.config.to_dict())


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, with a stride of 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
        return functional.relu(deep + self.shortcut_norm(self.shortcut(x)))


class _ShortChunk(nn.Module):
    def __init__(self, shape: CnnShape) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm1d(shape.bands)
        pairs = zip((1, *shape.channels[:-1]), shape.channels, strict=True)
        self.blocks = nn.Sequential(*(_Residual(a, b) for a, b in pairs))
        self.dropout = nn.Dropout(shape.dropout)
        self.scores = nn.Linear(2 * shape.channels[-1], shape.classes)

    def forward(self, patches: Tensor) -> Tensor:
        image = self.input_norm(patches.transpose(1, 2)).transpose(1, 2)[:, None]
        maps = self.blocks(image).flatten(2)
        pooled = torch.cat([maps.amax(dim=2), maps.mean(dim=2)], dim=1)
        scores: Tensor = self.scores(self.dropout(pooled))
        return scores


class _FineTuned(nn.Module):
    def __init__(self, encoder: nn.Module, dimensions: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.scores = encoder, nn.Linear(dimensions, classes)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
        return self

    def forward(self, windows: Tensor) -> Tensor:
        scores: Tensor = HEAD_GAIN * self.scores(self.encoder(windows))
        return scores


class _MusiCNNEmbedding(MusiCNNModule):
    def __init__(self, corpus: Corpus, pretrained: bool) -> None:
        super().__init__()
        if pretrained:
            self.load_state_dict(pretrained_musicnn(corpus).state_dict())
        for name, child in self.named_children():
            if name.startswith(("input", "timbral", "temporal")):
                child.requires_grad_(False)

    def forward(self, log_mel: Tensor) -> Tensor:  # type: ignore[override]
        embedding: Tensor = self.dropout(super().forward(log_mel)[0])
        return embedding


class _TransformerEmbedding(nn.Module):
    def __init__(self, core: Any) -> None:
        super().__init__()
        self.core = core
        # Its masking draws from NumPy's global generator, and training would not repeat.
        core.config.apply_spec_augment = False
        self.dimensions: int = getattr(core.config, "hidden_size", None) or core.config.d_model
        if hasattr(core, "freeze_feature_encoder"):
            core.freeze_feature_encoder()

    def forward(self, inputs: Tensor) -> Tensor:
        return mean_of_sound(self.core, self.core(inputs).last_hidden_state)


@dataclass(frozen=True, eq=False)
class NetworkClassifier:
    """A trained network as a genre model's classifier; on a GPU where there is one."""

    shape: Shape
    state: Arrays

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.shape.source,)

    def scores(self, features: WindowFeatures) -> Floats:
        """Mean over windows. Shape: N tracks of [W, …] -> [N, C]"""
        (tracks,) = features.values()
        return _track_scores(self._network, tracks)

    @cached_property
    def _network(self) -> nn.Module:
        network = self.shape.network(pretrained=False)
        try:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in self.state.items()})
        except RuntimeError as error:
            raise LibraryError("genre model: its arrays do not fit the network its card describes") from error
        return network.eval().to(device())

    def options(self) -> dict[str, Any]:
        kind = next(name for name, shape in SHAPES.items() if isinstance(self.shape, shape))
        return {"type": kind, "shape": asdict(self.shape)}

    def arrays(self) -> Arrays:
        return self.state

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], options: Mapping[str, Any]) -> Self:
        # JSON has no tuples.
        sizes: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in options["shape"].items()}
        return cls(SHAPES[options["type"]](**sizes), dict(arrays))


def _track_scores(network: nn.Module, tracks: Sequence[Floats]) -> Floats:
    with torch.inference_mode():
        means = [network(tensor(np.asarray(windows, np.float32))).mean(dim=0) for windows in tracks]
    return np.stack([mean.cpu().numpy() for mean in means]).astype(np.float32)


@dataclass(frozen=True)
class NetworkTraining:
    """How a network is trained."""

    epochs: int = 40
    """at most"""
    patience: int = 12
    """epochs without a better validation loss after which it stops"""
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    @classmethod
    def of(cls, encoder: str | None, *, epochs: int | None, seed: int) -> Self:
        """What suits the CNN (None), MusiCNN, or a transformers model; `epochs` of None is its own number."""
        if encoder is None:
            return cls(epochs or cls.epochs, seed=seed)
        if not encoder.startswith(PREFIX):
            return cls(epochs or 12, patience=4, batch=16, learning_rate=5e-4, seed=seed)
        still = Augmentation(gain_decibels=0, pitch_bands=0, masks=0, mixup=0)
        return cls(epochs or 12, patience=4, batch=8, learning_rate=5e-5, augmentation=still, seed=seed)


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """The network of the best epoch, and how training went."""

    classifier: NetworkClassifier
    curve: Curve
    """with the figure `accuracy` of the validation tracks"""
    validation_scores: Floats
    """[N, C] of the validation tracks"""


def train_network(
    tracks: Sequence[Floats],
    targets: Targets,
    validation: tuple[Sequence[Floats], Targets],
    shape: Shape,
    options: NetworkTraining,
    *,
    checkpoint: Path | None = None,
    watch: Watch | None = None,
) -> TrainedNetwork:
    """Trains the network, from `checkpoint` where an interrupted run with the same data and options left one.

    Shape: tracks N x [W, …], targets [N, C]
    """
    validation_tracks, validation_targets = validation
    patches = min(PATCHES_PER_EPOCH, max(len(windows) for windows in tracks))

    def batch_loss(batch: tuple[Floats, Floats]) -> Tensor:
        windows, soft_targets = batch
        return _loss(network(tensor(windows)), tensor(soft_targets), targets)

    def validate() -> tuple[float, dict[str, float]]:
        scores = _track_scores(network, validation_tracks)
        correct = validation_targets[np.arange(len(scores)), scores.argmax(axis=1)]
        return _validation_loss(scores, validation_targets, targets), {"accuracy": float(correct.mean())}

    with seeded(options.seed), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        # Not channels last: with AVX2 alone, torch's oneDNN then writes past its buffers (strided 1x1 convolutions).
        network = shape.network(pretrained=True).to(device())
        curve = train(
            network,
            batch_loss,
            lambda rng: _batches(tracks, targets, patches, options, rng),
            Schedule(
                epochs=options.epochs,
                patience=options.patience,
                learning_rate=options.learning_rate,
                weight_decay=options.weight_decay,
                steps=math.ceil(len(tracks) * patches / options.batch),
                half_precision=True,
            ),
            seed=options.seed,
            validate=validate,
            checkpoint=checkpoint,
            options=(shape, options),
            data=(*tracks, targets, *validation_tracks, validation_targets),
            watch=watch,
        )
    classifier = NetworkClassifier(shape, state_arrays(network))
    return TrainedNetwork(classifier, curve, _track_scores(network, validation_tracks))


def _batches(
    tracks: Sequence[Floats], targets: Targets, patches: int, options: NetworkTraining, rng: np.random.Generator
) -> Iterator[tuple[Floats, Floats]]:
    """So many augmented patches of each track in random order. Shape: [B, F, M], [B, C]"""
    chosen = [(row, int(rng.integers(len(tracks[row])))) for row in range(len(tracks)) for _ in range(patches)]
    order = rng.permutation(len(chosen))
    for start in range(0, len(order), options.batch):
        rows = [chosen[at] for at in order[start : start + options.batch]]
        if len(rows) < 2 and start:
            # Batch norm cannot learn from a single patch.
            return
        windows = np.stack([np.asarray(tracks[row][patch], np.float32) for row, patch in rows])
        soft_targets = targets[[row for row, _ in rows]].astype(np.float32)
        soft_targets = soft_targets * (1 - options.label_smoothing) + options.label_smoothing / targets.shape[1]
        changed, mixed = options.augmentation(windows, soft_targets, rng)
        yield np.ascontiguousarray(changed), mixed.astype(np.float32)


def _loss(scores: Tensor, soft_targets: Tensor, training_targets: Targets) -> Tensor:
    """Cross-entropy in which rare classes count as much as common ones; where tracks have several labels, binary."""
    if not (training_targets.sum(axis=1) == 1).all():
        return functional.binary_cross_entropy_with_logits(scores.float(), soft_targets)
    counts = np.maximum(training_targets.sum(axis=0), 1)
    weight = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return functional.cross_entropy(scores.float(), soft_targets, weight=torch.from_numpy(weight).to(scores.device))


def _validation_loss(scores: Floats, targets: Targets, training_targets: Targets) -> float:
    return float(_loss(torch.from_numpy(scores), torch.from_numpy(targets.astype(np.float32)), training_targets))
