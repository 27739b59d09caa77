"""A checkpoint: all that an interrupted training needs to go on, in one safetensors file, without pickle.

Tensors lie in the file as tensors; what holds them (dicts, lists, numbers, text) is JSON in its header.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..storage import content_hash, replacing


def fingerprint(options: Any, module: torch.nn.Module, data: Iterable[NDArray[Any] | None]) -> str:
    """What a checkpoint belongs to: the options as text, and every number of the network and of the data."""

    def chunks() -> Iterator[bytes | memoryview]:
        yield repr(options).encode()
        for array in itertools.chain(_numbers(module), data):
            yield b"none" if array is None else f"{array.dtype} {array.shape}".encode()
            if array is not None:
                yield np.ascontiguousarray(array).data

    return content_hash(chunks())


def _numbers(module: torch.nn.Module) -> Iterator[NDArray[Any]]:
    for value in itertools.chain(module.parameters(), module.buffers()):
        for part in (value.indices(), value.values()) if value.is_sparse else (value,):
            yield part.detach().cpu().numpy()


def write_checkpoint(path: Path, fingerprint: str, content: dict[str, Any]) -> None:
    """Replaces the file whole. `fingerprint` says what is trained."""
    tensors: dict[str, torch.Tensor] = {}
    form = json.dumps(_pack({"fingerprint": fingerprint, **content}, tensors))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(save(tensors, {"form": form}))


def read_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """What was written, on the CPU; None where there is no file, a damaged one, or one of something else."""
    try:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        content = _unpack(json.loads(header["__metadata__"]["form"]), load(data))
    except (OSError, ValueError, KeyError, TypeError, struct.error, SafetensorError):
        return None
    return content if content.get("fingerprint") == fingerprint else None


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON, its tensors moved out; dicts as pairs, since an optimiser's have numbers for keys."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        # Copied: two names for one storage are refused.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"pairs": [[key, _pack(one, tensors)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(one, tensors) for one in value]
    return value


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    match value:
        case {"tensor": name}:
            return tensors[name]
        case {"pairs": pairs}:
            return {key: _unpack(one, tensors) for key, one in pairs}
        case list():
            return [_unpack(one, tensors) for one in value]
    return value
