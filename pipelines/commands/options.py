"""The types of options that several commands have, each with its name and its help."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from .console import Console

if TYPE_CHECKING:
    from ..library.store import Library


def open_library(folder: Path, *, create: bool = False) -> Library:
    """The library of a command; imported here, so that help comes without it."""
    from ..library.store import Library

    return Library.open(folder, create=create)


def option(help: str, name: str | None = None) -> Parameter:
    """What an option is called, where it is not as its parameter, and its help."""
    return Parameter(name=name, help=help)


Screen = Annotated[Console, Parameter(parse=False)]
"""where a command prints; `main` gives it"""
Words = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]
Flag = Annotated[bool, Parameter(show_default=False)]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
LibraryFolder = Annotated[Path, option("folder of the library")]
Length = Annotated[Count, option("how many", "-k")]
SoundName = Annotated[str | None, option("which imported vectors to use as sound")]
Seed = Annotated[int, option("of all that is random")]
GenreModelFolder = Annotated[Path | None, option("a genre model of yours (crossfade genres train)")]
Windows = Annotated[Literal["default", "all"], option("nine windows of 3 s spread over the track, or all of it")]
Paths = Annotated[tuple[Path, ...], Parameter(consume_multiple=True, show_default=False)]
