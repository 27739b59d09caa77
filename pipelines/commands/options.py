"""Options: the types that several commands have, each with its name and its help, and options in a TOML file."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from ...errors import DataError, UsageError
from ...option_types import Count
from .console import Console

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ..library.store import Library
    from ..spark.engine import SparkEngine

Options = TypeVar("Options", bound="DataclassInstance")


def open_library(folder: Path, *, create: bool = False) -> Library:
    """The library of a command; imported here, so that help comes without it."""
    from ..library.store import Library

    return Library.open(folder, create=create)


def option(help: str, name: str | None = None) -> Parameter:
    """What an option is called, where it is not as its parameter, and its help."""
    return Parameter(name=name, help=help)


Screen = Annotated[Console, Parameter(parse=False)]
"""where a command prints; `main` gives it"""
LibraryFolder = Annotated[Path, option("folder of the library")]
Length = Annotated[Count, option("how many", "-k")]
SoundName = Annotated[str | None, option("which imported vectors to use as sound, or hub:NAME of embed --encoder NAME")]
Seed = Annotated[int, option("of all that is random")]
GenreModelFolder = Annotated[Path | None, option("a genre model of yours (crossfade genres train)")]
Windows = Annotated[Literal["default", "all"], option("nine windows of 3 s spread over the track, or all of it")]

EngineName = Annotated[Literal["local", "spark"], option("what does the work: this machine, or Spark (docs/spark.md)")]
SparkMaster = Annotated[str | None, option("of Spark: local[*], spark://HOST:PORT, yarn, k8s://URL (SPARK_MASTER)")]


def spark_engine(engine: str, master: str | None, library: Path) -> SparkEngine | None:
    """The engine of a command, None for this machine; MissingExtra or ResourceError where Spark can't start."""
    if engine == "local":
        if master is not None:
            raise UsageError(f"--master {master}: is of Spark; add --engine spark")
        return None
    from ..spark.engine import SparkEngine

    return SparkEngine(master, library)


def read_configuration(file: Path, defaults: Options) -> Options:
    """`defaults` with the values of a TOML file; UsageError names an unknown key, or a value of another kind.

        seed = 0

        [ranking.ranker]
        iterations = 500

    A table is a dataclass of options, a key one of its fields; one that is not named keeps its default.
    """
    import tomllib

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: not TOML ({error})") from None
    try:
        return replaced(defaults, values)
    except (DataError, UsageError) as error:
        raise UsageError(f"{file}: {error}") from None


def show_configuration(options: DataclassInstance) -> str:
    """All options as TOML, in a form that `read_configuration` takes; those that are None stay comments."""
    return "\n".join(_lines(options, "")).strip() + "\n"


def replaced(options: Options, values: Mapping[str, Any], prefix: str = "") -> Options:
    """`options` with other values, tables of them in mappings; None keeps what there is."""
    known = {option.name for option in fields(options)}
    hints = typing.get_type_hints(type(options))
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        path = f"{prefix}{name}"
        if name not in known:
            raise UsageError(f"{path}: no such option; there are {', '.join(sorted(known))}")
        before = getattr(options, name)
        if is_dataclass(before) and not isinstance(before, type):
            if not isinstance(value, dict):
                raise UsageError(f"{path}: {value!r}; it is a table, [{path}]")
            changes[name] = replaced(before, value, f"{path}.")
        else:
            changes[name] = _checked(value, hints[name], path)
    return replace(options, **changes)


def _checked(value: Any, hint: Any, path: str) -> Any:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = [kind for kind in (typing.get_args(hint) if union else (hint,)) if kind is not types.NoneType]
    for kind in kinds:
        plain = typing.get_origin(kind) or kind
        if plain is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if plain is tuple and isinstance(value, list):
            return tuple(value)
        if isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
            return value
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise UsageError(f"{path}: {value!r}; it has to be {names}")


def _lines(options: DataclassInstance, prefix: str) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for option in fields(options):
        value = getattr(options, option.name)
        if is_dataclass(value) and not isinstance(value, type):
            path = f"{prefix}{option.name}"
            tables += ["", f"[{path}]", *_lines(value, f"{path}.")]
        elif value is None:
            lines.append(f"# {option.name} = …")
        else:
            lines.append(f"{option.name} = {_toml(value)}")
    return lines + tables


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    # Strings, numbers, truth values and lists are written alike in TOML and JSON.
    return json.dumps(value, ensure_ascii=False)
