"""Training a network on sound: its batches, its loss, what a checkpoint belongs to. `nn.training_loop` has the loop.

Shapes: N tracks, W patches of each, F frames, M mel bands, C classes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...audio.augmentation import Augmentation
from .classical import Floats, Targets
from .networks import Architecture, CnnClassifier, network, require_torch, state_arrays

if TYPE_CHECKING:
    import torch

    from ..nn import training_loop as neural_training


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained."""

    epochs: int = 40
    """at most"""
    patience: int = 12
    """epochs without a better validation loss after which it stops"""
    batch: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patches_per_epoch: int | None = None
    """of each track; None for as many as there are, up to 3"""
    label_smoothing: float = 0.05
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    saved: bool
    """whether it is the best so far"""
    seconds_left: float


@dataclass(frozen=True, eq=False)
class Trained:
    """The network of the best epoch, and the road to it."""

    classifier: CnnClassifier
    curve: tuple[Epoch, ...]
    validation_scores: Floats
    """[N, C] of the validation tracks"""


def train_network(
    tracks: Sequence[Floats],
    targets: Targets,
    validation: tuple[Sequence[Floats], Targets],
    shape: Architecture,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    watch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Trains the network, from `checkpoint` where an interrupted run with the same data and options left one.

    Shape: tracks N x [W, …], targets [N, C]
    """
    require_torch()
    import torch

    from ..nn import training_loop as neural_training
    from ..nn.training_loop import device

    validation_tracks, validation_targets = validation
    each = options.patches_per_epoch or min(3, max(len(patches) for patches in tracks))

    def loss(batch: tuple[Floats, Floats]) -> torch.Tensor:
        patches, wanted = (torch.from_numpy(array).to(device()) for array in batch)
        return _loss(module(patches), wanted, targets)

    def validate() -> tuple[float, dict[str, float]]:
        scores = CnnClassifier(shape, state_arrays(module)).scores({shape.source: validation_tracks})
        correct = validation_targets[np.arange(len(scores)), scores.argmax(axis=1)]
        return _held_loss(scores, validation_targets, targets), {"accuracy": float(correct.mean())}

    run: list[neural_training.Epoch] = []

    def tell(point: neural_training.Epoch) -> None:
        run.append(point)
        left = float(np.mean([past.seconds for past in run])) * (options.epochs - point.epoch)
        if watch:
            watch(_told(point, left))

    with _deterministic(options.seed):
        # Not channels last: with AVX2 alone, torch's oneDNN then writes past its buffers (strided 1x1 convolutions).
        module = network(shape).to(device())
        curve = neural_training.train(
            module,
            loss,
            lambda rng: _batches(tracks, targets, each, options, rng),
            neural_training.Schedule(
                epochs=options.epochs,
                patience=options.patience,
                learning_rate=options.learning_rate,
                weight_decay=options.weight_decay,
                steps=math.ceil(len(tracks) * each / options.batch),
                half_precision=True,
            ),
            seed=options.seed,
            validate=validate,
            checkpoint=checkpoint,
            options=(shape, options),
            data=(*tracks, targets, *validation_tracks, validation_targets),
            watch=tell,
        )
    classifier = CnnClassifier(shape, state_arrays(module))
    told = tuple(_told(point, 0.0) for point in curve)
    return Trained(classifier, told, classifier.scores({shape.source: validation_tracks}))


def _told(point: neural_training.Epoch, seconds_left: float) -> Epoch:
    held = point.validation_loss
    if held is None:
        raise ValueError("an epoch without a validation loss")
    return Epoch(point.epoch, point.train_loss, held, point.figures["accuracy"], point.saved, seconds_left)


def _batches(
    tracks: Sequence[Floats], targets: Targets, each: int, options: TrainingOptions, rng: np.random.Generator
) -> Iterator[tuple[Floats, Floats]]:
    """Augmented patches of all tracks in random order. Shape: [B, F, M], [B, C]"""
    chosen = [(row, int(rng.integers(len(tracks[row])))) for row in range(len(tracks)) for _ in range(each)]
    order = rng.permutation(len(chosen))
    for start in range(0, len(order), options.batch):
        rows = [chosen[at] for at in order[start : start + options.batch]]
        if len(rows) < 2 and start:
            # Batch norm cannot learn from a single patch.
            return
        patches = np.stack([np.asarray(tracks[row][patch], np.float32) for row, patch in rows])
        wanted = targets[[row for row, _ in rows]].astype(np.float32)
        wanted = wanted * (1 - options.label_smoothing) + options.label_smoothing / targets.shape[1]
        changed, mixed = options.augmentation(patches, wanted, rng)
        yield np.ascontiguousarray(changed), mixed.astype(np.float32)


def _single(targets: Targets) -> bool:
    return bool((targets.sum(axis=1) == 1).all())


def _loss(scores: torch.Tensor, wanted: torch.Tensor, targets: Targets) -> torch.Tensor:
    import torch

    if not _single(targets):
        return torch.nn.functional.binary_cross_entropy_with_logits(scores.float(), wanted)
    # Rare classes count as much as common ones.
    counts = np.maximum(targets.sum(axis=0), 1)
    weight = torch.from_numpy((counts.sum() / (len(counts) * counts)).astype(np.float32)).to(scores.device)
    return torch.nn.functional.cross_entropy(scores.float(), wanted, weight=weight)


def _held_loss(scores: Floats, held: Targets, targets: Targets) -> float:
    import torch

    return float(_loss(torch.from_numpy(scores), torch.from_numpy(held.astype(np.float32)), targets))


@contextlib.contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seeded, and without algorithms whose sums come in any order; as it was afterwards."""
    import torch

    before = torch.get_rng_state()
    strict, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_rng_state(before)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = strict, benchmark
