"""The CNN as a way to learn genres: part of the training artists are held out for early stopping and calibration."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from ..models.convolutional import SOURCE, CnnShape
from ..models.folds import Rows, grouped_folds
from ..models.training_loop import Epoch, TrainingOptions, train_network
from .genre_methods import CnnOptions, Fitted, Material
from .genre_pictures import draw_learning

HELD_PART = 5
"""one part in five of the training tracks is held out"""


@dataclass(frozen=True)
class CnnMethod:
    """A short-chunk residual CNN, trained from scratch."""

    options: CnnOptions
    name: str = "cnn"
    family: str = "cnn"
    sources: tuple[str, ...] = (SOURCE,)
    extras: tuple[str, ...] = ("torch",)

    def fit(self, material: Material, rows: Rows, *, validation: Rows | None, seed: int) -> Fitted:
        if validation is None:
            rows, validation = held_out(material, rows, np.random.default_rng(seed))
        tracks = material.heard[SOURCE]
        classes = material.targets.shape[1]
        training = TrainingOptions(seed=seed, epochs=self.options.epochs or TrainingOptions.epochs)
        checkpoint = None
        if self.options.checkpoints:
            mark = hashlib.sha256(rows.tobytes() + bytes(str(seed), "ascii")).hexdigest()[:16]
            checkpoint = self.options.checkpoints / f"{mark}.pt"
        trained = train_network(
            [tracks[row] for row in rows],
            material.targets[rows],
            ([tracks[row] for row in validation], material.targets[validation]),
            CnnShape(classes),
            training,
            checkpoint=checkpoint,
            watch=self._told,
        )
        if self.options.checkpoints and self.options.checkpoints.is_dir():
            draw_learning(self.options.checkpoints / "learning.png", [asdict(point) for point in trained.curve])
        best = int(np.argmin([point.validation_loss for point in trained.curve]))
        chosen = f"epoch {best + 1} of {len(trained.curve)}"
        return Fitted(trained.classifier, trained.validation_scores, material.targets[validation], chosen)

    def _told(self, point: Epoch) -> None:
        if self.options.say:
            self.options.say(
                f"epoch {point.epoch}: loss {point.train_loss:.3f}, validation {point.validation_loss:.3f}, "
                f"accuracy {point.validation_accuracy:.2f}, at most {point.seconds_left:.0f} s left"
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
