"""What a command prints: records on stdout, messages and progress on stderr."""

from __future__ import annotations

import codecs
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from ..library.progress import EVERY_VARIABLE

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from ..library.progress import Progress

EVERY_SECONDS = 10.0

Fields = Mapping[str, Any]
View = Callable[[Fields, int], str]
"""a record's fields and the terminal's width -> lines for eyes"""


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "track"), counted(2_000, "track")
    ('1 track', '2,000 tracks')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class Console:
    """JSON lines on stdout when it is piped or asked for, what `display` makes of them on a terminal."""

    def __init__(self, *, as_json: bool, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._err = err if err is not None else sys.stderr
        self.as_json = as_json or not self._out.isatty()
        self._encoding: str = getattr(self._out, "encoding", None) or "utf-8"
        self._is_unicode = codecs.lookup(self._encoding).name.startswith("utf")
        self._rows: list[Fields] = []
        self._bars: Bars | None = None

    def record(self, view: View | None = None, /, **fields: Any) -> None:
        """One line of the answer; on a terminal by its view, else it waits for `close`, which draws a table."""
        if self.as_json:
            text = json.dumps(fields, ensure_ascii=not self._is_unicode, allow_nan=False)
            # Of a file name with invalid UTF-8, what cannot be written becomes an escape of JSON.
            self.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
        elif view is None:
            self._rows.append(fields)
        else:
            self._show(view(fields, shutil.get_terminal_size().columns))

    def write(self, text: str) -> None:
        """Text as it is on stdout, for what is neither records nor messages."""
        self._out.write(text)
        self._out.flush()

    def message(self, text: str) -> None:
        """One line for a person, on stderr."""
        text = text.encode("utf-8", "backslashreplace").decode()
        if self._bars is not None and not self._bars.disable:
            # Above the bar, which is drawn again.
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        self._err.write(text + "\n")
        self._err.flush()

    @contextmanager
    def bar(self, name: str) -> Iterator[Progress]:
        """A bar on stderr; gives the `Progress` that moves it."""
        with self.bars() as bars:
            task = bars.add_task(name, total=None)
            lines = ProgressLines(self) if bars.disable and EVERY_VARIABLE in os.environ else None

            def move(done: int, total: int | None, what: str = name, /) -> None:
                bars.update(task, completed=done, total=total, description=what)
                if lines is not None:
                    lines.move(done, total, what)

            self._bars = bars
            try:
                yield move
            finally:
                self._bars = None

    def bars(self) -> Bars:
        """Bars with rate and time left on stderr; silent where it is no terminal, or a notebook's, which keeps all."""
        from rich import progress
        from rich.console import Console as RichConsole

        return progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(show_speed=True),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=RichConsole(file=self._err),
            disable=not self._err.isatty() or "JPY_PARENT_PID" in os.environ,
        )

    @contextmanager
    def trainings(self) -> Iterator[Trainings]:
        """One bar for each way to learn."""
        with self.bars() as bars:
            yield Trainings(self, bars)

    def close(self) -> None:
        """Draws the table of all records since the last one."""
        if self._rows:
            from .terminal_layout import table

            self._show(table(self._rows, shutil.get_terminal_size().columns))
            self._rows.clear()

    def _show(self, text: str) -> None:
        self.write(text.encode(self._encoding, "replace").decode(self._encoding) + "\n")


class ProgressLines:
    """`hearing: 120 of 3,000, 4.2 a second, 11 min left`, so often as the environment says."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._every_seconds = float(os.environ[EVERY_VARIABLE])
        self._what: str | None = None
        self._last = -math.inf

    def move(self, done: int, total: int | None, what: str) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._from = what, now, done
        elif now - self._last < self._every_seconds and done != total:
            return
        self._last = now
        line = f"{what}: {done:,} of {total or done:,}"
        if total and (rate := (done - self._from) / max(now - self._began, 1e-9)) and done < total:
            seconds = (total - done) / rate
            left = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
            line += f", {rate:.1f} a second, {left} left"
        self._console.message(line)


class Trainings:
    """Counts trainings: `begin` names what follows and its number, `trained` counts one, `message` tells of one."""

    def __init__(self, console: Console, bars: Bars) -> None:
        self._console, self._bars = console, bars

    def begin(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._started = self._last = time.monotonic()
        self._task = self._bars.add_task(name, total=total)

    def trained(self) -> None:
        self._done += 1
        self._bars.update(self._task, completed=self._done, description=self._name)
        if self._done < self._total:
            self.message("")

    def message(self, text: str) -> None:
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
