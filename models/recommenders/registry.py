"""The registry: every recommender by its name in `crossfade evaluate --models`, imported when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ...errors import MissingExtra, UsageError
from ..catalogue import Catalogue
from .base import Recommender


@dataclass(frozen=True)
class Entry:
    """Where a recommender lives, and what it is made with."""

    module: str
    kind: str
    by_content: bool = False
    """Made with the catalogue, and able to recommend tracks that nobody has played."""

    def load(self) -> type[Recommender]:
        try:
            kind: type[Recommender] = getattr(import_module(self.module, __package__), self.kind)
        except ModuleNotFoundError as error:
            raise MissingExtra(self.kind, "train") from error
        return kind


REGISTRY = {
    "popular": Entry(".popular", "Popular"),
    "recent-popular": Entry(".popular", "RecentPopular"),
    "personal-popular": Entry(".popular", "PersonalPopular"),
    "item-knn": Entry(".item_knn", "ItemKNN"),
    "rp3beta": Entry(".rp3beta", "RP3beta"),
    "ease": Entry(".ease", "EASE"),
    "pure-svd": Entry(".pure_svd", "PureSVD"),
    "bpr": Entry(".bpr", "BPR"),
    "als": Entry(".als", "ALS"),
    "ials": Entry(".ials", "IALS"),
    "mf": Entry(".neural.neural_mf", "NeuralMF"),
    "vae": Entry(".neural.vae", "MultVAE"),
    "dae": Entry(".neural.vae", "MultDAE"),
    "sasrec": Entry(".neural.sasrec", "SASRec", by_content=True),
    "two-tower": Entry(".neural.two_tower", "TwoTower", by_content=True),
    "content": Entry(".content", "Content", by_content=True),
    "hybrid": Entry("..hybrid.model", "Hybrid", by_content=True),
    "ranked": Entry("..ranking.two_stage", "TwoStageRecommender", by_content=True),
}
"""in the order in which tables list them"""

BASELINES = ("popular", "recent-popular", "item-knn", "ease", "als")
"""in every table, asked for or not"""


def entry(name: str) -> Entry:
    try:
        return REGISTRY[name]
    except KeyError:
        raise UsageError(f"{name}: no such model; there are {', '.join(REGISTRY)}") from None


def make(name: str, catalogue: Catalogue, **arguments: Any) -> Recommender:
    """A model with its default options or other arguments, not yet fitted."""
    chosen = entry(name)
    kind: Any = chosen.load()
    made: Recommender = kind(catalogue, **arguments) if chosen.by_content else kind(**arguments)
    return made


def in_order(names: Sequence[str]) -> list[str]:
    """The baselines and the names given, each once, in the order of the registry."""
    for name in names:
        entry(name)
    return [name for name in REGISTRY if name in names or name in BASELINES]
