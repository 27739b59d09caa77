"""Training the CNN: cosine schedule, early stopping, mixed precision on a GPU, checkpoints.

The same seed on the same machine gives the same numbers; a run that was interrupted carries on from the last whole
epoch and ends with the numbers it would have had.

Shapes: N tracks, W patches of each, F frames, M mel bands, C classes.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.augmentation import Augmentation
from .classical import Floats, Targets
from .convolutional import CnnClassifier, CnnShape, network, require_torch, state_arrays

if TYPE_CHECKING:
    import torch


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
    shape: CnnShape,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    watch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Trains from scratch, or from `checkpoint` where an interrupted run with the same data and options left one.

    Shape: tracks N x [W, F, M], targets [N, C]
    """
    require_torch()
    import torch

    with _deterministic(options.seed):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        module = network(shape).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(module.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        each = options.patches_per_epoch or min(3, max(len(patches) for patches in tracks))
        steps = math.ceil(len(tracks) * each / options.batch)
        warm_up = min(2 * steps, options.epochs * steps // 4)
        state = _State(module, optimiser, scaler)
        print_of_data = _fingerprint(tracks, targets, shape, options)
        curve, best = state.resume(checkpoint, print_of_data) if checkpoint else ([], None)
        validation_tracks, validation_targets = validation
        started, first = time.perf_counter(), len(curve)
        for epoch in range(first, options.epochs):
            if _waited(curve) >= options.patience:
                break
            rng = np.random.default_rng([options.seed, epoch])
            torch.manual_seed(int(rng.integers(2**31)))
            module.train()
            losses = []
            for step, (patches, wanted) in enumerate(_batches(tracks, targets, each, options, rng)):
                rate = _cosine(epoch * steps + step, options.epochs * steps, warm_up) * options.learning_rate
                for group in optimiser.param_groups:
                    group["lr"] = rate
                with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                    scores = module(torch.from_numpy(patches).to(device))
                    loss = _loss(scores, torch.from_numpy(wanted).to(device), targets)
                optimiser.zero_grad()
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                scaler.step(optimiser)
                scaler.update()
                losses.append(loss.item())
            current = CnnClassifier(shape, state_arrays(module))
            scores = current.scores({"log-mel": validation_tracks})
            held = _held_loss(scores, validation_targets, targets)
            correct = validation_targets[np.arange(len(scores)), scores.argmax(axis=1)]
            left = (time.perf_counter() - started) / (epoch - first + 1) * (options.epochs - epoch - 1)
            point = Epoch(epoch + 1, float(np.mean(losses)), held, float(correct.mean()), left)
            if best is None or held < min(past.validation_loss for past in curve):
                best = current.state
            curve.append(point)
            if checkpoint:
                state.keep(checkpoint, print_of_data, curve, best)
            if watch:
                watch(point)
        classifier = CnnClassifier(shape, best or state_arrays(module))
        return Trained(classifier, tuple(curve), classifier.scores({"log-mel": validation_tracks}))


def _waited(curve: Sequence[Epoch]) -> int:
    """Epochs since the best one."""
    if not curve:
        return 0
    return len(curve) - 1 - int(np.argmin([point.validation_loss for point in curve]))


def _cosine(step: int, steps: int, warm_up: int) -> float:
    """Share of the learning rate: a linear rise, then half a cosine down to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


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


def _fingerprint(tracks: Sequence[Floats], targets: Targets, shape: CnnShape, options: TrainingOptions) -> str:
    """What a checkpoint must agree with: options, sizes, labels, and a little of each track."""
    import hashlib

    text = json.dumps([asdict(shape), asdict(options)], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    digest.update(targets.tobytes())
    for patches in tracks:
        digest.update(f"{patches.shape} {float(patches[0].sum(dtype=np.float64)):.6g}".encode())
    return digest.hexdigest()


class _State:
    """What a checkpoint holds: the network, the optimiser, the best numbers so far, the curve."""

    def __init__(self, module: torch.nn.Module, optimiser: torch.optim.Optimizer, scaler: Any) -> None:
        self.module, self.optimiser, self.scaler = module, optimiser, scaler

    def keep(self, path: Path, fingerprint: str, curve: Sequence[Epoch], best: dict[str, Any] | None) -> None:
        """Replaces the checkpoint whole."""
        import torch

        from .checkpoint import write_checkpoint

        content = {
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best": {name: torch.from_numpy(array) for name, array in (best or {}).items()},
            "curve": [asdict(point) for point in curve],
        }
        write_checkpoint(path, fingerprint, content)

    def resume(self, path: Path, fingerprint: str) -> tuple[list[Epoch], dict[str, Any] | None]:
        """The curve and the best numbers of an interrupted run; nothing where it does not fit or cannot be read."""
        from .checkpoint import read_checkpoint

        content = read_checkpoint(path, fingerprint)
        if content is None:
            return [], None
        self.module.load_state_dict(content["module"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.scaler.load_state_dict(content["scaler"])
        best = {name: tensor.numpy() for name, tensor in content["best"].items()}
        return [Epoch(**point) for point in content["curve"]], best or None
