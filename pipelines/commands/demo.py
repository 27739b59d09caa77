"""The command of the tour: `demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .console import Console
from .main import AddCommand


def add_commands(add_command: AddCommand) -> None:
    demo = add_command("demo", "a tour of all of it on a small synthetic world")
    demo.add_argument(
        "--library", type=Path, default=Path("crossfade-demo"), metavar="L", help="library folder (default %(default)s)"
    )
    demo.add_argument(
        "--with",
        dest="recordings",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a real recording that joins the tour; may be repeated",
    )
    demo.add_argument("--seconds", type=float, metavar="S", help="length of every track (default 20 to 30)")
    demo.add_argument("--artists", type=int, default=4, metavar="N", help="per style (default %(default)s)")
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="of everything that is made up")
    demo.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace, console: Console) -> None:
    from ...errors import UsageError
    from ..simulation.demo import CatalogueOptions
    from .demo_tour import DemoOptions, tour

    for recording in arguments.recordings:
        if not recording.is_file():
            raise UsageError(f"--with {recording}: no such file")
    if arguments.seed < 0:
        raise UsageError(f"--seed {arguments.seed}: below 0")
    catalogue = CatalogueOptions(
        seed=arguments.seed,
        artists_per_style=arguments.artists,
        shortest_seconds=20.0 if arguments.seconds is None else arguments.seconds,
        longest_seconds=30.0 if arguments.seconds is None else arguments.seconds,
    )
    tour(arguments.library, DemoOptions(catalogue=catalogue, recordings=tuple(arguments.recordings)), console)
