"""The `crossfade` command: finds the command's module, runs it, turns errors into one line.

A module of commands has `add_commands(commands)`, which adds a parser for each and sets `run`, a function of
`(arguments, console)` that returns an exit status or None. It imports nothing heavy before `run` is called, so that
`crossfade --help` is instant.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from ...errors import CrossfadeError, MissingExtra, UsageError
from .console import Console

COMMAND_MODULES = (
    "hear",
    "listens",
    "train",
    "publish",
    "evaluate",
    "genres",
    "find",
    "tag",
    "report",
    "segments",
    "neural",
    "demo",
    "crossfade.service.commands",
)
"""in the order in which `--help` lists them; a full name is outside of this package"""


EXTRAS = {
    "train": "catboost implicit librosa matplotlib pandas pyarrow scipy sklearn threadpoolctl torch torchaudio "
    "transformers vl_convert",
    "serve": "fastapi prometheus_client psycopg sqlalchemy starlette uvicorn",
    "publish": "fsspec s3fs",
}
"""which extra of the distribution brings an import package"""

AddCommand = Callable[[str, str], argparse.ArgumentParser]
"""`add_command(name, help)` gives the parser of a new command"""


def positive(value: str) -> int:
    """The type of options that count something."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value}: has to be a whole number above 0")
    return int(value)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="crossfade", description="Hears a music library and learns its listeners.", allow_abbrev=False
    )
    root.add_argument("--version", action="version", version=f"crossfade {version('crossfade')}")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="JSON lines also on a terminal")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")

    def add_command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help, parents=[shared], allow_abbrev=False)

    for module in COMMAND_MODULES:
        import_module(module if "." in module else f".{module}", __package__).add_commands(add_command)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = parser().parse_args(argv)
    console = Console(as_json=arguments.json)
    try:
        status = arguments.run(arguments, console)
        console.close()
    except CrossfadeError as error:
        console.message(f"crossfade: {error}")
        return 2 if isinstance(error, UsageError) else 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, names in EXTRAS.items() if package in names.split()), None)
        if extra is None:
            raise
        console.message(f"crossfade: {MissingExtra(arguments.command, extra)}")
        return 1
    except KeyboardInterrupt:
        console.message("crossfade: interrupted")
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`): end like any other filter, and keep the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        console.message(f"crossfade: {where}{error.strerror or error}")
        return 1
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
