"""The types of options that several commands have, each with its name and its help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from .console import Console

if TYPE_CHECKING:
    from ..library.store import Library


def comma_separated(kind: type[str] | type[int]) -> Parameter:
    """One argument `A,B,…` becomes a tuple."""

    def parts(hint: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
        text = tokens[-1].value
        try:
            return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
        except ValueError:
            raise ValueError(f"{text}: has to be whole numbers, such as 10 or 5,10,20") from None

    return Parameter(converter=parts, n_tokens=1, show_default=False)


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
Names = Annotated[tuple[str, ...], comma_separated(str)]
Numbers = Annotated[tuple[int, ...], comma_separated(int)]
LibraryFolder = Annotated[Path, option("folder of the library")]
Length = Annotated[Count, option("how many", "-k")]
SoundName = Annotated[str | None, option("which imported vectors to use as sound")]
Seed = Annotated[int, option("of all that is random")]
GenreModelFolder = Annotated[Path | None, option("a genre model of yours (crossfade genres train)")]
Windows = Annotated[Literal["default", "all"], option("nine windows of 3 s spread over the track, or all of it")]
Paths = Annotated[tuple[Path, ...], Parameter(consume_multiple=True, show_default=False)]
