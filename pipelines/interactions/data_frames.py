"""Data frames as the models take them: row numbers in place of ids.

Tables are polars or pandas data frames; what is given decides what comes back. Ids may be of any type.

Shapes: B users or items asked for, k answers each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError
from .columns import UNREADABLE_TIME, SourceTable

if TYPE_CHECKING:
    import pandas as pd

    from ...models.catalogue import Catalogue
    from ...models.interactions import Interactions

    Frame = pl.DataFrame | pd.DataFrame


@dataclass(frozen=True, eq=False)
class NumberedData:
    """Interactions and items, and the ids of their rows."""

    user_ids: pl.Series
    item_ids: pl.Series
    interactions: Interactions
    catalogue: Catalogue
    as_pandas: bool

    @classmethod
    def of(cls, interactions: Frame, items: Frame | None) -> Self:
        """DataError where a column is missing or broken; without `items` they are known by their ids alone."""
        from ...models.interactions import Clock, Interactions

        frame = _polars(interactions, "interactions", ("user_id", "item_id"))
        described = frame.select("item_id") if items is None else _polars(items, "items", ("item_id",))
        user_ids = frame["user_id"].unique(maintain_order=True)
        item_ids = pl.concat([described["item_id"], frame["item_id"]]).unique(maintain_order=True)
        times = _times(frame)
        events = Interactions(
            rows_of(frame["user_id"], user_ids),
            rows_of(frame["item_id"], item_ids),
            _weights(frame),
            len(user_ids),
            len(item_ids),
            times,
            Clock.NONE if times is None else Clock.TIME,
            organic=_organic(frame),
        )
        as_pandas = not isinstance(interactions, pl.DataFrame)
        return cls(user_ids, item_ids, events, _catalogue(described, item_ids), as_pandas)

    def table(self, asked: pl.Series, answer: str, ids: NDArray[np.int32], scores: NDArray[np.float32]) -> pl.DataFrame:
        """Answers [B, k] as rows: what was asked, the item under the name `answer`, score, rank."""
        which, places = np.nonzero(ids >= 0)
        return pl.DataFrame(
            [
                asked.gather(which),
                self.item_ids.gather(ids[which, places]).alias(answer),
                pl.Series("score", scores[which, places]),
                pl.Series("rank", places + 1, pl.Int32),
            ]
        )

    def like_given(self, table: pl.DataFrame) -> Frame:
        """In pandas, if the interactions were."""
        return table.to_pandas() if self.as_pandas else table


def _polars(frame: Any, name: str, needed: tuple[str, ...]) -> pl.DataFrame:
    table = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    SourceTable(Path(name), table.lazy()).require(*needed)
    for column in needed:
        if nulls := table[column].null_count():
            raise DataError(f"{name}: {nulls} rows without {column}; drop them first")
    if not len(table):
        raise DataError(f"{name}: no rows")
    return table


def _weights(interactions: pl.DataFrame) -> NDArray[np.float32]:
    if "weight" not in interactions.columns:
        return np.ones(len(interactions), np.float32)
    column = SourceTable(Path("interactions"), interactions.lazy()).number("weight")
    weights = interactions.select(column.cast(pl.Float32).fill_null(float("nan"))).to_series().to_numpy()
    if not np.isfinite(weights).all():
        raise DataError(f"interactions: weight: {int((~np.isfinite(weights)).sum())} rows are not numbers")
    return weights


def _times(interactions: pl.DataFrame) -> NDArray[np.int64] | None:
    if "time" not in interactions.columns:
        return None
    times = interactions.select(SourceTable(Path("interactions"), interactions.lazy()).seconds("time")).to_series()
    if wrong := times.null_count() + int((times == UNREADABLE_TIME).sum()):
        raise DataError(f"interactions: {wrong} rows without a time that can be read; drop them, or the column")
    return times.to_numpy()


def _organic(interactions: pl.DataFrame) -> NDArray[np.int8] | None:
    if "organic" not in interactions.columns:
        return None
    column = interactions["organic"]
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise DataError(f"interactions: organic: a column of {column.dtype}; it has to be of booleans")
    return column.cast(pl.Boolean).cast(pl.Int8).fill_null(-1).to_numpy()


def rows_of(ids: pl.Series, known: pl.Series) -> NDArray[np.int32]:
    """Positions of ids among the known ones, -1 for the others."""
    table = pl.DataFrame({"id": known}).with_row_index("row")
    joined = ids.rename("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return joined["row"].cast(pl.Int32).fill_null(-1).to_numpy()


def _catalogue(items: pl.DataFrame, ids: pl.Series) -> Catalogue:
    """Artists and vectors in the order of `ids`; those that are not described have neither."""
    from ...models.catalogue import Catalogue

    table = pl.DataFrame({"item_id": ids}).join(
        items.unique("item_id", keep="first"), on="item_id", how="left", maintain_order="left"
    )
    artists: list[tuple[str, ...]] = [()] * len(table)
    if "artists" in table.columns:
        artists = [
            () if names is None else (names,) if isinstance(names, str) else tuple(map(str, names))
            for names in table["artists"].to_list()
        ]
    sound = np.zeros((len(table), 0), np.float32)
    if "vector" in table.columns:
        vectors = table["vector"].to_list()
        widths = {len(vector) for vector in vectors if vector is not None}
        if len(widths) != 1:
            raise DataError(f"items: vector: {sorted(widths)} numbers; all have to have the same, at least one of them")
        blank = [0.0] * widths.pop()
        sound = np.array([blank if vector is None else vector for vector in vectors], np.float32)
    return Catalogue(tuple(map(str, ids.to_list())), tuple(artists), sound)
