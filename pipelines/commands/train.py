"""The commands of trained models: `train`, `recommend` and `explain`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ...errors import LibraryError, UsageError
from ...option_types import Flag, Words
from .options import (
    EngineName,
    Length,
    LibraryFolder,
    Screen,
    SoundName,
    SparkMaster,
    open_library,
    option,
    read_configuration,
    replaced,
    show_configuration,
    spark_engine,
)

if TYPE_CHECKING:
    import polars as pl

    from ..library.store import Library


def train(
    *,
    library: Annotated[Path | None, Parameter(help="folder of the library")] = None,
    sound: SoundName = None,
    users_sample: Annotated[float | None, option("share of whole users (1)")] = None,
    min_track_listens: Annotated[int | None, option("drop tracks with fewer (1)")] = None,
    core: Annotated[int | None, option("keep only the k-core (1)")] = None,
    half_life: Annotated[float | None, option("after how many days a listen counts half (never)")] = None,
    seed: Annotated[int | None, option("of all that is random (0)")] = None,
    first_day: Annotated[str | None, option("top_popular counts from this day on (all)", "--from")] = None,
    last_day: Annotated[str | None, option("… to this one, included (all)", "--to")] = None,
    top: Annotated[int | None, option("tracks in top_popular (100)")] = None,
    lists: Annotated[
        Literal["all", "active", "none"] | None,
        option("whose recommendations become tables; active: within 90 days (active)"),
    ] = None,
    keep: Annotated[int | None, option("trained versions that stay on disk, the new one too (3)")] = None,
    engine: EngineName = "local",
    master: SparkMaster = None,
    no_publish: Annotated[Flag, option("upload nothing, even where S3_BUCKET_NAME (environment, .env) is set")] = False,
    force: Annotated[Flag, option("run stages again that have not changed")] = False,
    config: Annotated[Path | None, option("a TOML file of options; the command line wins over it")] = None,
    show_config: Annotated[Flag, option("print all options as TOML, and do nothing")] = False,
    console: Screen,
) -> int:
    """Learn from a library's listens and sounds: ALS, content prior, hybrid index, ranker.

    Example: crossfade train --library L --core 5
    """
    import implicit  # noqa: F401
    import scipy  # noqa: F401
    import threadpoolctl  # noqa: F401

    from ..analysis.track_map import laid_out, layouts_of
    from ..interactions.live_events import DATABASE_VARIABLE, take_events
    from ..interactions.statistics import Period, day_of
    from ..library.store import Library
    from ..training.train import TrainingOptions
    from ..training.train import train as train_version
    from ..versions.model_version import ModelVersion
    from .publish import publish_where_set

    options = TrainingOptions() if config is None else read_configuration(config, TrainingOptions())
    until = None
    if last_day:
        # The key in TOML is the day before which plays count; --to includes its day, as everywhere.
        until = str(day_of(Period.of_days(None, last_day).end or 0))
        console.message(f"train: --to {last_day} includes that day now, as it does in crossfade report")
    cleaning = {"seed": seed, "users_sample": users_sample, "min_track_listens": min_track_listens, "core": core}
    artefacts = {"since": first_day, "until": until, "top": top, "lists": lists}
    confidence = {"half_life_days": half_life}
    given = {"cleaning": cleaning | {"confidence": confidence}, "artefacts": artefacts}
    options = replaced(options, given | {"sound": sound, "seed": seed, "keep_versions": keep})
    if show_config:
        console.write(show_configuration(options))
        return 0
    if library is None:
        raise UsageError("train: say which library, by --library L")
    if not Library.exists(library):
        raise LibraryError(f"{library}: no library here; `crossfade listens LOG --library {library}` makes one")
    with open_library(library) as opened:
        taken = take_events(opened, os.environ.get(DATABASE_VARIABLE))
        if taken["events"]:
            console.message(f"{taken['events']:,} events of the service are listens, too")
        cluster = spark_engine(engine, master, library)
        with console.bar("train") as progress:
            summary = train_version(
                opened, options, engine=cluster, force=force, message=console.message, progress=progress
            )
        # The page's map need not wait for this when it is first looked at.
        trained = ModelVersion.load(opened)
        for layout in layouts_of(trained):
            laid_out(opened, trained, opened.current_name, layout)
    console.record(**summary.record())
    # On a terminal the answer waits for this; an upload may take long.
    console.close()
    return 0 if no_publish else publish_where_set(library, console)


def recommend(
    user_ids: Words = (),
    /,
    *,
    library: LibraryFolder,
    k: Length = 10,
    users: Annotated[Path | None, option("a file of user ids, one a line")] = None,
    out: Annotated[Path | None, option("write a Parquet table instead of printing")] = None,
    allow_seen: Annotated[Flag, option("what was listened to may be recommended again")] = False,
    like: Annotated[Words, option("for an unknown user who likes these audio files or tracks")] = (),
    diversity: Annotated[float | None, option("0 … 1, what sounding alike costs (0)")] = None,
    per_artist: Annotated[int | None, option("tracks of one artist at most (any)")] = None,
    discovery: Annotated[float | None, option("0 … 1, share of tracks nobody has played yet (0)")] = None,
    console: Screen,
) -> None:
    """Tracks for users; for an unknown user, what is popular.

    Example: crossfade recommend USER_ID --library L -k 10
    """
    from ..search import recommend as search
    from ..search.similar import query_for
    from ..versions.model_version import ModelVersion

    names = [*user_ids, *(search.users_in(users) if users else [])]
    if bool(names) == bool(like) and not users:
        raise UsageError("recommend: say for whom, by USER_ID, --users FILE or --like FILE_OR_TRACK_ID")
    if like and names:
        raise UsageError("recommend: --like is for somebody unknown; leave out the user ids")
    with open_library(library) as opened:
        trained = ModelVersion.load(opened)
        if like:
            liked = [query_for(opened, query, vectors=trained.sound).track for query in dict.fromkeys(like)]
            frames = iter([search.recommend_liked(trained, liked, k, allow_seen=allow_seen)])
        else:
            given = {"diversity": diversity, "per_artist": per_artist, "discovery": discovery}
            reranking = replaced(trained.reranking, given)
            frames = search.recommend(trained, names, k, allow_seen=allow_seen, reranking=reranking)
            frames = _with_messages_for_the_rest(frames, names, console)
        if out:
            console.record(users=len(names) or 1, rows=search.write_parquet(frames, out))
            return
        _print_recommendations(opened, frames, console)


def _print_recommendations(library: Library, frames: Iterator[pl.DataFrame], console: Screen) -> None:
    from .terminal_layout import track_line

    tracks = [] if console.as_json else library.tracks().iter_rows(named=True)
    names = {row["track_id"]: " – ".join(filter(None, [", ".join(row["artists"]), row["title"]])) for row in tracks}
    user = None
    for row in (row for frame in frames for row in frame.iter_rows(named=True)):
        if not console.as_json and row["user_id"] != user:
            user = row["user_id"]
            console.write(f"for {user}:\n")
        console.record(partial(track_line, names=names), **row)


def _with_messages_for_the_rest(
    frames: Iterator[pl.DataFrame], users: list[str], console: Screen
) -> Iterator[pl.DataFrame]:
    left = dict.fromkeys(users)
    for frame in frames:
        for user in frame["user_id"].unique():
            left.pop(user, None)
        yield frame
    for user in left:
        console.message(f"{user}: nothing to recommend but what was listened to before (--allow-seen)")


def explain(track_id: str, /, *, library: LibraryFolder, k: Length = 5, console: Screen) -> None:
    """Why a track stands where it does: listeners, crossfade, neighbours.

    Example: crossfade explain TRACK_ID --library L
    """
    from ..search.explain import explain as explain_track
    from ..versions.model_version import ModelVersion

    with open_library(library) as opened:
        console.record(**explain_track(ModelVersion.load(opened), track_id, k))
