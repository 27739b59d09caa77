"""The feature autoencoder on a library's log: events become a file of numbers, which is learned from in blocks.

What `interaction` is depends on the log: likes (1, -1, 0 for neither) where there are any, else ratings, else counts of
plays, else 1 throughout. Shapes: N events, U users, T tracks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError, LibraryError, UsageError
from ...models.analysis.event_autoencoder import BOTTLENECK, AutoencoderOptions, ErrorSummary, FeatureAutoencoder, Rows
from ...models.analysis.projection import flat_map
from ...models.arrays import top_k
from ...models.nn.training_loop import Watch
from ..charts.chart import Chart, draw
from ..charts.training import epoch_table, learning_curve
from ..interactions.schema import listed_ids, read_listens, with_rows
from ..library.store import Library
from .segments import genre_matrix

LARGEST_ERRORS = 20
LATEST = 0.1
"""share of the events that stands at the end of the file, to validate on"""
_SLICE_ROWS = 1 << 21
_MAP_EVENTS = 3000
_MAP_GENRES = 10


@dataclass(frozen=True, eq=False)
class EventFile:
    """N events as a memory-mapped file, the latest `LATEST` of them at the end."""

    rows: Rows
    user_ids: list[str]
    track_ids: list[str]
    interaction: str
    """what the column `interaction` holds"""


def _latest(log: pl.LazyFrame) -> tuple[pl.Expr, int]:
    """When an event was, and from when on the last `LATEST` of them were; the log needs no sorting for that."""
    counts = log.select(pl.col("time", "position").count()).collect(engine="streaming").row(0, named=True)
    for name in ("time", "position"):
        if counts[name]:
            cut = log.select(pl.col(name).quantile(1 - LATEST, "higher")).collect(engine="streaming").item()
            return pl.col(name), int(cut)
    return pl.lit(0), 1


@contextmanager
def events_of(
    library: Library, folder: Path, *, user_ids: list[str] | None = None, track_ids: list[str] | None = None
) -> Iterator[EventFile]:
    """The library's log as numbers. Users and tracks given keep their places, new ones follow."""
    log = read_listens(library)
    users, tracks = (_joined(known, ids) for known, ids in zip((user_ids, track_ids), listed_ids(log), strict=True))
    interaction, column = _interaction(log)
    ratio = pl.col("played_ratio").cast(pl.Float32).fill_null(float("nan"))
    when, cut = _latest(log)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".events-", dir=folder) as scratch:
        part = Path(scratch) / "events.parquet"
        # In the log's own order, so that a seeded run repeats exactly.
        with_rows(log, users, tracks, ordered=True).select(
            ratio.alias("ratio"),
            column.cast(pl.Float32).fill_null(float("nan")).alias("interaction"),
            pl.col("user_row", "track_row").cast(pl.Float32),
            (when >= cut).fill_null(False).alias("late"),
        ).sink_parquet(part)
        events = pl.scan_parquet(part, glob=False)
        count, late = events.select(pl.len(), pl.col("late").sum()).collect().row(0)
        rows = np.lib.format.open_memmap(Path(scratch) / "events.npy", mode="w+", dtype=np.float32, shape=(count, 4))
        early, later = 0, count - late
        for start in range(0, count, _SLICE_ROWS):
            block = events.slice(start, _SLICE_ROWS).collect(engine="streaming")
            is_late = block.get_column("late").to_numpy()
            values = block.drop("late").to_numpy()
            for which, at in ((~is_late, early), (is_late, later)):
                rows[at : at + which.sum()] = values[which]
            early, later = early + int((~is_late).sum()), later + int(is_late.sum())
        yield EventFile(rows, users, tracks, interaction)


def train_autoencoder(
    library: Library,
    out: Path,
    changes: dict[str, Any],
    *,
    continue_from: Path | None = None,
    watch: Watch | None = None,
) -> ErrorSummary:
    """Trains on the library's events and writes the model and its finds into `out`; resumes an interrupted run.

    `changes` are options that differ from the defaults, or from those of the model to continue from.
    """
    checkpoint = out / "training.state"
    user_ids, track_ids = (None, None) if continue_from is None else vocabulary(continue_from)
    with events_of(library, out, user_ids=user_ids, track_ids=track_ids) as events:
        counts = len(events.user_ids), len(events.track_ids)
        if continue_from is None:
            model = FeatureAutoencoder(AutoencoderOptions(**changes), checkpoint=checkpoint, watch=watch)
            model.fit(events.rows, *counts)
        else:
            model = FeatureAutoencoder.load(continue_from)
            if changes.get("ids", model.options.ids) != model.options.ids:
                raise UsageError(f"ids {changes['ids']}: {continue_from} was trained with {model.options.ids}")
            model.options = replace(model.options, **changes)
            model.resume(events.rows, *counts, checkpoint=checkpoint, watch=watch)
        summary = _write(library, model, events, out)
    checkpoint.unlink(missing_ok=True)
    return summary


def vocabulary(folder: Path) -> tuple[list[str], list[str]]:
    """The users and tracks of a model, in the order of their rows."""
    try:
        users, tracks = (
            pl.read_parquet(folder / f"{name}.parquet", glob=False).get_column("id") for name in ("users", "tracks")
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LibraryError(f"{folder}: holds no trained autoencoder ({error})") from None
    return users.to_list(), tracks.to_list()


def user_bottlenecks(library: Library, model_folder: Path, scratch: Path) -> NDArray[np.float32]:
    """[U, 32] the mean bottleneck of each user's events, users in the order of their ids: features for segments."""
    model = FeatureAutoencoder.load(model_folder)
    known = vocabulary(model_folder)
    with events_of(library, scratch, user_ids=known[0], track_ids=known[1]) as events:
        found = _bottlenecks(model, events)[0].drop_nulls().sort("id")
    return np.asarray(found.get_column("bottleneck").list.to_array(BOTTLENECK).to_numpy(), np.float32)


def _bottlenecks(model: FeatureAutoencoder, events: EventFile) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(users, tracks): id and the mean bottleneck of their events, null without events."""
    sides = ((2, events.user_ids), (3, events.track_ids))
    totals, counts = ([np.zeros((len(ids), *shape)) for _, ids in sides] for shape in ((BOTTLENECK,), ()))
    for start in range(0, len(events.rows), _SLICE_ROWS >> 4):
        block = np.asarray(events.rows[start : start + (_SLICE_ROWS >> 4)])
        code = model.encode(block)
        for (column, _), total, count in zip(sides, totals, counts, strict=True):
            rows = block[:, column].astype(np.int64)
            np.add.at(total, rows, code)
            count += np.bincount(rows, minlength=len(count))
    frames = []
    for (_, ids), total, count in zip(sides, totals, counts, strict=True):
        mean = np.asarray(total / np.maximum(count, 1)[:, None], np.float32)
        frame = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String), "bottleneck": mean})
        bottleneck = pl.when(pl.Series(count > 0)).then(pl.col("bottleneck").arr.to_list())
        frames.append(frame.with_columns(bottleneck.alias("bottleneck")))
    return frames[0], frames[1]


def _write(library: Library, model: FeatureAutoencoder, events: EventFile, out: Path) -> ErrorSummary:
    model.save(out)
    for name, frame in zip(("users", "tracks"), _bottlenecks(model, events), strict=True):
        frame.write_parquet(out / f"{name}.parquet")
    epoch_table(model.curve).write_parquet(out / "epochs.parquet")
    errors = model.errors(events.rows)
    summary = ErrorSummary.of(errors)
    strangest, _ = top_k(np.nan_to_num(errors, nan=-1.0), LARGEST_ERRORS)
    _table(events, errors, strangest).write_parquet(out / "strangest.parquet")
    for chart in _charts(model, events, errors, _genre_of(library)):
        draw(chart, out / f"{chart.name}.png")
    return summary


def _table(events: EventFile, errors: NDArray[np.float32], which: NDArray[np.integer]) -> pl.DataFrame:
    rows = np.asarray(events.rows[np.sort(which)])[np.argsort(np.argsort(which))]
    return pl.DataFrame(
        {
            "user_id": [events.user_ids[int(row)] for row in rows[:, 2]],
            "track_id": [events.track_ids[int(row)] for row in rows[:, 3]],
            "played_ratio": rows[:, 0],
            "interaction": rows[:, 1],
            "error": errors[which],
        }
    ).with_columns(pl.col("played_ratio", "interaction").fill_nan(None))


def _charts(
    model: FeatureAutoencoder, events: EventFile, errors: NDArray[np.float32], genre_of: dict[str, str]
) -> Iterator[Chart]:
    known = errors[~np.isnan(errors)]
    counts, edges = np.histogram(np.log10(np.maximum(known, 1e-9)), bins=40)
    yield Chart(
        name="errors",
        title="Reconstruction error",
        frame=pl.DataFrame({"error": (edges[:-1] + edges[1:]) / 2, "events": counts}),
        kind="area",
        x="error",
        y="events",
        x_title="log10 of the mean squared error",
    )
    rng = np.random.default_rng(model.options.seed)
    which = np.sort(rng.choice(len(events.rows), min(len(events.rows), _MAP_EVENTS), replace=False))
    sample = np.asarray(events.rows[which])
    positions, method = flat_map(model.encode(sample), seed=model.options.seed)
    quarter = np.searchsorted(np.nanquantile(errors, [0.25, 0.5, 0.75]), errors[which])
    names = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
    genres = pl.Series([genre_of.get(events.track_ids[int(row)]) for row in sample[:, 3]], dtype=pl.String)
    common = genres.drop_nulls().value_counts(sort=True, name="events").head(_MAP_GENRES).get_column(genres.name)
    frame = pl.DataFrame(
        {
            "x": positions[:, 0],
            "y": positions[:, 1],
            "error": [names[part] for part in quarter],
            "genre": [name if name in set(common) else "another genre" for name in genres],
        }
    )
    for colour in ("error", "genre") if len(common) else ("error",):
        yield Chart(
            name=f"bottleneck-by-{colour}",
            title=f"Events in the bottleneck, by {colour}",
            frame=frame.sort(colour),
            kind="points",
            x="x",
            y="y",
            series=colour,
            plain_axes=True,
            note=f"{method.upper()} of the 32 numbers that an event is squeezed into.",
        )
    yield learning_curve(model.curve)


def _genre_of(library: Library) -> dict[str, str]:
    """Track id -> a genre of its own, else its most probable one; tracks without either are left out."""
    catalogue = library.catalogue(library.vector_name())
    names, matrix = genre_matrix(library, catalogue)
    if not names:
        return {}
    best, labelled = np.asarray(matrix.argmax(axis=1)).ravel(), np.flatnonzero(matrix.sum(axis=1))
    return {catalogue.track_ids[row]: names[best[row]] for row in labelled}


def _interaction(log: pl.LazyFrame) -> tuple[str, pl.Expr]:
    counts: dict[str, Any] = (
        log.select(pl.col("liked", "rating", "plays").count()).collect(engine="streaming").row(0, named=True)
    )
    name = next((name for name, count in counts.items() if count), None)
    if name is None:
        return "event", pl.lit(1.0)
    return name, pl.col(name).fill_null(0) if name == "liked" else pl.col(name)


def _joined(known: list[str] | None, ids: pl.Series) -> list[str]:
    if known is None:
        return ids.to_list()
    if len(set(known)) != len(known):
        raise DataError("vocabulary: an id appears twice")
    return list(dict.fromkeys([*known, *ids.to_list()]))
