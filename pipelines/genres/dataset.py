"""Labelled audio: which file is of which classes, and which files belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...models.catalogue import COLLECTIVE_ARTISTS
from ...models.genres.folds import joined_groups

Names = tuple[str, ...]

AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "wav flac ogg oga opus mp3 m4a mp4 aac wma aif aiff aifc au ape ac3 wv mpc caf webm mka".split()  # noqa: SIM905
)

_BETWEEN_ARTISTS = re.compile(r"\s*(?:[,;|&/]|\b(?:feat|ft|featuring|vs)\b\.?)\s*", re.IGNORECASE)
_NOBODY = COLLECTIVE_ARTISTS | {
    "friends",
    "his orchestra",
    "her orchestra",
    "orchestra",
    "co.",
    "others",
    "more",
    "jr.",
}


@dataclass(frozen=True, eq=False)
class LabelledAudio:
    """T labelled files. Rows with several labels make it a multi-label task."""

    source: str
    """the labels' file or folder, as given"""
    paths: tuple[Path, ...]
    names: Names
    """[T] the paths as the labels write them"""
    labels: tuple[Names, ...]
    """[T] one or more classes each"""
    artists: tuple[str, ...] | None = None
    """[T] artist of each, "" where unknown; None where no artist is known"""
    albums: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    """[T] train, validation or test, where the labels fix it"""
    target: str = "genre"
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        what = f"{len(self):,} files, {len(self.classes)} classes of {self.target}"
        return f"LabelledAudio({self.source}: {what})"

    @property
    def classes(self) -> Names:
        """All classes in order of name."""
        return tuple(sorted({label for labels in self.labels for label in labels}))

    @property
    def targets(self) -> NDArray[np.bool_]:
        """[T, C] which classes each file has."""
        column = {name: c for c, name in enumerate(self.classes)}
        result = np.zeros((len(self), len(column)), bool)
        for row, labels in enumerate(self.labels):
            result[row, [column[label] for label in labels]] = True
        return result

    @property
    def leaky(self) -> bool:
        """Whether files that belong together cannot be kept together: their artists (albums) are not all known."""
        keys = self.group_keys()
        return keys is None or not all(keys)

    def group_keys(self) -> tuple[Names, ...] | None:
        """[T] names that tie files together: artists when genres are learnt, albums when artists are."""
        if self.target == "artist":
            if self.albums is None or self.artists is None:
                return None
            pairs = zip(self.artists, self.albums, strict=True)
            return tuple((f"{artist}\0{album}".casefold(),) if album else () for artist, album in pairs)
        return None if self.artists is None else tuple(artist_keys(name) for name in self.artists)

    def groups(self, content: Sequence[str] = ()) -> NDArray[np.int64]:
        """[T] group numbers; equal `content` (a hash of each file) ties the same recording in two places together."""
        keys = self.group_keys() or ((),) * len(self)
        marks = [(f"\0{mark}",) for mark in content] if content else [()] * len(self)
        return joined_groups([(*names, *mark) for names, mark in zip(keys, marks, strict=True)])

    def select(self, rows: Iterable[int]) -> LabelledAudio:
        """Some of the files, in the order of `rows`."""
        kept = [int(row) for row in rows]

        def those(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[row] for row in kept)

        return replace(
            self,
            paths=tuple(self.paths[row] for row in kept),
            names=tuple(self.names[row] for row in kept),
            labels=tuple(self.labels[row] for row in kept),
            artists=those(self.artists),
            albums=those(self.albums),
            splits=those(self.splits),
        )

    def without(self, classes: Iterable[str]) -> LabelledAudio:
        """The files that still have a class when these are left out."""
        out = set(classes)
        labels = tuple(tuple(name for name in of_file if name not in out) for of_file in self.labels)
        return replace(self, labels=labels).select(row for row, of_file in enumerate(labels) if of_file)


def artist_keys(name: str) -> Names:
    """The names behind an artist credit, in lower case, so that a collaboration ties to each who took part.

    >>> artist_keys("The Wu-Tang Clan feat. RZA & Friends")
    ('wu-tang clan', 'rza')
    """
    parts = [part.strip().casefold().removeprefix("the ") for part in _BETWEEN_ARTISTS.split(name)]
    return tuple(dict.fromkeys(part for part in parts if part and part not in _NOBODY))


def checked(found: LabelledAudio, *, skip_classes: bool) -> LabelledAudio:
    """The same files, or a DataError that says what cannot be learnt from them."""
    missing = [name for name, path in zip(found.names, found.paths, strict=True) if not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        cure = "; say where the audio is with --audio" if len(missing) == len(found) else ""
        raise DataError(f"{found.source}: column path: no file {missing[0]!r}{more}{cure}")
    unlearnable = _unlearnable(found)
    if unlearnable:
        if not skip_classes:
            name, why = next(iter(unlearnable.items()))
            raise DataError(f"{found.source}: class {name!r} {why}; leave such classes out with --skip-classes")
        found = found.without(unlearnable)
    if len(found.classes) < 2:
        has = f"only {found.classes[0]!r}" if found.classes else "none"
        raise DataError(f"{found.source}: needs at least two classes of {found.target}, has {has}")
    return found


def _unlearnable(found: LabelledAudio) -> dict[str, str]:
    """Classes that cannot be learnt, each with the reason."""
    counts = Counter(label for labels in found.labels for label in labels)
    reasons = {name: "has one example" for name, count in sorted(counts.items()) if count < 2}
    if found.splits is not None:
        trained = {
            label
            for labels, split in zip(found.labels, found.splits, strict=True)
            if split == "train"
            for label in labels
        }
        reasons |= {
            name: "is in the test or validation split but has no training example"
            for name in sorted(counts)
            if name not in trained
        }
    return reasons
