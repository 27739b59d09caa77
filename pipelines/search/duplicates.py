"""Duplicates: tracks that hold the same recording, in another encoding, at another level, or from a trimmed file.

Two tracks are one recording where their audio fingerprints say so (`audio.fingerprint`), and never for their embeddings
alone, which are alike for many a piano piece. Fingerprints are compared of the tracks that are about as long and near
in sound: the `MATES` nearest of a track's own length. A live version, a cover and a remix are other recordings.

Fingerprints are made of the files when they are first needed, and kept in the library. Where a file is gone before,
its track is compared with nothing.

Shapes: T tracks, D dimensions of a set of vectors.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...audio.decoding import quiet_decoders
from ...audio.fingerprint import COPY, NO_MATCH, Match, Signs, fingerprint_of, match
from ...audio.metadata import read_encoding
from ...errors import AudioError, LibraryError
from ...models.arrays import Floats, l2_normalize, top_k
from ..embedding.process_pool import WorkerDied, in_workers
from ..library.progress import Progress, silent
from ..library.store import Library

MATES = 10
_MOST_SECONDS, _MOST_SHARE = 5.0, 0.1
"""by which two files of a recording differ in length, at most: the silence before it, a longer fade"""
_SHIFT_SECONDS = 1.0
"""by which a recording lies elsewhere in two files, at most, beside what one is longer: a bar of a loop is more"""
_PADDING_SECONDS = 0.1
"""that encoders add"""
_BLOCK_CELLS = 1 << 22
_BATCH_FILES, _BATCH_SECONDS = 64, 5.0
_FEW_FILES = 8
"""so many are quicker done here than by processes that have to start first"""
_FINGERPRINTS_IN_MEMORY = 2048

Seconds = float | NDArray[np.float64]


class Pair(NamedTuple):
    """Two rows of the tracks, the lower one first."""

    row: int
    other: int
    cosine: float


@dataclass(frozen=True)
class Version:
    """One of the files of a recording."""

    track_id: str
    path: str | None
    duration_seconds: float
    format: str | None
    """None where the file is gone"""
    lossless: bool = False
    bitrate_kbps: int | None = None
    sample_rate: int | None = None
    channels: int | None = None

    @property
    def quality(self) -> tuple[bool, bool, int, int, float]:
        """The best is the largest: a file that is there, lossless, of the highest rate, with most channels, longest."""
        rate = self.sample_rate if self.lossless else self.bitrate_kbps
        return self.format is not None, self.lossless, rate or 0, self.channels or 0, round(self.duration_seconds, 1)


@dataclass(frozen=True)
class DuplicateGroup:
    """The versions of one recording, the best first."""

    keep: str
    """path of the best; its track_id where it has none"""
    agreement: float
    """the lowest share of equal signs of two that were found the same; 1 for copies of a file"""
    versions: list[Version]


@dataclass(frozen=True)
class Duplicates:
    """What a search found."""

    groups: list[DuplicateGroup]
    pairs: int
    """that were compared"""
    unknown: list[str]
    """track_ids of those that a file of like length is near to, but that could not be compared: their own is gone"""


def most_offset(one: Seconds, other: Seconds) -> NDArray[np.float64]:
    """Seconds by which two files of one recording, so many seconds long, differ at most."""
    longer: NDArray[np.float64] = np.maximum(one, other)
    return np.minimum(_MOST_SECONDS, _MOST_SHARE * longer) + _PADDING_SECONDS


def most_shift(one: float, other: float) -> float | None:
    """Seconds by which a recording may begin later in one of two files so long; None where they differ too much."""
    longer, most = abs(one - other), float(most_offset(one, other))
    return None if longer > most else min(most, longer + _SHIFT_SECONDS)


def likely_pairs(durations: NDArray[np.float64], vectors: Floats, *, of: Sequence[int] | None = None) -> list[Pair]:
    """Each track, or each `of` these rows, with the `MATES` nearest of those about as long; the nearest pairs first.

    A row without a duration (NaN) or without a vector (zeros) is in no pair. Shape: [T], [T, D]
    """
    known = np.flatnonzero(np.isfinite(durations) & np.any(vectors != 0, axis=1))
    rows = known[np.argsort(durations[known], kind="stable")]
    seconds = durations[rows]
    reach = _MOST_SECONDS + _PADDING_SECONDS
    lows, highs = np.searchsorted(seconds, seconds - reach), np.searchsorted(seconds, seconds + reach, "right")
    cosine_of: dict[tuple[int, int], float] = {}
    asked = np.arange(len(rows)) if of is None else np.flatnonzero(np.isin(rows, of))
    start = 0
    while start < len(asked):
        # As many rows at a time as their products have room, at least one.
        stop, low = start + 1, int(lows[asked[start]])
        while stop < len(asked) and (stop + 1 - start) * (highs[asked[stop]] - low) <= _BLOCK_CELLS:
            stop += 1
        places, high = asked[start:stop], int(highs[asked[stop - 1]])
        unit = l2_normalize(vectors[rows[low:high]])
        cosines = unit[places - low] @ unit.T
        own, others = seconds[places, None], seconds[None, low:high]
        cosines[np.abs(own - others) > most_offset(own, others)] = -np.inf
        cosines[np.arange(len(places)), places - low] = -np.inf
        nearest, values = top_k(cosines, MATES)
        for place, column in zip(*np.nonzero(nearest >= 0), strict=True):
            ends = int(rows[places[place]]), int(rows[low + nearest[place, column]])
            cosine_of[min(ends), max(ends)] = min(1.0, float(values[place, column]))
        start = stop
    return sorted((Pair(*ends, cosine) for ends, cosine in cosine_of.items()), key=lambda pair: (-pair.cosine, pair))


class Recordings:
    """The audio fingerprints of a library: those it keeps, and with `files` those of files that are as they were."""

    def __init__(self, library: Library, *, files: bool = True) -> None:
        self.library = library
        self._files_too = files
        self.fingerprint = lru_cache(_FINGERPRINTS_IN_MEMORY)(self._fingerprint)
        """of a content hash; None where there is neither a fingerprint nor a file"""
        self._files: dict[str, Path] = {}

    def add_file(self, content_hash: str, file: Path) -> None:
        """A file that is no track of the library."""
        self._files[content_hash] = file

    def make(self, content_hashes: Iterable[str], *, workers: int | None = None, progress: Progress = silent) -> None:
        """Makes the fingerprints that are not there yet and keeps them; interrupted, it carries on where it stopped."""
        made = self.library.fingerprinted()
        files = {one: path for one in content_hashes if one not in made and (path := self.library.file_with(one))}
        found: dict[str, Signs] = {}
        last = time.monotonic()
        try:
            for done, (content_hash, signs) in enumerate(_fingerprints(files, workers), start=1):
                if signs is not None:
                    found[content_hash] = signs
                if len(found) >= _BATCH_FILES or time.monotonic() - last > _BATCH_SECONDS:
                    self.library.add_fingerprints(found)
                    found, last = {}, time.monotonic()
                progress(done, len(files))
        finally:
            self.library.add_fingerprints(found)

    def compare(self, one: tuple[str, float], other: tuple[str, float]) -> Match | None:
        """Two contents and their seconds; None where a fingerprint is missing."""
        if one[0] == other[0]:
            return COPY
        shift = most_shift(one[1], other[1])
        if shift is None:
            return NO_MATCH
        first, second = self.fingerprint(one[0]), self.fingerprint(other[0])
        return None if first is None or second is None else match(first, second, most_offset_seconds=shift)

    def _fingerprint(self, content_hash: str) -> Signs | None:
        signs = self.library.fingerprint(content_hash)
        if signs is not None or not self._files_too:
            return signs
        if path := self._files.get(content_hash) or self.library.file_with(content_hash):
            with quiet_decoders():
                signs = _of_file((content_hash, path))
            if signs is not None:
                self.library.add_fingerprints({content_hash: signs})
        return signs


def _fingerprints(files: Mapping[str, Path], workers: int | None) -> Iterator[tuple[str, Signs | None]]:
    """(content hash, fingerprint) of each file, in any order; None where it cannot be decoded any more."""
    if len(files) <= _FEW_FILES:
        for item in files.items():
            with quiet_decoders():
                signs = _of_file(item)
            yield item[0], signs
        return
    count = min(workers or os.cpu_count() or 1, len(files))
    for (content_hash, _), found in in_workers(_of_file, files.items(), count=count, prepare=_nothing):
        yield content_hash, None if isinstance(found, WorkerDied) else found


def _of_file(item: tuple[str, Path]) -> Signs | None:
    try:
        return fingerprint_of(item[1])
    except (AudioError, OSError):
        return None


def _nothing() -> None: ...


def find_duplicates(library: Library, *, workers: int | None = None, progress: Progress = silent) -> Duplicates:
    """The recordings that are in a library more than once. LibraryError where nothing in it is embedded.

    `workers` processes make fingerprints, as many as there are cores where it is None.
    """
    audio = _Audio(library)
    if not audio.contents:
        raise LibraryError(f"{library.folder}: nothing in it is embedded; run crossfade embed FOLDER")
    pairs = likely_pairs(audio.seconds, audio.vectors)
    recordings = Recordings(library)
    hashes = {audio.contents[row]: None for pair in pairs for row in pair[:2]}
    recordings.make(hashes, workers=workers, progress=progress)
    groups, compared, unknown = Groups(len(audio.contents)), 0, set()
    # In order of length, so that few fingerprints are in memory at a time.
    for done, pair in enumerate(sorted(pairs, key=lambda pair: audio.seconds[pair.row]), start=1):
        found = recordings.compare(audio[pair.row], audio[pair.other])
        if found is None:
            unknown |= {row for row in pair[:2] if recordings.fingerprint(audio.contents[row]) is None}
        else:
            compared += 1
            if found.same:
                groups.join(pair.row, pair.other, found.agreement)
        progress(done, len(pairs), "comparing")
    made = []
    for members, agreement in groups:
        if sum(len(audio.rows[member]) for member in members) > 1:
            versions = audio.versions(members)
            keep = versions[0].path or versions[0].track_id
            made.append(DuplicateGroup(keep, round(agreement, 3), versions))
    ids = audio.tracks["track_id"]
    unheard = [ids[audio.rows[row][0]] for row in sorted(unknown)]
    return Duplicates(sorted(made, key=lambda group: group.keep), compared, unheard)


class VersionsToKeep:
    """Which version of a recording `find_duplicates` keeps, asked of one track at a time.

    The first time, that takes the fingerprints of up to `MATES` files.
    """

    def __init__(self, library: Library, recordings: Recordings) -> None:
        self._audio, self._recordings = _Audio(library), recordings

    def keeps(self, track_id: str, content_hash: str) -> bool:
        """Whether a track, whose file has this content, is the best of those that hold its recording."""
        audio = self._audio
        start = audio.contents.index(content_hash)
        same, waiting = {start}, [start]
        while waiting:
            for pair in likely_pairs(audio.seconds, audio.vectors, of=[row := waiting.pop()]):
                other = pair.other if pair.row == row else pair.row
                found = None if other in same else self._recordings.compare(audio[row], audio[other])
                if found is not None and found.same:
                    same.add(other)
                    waiting.append(other)
        return audio.versions(sorted(same))[0].track_id == track_id


class _Audio:
    """The different contents of a library's files, numbered, and the tracks that have them."""

    def __init__(self, library: Library) -> None:
        self.tracks = library.tracks()
        rows_of: defaultdict[str, list[int]] = defaultdict(list)
        for row, content_hash in enumerate(self.tracks["content_hash"]):
            if content_hash is not None:
                rows_of[content_hash].append(row)
        self.contents = list(rows_of)
        self.rows = list(rows_of.values())
        first_rows = [rows[0] for rows in self.rows]
        self.seconds = self.tracks["duration_seconds"].to_numpy()[first_rows]
        self.vectors = library.vectors("encoder")[first_rows]
        self._paths = library.paths()

    def __getitem__(self, number: int) -> tuple[str, float]:
        """Content hash and seconds."""
        return self.contents[number], float(self.seconds[number])

    def versions(self, numbers: Sequence[int]) -> list[Version]:
        """The tracks with these contents, the best first; of equally good ones the first in the library."""
        versions = []
        rows = [row for number in numbers for row in self.rows[number]]
        for track in self.tracks[rows].iter_rows(named=True):
            path = self._paths.get(track["track_id"])
            file = None if path is None else Path(os.fsdecode(path))
            encoding = asdict(read_encoding(file)) if file is not None and file.is_file() else {"format": None}
            name = None if file is None else str(file)
            versions.append(Version(track["track_id"], name, round(track["duration_seconds"], 3), **encoding))
        return sorted(versions, key=lambda version: version.quality, reverse=True)


class Groups:
    """Disjoint sets of the numbers below `count`, each with the lowest agreement that it was joined by."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))
        self._agreements = [1.0] * count

    def join(self, one: int, other: int, agreement: float) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._parents[second] = first
        self._agreements[first] = min(self._agreements[first], self._agreements[second], agreement)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def __iter__(self) -> Iterator[tuple[list[int], float]]:
        members: defaultdict[int, list[int]] = defaultdict(list)
        for number in range(len(self._parents)):
            members[self._root(number)].append(number)
        for root, numbers in members.items():
            yield numbers, self._agreements[root]
