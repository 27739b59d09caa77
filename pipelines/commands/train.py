"""The commands of trained models: `train`, `recommend` and `explain`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Console
from .main import AddCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from ...models.catalogue import Catalogue
    from ..library.store import Library
    from ..training.train import TrainingOptions
    from ..versions.model_version import ModelVersion


def add_commands(add_command: AddCommand) -> None:
    train = add_command("train", "learn from a library's listens and sounds: ALS, content prior, hybrid index, ranker")
    train.add_argument("--library", type=Path, metavar="L", help="library folder")
    train.add_argument("--sound", metavar="NAME", help="train on these imported vectors")
    train.add_argument("--users-sample", type=float, metavar="SHARE", help="share of whole users (1)")
    train.add_argument("--min-track-listens", type=int, metavar="N", help="drop tracks with fewer (1)")
    train.add_argument("--core", type=int, metavar="K", help="keep only the k-core (1)")
    train.add_argument("--half-life", type=float, metavar="DAYS", help="after how long a listen counts half (never)")
    train.add_argument("--seed", type=int, help="of all that is random (0)")
    train.add_argument("--from", dest="since", metavar="DAY", help="top_popular counts from this day on (all)")
    train.add_argument("--to", dest="until", metavar="DAY", help="… and before this one (all)")
    train.add_argument("--top", type=int, metavar="N", help="tracks in top_popular (100)")
    train.add_argument("--keep", type=int, metavar="N", help="trained versions that stay on disk, the new one too (3)")
    train.add_argument(
        "--no-publish", action="store_true", help="upload nothing, even where S3_BUCKET_NAME (environment, .env) is set"
    )
    train.add_argument("--force", action="store_true", help="run stages again that have not changed")
    train.add_argument("--config", type=Path, metavar="FILE.toml", help="options; the command line wins over it")
    train.add_argument("--show-config", action="store_true", help="print all options as TOML, and do nothing")
    train.set_defaults(run=_train)

    recommend = add_command("recommend", "tracks for users; for a user nobody knows, what is popular")
    recommend.add_argument("users", nargs="*", metavar="USER_ID")
    _library(recommend)
    recommend.add_argument("-k", type=int, default=10, help="how many (10)")
    recommend.add_argument("--users", dest="users_file", type=Path, metavar="FILE", help="user ids, one a line")
    recommend.add_argument("--out", type=Path, metavar="FILE.parquet", help="write a table instead of printing")
    recommend.add_argument("--allow-seen", action="store_true", help="what was listened to may be recommended again")
    recommend.add_argument(
        "--like",
        nargs="+",
        metavar="FILE_OR_TRACK_ID",
        help="for a stranger who likes these audio files or tracks",
    )
    recommend.add_argument("--diversity", type=float, metavar="0…1", help="what sounding alike costs (0)")
    recommend.add_argument("--per-artist", type=int, metavar="N", help="tracks of one artist at most (any)")
    recommend.add_argument("--discovery", type=float, metavar="0…1", help="share of tracks nobody has played yet (0)")
    recommend.set_defaults(run=_recommend)

    explain = add_command("explain", "why a track stands where it does: listeners, crossfade, neighbours")
    explain.add_argument("track_id", metavar="TRACK_ID")
    _library(explain)
    explain.add_argument("-k", type=int, default=5, help="how many neighbours (5)")
    explain.set_defaults(run=_explain)


def _library(command: argparse.ArgumentParser) -> None:
    command.add_argument("--library", required=True, type=Path, metavar="L", help="library folder")


def _train(arguments: argparse.Namespace, console: Console) -> int:
    from ...errors import MissingExtra, UsageError

    try:
        import implicit  # noqa: F401
        import scipy  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("train", "train") from None
    from ..interactions.live_events import DATABASE_VARIABLE, take_events
    from ..library.store import Library
    from ..training.train import train
    from .config import show_configuration
    from .publish import publish_where_set

    options = _training_options(arguments)
    if arguments.show_config:
        console.write(show_configuration(options))
        return 0
    if arguments.library is None:
        raise UsageError("train: say which library, by --library L")
    with Library.open(arguments.library) as library:
        taken = take_events(library, os.environ.get(DATABASE_VARIABLE))
        if taken["events"]:
            console.message(f"{taken['events']:,} events of the service are listens, too")
        summary = train(library, options, force=arguments.force, tell=console.message)
    console.record(**summary.record())
    # On a terminal the table waits for this; an upload may take long.
    console.close()
    return 0 if arguments.no_publish else publish_where_set(arguments.library, console)


def _training_options(arguments: argparse.Namespace) -> TrainingOptions:
    """Defaults, what the file says, what the command line says: the later wins."""
    from dataclasses import replace

    from ..training.train import TrainingOptions
    from .config import read_configuration

    options = TrainingOptions()
    if arguments.config is not None:
        options = read_configuration(arguments.config, options)

    def said(**names: str) -> dict[str, Any]:
        return {name: getattr(arguments, of) for name, of in names.items() if getattr(arguments, of) is not None}

    cleaning = replace(
        options.cleaning,
        **said(users_sample="users_sample", min_track_listens="min_track_listens", core="core", seed="seed"),
        confidence=replace(options.cleaning.confidence, **said(half_life_days="half_life")),
    )
    artefacts = replace(options.artefacts, **said(since="since", until="until", top="top"))
    more = said(sound="sound", seed="seed", keep_versions="keep")
    return replace(options, cleaning=cleaning, artefacts=artefacts, **more)


def _recommend(arguments: argparse.Namespace, console: Console) -> None:
    from dataclasses import replace

    from ...errors import UsageError
    from ..library.store import Library
    from ..search.recommend import recommend, recommend_liked, users_in, write_parquet
    from ..versions.model_version import ModelVersion

    users = [*arguments.users, *(users_in(arguments.users_file) if arguments.users_file else [])]
    if bool(users) == bool(arguments.like) and not arguments.users_file:
        raise UsageError("recommend: say for whom, by USER_ID, --users FILE or --like FILE_OR_TRACK_ID")
    if arguments.like and users:
        raise UsageError("recommend: --like is for somebody unknown; leave out the user ids")
    with Library.open(arguments.library) as library:
        trained = ModelVersion.load(library)
        if arguments.like:
            liked = [_liked(library, trained, wanted) for wanted in arguments.like]
            frames = iter([recommend_liked(trained, liked, arguments.k, allow_seen=arguments.allow_seen)])
        else:
            said = {name: getattr(arguments, name) for name in ("diversity", "per_artist", "discovery")}
            reranking = replace(trained.reranking, **{name: value for name, value in said.items() if value is not None})
            frames = recommend(trained, users, arguments.k, allow_seen=arguments.allow_seen, reranking=reranking)
            frames = _telling_who_gets_none(frames, users, console)
        if arguments.out:
            console.record(users=len(users) or 1, rows=write_parquet(frames, arguments.out))
            return
        for frame in frames:
            for row in frame.iter_rows(named=True):
                console.record(**row)


def _telling_who_gets_none(
    frames: Iterator[pl.DataFrame], users: list[str], console: Console
) -> Iterator[pl.DataFrame]:
    left = dict.fromkeys(users)
    for frame in frames:
        for user in frame["user_id"].unique():
            left.pop(user, None)
        yield frame
    for user in left:
        console.message(f"{user}: nothing to recommend; what there is was heard before (--allow-seen gives that, too)")


def _liked(library: Library, trained: ModelVersion, wanted: str) -> str | Catalogue:
    """A track_id, else an audio file; a file that cannot be heard (silent, broken) is an error that names it."""
    from ...errors import AudioError, LibraryError, UsageError
    from ...models.catalogue import Catalogue

    if wanted in trained:
        return wanted
    if not Path(wanted).is_file():
        raise UsageError(f"{wanted}: neither a track_id of the library nor an audio file")
    if trained.metadata["sound"] != "encoder":
        raise LibraryError(
            f"{wanted}: the version was trained without embeddings of audio, so a file says nothing to it"
        )
    try:
        heard = library.analyzer().analyze(wanted)
    except AudioError as error:
        raise AudioError(f"{wanted}: {error.reason}") from None
    return Catalogue.of_one(wanted, heard.embedding, (), heard.genres, heard.vocabulary.genres)


def _explain(arguments: argparse.Namespace, console: Console) -> None:
    from ..library.store import Library
    from ..search.explain import explain
    from ..versions.model_version import ModelVersion

    with Library.open(arguments.library) as library:
        console.record(**explain(ModelVersion.load(library), arguments.track_id, arguments.k))
