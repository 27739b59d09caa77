"""How to evaluate: the options of `crossfade evaluate` and of `crossfade.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import UsageError
from ...models.catalogue import Catalogue
from ...models.evaluation.bootstrap import RESAMPLES
from ...models.recommenders.base import Recommender
from ...models.recommenders.registry import make
from .protocols import PROTOCOLS, TRIALS


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    models: tuple[str, ...] = ("als", "content", "hybrid")
    """the baselines come by themselves; bpr, on one thread and far behind, only when asked for"""
    trials: tuple[str, ...] = TRIALS
    protocol: str = "auto"
    """see `protocols`"""
    gap_days: float = 0.0
    """between training and test, where the split is by time"""
    allow_seen: bool = False
    ks: tuple[int, ...] = (5, 10, 20, 100)
    seed: int = 0
    resamples: int = RESAMPLES
    tune: int = 0
    """trials that every model's options are chosen by, the first of them with the defaults; 0: the defaults"""
    seeds: int = 1
    """that every model with randomness is fitted with"""
    growth: bool = False
    """Whether to fit smaller parts, too, to say how training time grows."""
    model_arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """model -> what it is made with, where that is not its defaults"""
    tunings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """model -> its row of the slice `tuning` in an evaluation that was interrupted; it is not tuned again"""

    def make(self, name: str, catalogue: Catalogue, values: Mapping[str, Any] | None = None) -> Recommender:
        """A model that is not fitted yet, with other values of some options."""
        arguments = self.model_arguments.get(name, {})
        made = make(name, catalogue, **arguments)
        return make(name, catalogue, **{**arguments, **made.arguments_with(values)}) if values else made

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"k: {', '.join(map(str, self.ks))}; cut-offs have to be 1 or more")
        for option, least in (("tune", 0), ("seeds", 1), ("resamples", 1)):
            if getattr(self, option) < least:
                raise UsageError(f"{option}: {getattr(self, option)}, but has to be {least} or more")
        for what, names, known in (
            ("trial", self.trials, TRIALS),
            ("protocol", (self.protocol,), tuple(PROTOCOLS)),
        ):
            for name in names:
                if name not in known:
                    raise UsageError(f"{name}: no such {what}; there are {', '.join(known)}")
        chosen = PROTOCOLS[self.protocol]
        if self.gap_days < 0 or (self.gap_days and not chosen.has_gap):
            raise UsageError(
                f"gap: {self.gap_days:g} days with the protocol {self.protocol!r}; 0 or more, of a split by time"
            )
        if chosen.trial is not None and (self.trials != TRIALS or self.allow_seen):
            option = "allow-seen" if self.allow_seen else "trials"
            raise UsageError(f"{option}: not with the protocol {self.protocol!r}, which has its own")
