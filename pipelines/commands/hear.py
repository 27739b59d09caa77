"""The commands of audio: classify, embed, failures, missing, similar, duplicates, find, tag, vectors, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from ...errors import AudioError, UsageError
from ...models.machine import one_thread_each
from ...option_types import Count, Flag, Paths
from ..embedding.options import EmbedOptions
from .console import counted
from .options import (
    EngineName,
    GenreModelFolder,
    Length,
    LibraryFolder,
    Screen,
    SoundName,
    SparkMaster,
    Windows,
    open_library,
    option,
    spark_engine,
)

if TYPE_CHECKING:
    from ..genres.tag_writer import Change

EMBED_OPTIONS = EmbedOptions()


def classify(
    files: Paths, /, *, windows: Windows = "default", genre_model: GenreModelFolder = None, console: Screen
) -> int:
    """Genre probabilities, moods, tempo, key and loudness of audio files.

    Example: crossfade classify song.mp3
    """
    one_thread_each()
    from ...audio.decoding import quiet_decoders
    from ..audio_analysis.analyzer import AudioAnalyzer
    from ..library.scan import readable
    from .terminal_layout import classified

    analyzer = AudioAnalyzer.with_genre_model(genre_model, all_windows=windows == "all")
    failed = False
    for file in files:
        if file.is_dir():
            failed = True
            name = readable(file)
            cure = f"run crossfade embed {quote(name)} --library L"
            console.message(f"crossfade: {name}: a folder, not a file; {cure}")
            continue
        try:
            with quiet_decoders():
                analysis = analyzer.analyze(file)
        except AudioError as error:
            failed = True
            console.message(f"crossfade: {readable(file)}: {error.reason}")
        else:
            console.record(classified, path=str(file), **analysis.record())
    return int(failed)


def embed(
    places: Paths,
    /,
    *,
    library: LibraryFolder,
    options: EmbedOptions = EMBED_OPTIONS,
    engine: EngineName = "local",
    master: SparkMaster = None,
    strict: Annotated[Flag, option("exit with 1 where a file failed")] = False,
    console: Screen,
) -> int:
    """Analyze files or folders once and keep their embeddings; resumable.

    Example: crossfade embed ~/Music --library L
    """
    from ..embedding.embed import check, in_processes
    from ..embedding.embed import embed as embed_places
    from ..library.scan import readable
    from ..library.store import Library

    if not Library.exists(library):
        check(places, options)
    with open_library(library, create=True) as opened, console.bar("hearing") as progress:
        try:
            cluster = spark_engine(engine, master, library)
            work = in_processes if cluster is None else cluster.outcomes
            summary = embed_places(opened, places, options, progress, work)
        except KeyboardInterrupt:
            console.message("crossfade: interrupted; what was embedded is kept, the same command carries on")
            return 130
    if not summary.embedded + summary.unchanged + summary.failed:
        console.message(f"no audio files in {', '.join(map(readable, places))}")
    if summary.failed:
        console.message(f"{summary.failed} could not be analyzed: crossfade failures --library {library}")
    if summary.missing:
        gone = counted(summary.missing, "file")
        console.message(f"{gone} gone whose tracks are still there: crossfade missing --library {library}")
    if summary.renamed:
        whose = "manifest" if options.manifest else "tag"
        console.message(f"{summary.renamed} tracks took the track_id of the {whose}; train again where it was trained")
    also: dict[str, int] = {}
    if summary.encoder_embedded is not None and summary.encoder_failed is not None:
        for track_id, reason in summary.encoder_failed.items():
            console.message(f"no vector of {options.encoder}: {track_id}: {reason}")
        also = {"encoder_embedded": summary.encoder_embedded, "encoder_failed": len(summary.encoder_failed)}
    console.record(**{name: value for name, value in asdict(summary).items() if value is not None} | also)
    return int(strict and (summary.failed > 0 or bool(summary.encoder_failed)))


def failures(*, library: LibraryFolder, console: Screen) -> None:
    """What could not be embedded, and why.

    Example: crossfade failures --library L
    """
    import os

    from .terminal_layout import failure

    with open_library(library) as opened:
        found = opened.failures()
    for file, reason in found.items():
        console.record(failure, path=os.fsdecode(file.path), reason=reason)
    if not found:
        console.message("no failures")


def missing(
    places: Paths = (),
    /,
    *,
    library: LibraryFolder,
    forget: Annotated[Flag, option("take these tracks out of the library")] = False,
    console: Screen,
) -> None:
    """Tracks whose files are gone; of all folders that were embedded, or of those that are named.

    A folder that is empty or not there may be a drive that is not mounted: name it to have its tracks, too.

    No file is touched. Tracks that were listened to stay, without a file.

    Example: crossfade missing --library L
    """
    import os

    from ..embedding.missing_files import forget as forget_tracks
    from ..embedding.missing_files import missing_files
    from ..interactions.live_events import DATABASE_VARIABLE, listened_tracks
    from ..library.scan import readable
    from .terminal_layout import missing_file

    with open_library(library) as opened:
        found = missing_files(opened, places)
        listened = listened_tracks(opened, os.environ.get(DATABASE_VARIABLE)) if found.tracks else frozenset()
        gone = forget_tracks(opened, found.tracks, listened) if forget else 0
    for track_id, path in found.tracks.items():
        console.record(missing_file, track_id=track_id, path=str(path), listened=track_id in listened, forgotten=forget)
    for place, count in found.unreachable.items():
        where = "not embedded on this machine" if place is None else f"{readable(place)}: not there or empty"
        folder = "FOLDER" if place is None else quote(readable(place))
        cure = f"crossfade missing {folder} --library {library}"
        console.message(f"{where}, {counted(count, 'track')} left alone; else {cure}")
    if forget and found.tracks:
        kept = len(found.tracks) - gone
        console.message(f"{counted(gone, 'track')} forgotten" + (f", {kept} kept for its listens" if kept else ""))
    elif found.tracks:
        console.message(f"{counted(len(found.tracks), 'track')}; shown only: --forget")
    elif not found.unreachable:
        console.message("no files are missing")


def similar(
    track: Annotated[str, option("a track_id or an audio file")],
    /,
    *,
    library: LibraryFolder,
    k: Length = 10,
    per_artist: Annotated[Count | None, option("at most so many of one artist")] = None,
    blend: Annotated[float | None, option("taste (1) against sound (0); .5 of both")] = None,
    sound: SoundName = None,
    no_duplicates: Annotated[Flag, option("of each recording only the version to keep (see duplicates)")] = False,
    genre: Annotated[str | None, option("only tracks with this label")] = None,
    artist: Annotated[str | None, option("only tracks by this artist")] = None,
    years: Annotated[str | None, option("only tracks released then: 1975 or 1970-1979")] = None,
    m3u: Annotated[Path | None, option("write a playlist, too")] = None,
    console: Screen,
) -> None:
    """Nearest tracks to a track of the library or to any audio file.

    Example: crossfade similar new-song.flac --library L -k 10
    """
    from ..library.tracks import TrackFilter
    from ..search import similar as search
    from .terminal_layout import track_line

    if m3u:
        search.check_m3u(m3u)
    wanted = TrackFilter(genre=genre, artist=artist, years=search.years_of(years) if years else None)
    with open_library(library) as opened:
        query = search.query_for(opened, track, vectors=sound)
        neighbours = search.similar(
            opened, query, blend=blend, vectors=sound, duplicates=not no_duplicates, wanted=wanted
        )
        found = list(search.limit_per_artist(neighbours, k, per_artist))
        for neighbour in found:
            console.record(track_line, **asdict(neighbour))
        if not found and wanted:
            console.message("no such tracks: leave out --genre, --artist or --years")
        if m3u and (left_out := search.write_m3u(m3u, found, opened.paths())):
            console.message(f"{left_out} of {len(found)} are not in the playlist: their files are gone")


def duplicates(
    *,
    library: LibraryFolder,
    workers: Annotated[Count | None, option("processes; one per core by default")] = None,
    console: Screen,
) -> int:
    """Recordings that are in the library more than once, and which file of each to keep: the best.

    Example: crossfade duplicates --library L
    """
    from ..search.duplicates import find_duplicates
    from .terminal_layout import duplicate_group

    with open_library(library) as opened, console.bar("fingerprints") as progress:
        try:
            found = find_duplicates(opened, workers=workers, progress=progress)
        except KeyboardInterrupt:
            console.message("crossfade: interrupted; the fingerprints are kept, the same command carries on")
            return 130
    for group in found.groups:
        console.record(duplicate_group, **asdict(group))
    files = sum(len(group.versions) for group in found.groups)
    groups = counted(len(found.groups), "recording")
    told = f"{groups} in {counted(files, 'file')}" if found.groups else "no recording is there twice"
    console.message(f"{told}; compared {counted(found.pairs, 'pair')} of tracks of like length and sound")
    if found.unknown:
        some = ", ".join(found.unknown[:3]) + (" …" if len(found.unknown) > 3 else "")
        which = counted(len(found.unknown), "track")
        whose = "its file is" if len(found.unknown) == 1 else "their files are"
        console.message(f"{which} could not be compared, {whose} gone or changed: {some}")
    if gone := sum(version.format is None for group in found.groups for version in group.versions):
        console.message(f"{counted(gone, 'file')} of these gone: crossfade missing --library {library}")
    return 0


def find(
    text: str,
    /,
    *,
    library: LibraryFolder,
    encoder: Annotated[str | None, option("a CLAP or PE-AV model by name or folder; embeds what is new to it")] = None,
    k: Length = 10,
    console: Screen,
) -> None:
    """Tracks that sound like a description, by a model of sound and text (CLAP, PE-AV).

    Example: crossfade find "a slow acoustic ballad with a female voice" --library L
    """
    from ..search.text import embed_library
    from ..search.text import find as find_tracks
    from .terminal_layout import track_line

    with open_library(library) as opened:
        if encoder:
            with console.bar("hearing") as progress:
                failed = embed_library(opened, encoder, progress)
            for track_id, reason in failed.items():
                console.message(f"left out: {track_id}: {reason}")
        for answer in find_tracks(opened, text, k, encoder=encoder):
            console.record(track_line, **asdict(answer))


def vectors(
    path: Annotated[Path, option("Parquet with track_id and a vector, or feature columns; those in CSV or TSV, too")],
    /,
    *,
    name: Annotated[str, option("what to call them")],
    library: LibraryFolder,
    console: Screen,
) -> None:
    """Import precomputed embeddings of tracks.

    Example: crossfade vectors vectors.parquet --name mert --library L
    """
    from ..library.import_export import import_vectors

    with open_library(library, create=True) as opened:
        console.record(name=name, **asdict(import_vectors(opened, path, name)))


def export(*, library: LibraryFolder, out: Annotated[Path, option("folder for the tables")], console: Screen) -> None:
    """Tracks, embeddings and genre probabilities as Parquet.

    Example: crossfade export --library L --out tables
    """
    from ..library.import_export import export as export_tables

    with open_library(library) as opened:
        console.record(**export_tables(opened, out))


def tag(
    places: Paths = (),
    /,
    *,
    genre_model: GenreModelFolder = None,
    write: Annotated[Flag, option("do it")] = False,
    undo: Annotated[Flag, option("put back the files' former tags")] = False,
    journal: Annotated[Path | None, option("where changes are noted, for --undo")] = None,
    console: Screen,
) -> int:
    """Genres into the files' own tags; only shown, unless --write.

    Example: crossfade tag ~/Music --write
    """
    from ...models.genres.vocabulary import PARENT_SEPARATOR
    from ..genres.tag_writer import Change, Journal, default_journal, files_of, namer, read_genre

    log = Journal(journal or default_journal())
    failed, count = 0, 0
    if undo:
        for change, reason in log.undo(places):
            failed += bool(reason)
            console.record(**_fields(change), written=not reason, **({"reason": reason} if reason else {}))
        return int(failed > 0)
    if not places:
        raise UsageError("tag: name files or folders")
    name = namer(genre_model)
    for path in files_of(places):
        try:
            genre = name(path)
            before = read_genre(path)
            change = Change(path, before, tuple(genre.split(PARENT_SEPARATOR)) if genre else before)
            if change and write:
                log.apply(change)
        except AudioError as error:
            failed += 1
            console.message(f"crossfade: {path}: {error.reason}")
            continue
        count += bool(change)
        extra = {} if genre else {"reason": "not confident"}
        console.record(**_fields(change), written=bool(change) and write, **extra)
    if count:
        console.message(f"{count} written; take it back with --undo" if write else "shown only: --write")
    return int(failed > 0)


def _fields(change: Change) -> dict[str, Any]:
    return {"path": str(change.path), "before": list(change.before), "after": list(change.after)}
