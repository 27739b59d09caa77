"""Forgetting: a deleted listener leaves the log, the tables beside it and every trained version of a library.

In a version a listener's row stays where it is, without an id, listens or vectors: a service that loads the version
meanwhile never finds one listener's vectors under another's id. What the tracks learned of somebody, as one of many,
stays until the library is trained again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import LibraryError
from ...models.ranking.two_stage import TwoStageRecommender
from ...models.recommenders.als import ALS
from ...models.storage import content_hash, replacing
from ..library.folder import ARTEFACTS, MANIFEST, describe_files
from ..library.store import Library
from .schema import parts_of

EVER = 2**62
"""a moment after all others"""


def user_hash(user_id: str) -> str:
    """By which the event store remembers somebody whose data are deleted."""
    return content_hash(user_id.encode(), "sha256")


def forget(library: Library, forgotten: Mapping[str, int]) -> int:
    """Hash of the user -> all up to this time, or without one, goes; gives how many rows of the log those were.

    From a version goes who has no row of the log left, or was deleted after it was begun.
    """
    with library.rewriting():
        return forget_while_rewriting(library, forgotten)


def forget_while_rewriting(library: Library, forgotten: Mapping[str, int]) -> int:
    """The same for who holds `library.rewriting` already."""
    if not forgotten:
        return 0
    deleted = sum(_leave_table(part, forgotten) for part in parts_of(library))
    for table in library.folder.glob("yandex/events.parquet"):
        _leave_table(table, forgotten)
    for version in library.versions():
        until = _named(_users(version).drop_nulls(), forgotten)
        begun = version.name.partition("-")[0]
        left = _missing(library, until)
        gone = {user for user, moment in until.items() if user in left or begun <= _stamp(moment)}
        _leave_version(version, gone)
    return deleted


def forget_the_missing(library: Library, version: Path) -> None:
    """Before a version becomes the current one: who was deleted while it was trained is not in the log any more."""
    _leave_version(version, _missing(library, _users(version).drop_nulls()))


def _missing(library: Library, users: Collection[str]) -> set[str]:
    """Those of the users who are not in the log."""
    asked = pl.LazyFrame({"user_id": pl.Series(list(users), dtype=pl.String)})
    for part in parts_of(library):
        asked = asked.join(pl.scan_parquet(part, glob=False).select("user_id"), on="user_id", how="anti")
    return set(asked.collect(engine="streaming").get_column("user_id"))


def _named(users: pl.Series, forgotten: Mapping[str, int]) -> dict[str, int]:
    """user -> until when, for those whose hash is there."""
    return {user: forgotten[name] for user in users if (name := user_hash(user)) in forgotten}


def _stamp(moment: int) -> str:
    """A moment as names of versions have it."""
    latest = datetime(9999, 12, 31, tzinfo=UTC)
    return f"{datetime.fromtimestamp(min(moment, latest.timestamp()), UTC):%Y%m%dT%H%M%SZ}"


def _leave_table(file: Path, forgotten: Mapping[str, int]) -> int:
    """Takes the rows out of one table of listens; gives how many."""
    rows = pl.scan_parquet(file, glob=False)
    user = pl.col("user_id").cast(pl.String)
    until = _named(rows.select(user.unique()).collect(engine="streaming").to_series().drop_nulls(), forgotten)
    if not until:
        return 0
    ends = pl.LazyFrame({"_user": list(until), "_until": list(until.values())})
    marked = rows.join(ends, left_on=user, right_on="_user", how="left", maintain_order="left")
    gone = pl.col("_until").is_not_null()
    if "time" in rows.collect_schema():
        gone &= pl.col("time").is_null() | (pl.col("time") <= pl.col("_until"))
    count = int(marked.filter(gone).select(pl.len()).collect(engine="streaming").item())
    if count:
        with replacing(file) as part:
            marked.filter(~gone).select(rows.collect_schema().names()).sink_parquet(part)
    return count


def _users(version: Path) -> pl.Series:
    """[U] external ids of the models' rows, null for a deleted one."""
    file = version / "users.parquet"
    try:
        return pl.read_parquet(file).get_column("user_id")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LibraryError(
            f"{file}: missing or damaged ({' '.join(str(error).split())}), so nobody can be deleted from this version; "
            "delete its folder and train again"
        ) from None


def _leave_version(version: Path, gone: Collection[str]) -> None:
    """Ids last: what is broken off is found again."""
    if not gone:
        return
    users = _users(version)
    leaving = users.is_in(list(gone)).fill_null(False)
    rows = np.flatnonzero(leaving.to_numpy())
    ALS.forget_users(version, rows)
    if (version / f"{TwoStageRecommender.name}.json").exists():
        TwoStageRecommender.forget_users(version, rows)
    for table in (version / ARTEFACTS).glob("*.parquet"):
        frame = pl.scan_parquet(table, glob=False)
        if "user_id" in frame.collect_schema():
            with replacing(table) as part:
                frame.filter(~pl.col("user_id").is_in(list(gone))).sink_parquet(part)
    with replacing(version / "users.parquet") as part:
        pl.DataFrame({"user_id": users.set(leaving, None)}).write_parquet(part)
    file = version / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["files"] = describe_files(version, manifest["files"])
    with replacing(file) as part:
        part.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
