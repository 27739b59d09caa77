"""The commands of the evaluation jobs."""

from __future__ import annotations

from .command_line import AddCommand


def add_commands(add_command: AddCommand) -> None: ...
