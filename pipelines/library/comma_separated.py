"""Options that are lists: one argument `A,B,…` becomes a tuple. Imports nothing heavy, since help needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token


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
