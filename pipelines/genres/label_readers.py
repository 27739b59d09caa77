"""Where labels come from: a folder per genre, a CSV, or FMA's tracks.csv as it ships.

A CSV names one audio file a line, relative to the CSV's own folder, in the column `path`, with `genre` (or `genres`,
several separated by `|` or `;`) and perhaps `artist`, `album` and `split` (train, validation, test). `Rock > Punk` is
the sub-genre Punk of Rock.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...audio.metadata import read_fields
from ...errors import DataError, UsageError
from ...models.catalogue import COLLECTIVE_ARTISTS
from ..library.scan import walk
from .dataset import AUDIO_SUFFIXES, LabelledAudio, checked
from .split_files import SPLIT_NAMES, split_by_files

FMA_SUBSETS = ("small", "medium", "large", "full")
"""each contains the ones before it"""

_BETWEEN_GENRES = re.compile(r"\s*[|;]\s*")


def read_labels(
    source: Path,
    *,
    target: str = "genre",
    split_files: Sequence[Path] = (),
    audio_folder: Path | None = None,
    subset: str | None = None,
    skip_classes: bool = False,
) -> LabelledAudio:
    """Labelled audio from a folder or a CSV, checked: every file exists and every class can be learnt.

    `target` "artist" learns to tell artists instead of genres. `skip_classes` leaves out classes that cannot be learnt
    (one example, or only in the test split), which is an error otherwise. `audio_folder` and `subset` are for FMA.
    """
    if target not in ("genre", "artist"):
        raise DataError(f"target {target!r}: only genre and artist can be learnt")
    if subset is not None and not (source.is_file() and _is_fma(source)):
        raise UsageError(f"--subset {subset}: {source} is not FMA's tracks.csv, which alone has subsets")
    if source.is_dir():
        found = _from_folder(source)
    elif not source.is_file():
        raise DataError(f"{source}: no such file or folder")
    elif _is_fma(source):
        found = _from_fma(source, audio_folder, subset)
    else:
        found = _from_csv(source, audio_folder)
    if target == "artist":
        found = _about_artists(found)
    if split_files:
        found = split_by_files(found, split_files)
    return checked(found, skip_classes=skip_classes)


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
    credits = [_tagged(path) for path in paths]
    artists = tuple(artist for artist, _ in credits)
    albums = tuple(album for _, album in credits)
    return LabelledAudio(
        str(source),
        paths,
        tuple(str(path.relative_to(source)) for path in paths),
        tuple((genre,) for _, genre in rows),
        artists if any(artists) else None,
        albums if any(albums) else None,
    )


def _tagged(path: Path) -> tuple[str, str]:
    """Artist and album from the file's own tags, "" where there are none."""
    fields = read_fields(path)
    return " & ".join(fields.get("artist", ())), next(iter(fields.get("album", ())), "")


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
    labels = []
    for line, row in rows:
        genres = tuple(dict.fromkeys(g for g in _BETWEEN_GENRES.split((row[genre_column] or "").strip()) if g))
        if not genres or not row["path"]:
            raise DataError(f"{source}: line {line}: column {genre_column if row['path'] else 'path'!r} is empty")
        labels.append(genres)

    def column(name: str) -> tuple[str, ...] | None:
        return tuple((row[name] or "").strip() for _, row in rows) if name in header else None

    artists, albums = column("artist"), column("album")
    splits = column("split")
    names = tuple(row["path"] for _, row in rows)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{source}: column path: {repeated[0]!r} is there {names.count(repeated[0])} times")
    if splits is not None:
        splits = tuple(_split_name(value, source, line) for value, (line, _) in zip(splits, rows, strict=True))
    return LabelledAudio(
        str(source),
        tuple(folder / name for name in names),
        names,
        tuple(labels),
        artists if artists and any(artists) else None,
        albums if albums and any(albums) else None,
        splits,
        multi_label=any(len(genres) > 1 for genres in labels),
    )


def _split_name(value: str, source: Path, line: int) -> str:
    name = SPLIT_NAMES.get(value.lower())
    if name is None:
        raise DataError(f"{source}: line {line}: column split: {value!r} is not train, validation or test")
    return name


def _is_fma(source: Path) -> bool:
    """FMA's tracks.csv has a header of three lines: the table, the column, the name of the index."""
    with source.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(",album,") and file.readline().startswith(",comments,")


def _from_fma(source: Path, audio_folder: Path | None, subset: str | None) -> LabelledAudio:
    """FMA (Defferrard et al. 2017): its own split, the top genre, audio in folders of thousands."""
    if audio_folder is None:
        usual = [f"fma_{subset}"] if subset else [f"fma_{name}" for name in FMA_SUBSETS]
        places = [place / name for place in (source.parent, source.parent.parent) for name in usual]
        audio_folder = next((place for place in places if place.is_dir()), None)
        if audio_folder is None:
            raise DataError(f"{source}: no folder {' or '.join(usual)} beside it; say where with --audio")
    if subset is None:
        subset = next((name for name in FMA_SUBSETS if audio_folder.name.endswith(name)), "full")
    if subset not in FMA_SUBSETS:
        raise DataError(f"{source}: subset {subset!r}: FMA has {', '.join(FMA_SUBSETS)}")
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


def _about_artists(found: LabelledAudio) -> LabelledAudio:
    """The same files with their artists as classes."""
    if found.artists is None:
        raise DataError(f"{found.source}: no artists are known; an artist recogniser needs a column artist")
    labels = tuple((name,) if name.casefold() not in COLLECTIVE_ARTISTS else () for name in found.artists)
    about = replace(found, labels=labels, target="artist", multi_label=False)
    return about.select(row for row, names in enumerate(labels) if names)
