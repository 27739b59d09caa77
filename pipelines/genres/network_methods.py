"""Networks as ways to learn genres: a CNN from scratch, or an encoder that is trained on.

Part of the training artists are held out for early stopping and calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...audio.augmentation import Augmentation
from ...models.encoders.fine_tuning import TunedShape
from ...models.encoders.transformers import PREFIX
from ...models.genres.folds import Rows, grouped_folds
from ...models.genres.networks import SOURCE, Architecture, CnnShape
from ...models.genres.training import Epoch, TrainingOptions, train_network
from ...models.storage import hash_of_values
from .examples import Fitted, Material, Watch
from .plots import draw_learning

LEARNING = "learning.png"
HELD_PART = 5
"""one part in five of the training tracks is held out"""


@dataclass(frozen=True)
class NetworkOptions:
    """What the command line says about training a network."""

    epochs: int | None = None
    checkpoints: Path | None = None
    """where an interrupted training leaves off; None for no checkpoints"""


@dataclass(frozen=True)
class NetworkMethod:
    """A network trained on windows of sound; `cnn` and `fine_tuned` make them."""

    name: str
    family: str
    sources: tuple[str, ...]
    extras: tuple[str, ...]
    shape: Callable[[int], Architecture]
    """from the number of classes"""
    training: TrainingOptions
    checkpoints: Path | None
    quick: bool = False

    def fit(
        self, material: Material, rows: Rows, *, validation: Rows | None, seed: int, watch: Watch | None = None
    ) -> Fitted:
        if validation is None:
            rows, validation = held_out(material, rows, np.random.default_rng(seed))
        tracks = material.heard[self.sources[0]]
        checkpoint = None
        if self.checkpoints:
            checkpoint = self.checkpoints / hash_of_values(self.name, seed, rows.tolist())[:16]
        trained = train_network(
            [tracks[row] for row in rows],
            material.targets[rows],
            ([tracks[row] for row in validation], material.targets[validation]),
            self.shape(material.targets.shape[1]),
            replace(self.training, seed=seed),
            checkpoint=checkpoint,
            watch=None if watch is None else lambda point: watch(_told(point, self.training.epochs)),
        )
        if self.checkpoints and self.checkpoints.is_dir():
            draw_learning(self.checkpoints / LEARNING, [asdict(point) for point in trained.curve])
        best = max(point.epoch for point in trained.curve if point.saved)
        chosen = f"epoch {best} of {len(trained.curve)}"
        return Fitted(trained.classifier, trained.validation_scores, material.targets[validation], chosen)


def cnn(options: NetworkOptions) -> NetworkMethod:
    """A short-chunk residual CNN, trained from scratch."""
    training = TrainingOptions(epochs=options.epochs or TrainingOptions.epochs)
    return NetworkMethod("cnn", "cnn", (SOURCE,), ("torch", "torchaudio"), CnnShape, training, options.checkpoints)


def fine_tuned(encoder: str, options: NetworkOptions) -> NetworkMethod:
    """An encoder trained on: musicnn-msd, musicnn-mtt, or hub:NAME."""
    shape = partial(TunedShape.of, encoder=encoder)
    name = f"fine-tuned:{encoder.removeprefix(PREFIX)}"
    training = TrainingOptions(epochs=options.epochs or 12, patience=4, batch=16)
    if encoder.startswith(PREFIX):
        still = Augmentation(gain_decibels=0, pitch_bands=0, masks=0, mixup=0)
        training = replace(training, learning_rate=5e-5, batch=8, augmentation=still)
        extras: tuple[str, ...] = ("torch", "transformers")
    else:
        training = replace(training, learning_rate=5e-4)
        extras = ("torch", "torchaudio")
    source = TunedShape(0, encoder).source
    return NetworkMethod(name, "encoder", (source,), extras, shape, training, options.checkpoints)


def _told(point: Epoch, most: int) -> str:
    return (
        f"epoch {point.epoch} of at most {most}: loss {point.train_loss:.3f}, "
        f"validation {point.validation_loss:.3f}, accuracy {point.validation_accuracy:.2f}, "
        f"at most {point.seconds_left:.0f} s left"
    )


def held_out(material: Material, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Training and validation tracks, without an artist in common; classes of a single artist are trained on."""
    targets, groups = material.targets[rows], material.groups[rows]
    fold = grouped_folds(targets, groups, min(HELD_PART, len(np.unique(groups))), rng=rng)
    held = fold == fold[rng.integers(len(fold))]
    known = targets[~held].any(axis=0)
    useful = held & ~targets[:, ~known].any(axis=1)
    if not useful.any():
        # All that could be held out is the only artist of its class: hold out tracks instead.
        fold = grouped_folds(targets, np.arange(len(rows)), min(HELD_PART, len(rows)), rng=rng)
        useful = fold == 0
    return rows[~useful], rows[useful]
