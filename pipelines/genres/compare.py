"""Several ways to learn the same genres, each with what it costs."""

from __future__ import annotations

import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...models.genres.model import GenreModel
from ..audio_analysis.feature_sources import hear
from .evaluate import Evaluation, evaluate
from .examples import Method, Prepared
from .protocols import Protocol, protocols
from .train import train

FEW_TRACKS = 1000
REPEATS = 5


class Progress(typing.Protocol):
    """Is told how far the trainings are."""

    def begin(self, name: str, total: int) -> None: ...

    def trained(self) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class FoldOptions:
    """How ways to learn are tested."""

    folds: int = 5
    repeats: int | None = None
    """how often tracks are divided anew; None for 5 where that is a matter of seconds, else 1"""
    seed: int = 0
    calibration: str | None = None
    """temperature or isotonic; None for what suits the amount of data"""
    error_rate: float = 0.1
    """share of wrong answers aimed at when confident"""

    def protocols(self, prepared: Prepared, method: Method) -> list[Protocol]:
        """The ways to test this method, the honest one first."""
        many = method.quick and len(prepared.labels) < FEW_TRACKS
        repeats = self.repeats or (REPEATS if many else 1)
        return protocols(prepared, folds=self.folds, repeats=repeats, seed=self.seed)


def evaluations(
    prepared: Prepared, method: Method, found: list[Protocol], options: FoldOptions, trainings: Progress
) -> Iterator[Evaluation]:
    """One method under each protocol."""
    for protocol in found:
        yield evaluate(
            prepared,
            method,
            protocol,
            seed=options.seed,
            calibration=options.calibration,
            error_rate=options.error_rate,
            watch=trainings.say,
            trained=trainings.trained,
        )


def compare(
    prepared: Prepared, methods: list[Method], options: FoldOptions, trainings: Progress
) -> Iterator[tuple[Method, Evaluation, dict[str, Any]]]:
    """Each method under each protocol, with the cost of the model that would be kept."""
    for method in methods:
        found = options.protocols(prepared, method)
        trainings.begin(method.name, sum(len(protocol.trials) for protocol in found) + 1)
        tested = list(evaluations(prepared, method, found, options, trainings))
        started = time.perf_counter()
        model = train(prepared, method, seed=options.seed, calibration=options.calibration, watch=trainings.say)
        costs = {
            "train_seconds": round(time.perf_counter() - started, 2),
            "seconds_per_track": round(seconds_per_track(model, prepared.labels.paths), 3),
            "size_bytes": _size(model),
            "extra_dependencies": list(method.extras),
        }
        trainings.trained()
        for one in tested:
            yield method, one, costs


def _size(model: GenreModel) -> int:
    """Bytes of the model's folder."""
    with TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        return sum(path.stat().st_size for path in (Path(folder) / "model").iterdir())


def seconds_per_track(model: GenreModel, paths: tuple[Path, ...]) -> float:
    """How long it takes to hear and classify a file, measured on a few, the first one's start-up left out."""
    times = []
    for path in [*paths[:1], *paths[:3]]:
        started = time.perf_counter()
        model.predict({source: [hear(path, source)] for source in model.sources})
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))
