"""The commands of the hearing jobs."""

from __future__ import annotations

from .command_line import AddCommand


def add_commands(add_command: AddCommand) -> None: ...
