"""The `crossfade` command: finds the command's function, runs it, turns errors into one line.

A command is a function: its parameters are the options, its docstring is the help. The modules of commands import
nothing heavy before a command runs, so that `crossfade --help` is instant.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import signature

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from ...errors import CrossfadeError, MissingExtra, UsageError
from ..evaluation.options import OLD_SPLITS
from .console import Console

COMMANDS = {
    "Hear": {"hear": "classify embed failures missing similar duplicates find tag vectors export"},
    "Listen": {"listens": "listens fetch"},
    "Recommend": {"train": "train recommend explain", "neural": "train recommend", "publish": "publish pull"},
    "Evaluate": {
        "evaluate": "evaluate",
        "genres": "train evaluate compare",
        "report": "report",
        "segments": "segments autoencoder",
        "demo": "demo",
    },
    "Serve": {"crossfade.service.commands": "serve keys"},
}
"""group of `--help` -> module -> commands, which are functions of their names; see FAMILIES"""

FAMILIES = {
    "neural": "Learn one neural recommender, with its embeddings in files, and recommend with it.",
    "genres": "Train, evaluate and compare your own genre classifiers.",
}
"""modules whose commands are subcommands: `neural train` is the function `neural_train`"""

OLD_SPELLINGS = {
    ("classify", "--model"): "--genre-model",
    ("tag", "--model"): "--genre-model",
    ("report", "--genres"): "--genre-model",
    ("evaluate", "--split"): "--protocol",
    ("evaluate", "--trials"): "--scenarios",
}
"""(command, option) of version 0.1, which still work -> its present name"""

EXTRAS = {
    "train": "catboost implicit librosa matplotlib pandas pyarrow scipy sklearn skops threadpoolctl torch torchaudio "
    "transformers vl_convert",
    "serve": "fastapi httpx prometheus_client psycopg python_multipart sqlalchemy starlette uvicorn",
    "publish": "fsspec s3fs",
    "spark": "py4j pyspark",
}
"""which extra of the distribution brings an import package"""


def application(command: str | None = None) -> App:
    """The whole command line; where `command` names one, the modules of the others are not imported."""
    root = App(
        name="crossfade",
        help="Hears a music library and learns its listeners.",
        version=_version,
        default_parameter=Parameter(negative=(), allow_repeating=True),
        help_format="plaintext",
        help_epilogue="Answers are JSON lines when piped, or with --json.",
    )
    for title, modules in COMMANDS.items():
        group = Group.create_ordered(title)
        for module, names in modules.items():
            path = module if "." in module else f"{__package__}.{module}"
            is_family = module in FAMILIES
            parent = App(name=module, help=FAMILIES[module], group=group) if is_family else root
            if is_family:
                root.command(parent)
            for name in names.split():
                function = f"{module}_{name}" if is_family else name
                needed = command in (None, module if is_family else name)
                parent.command(
                    getattr(import_module(path), function) if needed else f"{path}:{function}",
                    name=name,
                    group=() if is_family else group,
                )
    if command is None:
        root.register_install_completion_command()
    return root


def _version() -> str:
    from importlib.metadata import version

    return f"crossfade {version('crossfade')}"


def run(words: Sequence[str], console: Console) -> int:
    """Runs one command; gives its exit status, or raises UsageError and what the command raises."""
    words = _current_spelling(list(words), console)
    app = application(words[0] if words and not words[0].startswith("-") else None)
    try:
        command, bound, not_parsed = app.parse_args(words, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise UsageError(_one_line(error)) from None
    if "console" not in not_parsed and not any(word.startswith("-") for word in words):
        raise UsageError(f"{' '.join(words) or 'COMMAND'}: say which command; crossfade --help lists them")
    given = {"console": console} if "console" in not_parsed else {}
    return int(command(*bound.args, **bound.kwargs, **given) or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    console = Console(as_json="--json" in words[:end])
    words = [word for place, word in enumerate(words) if word != "--json" or place >= end]
    try:
        status = run(words, console)
        console.close()
    except CrossfadeError as error:
        console.message(f"crossfade: {error}")
        return 2 if isinstance(error, UsageError) else 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, names in EXTRAS.items() if package in names.split()), None)
        if extra is None:
            raise
        console.message(f"crossfade: {MissingExtra(words[0], extra)}")
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
    return status


def _current_spelling(words: list[str], console: Console) -> list[str]:
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if new := OLD_SPELLINGS.get((words[0], option)):
            if option == "--split":
                # Its values have other names, too.
                value = value if equals else "".join(words[place + 1 : place + 2])
                words[place : place + 1 if equals else place + 2] = [new, OLD_SPLITS.get(value, value)]
                option, new = f"{option} {value}", f"{new} {words[place + 1]}"
            else:
                words[place] = new + equals + value
            console.message(
                f"crossfade: {words[0]} {option} is now called {new}; the old name goes in the next version"
            )
    return words


def _one_line(error: CycloptsError) -> str:
    command = " ".join(error.command_chain or ())
    if isinstance(error, UnusedCliTokensError) and error.target is not None:
        parameters = signature(error.target).parameters.values()
        taken = [one.name.upper() for one in parameters if one.kind is one.POSITIONAL_ONLY]
        wanted = f"takes {'one ' if len(taken) == 1 else ''}{' '.join(taken) or 'options only'}"
        unused = " ".join(error.unused_tokens or ())
        return f"{command}: {wanted}, not also {unused}; a name with spaces needs quotes"
    text = " ".join(str(error).split()).removeprefix(f'Command "{command}" parameter ').removesuffix(".")
    return f"{command}: {text}" if command else text


if __name__ == "__main__":
    sys.exit(main())
