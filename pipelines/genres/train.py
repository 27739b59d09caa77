"""The model to keep: trained on all labelled tracks, with the figures that folds of them gave.

Shapes: T tracks, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...models.genres.model import Card, GenreModel
from ..audio_analysis.feature_sources import sample_rate
from .evaluate import Evaluation
from .examples import Method, Prepared, Watch
from .protocols import given_parts


def train(
    prepared: Prepared,
    method: Method,
    evaluations: Sequence[Evaluation] = (),
    *,
    seed: int = 0,
    calibration: str | None = None,
    error_rate: float = 0.1,
    watch: Watch | None = None,
) -> GenreModel:
    """A model of all tracks, or of the training part of a given split."""
    material, labels = prepared.material, prepared.labels
    rows, validation = np.arange(len(labels)), None
    if labels.splits is not None:
        parts = given_parts(labels.splits)
        rows, validation = parts.train, parts.validation
    fitted = method.fit(material, rows, validation=validation, seed=seed, watch=watch)
    curve = fitted.calibration(material.multi_label, method=calibration, error_rate=error_rate)
    card = Card(
        name=method.name,
        family=method.family,
        classes=labels.classes,
        multi_label=material.multi_label,
        target=labels.target,
        encoder=", ".join(fitted.classifier.sources),
        sample_rate=sample_rate(fitted.classifier.sources[0]),
        tracks=len(rows),
        data_hash=prepared.data_hash,
        training_content=tuple(sorted(prepared.content[row][:16] for row in rows)),
        chosen=fitted.chosen,
        figures={one.protocol.name: one.row() | {"per_class": one.per_class()} for one in evaluations},
    )
    return GenreModel(card, fitted.classifier, curve)
