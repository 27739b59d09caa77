"""A trained genre classifier as a folder that describes itself.

`model.json` is the card: classes, sources of features, figures, hashes of the training data, and the SHA-256 of the
other file. `weights.safetensors` holds the numbers. Nothing in the folder is code.

Shapes: N tracks, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ...errors import LibraryError, UsageError, optional_module
from ..storage import Arrays, content_hash, prefixed, replacing
from .calibration import Calibration
from .heads import Classifier, HeadClassifier, WindowFeatures
from .vocabulary import Vocabulary

FORMAT_VERSION = 1
CARD, WEIGHTS = "model.json", "weights.safetensors"
FORMER_SCORERS = ("kernel", "neighbours", "trees")
"""arrays from before scikit-learn's estimators were kept"""


@dataclass(frozen=True)
class Card:
    """The metadata of a saved model."""

    name: str
    """probe, svm, cnn …"""
    family: str
    """encoder, classical or cnn"""
    classes: tuple[str, ...]
    """[C]"""
    multi_label: bool = False
    target: str = "genre"
    encoder: str = ""
    """the sources of its features"""
    sample_rate: int = 0
    tracks: int = 0
    """how many it was trained on"""
    data_hash: str = ""
    """SHA-256 over the training files' content hashes and labels"""
    training_content: tuple[str, ...] = ()
    """the first 16 hex digits of each training file's hash, to tell when a model is tested on its training data"""
    chosen: str = ""
    """the parameters chosen inside the training folds"""
    figures: dict[str, Any] = field(default_factory=dict)
    """by split (artist, random, given): accuracy and the rest, measured on tracks it was not trained on"""


@dataclass(frozen=True, eq=False)
class GenreModel:
    """A classifier, its calibration and its card."""

    card: Card
    classifier: Classifier
    calibration: Calibration = field(default_factory=Calibration)
    folder: Path | None = None
    """where it was loaded from"""
    card_hash: str = ""
    """BLAKE2b-128 of the card it was loaded with"""

    def __repr__(self) -> str:
        return f"GenreModel({self.card.name}: {', '.join(self.card.classes)})"

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the features that `predict` needs."""
        return self.classifier.sources

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of the columns of `predict`."""
        return Vocabulary(self.card.classes, self.card_hash, None if self.folder is None else self.folder.absolute())

    def needs_only_mean(self, source: str, columns: int) -> bool:
        """Whether all it needs of a track is the mean over windows of a source's first columns: a stored embedding."""
        if not isinstance(self.classifier, HeadClassifier):
            return False
        pooled = self.classifier.pooled
        fits = (part.source == source and part.last is not None and part.last <= columns for part in pooled.parts)
        return pooled.pooling == "mean" and all(fits)

    def predict(self, features: WindowFeatures) -> NDArray[np.float64]:
        """Calibrated probabilities [N, C] of the card's classes."""
        return self.calibration(self.classifier.scores(features))

    def confident(self, probabilities: NDArray[np.float64]) -> bool:
        """Whether the answer should be given: its top probability is past the abstention threshold."""
        return bool(probabilities.max() >= self.calibration.abstain_below)

    def save(self, folder: Path) -> None:
        """Writes the two files; replaces an older model, and nothing else in the folder."""
        check_replaceable(folder)
        curve = self.calibration
        arrays = {f"classifier.{name}": np.ascontiguousarray(a) for name, a in self.classifier.arrays().items()}
        if curve.knots_x is not None and curve.knots_y is not None:
            arrays |= {"calibration.x": curve.knots_x, "calibration.y": curve.knots_y}
        weights = save_arrays(arrays)
        header = {
            "format_version": FORMAT_VERSION,
            "kind": "crossfade genre model",
            **asdict(self.card),
            "classifier": self.classifier.options(),
            "calibration": {"temperature": curve.temperature, "abstain_below": curve.abstain_below},
            "weights_sha256": content_hash(weights, "sha256"),
        }
        header["card_sha256"] = _card_hash(header)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / CARD) as new_card, replacing(folder / WEIGHTS) as new_weights:
            new_weights.write_bytes(weights)
            new_card.write_text(json.dumps(header, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model of a folder; LibraryError where it is missing, of another version, or a file was changed."""
        header = read_card(folder)
        try:
            weights = (folder / WEIGHTS).read_bytes()
        except OSError as error:
            raise LibraryError(f"{folder / WEIGHTS}: cannot be read; train the model again") from error
        if content_hash(weights, "sha256") != header["weights_sha256"]:
            raise LibraryError(f"{folder / WEIGHTS}: is not the file the model was saved with; train the model again")
        arrays = load_arrays(weights)
        classifier = _classifier(prefixed(arrays, "classifier."), header["classifier"], folder)
        calibration = Calibration(
            **header["calibration"],
            multi_label=header["multi_label"],
            knots_x=arrays.get("calibration.x"),
            knots_y=arrays.get("calibration.y"),
        )
        values = {name: header[name] for name in Card.__dataclass_fields__}
        tuples = {name: tuple(values[name]) for name in ("classes", "training_content")}
        return cls(Card(**values | tuples), classifier, calibration, folder, content_hash(folder / CARD))


def check_replaceable(folder: Path) -> None:
    """UsageError where saving a model would destroy something else."""
    if folder.exists() and not (folder / CARD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is not empty and not a genre model; it is not overwritten")


def _classifier(arrays: Arrays, options: Mapping[str, Any], folder: Path) -> Classifier:
    match options.get("type"):
        case "head" if options["scorer"] in FORMER_SCORERS:
            raise LibraryError(
                f"{folder}: was saved by an older version, which kept {options['scorer']} in another way; "
                "train it again with crossfade genres train"
            )
        case "head":
            return HeadClassifier.from_arrays(arrays, options)
        case "cnn" | "fine-tuned":
            networks = optional_module(f"{__package__}.networks", "networks of genres")
            classifier: Classifier = networks.NetworkClassifier.from_arrays(arrays, options)
            return classifier
        case other:
            raise LibraryError(f"{folder}: a classifier {other!r} is not known; it may come from a newer version")


def read_card(folder: Path) -> dict[str, Any]:
    """The checked JSON of a model folder."""
    path = folder / CARD
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LibraryError(f"{folder}: not a genre model: no {CARD}; make one with crossfade genres train") from error
    except ValueError as error:
        raise LibraryError(f"{path}: damaged: {error}") from error
    if not isinstance(header, dict) or header.get("kind") != "crossfade genre model":
        raise LibraryError(f"{path}: not the card of a genre model")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise LibraryError(
            f"{path}: format version {version!r}, this program reads {FORMAT_VERSION}; update crossfade or train again"
        )
    if header.get("card_sha256") != _card_hash(header):
        raise LibraryError(f"{path}: was changed after the model was saved; train the model again")
    return header


def _card_hash(header: Mapping[str, Any]) -> str:
    content = {name: value for name, value in header.items() if name != "card_sha256"}
    return content_hash(json.dumps(content, sort_keys=True).encode(), "sha256")
