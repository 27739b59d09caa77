"""The command of the tour: `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import ExistingFile
from cyclopts.validators import Number

from .options import Screen, Seed, option

Files = Annotated[tuple[ExistingFile, ...], Parameter(show_default=False)]


def demo(
    *,
    library: Annotated[Path, option("folder of the library")] = Path("crossfade-demo"),
    recordings: Annotated[Files, option("a real recording that joins the tour; may be repeated", "--with")] = (),
    seconds: Annotated[float | None, option("length of every track (default 20 to 30)")] = None,
    artists: Annotated[int, option("per style")] = 4,
    seed: Annotated[Seed, Parameter(validator=Number(gte=0))] = 0,
    console: Screen,
) -> None:
    """A tour of all of it on a small synthetic world.

    Example: crossfade demo --library L
    """
    from ..simulation.demo import CatalogueOptions
    from .demo_tour import tour

    shortest, longest = (20.0, 30.0) if seconds is None else (seconds, seconds)
    catalogue = CatalogueOptions(
        seed=seed, artists_per_style=artists, shortest_seconds=shortest, longest_seconds=longest
    )
    tour(library, catalogue, recordings, console)
