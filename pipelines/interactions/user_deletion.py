"""Deletion of a user's data from the log, the tables beside it and every trained version of a library.

In a version a user's row stays where it is, without an id, listens or vectors: a service that loads the version
meanwhile never finds one user's vectors under another's id. The user's share in what was fitted for tracks stays until
the library is trained again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from ...errors import LibraryError
from ...models.ranking.two_stage import TwoStageRecommender
from ...models.recommenders.als import ALS
from ...models.storage import content_hash, replacing, write_json
from ..library.folder_layout import ARTEFACTS, MANIFEST, describe_files, read_manifest
from ..library.store import Library
from .schema import parts_of

EVER = 2**62
"""a moment after all others"""


def user_hash(user_id: str) -> str:
    """The hash by which the event store keeps track of users whose data are deleted."""
    return content_hash(user_id.encode(), "sha256")


def forget(library: Library, forgotten: Mapping[str, int]) -> int:
    """Deletes all rows up to a time, or without a time, by hash of the user; returns how many rows of the log.

    A user leaves a version who has no row of the log left, or was deleted after the version was begun. To be called
    inside `library.rewriting`.
    """
    if not forgotten:
        return 0
    deleted = sum(_delete_from_table(part, forgotten) for part in parts_of(library))
    for table in library.folder.glob("yandex/events.parquet"):
        _delete_from_table(table, forgotten)
    for version in library.versions():
        until = _deleted_until(_users(version).drop_nulls(), forgotten)
        begun = version.name.partition("-")[0]
        left = _missing(library, until)
        deleted_users = {user for user, moment in until.items() if user in left or begun <= _stamp(moment)}
        _delete_from_version(version, deleted_users)
    if deleted:
        # No training can go on with what was made from another log.
        library.discard_unfinished()
    return deleted


def forget_the_missing(library: Library, version: Path) -> None:
    """Deletes from a version, before it becomes the current one, the users who left the log while it was trained."""
    _delete_from_version(version, _missing(library, _users(version).drop_nulls()))


def _missing(library: Library, users: Collection[str]) -> set[str]:
    """Those of the users who are not in the log."""
    missing = pl.LazyFrame({"user_id": pl.Series(list(users), dtype=pl.String)})
    for part in parts_of(library):
        missing = missing.join(pl.scan_parquet(part, glob=False).select("user_id"), on="user_id", how="anti")
    return set(missing.collect(engine="streaming").get_column("user_id"))


def _deleted_until(users: pl.Series, forgotten: Mapping[str, int]) -> dict[str, int]:
    """user -> until when to delete, for those whose hash is among the forgotten."""
    return {user: forgotten[name] for user in users if (name := user_hash(user)) in forgotten}


def _stamp(moment: int) -> str:
    """A moment as it stands in names of versions."""
    latest = datetime(9999, 12, 31, tzinfo=UTC)
    return f"{datetime.fromtimestamp(min(moment, latest.timestamp()), UTC):%Y%m%dT%H%M%SZ}"


def _delete_from_table(file: Path, forgotten: Mapping[str, int]) -> int:
    """Deletes the rows from one table of listens; returns how many."""
    rows = pl.scan_parquet(file, glob=False)
    user = pl.col("user_id").cast(pl.String)
    until = _deleted_until(rows.select(user.unique()).collect(engine="streaming").to_series().drop_nulls(), forgotten)
    if not until:
        return 0
    ends = pl.LazyFrame({"_user": list(until), "_until": list(until.values())})
    marked = rows.join(ends, left_on=user, right_on="_user", how="left", maintain_order="left")
    deleted = pl.col("_until").is_not_null()
    if "time" in rows.collect_schema():
        deleted &= pl.col("time").is_null() | (pl.col("time") <= pl.col("_until"))
    count = int(marked.filter(deleted).select(pl.len()).collect(engine="streaming").item())
    if count:
        with replacing(file) as part:
            marked.filter(~deleted).select(rows.collect_schema().names()).sink_parquet(part)
    return count


def _users(version: Path) -> pl.Series:
    """[U] external ids of the models' rows, null for a deleted one."""
    file = version / "users.parquet"
    try:
        return pl.read_parquet(file, glob=False).get_column("user_id")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LibraryError(
            f"{file}: missing or damaged ({' '.join(str(error).split())}), so nobody can be deleted from this version; "
            "delete its folder and train again"
        ) from None


def _delete_from_version(version: Path, deleted_users: Collection[str]) -> None:
    """Empties the rows of these users; ids last, so that an interrupted deletion can be repeated."""
    if not deleted_users:
        return
    users = _users(version)
    leaving = users.is_in(list(deleted_users)).fill_null(False)
    rows = np.flatnonzero(leaving.to_numpy())
    ALS.forget_users(version, rows)
    if TwoStageRecommender.saved_name(version):
        TwoStageRecommender.forget_users(version, rows)
    for table in (version / ARTEFACTS).glob("*.parquet"):
        frame = pl.scan_parquet(table, glob=False)
        if "user_id" in frame.collect_schema():
            with replacing(table) as part:
                frame.filter(~pl.col("user_id").is_in(list(deleted_users))).sink_parquet(part)
    with replacing(version / "users.parquet") as part:
        pl.DataFrame({"user_id": users.set(leaving, None)}).write_parquet(part)
    file = version / MANIFEST
    manifest = read_manifest(file.read_text(), str(file))
    write_json(file, manifest | {"files": describe_files({name: version / name for name in manifest["files"]})})
