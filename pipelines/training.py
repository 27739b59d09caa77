"""Training: a library's log and sounds become a version of models that recommends and searches.

Cleaned listens and the catalogue -> ALS, content prior and crossfade, all chosen on validation -> the hybrid index ->
`models/<version>/`, which becomes the current one only when all of it is written.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from ..audio.errors import DataError
from ..models.hybrid import Hybrid
from ..models.hybrid_index import HybridIndex
from .cleaning import CleaningOptions, CleaningStep, clean
from .library import Library
from .listening_log import listed_ids, read_listens, to_listens
from .trained import FORMAT, Trained


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    sound: str | None = None
    """name of the sound vectors; None means embeddings if there are any, else the only imported ones"""
    cleaning: CleaningOptions = field(default_factory=CleaningOptions)
    seed: int = 0


@dataclass(frozen=True)
class TrainingSummary:
    """What was trained on, what was chosen, and what was measured on validation."""

    version: str
    listens: int
    users: int
    tracks: int
    """in the log"""
    catalogue: int
    """tracks in the library"""
    heard: int
    users_sample: float
    choices: dict[str, Any]
    figures: dict[str, float]
    """on the validation part, by name; empty where the log is too small for one"""
    seconds: float
    steps: tuple[CleaningStep, ...]
    """of the cleaning"""

    def record(self) -> dict[str, Any]:
        """For the command line."""
        figures = {name: round(value, 4) for name, value in self.figures.items()}
        steps = [step.record() for step in self.steps]
        return {**vars(self), "figures": figures, "seconds": round(self.seconds, 1), "steps": steps}


def train(library: Library, options: TrainingOptions | None = None) -> TrainingSummary:
    """Trains a version and makes it the library's current one; a failure leaves the old one in place."""
    options = options or TrainingOptions()
    started = time.monotonic()
    frame, steps = clean(read_listens(library), options.cleaning)
    catalogue = library.catalogue(options.sound)
    user_ids, heard_of = listed_ids(frame)
    track_ids = list(catalogue.track_ids)
    known = pl.Series(track_ids, dtype=pl.String)
    if not heard_of.is_in(known.implode()).any():
        raise DataError(f"{library.folder}: none of the {len(heard_of):,} tracks in the log is in the library")
    listens = to_listens(frame, user_ids, known, options.cleaning.confidence)
    hybrid = Hybrid(catalogue, seed=options.seed).fit(listens)
    index = HybridIndex(hybrid.taste.shape[1], catalogue.sound.shape[1])
    index.add(np.where(hybrid.known[:, None], hybrid.taste, 0), catalogue.sound)
    sounds = library.sounds()
    sound = options.sound or next(iter(sounds), None)
    summary = TrainingSummary(
        "",
        len(listens),
        len(user_ids),
        int((listens.listeners > 0).sum()),
        len(catalogue),
        int(catalogue.has_sound.sum()),
        options.cleaning.users_sample,
        asdict(hybrid.choices),
        hybrid.figures,
        0.0,
        tuple(steps),
    )
    about: dict[str, Any] = {
        "format_version": FORMAT,
        "sound": sound,
        "encoder": library.about("encoder") if sound == "encoder" else None,
        "seed": options.seed,
        "cleaning": asdict(options.cleaning),
    }
    version = library.new_version()
    try:
        about |= {**summary.record(), "version": version.name}
        Trained(hybrid, index, track_ids, user_ids.to_list(), about).save(version)
    except BaseException:
        shutil.rmtree(version, ignore_errors=True)
        raise
    library.publish_version(version)
    return TrainingSummary(
        **{**vars(summary), "version": version.name, "seconds": time.monotonic() - started},
    )
