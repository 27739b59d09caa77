"""Storage: files that are replaced whole, hashes of contents, and models as safetensors beside a JSON header.

A model named `als` in a folder is `als.safetensors` and `als.json`, which says what the arrays are. Nothing else is
needed to load it, and nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import LibraryError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT_VERSION = 1
"""Version 1: `format_version`, `model`, `options`, `facts`, and `arrays` (name -> shape and dtype)."""

Arrays = dict[str, NDArray[Any]]

_DTYPES = {
    **{
        f"{sign}{8 * size}": f"<{sign.lower()}{size}"
        for sign in "IUF"
        for size in (1, 2, 4, 8)
        if (sign, size) != ("F", 1)
    },
    "BOOL": "?",
}
"""safetensors' names of what numpy has"""

_LEFTOVER_SECONDS = 24 * 3600
"""a partial file that nobody has written to for so long is left from a process that was killed"""


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to. What is there when the block ends well replaces `file`, and is on the disk.

    Readers see the old file or the new one, also after a power failure; where the block fails, the old one stays.
    """
    for leftover in file.parent.glob(f"{escape(file.name)}.*.part"):
        with suppress(FileNotFoundError):  # another writer may be done with it by now
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                leftover.unlink()
    # A name of its own, since several threads and processes may replace a file at once.
    part = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_native_id()}.part")
    try:
        yield part
        move_durably(part, file)
    finally:
        part.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """Replaces a JSON file, whole or not at all."""
    with replacing(file) as part:
        part.write_text(json.dumps(value, indent=1) + "\n")


def move_durably(source: Path, target: Path) -> None:
    """Moves a file within a file system over another one, in one step; it is on the disk when this returns."""
    _flush(source)
    source.replace(target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def content_hash(content: Path | bytes | Iterable[bytes | memoryview], algorithm: str = "blake2b") -> str:
    """Hexadecimal hash of a file or of bytes: BLAKE2b-128, or another one that a saved format or a server names."""
    new = (lambda: hashlib.blake2b(digest_size=16)) if algorithm == "blake2b" else (lambda: hashlib.new(algorithm))
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, new).hexdigest()
    digest = new()
    for chunk in (content,) if isinstance(content, bytes) else content:
        digest.update(chunk)
    return digest.hexdigest()


def hash_of_values(*values: Any) -> str:
    """A hash of JSON-like values; equal values have equal hashes on every machine.

    >>> hash_of_values("als", {"factors": 128}) == hash_of_values("als", {"factors": 128})
    True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return content_hash(text.encode("utf-8", "backslashreplace"))


def save_model(
    folder: Path,
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    options: DataclassInstance | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes `name.safetensors` and `name.json`; each replaces an older one whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, name, arrays, asdict(options) if options is not None else {}, dict(facts or {}))


def change_model(folder: Path, name: str, change: Callable[[Arrays], Arrays]) -> None:
    """Replaces a saved model's arrays by what `change` makes of them; its options and facts stay."""
    arrays, header = load_model(folder, name)
    _write(folder, name, change(arrays), header["options"], header["facts"])


def _write(
    folder: Path, name: str, arrays: Mapping[str, NDArray[Any]], options: dict[str, Any], facts: dict[str, Any]
) -> None:
    from safetensors.numpy import save_file

    whole = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    header = {
        "format_version": FORMAT_VERSION,
        "model": name,
        "options": options,
        "facts": facts,
        "arrays": {key: {"shape": list(array.shape), "dtype": str(array.dtype)} for key, array in whole.items()},
    }
    with replacing(folder / f"{name}.json") as new_header, replacing(folder / f"{name}.safetensors") as new_arrays:
        save_file(whole, new_arrays)
        new_header.write_text(json.dumps(header, indent=1) + "\n")


def load_model(folder: Path, name: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the header of a model; LibraryError where they are missing, newer or do not belong together.

    The arrays are memory-mapped: what is not looked at is not read, and processes share what they read. They may be
    written to, which changes neither the file nor what others see.
    """
    from safetensors import SafetensorError

    header_path, arrays_path = folder / f"{name}.json", folder / f"{name}.safetensors"
    try:
        header = json.loads(header_path.read_text())
        version, model, described = header["format_version"], header["model"], header["arrays"]
    except FileNotFoundError:
        raise LibraryError(f"{header_path}: no such file; the folder holds no model named {name}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"{header_path}: not the header of a Crossfade model ({error}); train again") from None
    if version != FORMAT_VERSION:
        raise LibraryError(
            f"{header_path}: format version {version}, but this program reads {FORMAT_VERSION}; train the model again"
        )
    if model != name:
        raise LibraryError(f"{header_path}: holds a model named {model}, not {name}")
    try:
        arrays = _mapped(arrays_path)
    except FileNotFoundError:
        raise LibraryError(f"{arrays_path}: no such file; train the model again") from None
    except (SafetensorError, OSError) as error:
        raise LibraryError(f"{arrays_path}: damaged ({error}); train the model again") from None
    found = {key: {"shape": list(array.shape), "dtype": str(array.dtype)} for key, array in arrays.items()}
    if found != described:
        differing = sorted(key for key in found.keys() | described.keys() if found.get(key) != described.get(key))
        raise LibraryError(f"{arrays_path}: does not match {header_path.name} in {', '.join(differing)}; train again")
    return arrays, header


def _mapped(path: Path) -> Arrays:
    """The arrays of a safetensors file; SafetensorError where it is damaged or cut short."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy"):
        # Checks that the header is one, and that it describes the whole file.
        pass
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    start = 8 + int.from_bytes(content[:8], "little")
    described = json.loads(content[8:start])
    described.pop("__metadata__", None)
    return {
        name: np.ndarray(about["shape"], _DTYPES[about["dtype"]], content, start + about["data_offsets"][0])
        for name, about in described.items()
    }


def prefixed(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    """The arrays whose names begin like this, without it: a model inside a model."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


class StoredModel:
    """A model that names its options, arrays and facts; saving and loading follow from these names."""

    name: ClassVar[str]
    options_type: ClassVar[type]
    stored_arrays: ClassVar[tuple[str | tuple[str, str], ...]] = ()
    """attributes, those that have another name in the file as (attribute, name); a name that ends in `_` or `.` is the
    prefix of a dict of arrays"""
    stored_facts: ClassVar[tuple[str | tuple[str, str], ...]] = ()
    """the same of attributes that are kept as JSON; a tuple comes back as one"""
    options: Any

    def save(self, folder: Path) -> None:
        save_model(folder, self.name, self.arrays(), self.options, self.facts())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """LibraryError where the folder holds no such model."""
        arrays, header = load_model(folder, cls.name)
        if unknown := sorted(header["options"].keys() - {option.name for option in fields(cls.options_type)}):
            raise LibraryError(f"{cls.name}.json: unknown options {', '.join(unknown)}; saved by a newer program?")
        model = cls(options=cls.options_type(**header["options"]))  # type: ignore[call-arg]
        try:
            model.restore(arrays, header["facts"])
        except (KeyError, TypeError) as error:
            raise LibraryError(f"{folder / cls.name}.json: saved by another program ({error}); train again") from None
        return model

    def facts(self) -> dict[str, Any]:
        """What is kept as JSON beside the options."""
        return {name: getattr(self, attribute) for attribute, name in _pairs(self.stored_facts)}

    def arrays(self) -> Arrays:
        """All arrays of the model by their names in the file."""
        arrays: Arrays = {}
        for attribute, name in _pairs(self.stored_arrays):
            value = getattr(self, attribute)
            arrays |= {f"{name}{key}": array for key, array in value.items()} if name[-1] in "_." else {name: value}
        return arrays

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Takes over the arrays and facts of a saved model; its options are there already."""
        for attribute, name in _pairs(self.stored_facts):
            value = facts[name]
            setattr(self, attribute, tuple(value) if isinstance(value, list) else value)
        for attribute, name in _pairs(self.stored_arrays):
            setattr(self, attribute, prefixed(arrays, name) if name[-1] in "_." else arrays[name])


def _pairs(entries: Iterable[str | tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(attribute, name in the file)"""
    for entry in entries:
        yield (entry, entry) if isinstance(entry, str) else entry
