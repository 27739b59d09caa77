"""The commands that hear and search: classify, embed, failures, similar, vectors, export."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from .console import Console
from .main import AddCommand, positive


def add_commands(add_command: AddCommand) -> None:
    classify = add_command("classify", "genre probabilities, moods, tempo, key and loudness of audio files")
    classify.add_argument("files", nargs="+", type=Path, metavar="FILE")
    classify.add_argument("--windows", choices=("default", "all"), default="default", help=_WINDOWS)
    classify.add_argument("--model", type=Path, metavar="M", help="a genre model of yours (crossfade genres train)")
    classify.set_defaults(run=_classify)

    embed = add_command("embed", "hear files or folders once and keep what was heard; resumable")
    embed.add_argument("places", nargs="+", type=Path, metavar="FOLDER_OR_FILE")
    _library(embed)
    embed.add_argument("--manifest", type=Path, metavar="CSV", help="path, track_id, title, artist, album, genre …")
    embed.add_argument("--id-from", type=_id_field, metavar="tag:NAME", help="take the track_id from this tag")
    embed.add_argument("--windows", choices=("default", "all"), default="default", help=_WINDOWS)
    embed.add_argument("--workers", type=positive, metavar="N", help="processes; one per core by default")
    embed.add_argument("--genre-model", type=Path, metavar="M", help="name genres by a model of yours")
    embed.add_argument("--retry", action="store_true", help="try again what failed before")
    embed.add_argument("--strict", action="store_true", help="exit with 1 where a file failed")
    embed.set_defaults(run=_embed)

    failures = add_command("failures", "what could not be embedded, and why")
    _library(failures)
    failures.set_defaults(run=_failures)

    similar = add_command("similar", "nearest tracks to a track of the library or to any audio file")
    similar.add_argument("wanted", metavar="FILE_OR_TRACK_ID")
    _library(similar)
    similar.add_argument("-k", type=positive, default=10, help="how many (10)")
    similar.add_argument("--per-artist", type=positive, metavar="N", help="at most N of one artist")
    similar.add_argument("--blend", type=float, metavar="B", help="taste (1) against sound (0); .5 of both")
    similar.add_argument("--sound", metavar="NAME", help="by sound alone, in these imported vectors")
    similar.add_argument("--m3u", type=Path, metavar="FILE", help="write a playlist too")
    similar.set_defaults(run=_similar)

    vectors = add_command("vectors", "import precomputed embeddings of tracks")
    vectors.add_argument("path", type=Path, metavar="PATH", help="Parquet: track_id and a vector, or feature columns")
    vectors.add_argument("--name", required=True, help="what to call them")
    _library(vectors)
    vectors.set_defaults(run=_vectors)

    export = add_command("export", "tracks, embeddings and genre probabilities as Parquet")
    _library(export)
    export.add_argument("--out", type=Path, required=True, metavar="DIR")
    export.set_defaults(run=_export)


_WINDOWS = "nine windows of 3 s spread over the track (default), or all of it"


def _library(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--library", type=Path, required=True, metavar="L", help="the library's folder")


def _id_field(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind != "tag" or not name:
        raise argparse.ArgumentTypeError(f"{value}: not of the form tag:NAME, such as tag:musicbrainz_trackid")
    return name.lower()


def _classify(arguments: argparse.Namespace, console: Console) -> int:
    from ...audio.decoding import quiet_decoders
    from ...errors import AudioError
    from ...models.genres.model import GenreModel
    from ..audio_analysis.analyzer import AudioAnalyzer
    from ..library.scan import readable

    model = GenreModel.load(arguments.model) if arguments.model else None
    analyzer = AudioAnalyzer(all_windows=arguments.windows == "all", model=model)
    failed = False
    for file in arguments.files:
        try:
            with quiet_decoders():
                heard = analyzer.analyze(file)
        except AudioError as error:
            failed = True
            console.message(f"crossfade: {readable(file)}: {error.reason}")
        else:
            console.record(path=str(file), **heard.record())
    return int(failed)


def _embed(arguments: argparse.Namespace, console: Console) -> int:
    from ..embedding.extract import EmbedOptions, embed
    from ..library.store import Library

    options = EmbedOptions(
        manifest=arguments.manifest,
        id_field=arguments.id_from,
        all_windows=arguments.windows == "all",
        retry=arguments.retry,
        workers=arguments.workers,
        genre_model=arguments.genre_model,
    )
    with Library.open(arguments.library, create=True) as library, console.progress() as bar:
        task = bar.add_task("hearing", total=None)
        try:
            summary = embed(
                library, arguments.places, options, lambda done, total: bar.update(task, completed=done, total=total)
            )
        except KeyboardInterrupt:
            console.message("crossfade: interrupted; what was embedded is kept, the same command carries on")
            return 130
    if summary.failed:
        console.message(f"{summary.failed} could not be heard: crossfade failures --library {arguments.library}")
    if summary.renamed:
        whose = "manifest" if arguments.manifest else "tag"
        console.message(f"{summary.renamed} tracks took the track_id of the {whose}; train again where it was trained")
    console.record(**asdict(summary))
    return int(arguments.strict and summary.failed > 0)


def _failures(arguments: argparse.Namespace, console: Console) -> None:
    import os

    from ..library.store import Library

    with Library.open(arguments.library) as library:
        for file, reason in library.failures().items():
            console.record(path=os.fsdecode(file.path), reason=reason)


def _similar(arguments: argparse.Namespace, console: Console) -> None:
    from ..library.store import Library
    from ..search.similar import limit_per_artist, query_for, similar, write_m3u

    with Library.open(arguments.library) as library:
        query = query_for(library, arguments.wanted, vectors=arguments.sound)
        neighbours = similar(library, query, blend=arguments.blend, vectors=arguments.sound)
        found = list(limit_per_artist(neighbours, arguments.k, arguments.per_artist))
        for neighbour in found:
            console.record(**asdict(neighbour))
        if arguments.m3u:
            write_m3u(arguments.m3u, found, library.paths())


def _vectors(arguments: argparse.Namespace, console: Console) -> None:
    from ..library.import_export import import_vectors
    from ..library.store import Library

    with Library.open(arguments.library, create=True) as library:
        imported = import_vectors(library, arguments.path, arguments.name)
    console.record(name=arguments.name, **asdict(imported))


def _export(arguments: argparse.Namespace, console: Console) -> None:
    from ..library.import_export import export
    from ..library.store import Library

    with Library.open(arguments.library) as library:
        console.record(**export(library, arguments.out))
