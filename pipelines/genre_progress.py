"""How far the trainings of a command are: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from .console import Console

EVERY_SECONDS = 10.0


class Trainings:
    """One bar for each way to learn; entered as a context.

    `begin` names the next one and its number of trainings, `trained` counts one, `say` passes on how one goes.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._progress = console, console.progress()

    def __enter__(self) -> Self:
        self._bars = self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def begin(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._started = self._last = time.monotonic()
        self._task = self._bars.add_task(name, total=total)

    def trained(self) -> None:
        self._done += 1
        self._bars.update(self._task, completed=self._done, description=self._name)
        if self._done < self._total:
            self.say("")

    def say(self, text: str) -> None:
        if self._bars.disable:
            now = time.monotonic()
            if now - self._last >= EVERY_SECONDS:
                self._last = now
                counted = f"{self._name}: {self._done} of {self._total} trainings"
                if self._done:
                    counted += f", about {(now - self._started) / self._done * (self._total - self._done):.0f} s left"
                self._console.message(f"{counted}; {text}" if text else counted)
        elif text:
            self._bars.update(self._task, description=f"{self._name}: {text}")
