"""How genres are learnt and tested: the options of `crossfade genres`. Imports nothing heavy, since help needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ...option_types import Count, Flag, Paths


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How labels are read, and where their audio and its features are."""

    target: Literal["genre", "artist"] = "genre"
    """what is learnt"""
    split_files: Paths = ()
    """train, valid, test lists"""
    audio: Path | None = None
    """where the audio is, when not beside the labels; of mirdata: its data_home"""
    subset: Literal["small", "medium", "large", "full"] | None = None
    """of FMA"""
    skip_classes: Flag = False
    """leave out classes that cannot be learnt"""
    cache: Path | None = None
    """where features are kept between runs"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GenreEvaluationOptions:
    """How classifiers are trained and tested."""

    folds: Annotated[int, Parameter(validator=Number(gte=2))] = 5
    """how many parts the tracks are divided into"""
    repeats: Count | None = None
    """how often they are divided anew (5 where training takes seconds, else once)"""
    seed: int = 0
    """of all that is random"""
    calibration: Literal["temperature", "isotonic"] | None = None
    """chosen by the amount of data"""
    error_rate: Annotated[float, Parameter(validator=Number(gt=0, lt=1))] = 0.1
    """share of wrong answers aimed at when confident"""
    epochs: Count | None = None
    """most epochs of a network"""
