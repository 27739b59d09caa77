"""Types of options, as the command line reads them. Imports nothing heavy, since help needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.validators import Number


def comma_separated(kind: type[str] | type[int]) -> Parameter:
    """One argument `A,B,…` becomes a tuple."""

    def parts(hint: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
        text = tokens[-1].value
        try:
            return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
        except ValueError:
            raise ValueError(f"{text}: has to be whole numbers, such as 10 or 5,10,20") from None

    return Parameter(converter=parts, n_tokens=1, show_default=False)


Names = Annotated[tuple[str, ...], comma_separated(str)]
Numbers = Annotated[tuple[int, ...], comma_separated(int)]
Words = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]
Paths = Annotated[tuple[Path, ...], Parameter(consume_multiple=True, show_default=False)]
Flag = Annotated[bool, Parameter(show_default=False)]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
