"""Costs: what a recommender takes, besides being right or wrong.

Training and answering time, memory, size on disk, how much code of ours it is, what has to be installed for it, and how
training time grows with users and tracks. Rows of the slice `cost`, without k.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...models.catalogue import Catalogue
from ...models.genres.model import GenreModel
from ...models.interactions import Interactions
from ...models.recommenders.base import Recommender
from ...models.recommenders.registry import REGISTRY, make

Row = dict[str, Any]
_TORCH = ("mf", "vae", "dae", "sasrec", "two-tower")
NEEDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_TORCH, ("torch",)),
    "bpr": ("implicit",),
    "als": ("implicit",),
    "item-knn": ("implicit",),
    "hybrid": ("implicit",),
    "ranked": ("implicit", "catboost"),
}
"""model -> what it needs beyond numpy and scipy"""
SHARES = (0.25, 0.5, 1.0)
"""of the users, or of the tracks, that growth is measured at"""
EPOCHS = 2
"""that a neural model is given there, so that time does not depend on when it stops"""
_QUICK_SECONDS = 0.5


class Fitting:
    """Fits a model and measures time and memory."""

    def __init__(self, model: Recommender, listens: Interactions) -> None:
        before = _reset_peak()
        started, used = time.perf_counter(), time.process_time()
        self.model = model.fit(listens)
        self.seconds = time.perf_counter() - started
        """wall clock"""
        self.cpu_seconds = time.process_time() - used
        """of all threads together; hardly disturbed by what else the machine does"""
        peak = _resident("VmHWM")
        self.peak_bytes = None if before is None or peak is None else max(0, peak - before)
        """that the process held at most, beyond what it held before; None where that is not known (only on Linux)"""

    def rows(self, name: str) -> Iterator[Row]:
        """The costs of training, and of the trained model."""
        yield cost_row(name, "fit_seconds", self.seconds)
        yield cost_row(name, "fit_cpu_seconds", self.cpu_seconds)
        if self.peak_bytes is not None:
            yield cost_row(name, "fit_peak_bytes", self.peak_bytes)
        yield cost_row(name, "bytes", size_on_disk(self.model))
        yield cost_row(name, "code_lines", code_lines(name))
        needs = NEEDS.get(name, ())
        yield cost_row(name, "extra_dependencies", len(needs)) | {"needs": list(needs)}


def growth_rows(
    names: Sequence[str],
    listens: Interactions,
    catalogue: Catalogue,
    make: Callable[[str, Catalogue], Recommender] = make,
) -> Iterator[Row]:
    """How training time grows: the exponent p of CPU seconds ~ users^p, and tracks^p, fitted to three sizes.

    Users (tracks) are left out by chance, with all their listens.
    """
    rng = np.random.default_rng(0)
    axes = {
        "users": (rng.permutation(listens.user_count), listens.user_rows),
        "tracks": (rng.permutation(listens.track_count), listens.track_rows),
    }
    for name in names:
        made = partial(make, name, catalogue)
        whole = _seconds(made, listens)
        for axis, (place, rows) in axes.items():
            parts = [_seconds(made, _part(listens, place[rows] < share * len(place))) for share in SHARES[:-1]]
            slope = np.polyfit(np.log(SHARES), np.log([*parts, whole]), 1)[0]
            yield cost_row(name, f"growth_with_{axis}", round(float(slope), 2)) | {"seconds": [*parts, whole]}


def cost_row(model: str, metric: str, value: float) -> Row:
    return {"model": model, "slice": "cost", "metric": metric, "k": None, "value": value, "low": None, "high": None}


def size_on_disk(model: Recommender | GenreModel) -> int:
    """Bytes that `save` writes."""
    with TemporaryDirectory() as scratch:
        model.save(Path(scratch) / "model")
        return sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())


def code_lines(name: str) -> int:
    """Lines of the model's own module, without blank ones; what it shares with others is not counted."""
    found = find_spec(REGISTRY[name].module, "crossfade.models.recommenders")
    text = "" if found is None or found.origin is None else Path(found.origin).read_text(encoding="utf-8")
    return sum(bool(line.strip()) for line in text.splitlines())


def _part(listens: Interactions, which: Any) -> Interactions:
    return listens.take(np.flatnonzero(which))


def _seconds(make: Callable[[], Any], listens: Interactions) -> float:
    found: list[float] = []
    while not found or (len(found) < 3 and found[-1] < _QUICK_SECONDS):
        model = make()
        if hasattr(getattr(model, "options", None), "refit"):
            model.options = replace(model.options, epochs=EPOCHS, refit=False)
        started = time.process_time()
        model.fit(listens)
        found.append(time.process_time() - started)
    return min(found)


def _reset_peak() -> int | None:
    """Gives back what is not used, makes the peak what is held then, and returns that."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    return None


def _resident(what: str) -> int | None:
    """Bytes of this process, by the kernel's books."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))
    return None
