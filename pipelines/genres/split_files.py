"""Split files: lists of paths, one a line, as the fault-filtered GTZAN lists are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import DataError
from .dataset import AUDIO_SUFFIXES, LabelledAudio, Names

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


def split_by_files(found: LabelledAudio, split_files: Sequence[Path]) -> LabelledAudio:
    """Splits as listed in files named after them; what no list names is left out (that is how faults are filtered).

    Suffixes are ignored, since collections are often converted. A line may carry a label after a tab or comma.
    """
    by_path = _finder(found.names)
    split_of_row: dict[int, str] = {}
    for path in split_files:
        part = next(
            (SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLIT_NAMES), None
        )
        if part is None:
            raise DataError(f"{path}: a split file's name says train, valid or test (train_filtered.txt)")
        for number, name in _listed(path):
            row = by_path(name)
            if row is None:
                raise DataError(f"{path}: line {number}: {name!r} is not among the labelled files of {found.source}")
            if split_of_row.setdefault(row, part) != part:
                raise DataError(f"{path}: line {number}: {name!r} is also in the {split_of_row[row]} list")
    for part in ("train", "test"):
        if part not in split_of_row.values():
            raise DataError(f"{split_files[0]}: no {part} list among the split files, or it is empty")
    rows = sorted(split_of_row)
    return replace(found.select(rows), splits=tuple(split_of_row[row] for row in rows))


def _listed(path: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such split file") from error
    for number, line in enumerate(lines, 1):
        name = re.split(r"[\t,]", line.strip())[0].strip()
        if name:
            yield number, name


def _finder(names: Names) -> Callable[[str], int | None]:
    """Finds a row by its path without suffix, or by the file's bare name where that is unique."""

    def bare(name: str) -> str:
        parts = Path(name.replace("\\", "/"))
        return str(parts.with_suffix("")) if parts.suffix.lower() in AUDIO_SUFFIXES else str(parts)

    whole = {bare(name): row for row, name in enumerate(names)}
    counts = Counter(Path(bare(name)).name for name in names)
    short = {Path(bare(name)).name: row for row, name in enumerate(names) if counts[Path(bare(name)).name] == 1}

    def find(name: str) -> int | None:
        return whole.get(bare(name), short.get(Path(bare(name)).name))

    return find
