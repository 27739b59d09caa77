"""Zero-shot genres: the text nearest to a sound, in the space of a CLAP model, names it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...models.encoders.transformers import PREFIX
from ...models.genres.classical import Linear
from ...models.genres.classifiers import HeadClassifier, Part, Recipe
from ...models.genres.folds import Rows
from ...models.genres.heads import Head, Normalisation
from ...models.genres.model import PARENT_SEPARATOR
from .examples import Fitted, Material, Watch

PROMPT = "This is a {} song."


@dataclass(frozen=True)
class ZeroShotMethod:
    """Nothing is learnt but the calibration."""

    encoder: str
    family: str = "encoder"
    extras: tuple[str, ...] = ("torch", "transformers")
    quick: bool = True

    @property
    def name(self) -> str:
        return f"zero-shot:{self.encoder}"

    @property
    def sources(self) -> tuple[str, ...]:
        return (f"{PREFIX}{self.encoder}",)

    def fit(
        self, material: Material, rows: Rows, *, validation: Rows | None, seed: int, watch: Watch | None = None
    ) -> Fitted:
        from ...models.encoders.transformers import HubEncoder

        count = len(material.classes)
        said = [PROMPT.format(name.split(PARENT_SEPARATOR)[-1].lower()) for name in material.classes]
        encoder = HubEncoder.open(self.encoder)
        recipe = Recipe((Part(self.sources[0]),))
        vectors = material.vectors(recipe)
        text = encoder.embed_text(said) * (encoder.text_scale / np.sqrt(vectors.shape[1]))
        scorer = Linear(np.ascontiguousarray(text.T, np.float32), np.zeros(count, np.float32))
        nothing, one = np.zeros(vectors.shape[1], np.float32), np.ones(vectors.shape[1], np.float32)
        head = Head(Normalisation.DIRECTION, scorer, nothing, one, np.ones(count, bool))
        held = rows if validation is None else validation
        return Fitted(HeadClassifier(recipe, head), head(vectors[held]), material.targets[held], f"'{PROMPT}'")
