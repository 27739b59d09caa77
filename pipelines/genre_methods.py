"""The ways to learn genres, by name, and how each chooses its parameters.

Parameters are chosen inside the tracks given for training, in folds that keep artists together; the scores of those
folds are what the calibration is fitted on. Shapes: T tracks of the data set, n of them in `rows`, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import UsageError
from ..models import classical
from ..models.classical import Floats, Scorer, Targets
from ..models.folds import Rows, grouped_folds, splits
from ..models.genre_model import PARENT_SEPARATOR, Classifier, HeadClassifier, Heard, Part, Recipe
from ..models.heads import Head, Normalisation, fit_head, fit_perceptron
from .genre_sources import HUB

INNER_FOLDS = 4
INNER_REPEATS = 2
"""deals of the inner folds, below FEW tracks"""
FEW, MANY = 1000, 4000
"""from MANY tracks on, one inner fold tells as much as is needed"""
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Material:
    """T tracks, heard and labelled."""

    heard: dict[str, list[Floats]]
    """by source, the windows of each track"""
    targets: Targets
    """[T, C]"""
    groups: Rows
    """[T]"""
    multi_label: bool = False
    classes: tuple[str, ...] = ()
    """[C]"""
    _vectors: dict[Recipe, Floats] = field(default_factory=dict)

    def vectors(self, recipe: Recipe) -> Floats:
        """[T, D], made once."""
        if recipe not in self._vectors:
            self._vectors[recipe] = recipe.vectors(self.heard)
        return self._vectors[recipe]

    def of(self, rows: Rows, sources: Sequence[str]) -> Heard:
        """What was heard of some tracks."""
        return {source: [self.heard[source][row] for row in rows] for source in sources}


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained classifier and what it (or its kind, in inner folds) said of tracks it was not trained on."""

    classifier: Classifier
    held_scores: Floats
    """[n, C]"""
    held_targets: Targets
    """[n, C]"""
    chosen: str


class Method(Protocol):
    """A way to learn genres."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def extras(self) -> tuple[str, ...]:
        """packages beyond the core install that using (not training) the model needs"""
        ...

    def fit(self, material: Material, rows: Rows, *, validation: Rows | None, seed: int) -> Fitted: ...


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

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source for one in self.candidates for source in one.recipe.sources))

    def fit(self, material: Material, rows: Rows, *, validation: Rows | None, seed: int) -> Fitted:
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
    if encoder is not None:
        return {"mean": Recipe((Part(encoder),)), "mean+std": Recipe((Part(encoder),), "mean+std")}
    msd, mtt = Part("musicnn-msd", 0, 200), Part("musicnn-mtt", 0, 200)
    return {"msd": Recipe((msd,)), "msd+mtt": Recipe((msd, mtt))}


def _probe(encoder: str | None) -> HeadMethod:
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
    name = "probe" if encoder is None else f"probe:{encoder.removeprefix(HUB)}"
    return HeadMethod(name, "encoder", tuple(candidates), () if encoder is None else ("torch", "transformers"))


def _mlp(encoder: str | None) -> HeadMethod:
    candidates = [
        Candidate(name, recipe, Normalisation.DIRECTION, fit_perceptron)
        for name, recipe in list(_encoder_recipes(encoder).items())[:1]
    ]
    name = "mlp" if encoder is None else f"mlp:{encoder.removeprefix(HUB)}"
    return HeadMethod(name, "encoder", tuple(candidates), () if encoder is None else ("torch", "transformers"))


PROMPT = "This is a {} song."


@dataclass(frozen=True)
class ZeroShotMethod:
    """Nothing is learnt but the calibration: a sound's nearest text (CLAP) is its genre."""

    encoder: str
    family: str = "encoder"
    extras: tuple[str, ...] = ("torch", "transformers")

    @property
    def name(self) -> str:
        return f"zero-shot:{self.encoder}"

    @property
    def sources(self) -> tuple[str, ...]:
        return (f"{HUB}{self.encoder}",)

    def fit(self, material: Material, rows: Rows, *, validation: Rows | None, seed: int) -> Fitted:
        from ..models.hub_encoders import HubEncoder

        count = len(material.classes)
        said = [PROMPT.format(name.split(PARENT_SEPARATOR)[-1].lower()) for name in material.classes]
        encoder = HubEncoder.open(self.encoder)
        recipe = Recipe((Part(self.sources[0]),))
        vectors = material.vectors(recipe)
        text = encoder.embed_text(said) * (encoder.text_scale / np.sqrt(vectors.shape[1]))
        scorer = classical.Linear(np.ascontiguousarray(text.T, np.float32), np.zeros(count, np.float32))
        nothing, one = np.zeros(vectors.shape[1], np.float32), np.ones(vectors.shape[1], np.float32)
        head = Head(Normalisation.DIRECTION, scorer, nothing, one, np.ones(count, bool))
        held = rows if validation is None else validation
        return Fitted(HeadClassifier(recipe, head), head(vectors[held]), material.targets[held], f"'{PROMPT}'")


_CLASSICAL: dict[str, tuple[tuple[str, Callable[..., Scorer]], ...]] = {
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
METHODS = ("probe", "mlp", *_CLASSICAL, "cnn")
"""what `--model` takes; probe and mlp also as probe:NAME of an audio model of transformers, and zero-shot:NAME"""


@dataclass(frozen=True)
class CnnOptions:
    """What the command line says about training a network."""

    epochs: int | None = None
    checkpoints: Path | None = None
    """where an interrupted training leaves off; None for no checkpoints"""
    say: Say | None = None


def method_named(name: str, options: CnnOptions | None = None) -> Method:
    """The method behind a name; UsageError for an unknown one."""
    kind, _, encoder = name.partition(":")
    source = f"{HUB}{encoder}" if encoder and not encoder.startswith("musicnn-") else encoder or None
    if kind == "probe":
        return _probe(source)
    if kind == "mlp":
        return _mlp(source)
    if name in _CLASSICAL:
        whole = Recipe((Part("descriptors"),))
        candidates = [Candidate(label, whole, Normalisation.STANDARD, fit) for label, fit in _CLASSICAL[name]]
        return HeadMethod(name, "classical", tuple(candidates), ("librosa",))
    if kind == "zero-shot" and encoder:
        return ZeroShotMethod(encoder)
    if name == "cnn":
        from .cnn_method import CnnMethod

        return CnnMethod(options or CnnOptions())
    raise UsageError(f"--model {name}: not one of {', '.join(METHODS)} probe:NAME or zero-shot:NAME")


def as_rows(mask: NDArray[np.bool_]) -> Rows:
    """Row numbers where a mask is set."""
    return np.flatnonzero(mask).astype(np.int64)
