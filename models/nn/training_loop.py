"""The training loop of all networks: seeded, stopped early, kept at the best epoch, resumed where it was interrupted.

Every epoch has random numbers of its own, which follow from the seed and the epoch's number: a run that carries on from
a checkpoint ends with the numbers it would have had.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import DataError
from ..storage import Arrays
from .checkpoint import fingerprint, read_checkpoint, write_checkpoint


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to."""

    epoch: int
    """1 for the first"""
    train_loss: float
    validation_loss: float | None
    """None without validation; lower is better"""
    saved: bool
    """whether it is the best so far; of equals the later, which has learned longer"""
    seconds: float
    steps: int
    """batches learned from since the beginning"""
    figures: Mapping[str, float] = field(default_factory=dict)
    """other figures of the held out part"""

    def record(self) -> dict[str, Any]:
        """As a row of a table."""
        row = asdict(self)
        figures: dict[str, float] = row.pop("figures")
        return row | figures


Curve = tuple[Epoch, ...]
Watch = Callable[[Epoch], None]
Validate = Callable[[], tuple[float, Mapping[str, float]]]
"""the loss on held out data, lower is better, and other figures"""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast."""

    epochs: int
    """at most"""
    patience: int
    """epochs without a better validation loss after which it stops"""
    learning_rate: float
    least_steps: int = 0
    """batches before which no epoch can be the best: with few validation users an early one may be so by chance"""
    weight_decay: float = 0.0
    """how much of each weight a step takes away, times the learning rate (AdamW)"""
    steps: int | None = None
    """Batches of an epoch, for a rate that rises at first and then falls along a cosine to 0; None keeps it."""
    half_precision: bool = False
    """on a GPU"""

    def rate(self, step: int) -> float:
        """The learning rate of a batch."""
        if self.steps is None:
            return self.learning_rate
        total = self.epochs * self.steps
        rise = min(2 * self.steps, total // 4)
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tensor(array: NDArray[Any]) -> torch.Tensor:
    """The array where the models are trained."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device())


class Dropout(torch.nn.Module):
    """Dropout by random bytes: `torch.nn.Dropout` draws a number for each entry, which on a CPU takes longer than the
    layers around it. The share is rounded to a 256th, and never to all."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.hidden = min(round(256 * share), 255)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.hidden:
            return x
        words = torch.randint(-(1 << 63), (1 << 63) - 1, (x.numel() // 8 + 1,), device=x.device)
        drawn = words.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * ((drawn >= self.hidden) * (256 / (256 - self.hidden)))

    def extra_repr(self) -> str:
        return f"{self.hidden / 256:.3f}"


def state_arrays(module: torch.nn.Module) -> Arrays:
    """The numbers of a network, copied."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's own random numbers follow from the seed inside, and go on as if nothing had happened afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def train(
    module: torch.nn.Module,
    loss: Callable[[Any], torch.Tensor],
    batches: Callable[[np.random.Generator], Iterator[Any]],
    schedule: Schedule,
    *,
    seed: int,
    validate: Validate | None = None,
    checkpoint: Path | None = None,
    options: Any = None,
    data: Iterable[NDArray[Any] | None] = (),
    watch: Watch | None = None,
) -> Curve:
    """Trains the module in place and leaves it at its best epoch (without `validate`, at the last one).

    A checkpoint belongs to the module as it is given, to `options` (by their repr) and to `data`, all that batches and
    `validate` are made of; another one's is passed over. Data are looked at only where there is a checkpoint.
    """
    steps = _Steps(module, loss, schedule)
    belongs = "" if checkpoint is None else fingerprint((schedule, seed, options), module, data)
    kept = _Checkpoint(checkpoint, belongs, steps)
    curve, best = kept.resume()
    with seeded(seed):
        for number in range(len(curve), schedule.epochs):
            if validate is not None and len(curve) - best_epoch(curve) >= schedule.patience:
                break
            started = time.perf_counter()
            rng = np.random.default_rng([seed, number])
            torch.manual_seed(int(rng.integers(1 << 31)))
            train_loss, count = steps.take(batches(rng), curve[-1].steps if curve else 0)
            module.eval()
            held: float | None = None
            figures: Mapping[str, float] = {}
            if validate is not None:
                with torch.inference_mode():
                    held, figures = validate()
            if not np.isfinite(train_loss):
                raise DataError(
                    f"epoch {number + 1}: the loss is {train_loss}; a smaller learning rate than "
                    f"{schedule.learning_rate:g} may help"
                )
            rivals = [_loss(past.validation_loss) for past in curve if past.steps >= schedule.least_steps]
            saved = all(_loss(held) <= rival for rival in rivals)
            if saved:
                best = {name: value.detach().clone() for name, value in module.state_dict().items()}
            point = Epoch(number + 1, train_loss, held, saved, time.perf_counter() - started, count, figures)
            curve.append(point)
            kept.keep(curve, best)
            if watch is not None:
                watch(point)
    if best:
        module.load_state_dict(best)
    module.eval()
    return tuple(curve)


def _loss(held: float | None) -> float:
    """As a figure to be compared; what is not known is beaten by any number, and by itself."""
    return math.inf if held is None or math.isnan(held) else held


def best_epoch(curve: Iterable[Epoch]) -> int:
    """The number of the last epoch that was saved; 0 where there is none."""
    return max((point.epoch for point in curve if point.saved), default=0)


class _Steps:
    """Gradient steps of a network."""

    def __init__(self, module: torch.nn.Module, loss: Callable[[Any], torch.Tensor], schedule: Schedule) -> None:
        self.module, self.loss, self.schedule = module, loss, schedule
        self.optimiser = torch.optim.AdamW(
            module.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.half = schedule.half_precision and device().type == "cuda"
        self.scaler = torch.amp.GradScaler(device().type, enabled=self.half)

    def take(self, batches: Iterator[Any], before: int) -> tuple[float, int]:
        """An epoch. (the mean loss over the batches, how many there have been with those `before`)"""
        self.module.train()
        total, count = 0.0, 0
        for batch in batches:
            for group in self.optimiser.param_groups:
                group["lr"] = self.schedule.rate(before + count)
            with torch.autocast(device().type, torch.float16, enabled=self.half):
                value = self.loss(batch)
            self.optimiser.zero_grad()
            self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimiser)
            self.scaler.update()
            total += value.item()
            count += 1
        if not count:
            raise DataError("training: no batch to learn from")
        return total / count, before + count


class _Checkpoint:
    """A file with all that the next epoch needs: the network, the optimiser, the best numbers, the curve."""

    def __init__(self, path: Path | None, fingerprint: str, steps: _Steps) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.parts: dict[str, Any] = {"module": steps.module, "optimiser": steps.optimiser, "scaler": steps.scaler}

    def keep(self, curve: list[Epoch], best: dict[str, torch.Tensor]) -> None:
        """Replaces the file whole."""
        if self.path is not None:
            content = {name: part.state_dict() for name, part in self.parts.items()}
            content |= {"best": best, "curve": [asdict(point) for point in curve]}
            write_checkpoint(self.path, self.fingerprint, content)

    def resume(self) -> tuple[list[Epoch], dict[str, torch.Tensor]]:
        """The curve and the best numbers so far; nothing where there is no file, or one of something else."""
        content = None if self.path is None else read_checkpoint(self.path, self.fingerprint)
        if content is None:
            return [], {}
        for name, part in self.parts.items():
            part.load_state_dict(content[name])
        return [Epoch(**point) for point in content["curve"]], content["best"]
