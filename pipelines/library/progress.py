"""How a long job reports to whoever started it: how far it is, and what is worth a line of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Is called as a job goes on: how much is done, of how much (None where that is not known), and of what."""

    def __call__(self, done: int, total: int | None, what: str = ..., /) -> None: ...


EVERY_VARIABLE = "CROSSFADE_PROGRESS_SECONDS"
"""environment: how often a command whose stderr is no terminal prints a line of how far it is; unset is never"""

Message = Callable[[str], None]
"""is called with a line of text for a person"""


def silent(*_: object) -> None:
    """A `Progress` and a `Message` for callers who want neither."""
