"""How to evaluate: the options of `crossfade evaluate` and of `crossfade.evaluate`.

Imports nothing heavy, since help needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ...errors import UsageError
from ...option_types import Flag, Names, Numbers

if TYPE_CHECKING:
    from ...models.catalogue import Catalogue
    from ...models.recommenders.base import Recommender

OLD_SPLITS = {"time": "temporal", "user": "within-user"}
"""what the option `split` of version 0.1 took, where protocols have other names"""
Protocol = Literal["auto", "temporal", "within-user", "random", "repeats", "new-releases", "yambda"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    models: Names = ("content", "hybrid", "ranked")
    """content, hybrid, ranked (these), ials, pure-svd, rp3beta, bpr, mf, vae …; popular, item-knn, ease, als always"""
    protocol: Protocol = "auto"
    """how listens are parted into training and test (docs/protocols.md); auto takes what the log allows"""
    gap_days: Annotated[float, Parameter(name="--gap")] = 0.0
    """days between training and test, where the split is by time"""
    scenarios: Names = ("warm", "cold", "listeners")
    """warm, cold, listeners (all); each fits every model anew"""
    allow_seen: Flag = False
    """tracks already listened to may be recommended again"""
    ks: Annotated[Numbers, Parameter(name="-k")] = (5, 10, 20, 100)
    """lengths of lists (5,10,20,100)"""
    tune: int = 0
    """trials to choose every model's options by, the first with the defaults (0: the defaults)"""
    seeds: int = 1
    """fits of every model with randomness, each with another seed"""
    growth: Flag = False
    """fit smaller parts, too: how training time grows with users and tracks"""
    seed: int = 0
    """of all that is random"""
    resamples: Annotated[int, Parameter(parse=False)] = 1000
    """of each interval"""
    model_arguments: Annotated[Mapping[str, Mapping[str, Any]], Parameter(parse=False)] = field(default_factory=dict)
    """model -> what it is made with, where that is not its defaults"""
    tunings: Annotated[Mapping[str, Mapping[str, Any]], Parameter(parse=False)] = field(default_factory=dict)
    """model -> its row of the slice `tuning` in an interrupted evaluation of one scenario; it is not tuned again"""

    def make(self, name: str, catalogue: Catalogue, values: Mapping[str, Any] | None = None) -> Recommender:
        """A model that is not fitted yet, with other values of some options."""
        from ...models.recommenders.registry import make

        arguments = self.model_arguments.get(name, {})
        made = make(name, catalogue, **arguments)
        return make(name, catalogue, **{**arguments, **made.arguments_with(values)}) if values else made

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise UsageError(f"k: {', '.join(map(str, self.ks))}; cut-offs have to be 1 or more")
        for option, least in (("tune", 0), ("seeds", 1), ("resamples", 1)):
            if getattr(self, option) < least:
                raise UsageError(f"{option}: {getattr(self, option)}, but has to be {least} or more")
        if not (self.gap_days or self.protocol != "auto" or self.scenarios != EvaluationOptions.scenarios):
            return
        from .protocols import PROTOCOLS, SCENARIOS

        for what, names, known in (
            ("scenario", self.scenarios, SCENARIOS),
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
        if chosen.scenario is not None and (self.scenarios != SCENARIOS or self.allow_seen):
            option = "allow-seen" if self.allow_seen else "scenarios"
            raise UsageError(f"{option}: not with the protocol {self.protocol!r}, which has its own")
