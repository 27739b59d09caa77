"""The ways to learn genres, by name: heads on features, networks trained on windows of sound, text prompts.

A head has a few settings, the best of which is chosen inside the tracks given for training, in folds that keep artists
together; the scores of those folds are what the calibration is fitted on. For a network part of the training artists
are held out, for early stopping and calibration.

Shapes: T tracks of the data set, n of them in `rows`, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import MissingExtra, UsageError
from ...models.arrays import Floats
from ...models.encoders.musicnn import Corpus, MusiCNN
from ...models.encoders.transformers import PREFIX, HubEncoder, input_source
from ...models.genres import classical
from ...models.genres.calibration import Calibration, fit_calibration
from ...models.genres.classical import LinearScorer, Scorer, Targets
from ...models.genres.folds import Rows, grouped_folds, splits
from ...models.genres.heads import (
    Classifier,
    FeatureSlice,
    Head,
    HeadClassifier,
    Normalisation,
    PooledFeatures,
    fit_head,
    fit_perceptron,
)
from ...models.genres.vocabulary import PARENT_SEPARATOR
from ...models.storage import hash_of_values
from ..charts.chart import draw
from ..charts.training import learning_curve
from ..library.progress import Message, silent
from .dataset import AudioDataset
from .options import GenreEvaluationOptions

if TYPE_CHECKING:
    from ...models.nn.training_loop import Epoch

INNER_FOLDS = 4
INNER_REPEATS = 2
"""deals of the inner folds, below FEW tracks"""
FEW, MANY = 1000, 4000
"""from MANY tracks on, one inner fold is enough to choose by"""
VALIDATION_PARTS = 5
"""one part in five of a network's training tracks is held out"""
LEARNING = "learning.png"
TORCH, TRANSFORMERS = ("torch", "torchaudio"), ("torch", "transformers")
PROMPT = "This is a {} song."


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained classifier, and the scores it (or its kind, in inner folds) gave to held-out tracks."""

    classifier: Classifier
    held_scores: Floats
    """[n, C]"""
    held_targets: Targets
    """[n, C]"""
    chosen: str
    """the parameters, for people"""

    def calibration(self, multi_label: bool, options: GenreEvaluationOptions) -> Calibration:
        """How its scores become probabilities, from what was held out."""
        held, error_rate = (self.held_scores, self.held_targets), options.error_rate
        return fit_calibration(*held, multi_label=multi_label, method=options.calibration, error_rate=error_rate)


@dataclass(frozen=True)
class Method(ABC):
    """A way to learn genres."""

    name: str
    family: str
    """encoder, classical or cnn"""
    sources: tuple[str, ...]
    """names of the features it needs"""
    extras: tuple[str, ...]
    """packages beyond the core install that using (not training) the model needs"""
    quick: bool
    """whether a training takes seconds, so that it can be repeated on several divisions"""

    @abstractmethod
    def fit(
        self, dataset: AudioDataset, rows: Rows, *, validation: Rows | None, seed: int, message: Message = silent
    ) -> Fitted:
        """Learns from some tracks; `validation`, where given, is what is held out."""


def method_named(name: str, epochs: int | None = None, checkpoints: Path | None = None) -> Method:
    """The method behind a name; UsageError for an unknown one. `epochs` and `checkpoints` are those of a network."""
    network = partial(NetworkMethod, quick=False, epochs=epochs, checkpoints=checkpoints)
    kind, _, encoder = name.partition(":")
    source = f"{PREFIX}{encoder}" if encoder and not encoder.startswith("musicnn-") else encoder or None
    if kind in ("probe", "mlp"):
        return _embedding_head(kind, source)
    if name in CLASSICAL:
        return _classical_head(name)
    if kind == "zero-shot" and encoder:
        return ZeroShotMethod(name, "encoder", (f"{PREFIX}{encoder}",), TRANSFORMERS, quick=True)
    if name == "cnn":
        return network("cnn", "cnn", ("log-mel",), TORCH, encoder=None)
    if kind == "fine-tuned":
        source = source or "musicnn-msd"
        name = f"fine-tuned:{source.removeprefix(PREFIX)}"
        extras = TRANSFORMERS if source.startswith(PREFIX) else TORCH
        return network(name, "encoder", (input_source(source),), extras, encoder=source)
    names = ", ".join(("probe", "mlp", *CLASSICAL, "cnn", "fine-tuned"))
    raise UsageError(f"--model {name}: not one of {names}, probe:NAME or zero-shot:NAME")


@dataclass(frozen=True)
class HeadSetting:
    """One setting of a head, described for people."""

    name: str
    pooled: PooledFeatures
    normalisation: Normalisation
    scorer: Callable[..., Scorer]

    def fit(self, dataset: AudioDataset, rows: Rows, seed: int) -> Head:
        fit = partial(self.scorer, seed=seed)
        return fit_head(dataset.vectors(self.pooled)[rows], dataset.targets[rows], self.normalisation, fit)


@dataclass(frozen=True)
class HeadMethod(Method):
    """Feature vectors and a head, the best of a few settings; of nearly equal ones the first."""

    settings: tuple[HeadSetting, ...]

    def fit(
        self, dataset: AudioDataset, rows: Rows, *, validation: Rows | None, seed: int, message: Message = silent
    ) -> Fitted:
        repeats = INNER_REPEATS if len(self.settings) > 1 else 1
        inner = [(rows, validation)] if validation is not None else inner_splits(dataset, rows, seed, repeats)
        held = [_held_scores(setting, dataset, inner, seed) for setting in self.settings]
        best = _first_of_the_best([_balanced_accuracy(scores, targets) for scores, targets in held], len(rows))
        setting, (scores, targets) = self.settings[best], held[best]
        classifier = HeadClassifier(setting.pooled, setting.fit(dataset, rows, seed))
        return Fitted(classifier, scores, targets, setting.name)


def inner_splits(dataset: AudioDataset, rows: Rows, seed: int, repeats: int) -> list[tuple[Rows, Rows]]:
    """Folds of `rows` that keep artists together; several deals where tracks are few, one fold where they are many."""
    rng = np.random.default_rng(seed)
    groups = dataset.groups[rows]
    if len(np.unique(groups)) < 2:
        # A single artist: nothing honest can be held out, so tracks are.
        groups = np.arange(len(rows))
    result = []
    for _ in range(repeats if len(rows) < FEW else 1):
        fold = grouped_folds(dataset.targets[rows], groups, min(INNER_FOLDS, len(np.unique(groups))), rng=rng)
        result += [(rows[train], rows[test]) for train, test in splits(fold)]
    return result if len(rows) < MANY else result[:1]


def _held_scores(
    setting: HeadSetting, dataset: AudioDataset, inner: Sequence[tuple[Rows, Rows]], seed: int
) -> tuple[Floats, Targets]:
    """Scores of held-out tracks, and their targets; without tracks of classes that a fold could not learn."""
    count = dataset.targets.shape[1]
    scores, targets = [np.zeros((0, count), np.float32)], [np.zeros((0, count), bool)]
    for train, test in inner:
        known = dataset.targets[train].any(axis=0)
        test = test[~dataset.targets[test][:, ~known].any(axis=1)]
        if len(test) and known.sum() > 1:
            scores.append(setting.fit(dataset, train, seed)(dataset.vectors(setting.pooled)[test]))
            targets.append(dataset.targets[test])
    return np.concatenate(scores), np.concatenate(targets)


def _balanced_accuracy(scores: Floats, targets: Targets) -> float:
    """The mean over classes of how often the highest score is right."""
    if not len(scores):
        return 0.0
    correct = targets[np.arange(len(scores)), scores.argmax(axis=1)]
    return float(np.mean([correct[column].mean() for column in targets.T if column.any()]))


def _first_of_the_best(qualities: Sequence[float], tracks: int) -> int:
    """The first setting within half a standard error of the best: small differences are luck."""
    best = max(qualities)
    slack = 0.5 * np.sqrt(max(best * (1 - best), 1 / tracks) / tracks)
    return next(at for at, quality in enumerate(qualities) if quality >= best - slack)


PROBE: tuple[tuple[str, Callable[..., Scorer]], ...] = (
    ("ridge 1", partial(classical.fit_ridge, penalty=1.0)),
    ("ridge 0.1", partial(classical.fit_ridge, penalty=0.1)),
    ("logistic 0.1", partial(classical.fit_logistic, c=0.1)),
)
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
"""settings of heads on librosa's descriptors"""


def _embedding_head(kind: str, encoder: str | None) -> HeadMethod:
    """`probe` (linear) or `mlp` on an encoder's embeddings; without a name on MusiCNN's, of one corpus or both."""
    if encoder is None:
        msd, mtt = (FeatureSlice(f"musicnn-{corpus}", 0, MusiCNN.dimensions) for corpus in Corpus)
        pooled = {"msd": PooledFeatures((msd,)), "msd+mtt": PooledFeatures((msd, mtt))}
    else:
        # What follows MusiCNN's embedding are tags.
        columns = (FeatureSlice(encoder, 0, None if encoder.startswith(PREFIX) else MusiCNN.dimensions),)
        pooled = {"mean": PooledFeatures(columns), "mean+std": PooledFeatures(columns, "mean+std")}
    scorers = PROBE if kind == "probe" else (("", fit_perceptron),)
    settings = tuple(
        HeadSetting(", ".join(filter(None, (features, name))), one, Normalisation.DIRECTION, fit)
        for features, one in (pooled.items() if kind == "probe" else list(pooled.items())[:1])
        for name, fit in scorers
    )
    name = kind if encoder is None else f"{kind}:{encoder.removeprefix(PREFIX)}"
    extras = TRANSFORMERS if encoder is not None and encoder.startswith(PREFIX) else ()
    return _head_method(name, "encoder", settings, extras, quick=kind == "probe")


def _classical_head(name: str) -> HeadMethod:
    """One of CLASSICAL on librosa's descriptors."""
    pooled = PooledFeatures((FeatureSlice("descriptors"),))
    settings = tuple(HeadSetting(setting, pooled, Normalisation.STANDARD, fit) for setting, fit in CLASSICAL[name])
    extras = ("librosa",) if name == "logistic" else ("librosa", "scikit-learn", "skops")
    return _head_method(name, "classical", settings, extras, quick=name not in ("forest", "boosting"))


def _head_method(
    name: str, family: str, settings: tuple[HeadSetting, ...], extras: tuple[str, ...], *, quick: bool
) -> HeadMethod:
    sources = tuple(dict.fromkeys(source for one in settings for source in one.pooled.sources))
    return HeadMethod(name, family, sources, extras, quick=quick, settings=settings)


@dataclass(frozen=True)
class ZeroShotMethod(Method):
    """The text nearest to a sound, in the space of a CLAP model, names it; nothing is learnt but the calibration."""

    def fit(
        self, dataset: AudioDataset, rows: Rows, *, validation: Rows | None, seed: int, message: Message = silent
    ) -> Fitted:
        prompts = [PROMPT.format(name.split(PARENT_SEPARATOR)[-1].lower()) for name in dataset.labels.classes]
        encoder = HubEncoder.open(self.sources[0].removeprefix(PREFIX))
        pooled = PooledFeatures((FeatureSlice(self.sources[0]),))
        vectors = dataset.vectors(pooled)
        text = encoder.embed_text(prompts) * (encoder.text_scale / np.sqrt(vectors.shape[1]))
        scorer = LinearScorer(np.ascontiguousarray(text.T, np.float32), np.zeros(len(prompts), np.float32))
        zeros, ones = np.zeros(vectors.shape[1], np.float32), np.ones(vectors.shape[1], np.float32)
        head = Head(Normalisation.DIRECTION, scorer, zeros, ones, np.ones(len(prompts), bool))
        held = rows if validation is None else validation
        return Fitted(HeadClassifier(pooled, head), head(vectors[held]), dataset.targets[held], f"'{PROMPT}'")


@dataclass(frozen=True)
class NetworkMethod(Method):
    """A network trained on windows of sound: a short-chunk CNN from scratch, or an encoder that is trained on."""

    encoder: str | None
    """musicnn-msd, musicnn-mtt or hub:NAME; None for the CNN"""
    epochs: int | None
    checkpoints: Path | None
    """folder where an interrupted training leaves off; None for no checkpoints"""

    def fit(
        self, dataset: AudioDataset, rows: Rows, *, validation: Rows | None, seed: int, message: Message = silent
    ) -> Fitted:
        try:
            from ...models.genres import networks
        except ImportError as error:
            raise MissingExtra(self.name, "train") from error
        if validation is None:
            rows, validation = held_out(dataset, rows, np.random.default_rng(seed))
        folder, checkpoint = self.checkpoints, None
        if folder:
            checkpoint = folder / hash_of_values(self.name, seed, rows.tolist())[:16]
        tracks = dataset.features[self.sources[0]]
        training = networks.NetworkTraining.of(self.encoder, epochs=self.epochs, seed=seed)
        seconds: list[float] = []

        def report(point: Epoch) -> None:
            seconds.append(point.seconds)
            left = float(np.mean(seconds)) * (training.epochs - point.epoch)
            message(
                f"epoch {point.epoch} of at most {training.epochs}: loss {point.train_loss:.3f}, "
                f"validation {point.validation_loss:.3f}, accuracy {point.figures['accuracy']:.2f}, "
                f"at most {left:.0f} s left"
            )

        trained = networks.train_network(
            [tracks[row] for row in rows],
            dataset.targets[rows],
            ([tracks[row] for row in validation], dataset.targets[validation]),
            networks.shape_of(dataset.targets.shape[1], self.encoder),
            training,
            checkpoint=checkpoint,
            watch=report,
        )
        if folder and folder.is_dir():
            draw(learning_curve(trained.curve), folder / LEARNING)
        best = max(point.epoch for point in trained.curve if point.saved)
        chosen = f"epoch {best} of {len(trained.curve)}"
        return Fitted(trained.classifier, trained.validation_scores, dataset.targets[validation], chosen)


def held_out(dataset: AudioDataset, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Training and validation tracks, without an artist in common; classes of a single artist are trained on."""
    targets, groups = dataset.targets[rows], dataset.groups[rows]
    fold = grouped_folds(targets, groups, min(VALIDATION_PARTS, len(np.unique(groups))), rng=rng)
    held = fold == fold[rng.integers(len(fold))]
    known = targets[~held].any(axis=0)
    useful = held & ~targets[:, ~known].any(axis=1)
    if not useful.any():
        # All that could be held out is the only artist of its class: hold out tracks instead.
        fold = grouped_folds(targets, np.arange(len(rows)), min(VALIDATION_PARTS, len(rows)), rng=rng)
        useful = fold == 0
    return rows[~useful], rows[useful]
