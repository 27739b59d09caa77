"""The command of the tour: `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ...errors import UsageError
from .options import Repeated, Screen, Seed, option


def demo(
    *,
    library: Annotated[Path, option("folder of the library")] = Path("crossfade-demo"),
    recordings: Annotated[Repeated, option("a real recording that joins the tour; may be repeated", "--with")] = (),
    seconds: Annotated[float | None, option("length of every track (default 20 to 30)")] = None,
    artists: Annotated[int, option("per style")] = 4,
    seed: Seed = 0,
    console: Screen,
) -> None:
    """A tour of all of it on a small synthetic world.

    Example: crossfade demo --with song.mp3
    """
    from ..simulation.demo_catalogue import CatalogueOptions
    from .demo_tour import tour

    for recording in recordings:
        if not recording.is_file():
            raise UsageError(f"--with {recording}: no such file")
    if seed < 0:
        raise UsageError(f"--seed {seed}: below 0")
    shortest, longest = (20.0, 30.0) if seconds is None else (seconds, seconds)
    catalogue = CatalogueOptions(
        seed=seed, artists_per_style=artists, shortest_seconds=shortest, longest_seconds=longest
    )
    tour(library, catalogue, recordings, console)
