"""What a command says: records on stdout, messages and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY_SECONDS = 10.0


class Console:
    """JSON lines on stdout when it is piped or asked for, a table on a terminal."""

    def __init__(self, *, as_json: bool, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._err = err if err is not None else sys.stderr
        self.as_json = as_json or not self._out.isatty()
        self._rows: list[Mapping[str, Any]] = []

    def record(self, **fields: Any) -> None:
        """One line of the answer; on a terminal it waits for `close`, which draws the table."""
        if self.as_json:
            text = json.dumps(fields, ensure_ascii=False, allow_nan=False)
            if not text.isascii() and not _encodes(text, str(getattr(self._out, "encoding", None) or "utf-8")):
                text = json.dumps(fields, allow_nan=False)
            self._out.write(text + "\n")
            self._out.flush()
        else:
            self._rows.append(fields)

    def write(self, text: str) -> None:
        """Text as it is on stdout, for what is neither records nor messages."""
        self._out.write(text)
        self._out.flush()

    def message(self, text: str) -> None:
        """One line for a person, on stderr."""
        self._err.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
        self._err.flush()

    def progress(self) -> AbstractContextManager[Progress]:
        """A bar with rate and time left on stderr; silent where stderr is not a terminal."""
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=RichConsole(file=self._err),
            disable=not self._err.isatty(),
        )

    def close(self) -> None:
        """Draws the table of all records since the last one."""
        if not self._rows:
            return
        from rich.console import Console as RichConsole
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        for name in columns:
            numeric = all(isinstance(row.get(name), int | float | None) for row in self._rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in self._rows:
            table.add_row(*(_cell(row.get(name)) for name in columns))
        RichConsole(file=self._out, markup=False, highlight=False).print(table)
        self._rows.clear()


def _encodes(text: str, encoding: str) -> bool:
    """Whether the text can be written as it is; a file name with invalid UTF-8 cannot, and is escaped instead."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
        case list():
            return ", ".join(_cell(item) for item in value[:3])
        case dict():
            return " ".join(_cell(item) for item in value.values())
        case _:
            return str(value).encode("utf-8", "backslashreplace").decode()


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
