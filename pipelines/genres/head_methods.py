"""Heads on what an encoder or librosa says of a track: a few settings each, the best of them chosen.

It is chosen inside the tracks given for training, in folds that keep artists together; the scores of those folds are
what the calibration is fitted on. Shapes: T tracks of the data set, n of them in `rows`, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...models.encoders.musicnn import Corpus, MusiCNN
from ...models.encoders.transformers import PREFIX
from ...models.genres import classical
from ...models.genres.classical import Floats, Scorer, Targets
from ...models.genres.classifiers import HeadClassifier, Part, Recipe
from ...models.genres.folds import Rows, grouped_folds, splits
from ...models.genres.heads import Normalisation, fit_head, fit_perceptron
from .examples import Fitted, Material, Watch

INNER_FOLDS = 4
INNER_REPEATS = 2
"""deals of the inner folds, below FEW tracks"""
FEW, MANY = 1000, 4000
"""from MANY tracks on, one inner fold tells as much as is needed"""


@dataclass(frozen=True)
class Candidate:
    """One setting of a head, described for people."""

    name: str
    recipe: Recipe
    normalisation: Normalisation
    fit: Callable[..., Scorer]


@dataclass(frozen=True)
class HeadMethod:
    """Feature vectors and a head, the best of a few candidates; the first is the one to doubt least."""

    name: str
    family: str
    candidates: tuple[Candidate, ...]
    extras: tuple[str, ...] = ()
    quick: bool = True

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source for one in self.candidates for source in one.recipe.sources))

    def fit(
        self, material: Material, rows: Rows, *, validation: Rows | None, seed: int, watch: Watch | None = None
    ) -> Fitted:
        rng = np.random.default_rng(seed)
        inner = (
            [(rows, validation)]
            if validation is not None
            else inner_splits(material, rows, rng, repeats=INNER_REPEATS if len(self.candidates) > 1 else 1)
        )
        trials = [_held(candidate, material, inner, seed) for candidate in self.candidates]
        best = _first_of_the_best([_quality(scores, targets) for scores, targets in trials], len(rows))
        candidate, (scores, targets) = self.candidates[best], trials[best]
        head = _fit(candidate, material, rows, seed)
        return Fitted(HeadClassifier(candidate.recipe, head), scores, targets, candidate.name)


def inner_splits(
    material: Material, rows: Rows, rng: np.random.Generator, *, repeats: int = INNER_REPEATS
) -> list[tuple[Rows, Rows]]:
    """Folds of `rows` that keep artists together; several deals where tracks are few, one fold where they are many."""
    groups = material.groups[rows]
    count = min(INNER_FOLDS, len(np.unique(groups)))
    if count < 2:
        # A single artist: nothing honest can be held out, so tracks are.
        groups, count = np.arange(len(rows)), min(INNER_FOLDS, len(rows))
    found = []
    for _ in range(repeats if len(rows) < FEW else 1):
        fold = grouped_folds(material.targets[rows], groups, count, rng=rng)
        found += [(rows[train], rows[test]) for train, test in splits(fold)]
    return found if len(rows) < MANY else found[:1]


def _fit(candidate: Candidate, material: Material, rows: Rows, seed: int) -> Any:
    fit = partial(candidate.fit, seed=seed)
    return fit_head(material.vectors(candidate.recipe)[rows], material.targets[rows], candidate.normalisation, fit)


def _held(
    candidate: Candidate, material: Material, inner: Sequence[tuple[Rows, Rows]], seed: int
) -> tuple[Floats, Targets]:
    """Scores of held-out tracks, and their targets; without tracks of classes that a fold could not learn."""
    scores, targets = [], []
    for train, test in inner:
        known = material.targets[train].any(axis=0)
        test = test[~material.targets[test][:, ~known].any(axis=1)]
        if len(test) and known.sum() > 1:
            head = _fit(candidate, material, train, seed)
            scores.append(head(material.vectors(candidate.recipe)[test]))
            targets.append(material.targets[test])
    if not scores:
        return np.zeros((0, material.targets.shape[1]), np.float32), np.zeros((0, material.targets.shape[1]), bool)
    return np.concatenate(scores), np.concatenate(targets)


def _quality(scores: Floats, targets: Targets) -> float:
    """The mean over classes of how often the highest score is right."""
    if not len(scores):
        return 0.0
    correct = targets[np.arange(len(scores)), scores.argmax(axis=1)]
    return float(np.mean([correct[column].mean() for column in targets.T if column.any()]))


def _first_of_the_best(qualities: Sequence[float], tracks: int) -> int:
    """The first candidate within half a standard error of the best: small differences are luck."""
    best = max(qualities)
    slack = 0.5 * np.sqrt(max(best * (1 - best), 1 / tracks) / tracks)
    return next(at for at, quality in enumerate(qualities) if quality >= best - slack)


def _encoder_recipes(encoder: str | None) -> dict[str, Recipe]:
    if encoder is None:
        msd, mtt = (Part(f"musicnn-{corpus}", 0, MusiCNN.dimensions) for corpus in Corpus)
        return {"msd": Recipe((msd,)), "msd+mtt": Recipe((msd, mtt))}
    # What follows MusiCNN's embedding are tags.
    part = Part(encoder) if encoder.startswith(PREFIX) else Part(encoder, 0, MusiCNN.dimensions)
    return {"mean": Recipe((part,)), "mean+std": Recipe((part,), "mean+std")}


def _extras(encoder: str | None) -> tuple[str, ...]:
    return ("torch", "transformers") if (encoder or "").startswith(PREFIX) else ()


def probe(encoder: str | None = None) -> HeadMethod:
    """A linear head on an encoder's embeddings; on MusiCNN's, of one corpus or both, where none is named."""
    settings: tuple[tuple[str, Callable[..., Scorer]], ...] = (
        ("ridge 1", partial(classical.fit_ridge, penalty=1.0)),
        ("ridge 0.1", partial(classical.fit_ridge, penalty=0.1)),
        ("logistic 0.1", partial(classical.fit_logistic, c=0.1)),
    )
    candidates = [
        Candidate(f"{recipe_name}, {setting}", recipe, Normalisation.DIRECTION, fit)
        for recipe_name, recipe in _encoder_recipes(encoder).items()
        for setting, fit in settings
    ]
    name = "probe" if encoder is None else f"probe:{encoder.removeprefix(PREFIX)}"
    return HeadMethod(name, "encoder", tuple(candidates), _extras(encoder))


def mlp(encoder: str | None = None) -> HeadMethod:
    """One hidden layer on the same."""
    candidates = [
        Candidate(name, recipe, Normalisation.DIRECTION, fit_perceptron)
        for name, recipe in list(_encoder_recipes(encoder).items())[:1]
    ]
    name = "mlp" if encoder is None else f"mlp:{encoder.removeprefix(PREFIX)}"
    return HeadMethod(name, "encoder", tuple(candidates), _extras(encoder), quick=False)


CLASSICAL: dict[str, tuple[tuple[str, Callable[..., Scorer]], ...]] = {
    "svm": (
        ("rbf C 3 width 3", partial(classical.fit_svm, c=3.0, width=3.0)),
        ("rbf C 10 width 10", partial(classical.fit_svm, c=10.0, width=10.0)),
        ("rbf C 1 width 1", partial(classical.fit_svm, c=1.0, width=1.0)),
        ("linear C 0.001", partial(classical.fit_svm, c=0.001, width=None)),
    ),
    "logistic": tuple((f"C {c}", partial(classical.fit_logistic, c=c)) for c in (0.01, 0.1, 0.001)),
    "forest": (("200 trees", classical.fit_forest),),
    "boosting": (("60 rounds", classical.fit_boosting),),
    "neighbours": tuple((f"k {k}", partial(classical.fit_neighbours, k=k)) for k in (5, 1, 15)),
}


def classical_method(name: str) -> HeadMethod:
    """One of CLASSICAL on librosa's descriptors."""
    whole = Recipe((Part("descriptors"),))
    candidates = [Candidate(label, whole, Normalisation.STANDARD, fit) for label, fit in CLASSICAL[name]]
    return HeadMethod(name, "classical", tuple(candidates), ("librosa",), quick=name not in ("forest", "boosting"))
