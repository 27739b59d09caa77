"""Labelled audio: which file is of which classes, and which files belong together.

Labels are a folder per genre, a CSV, FMA's tracks.csv as it ships, or a data set of mirdata by its name. A CSV names
one audio file a line, relative to the CSV's own folder, in the column `path`, with `genre` (or `genres`, several
separated by `|` or `;`) and perhaps `artist`, `album` and `split` (train, validation, test). `Rock > Punk` is the
sub-genre Punk of Rock. Split files list paths, one a line, as the fault-filtered GTZAN lists do.

Shapes: T files, C classes.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...audio.metadata import read_fields
from ...errors import DataError, UsageError
from ...models.catalogue import COLLECTIVE_ARTISTS
from ...models.genres.folds import joined_groups
from ..library.scan import walk
from .options import LabelOptions

Names = tuple[str, ...]

DEFAULTS = LabelOptions()

MIRDATA = "mirdata:"
"""before the name of a data set of mirdata, and perhaps @VERSION"""
FMA_SUBSETS = ("small", "medium", "large", "full")
"""each contains the ones before it"""
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}

AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in "wav flac ogg oga opus mp3 m4a mp4 aac wma aif aiff aifc au ape ac3 wv mpc caf webm mka".split()  # noqa: SIM905
)

_BETWEEN_GENRES = re.compile(r"\s*[|;]\s*")
_BETWEEN_ARTISTS = re.compile(r"\s*(?:[,;|&/]|\b(?:feat|ft|featuring|vs)\b\.?)\s*", re.IGNORECASE)
_BAND = {"friends", "his orchestra", "her orchestra", "orchestra", "co.", "others", "more", "jr."}
_NO_ARTIST = COLLECTIVE_ARTISTS | _BAND


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
        return f"LabelledAudio({self.source}: {len(self):,} files, {len(self.classes)} classes of {self.target})"

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
        return not all(self.group_keys())

    def group_keys(self) -> tuple[Names, ...]:
        """[T] names that tie files together: artists when genres are learnt, albums when artists are."""
        unknown = ("",) * len(self)
        artists = self.artists or unknown
        if self.target != "artist":
            return tuple(artist_keys(name) for name in artists)
        pairs = zip(artists, self.albums or unknown, strict=True)
        return tuple((f"{artist}\0{album}".casefold(),) if album else () for artist, album in pairs)

    def groups(self, content: Sequence[str] = ()) -> NDArray[np.int64]:
        """[T] group numbers; equal `content` (a hash of each file) ties the same recording in two places together."""
        hashes: Sequence[Names] = [(f"\0{one}",) for one in content] or [()] * len(self)
        return joined_groups([(*names, *own) for names, own in zip(self.group_keys(), hashes, strict=True)])

    def select(self, rows: Iterable[int]) -> LabelledAudio:
        """Some of the files, in the order of `rows`."""
        kept = [int(row) for row in rows]
        columns: dict[str, Any] = {}
        for name in ("paths", "names", "labels", "artists", "albums", "splits"):
            values = getattr(self, name)
            columns[name] = None if values is None else tuple(values[row] for row in kept)
        return replace(self, **columns)

    def relabelled(self, labels: Iterable[Names]) -> LabelledAudio:
        """With other labels; without the files that have none then."""
        new = tuple(labels)
        return replace(self, labels=new).select(row for row, names in enumerate(new) if names)


def artist_keys(name: str) -> Names:
    """The names behind an artist credit, in lower case, so that a collaboration ties to each who took part.

    >>> artist_keys("The Wu-Tang Clan feat. RZA & Friends")
    ('wu-tang clan', 'rza')
    """
    parts = [part.strip().casefold().removeprefix("the ") for part in _BETWEEN_ARTISTS.split(name)]
    return tuple(dict.fromkeys(part for part in parts if part and part not in _NO_ARTIST))


def read_labels(source: Path, options: LabelOptions = DEFAULTS) -> LabelledAudio:
    """Labelled audio from a folder or a CSV, checked: every file exists and every class can be learnt.

    Classes that cannot be learnt (one example, or only in the test split) are an error unless they are to be skipped.
    """
    if options.subset is not None and not (source.is_file() and _is_fma(source)):
        raise UsageError(f"--subset {options.subset}: {source} is not FMA's tracks.csv, which alone has subsets")
    if str(source).startswith(MIRDATA):
        audio = _from_mirdata(str(source), options.audio)
    elif source.is_dir():
        audio = _from_folder(source)
    elif not source.is_file():
        raise DataError(f"{source}: no such file or folder")
    elif _is_fma(source):
        audio = _from_fma(source, options.audio, options.subset)
    else:
        audio = _from_csv(source, options.audio)
    if options.target == "artist":
        audio = _artists_as_classes(audio)
    if options.split_files:
        audio = split_by_files(audio, options.split_files)
    return checked(audio, skip_classes=options.skip_classes)


def _from_folder(source: Path) -> LabelledAudio:
    genres = sorted(entry for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    rows = [
        (genre / name, genre.name)
        for genre in genres
        for path, name in walk([genre])
        if path.suffix.lower() in AUDIO_SUFFIXES
    ]
    if not rows:
        raise DataError(f"{source}: no audio files in sub-folders; there should be a folder per genre, or give a CSV")
    paths = tuple(path for path, _ in rows)
    tags = [read_fields(path) for path in paths]
    return LabelledAudio(
        str(source),
        paths,
        tuple(str(path.relative_to(source)) for path in paths),
        tuple((genre,) for _, genre in rows),
        _known([" & ".join(fields.get("artist", ())) for fields in tags]),
        _known([next(iter(fields.get("album", ())), "") for fields in tags]),
    )


def _known(names: Iterable[str]) -> Names | None:
    """None where no name is known."""
    column = tuple(names)
    return column if any(column) else None


def _from_csv(source: Path, audio_folder: Path | None) -> LabelledAudio:
    folder = audio_folder or source.parent
    try:
        with source.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{source}: not a CSV: {error}") from error
    genre_column = next((name for name in ("genre", "genres", "label") if name in header), None)
    if "path" not in header or genre_column is None:
        wants = "path" if "path" not in header else "genre"
        raise DataError(f"{source}: no column {wants!r}, only {', '.join(header) or 'an empty file'}")
    labels, splits = [], []
    for line, row in rows:
        genres = tuple(dict.fromkeys(g for g in _BETWEEN_GENRES.split((row[genre_column] or "").strip()) if g))
        if not genres or not row["path"]:
            raise DataError(f"{source}: line {line}: column {genre_column if row['path'] else 'path'!r} is empty")
        labels.append(genres)
        split = (row.get("split") or "").strip()
        if "split" in header and split.lower() not in SPLIT_NAMES:
            raise DataError(f"{source}: line {line}: column split: {split!r} is not train, validation or test")
        splits.append(SPLIT_NAMES.get(split.lower(), ""))
    names = tuple(row["path"] for _, row in rows)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{source}: column path: {repeated[0]!r} is there {names.count(repeated[0])} times")
    return LabelledAudio(
        str(source),
        tuple(folder / name for name in names),
        names,
        tuple(labels),
        _known((row.get("artist") or "").strip() for _, row in rows),
        _known((row.get("album") or "").strip() for _, row in rows),
        _known(splits),
        multi_label=any(len(genres) > 1 for genres in labels),
    )


def _is_fma(source: Path) -> bool:
    """FMA's tracks.csv has a header of three lines: the table, the column, the name of the index."""
    with source.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(",album,") and file.readline().startswith(",comments,")


def _from_fma(source: Path, audio_folder: Path | None, subset: str | None) -> LabelledAudio:
    """FMA (Defferrard et al. 2017): its own split, the top genre, audio in folders of thousands."""
    if audio_folder is None:
        usual = [f"fma_{name}" for name in ([subset] if subset else FMA_SUBSETS)]
        folders = [place / name for place in (source.parent, source.parent.parent) for name in usual]
        audio_folder = next((folder for folder in folders if folder.is_dir()), None)
        if audio_folder is None:
            raise DataError(f"{source}: no folder {' or '.join(usual)} beside it; say where with --audio")
    if subset is None:
        subset = next((name for name in FMA_SUBSETS if audio_folder.name.endswith(name)), "full")
    allowed = set(FMA_SUBSETS[: FMA_SUBSETS.index(subset) + 1])
    with source.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        columns = {pair: at for at, pair in enumerate(zip(next(lines), next(lines), strict=True))}
        next(lines)
        try:
            genre, artist = columns["track", "genre_top"], columns["artist", "name"]
            album, part, size = columns["album", "title"], columns["set", "split"], columns["set", "subset"]
        except KeyError as error:
            raise DataError(f"{source}: looks like FMA's tracks.csv but has no column {error.args[0]}") from error
        kept = [row for row in lines if len(row) > max(genre, part) and row[genre] and row[size] in allowed]
    if not kept:
        raise DataError(f"{source}: no tracks of the subset {subset} have a genre")
    names = tuple(f"{int(row[0]):06d}.mp3" for row in kept)
    return LabelledAudio(
        str(source),
        tuple(audio_folder / name[:3] / name for name in names),
        names,
        tuple((row[genre],) for row in kept),
        tuple(row[artist] for row in kept),
        tuple(row[album] for row in kept),
        tuple(SPLIT_NAMES[row[part]] for row in kept),
    )


def _from_mirdata(source: str, data_home: Path | None) -> LabelledAudio:
    """A data set of mirdata (Bittner et al., ISMIR 2019), from where mirdata keeps it or `data_home`.

    Tracks without a genre or without audio are left out. Nothing is downloaded here: mirdata's own licences and sizes
    are to be looked at first.
    """
    try:
        mirdata = import_module("mirdata")
    except ImportError:
        raise UsageError(f"{source}: needs mirdata, which is not installed; pip install mirdata") from None
    name, _, version = source.removeprefix(MIRDATA).partition("@")
    try:
        dataset = mirdata.initialize(name, data_home=data_home and str(data_home), version=version or "default")
        tracks = [track for track in dataset.load_tracks().values() if getattr(track, "audio_path", None)]
        genres = [_genres_of_track(track) for track in tracks]
        rows = [(track, names) for track, names in zip(tracks, genres, strict=True) if names]
    except ValueError as error:
        raise UsageError(f"{source}: mirdata has no such data set or version ({error})") from None
    except (ImportError, NotImplementedError) as error:
        raise DataError(f"{source}: mirdata cannot load it ({str(error) or type(error).__name__})") from None
    except FileNotFoundError:
        rows = []
    paths = tuple(Path(track.audio_path) for track, _ in rows)
    if not any(path.is_file() for path in paths):
        call = f"mirdata.initialize({name!r}{f', version={version!r}' if version else ''}).download()"
        raise DataError(f'{source}: no audio with genres in {dataset.data_home}; python -c "import mirdata; {call}"')
    artists = [getattr(track, "artist", None) or " & ".join(getattr(track, "artists", None) or ()) for track, _ in rows]
    splits = [SPLIT_NAMES.get(str(getattr(track, "split", "")).lower(), "") for track, _ in rows]
    return LabelledAudio(
        source,
        paths,
        tuple(os.path.relpath(path, dataset.data_home) for path in paths),
        tuple(names for _, names in rows),
        _known(artists),
        _known(getattr(track, "album", None) or "" for track, _ in rows),
        tuple(splits) if splits and all(splits) else None,
        multi_label=any(len(names) > 1 for _, names in rows),
    )


def _genres_of_track(track: Any) -> Names:
    """mirdata's data sets have one genre, several, or several beside sub-genres."""
    found = getattr(track, "genre", None) or getattr(track, "genres", None) or ()
    if isinstance(found, Mapping):
        found = found.get("genres", ())
    return tuple(dict.fromkeys([found] if isinstance(found, str) else found))


def _artists_as_classes(audio: LabelledAudio) -> LabelledAudio:
    """The same files with their artists as classes."""
    if audio.artists is None:
        raise DataError(f"{audio.source}: no artists are known; an artist recogniser needs a column artist")
    labels = ((name,) if name.casefold() not in COLLECTIVE_ARTISTS else () for name in audio.artists)
    return replace(audio, target="artist", multi_label=False).relabelled(labels)


def split_by_files(audio: LabelledAudio, split_files: Sequence[Path]) -> LabelledAudio:
    """Splits as listed in files named after them; what no list names is left out (that is how faults are filtered).

    Suffixes are ignored, since collections are often converted. A line may carry a label after a tab or comma.
    """
    paths = [_without_suffix(name) for name in audio.names]
    counts = Counter(path.name for path in paths)
    by_path = {path: row for row, path in enumerate(paths)}
    by_unique_name = {path.name: row for row, path in enumerate(paths) if counts[path.name] == 1}
    split_of_row: dict[int, str] = {}
    for path in split_files:
        words = re.split(r"[^a-z]+", path.stem.lower())
        part = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
        if part is None:
            raise DataError(f"{path}: a split file's name says train, valid or test (train_filtered.txt)")
        for number, name in _listed(path):
            listed = _without_suffix(name)
            row = by_path.get(listed, by_unique_name.get(listed.name))
            if row is None:
                raise DataError(f"{path}: line {number}: {name!r} is not among the labelled files of {audio.source}")
            if split_of_row.setdefault(row, part) != part:
                raise DataError(f"{path}: line {number}: {name!r} is also in the {split_of_row[row]} list")
    for part in ("train", "test"):
        if part not in split_of_row.values():
            raise DataError(f"{split_files[0]}: no {part} list among the split files, or it is empty")
    rows = sorted(split_of_row)
    return replace(audio.select(rows), splits=tuple(split_of_row[row] for row in rows))


def _listed(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, path) of a split file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, FileNotFoundError) as error:
        what = "no such split file" if isinstance(error, FileNotFoundError) else "not a text file"
        raise DataError(f"{path}: {what}") from error
    for number, line in enumerate(lines, 1):
        name = re.split(r"[\t,]", line.strip())[0].strip()
        if name:
            yield number, name


def _without_suffix(name: str) -> Path:
    path = Path(name.replace("\\", "/"))
    return path.with_suffix("") if path.suffix.lower() in AUDIO_SUFFIXES else path


def checked(audio: LabelledAudio, *, skip_classes: bool) -> LabelledAudio:
    """The same files, or a DataError that says what cannot be learnt from them."""
    missing = [name for name, path in zip(audio.names, audio.paths, strict=True) if not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        cure = "; say where the audio is with --audio" if len(missing) == len(audio) else ""
        raise DataError(f"{audio.source}: column path: no file {missing[0]!r}{more}{cure}")
    counts = Counter(label for labels in audio.labels for label in labels)
    unlearnable = {name: "has one example" for name, count in sorted(counts.items()) if count < 2}
    if audio.splits is not None:
        rows = zip(audio.labels, audio.splits, strict=True)
        trained = {label for labels, split in rows if split == "train" for label in labels}
        why = "is in the test or validation split but has no training example"
        unlearnable |= dict.fromkeys(sorted(counts.keys() - trained), why)
    if unlearnable and not skip_classes:
        name, why = next(iter(unlearnable.items()))
        raise DataError(f"{audio.source}: class {name!r} {why}; leave such classes out with --skip-classes")
    audio = audio.relabelled(tuple(name for name in names if name not in unlearnable) for names in audio.labels)
    if len(audio.classes) < 2:
        has = f"only {audio.classes[0]!r}" if audio.classes else "none"
        raise DataError(f"{audio.source}: needs at least two classes of {audio.target}, has {has}")
    return audio
