"""Writes a synthetic world's listens as the logs that streaming services publish, in blocks, so that any size fits.

Every block becomes a part file, and polars joins the parts by streaming. The schemas are those of the readers
(`interactions.readers.yandex`, `interactions.readers.yambda`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from .tracks import EPOCH_SECONDS
from .world import Events, World

_GENRE_ID_OFFSET = 100
_NAMELESS_GENRES = 7
"""one genre in so many has no name, as in the original"""


@contextmanager
def _parts(folder: Path) -> Iterator[Callable[[Mapping[str, pl.DataFrame]], None]]:
    """Gives a function that takes the next rows of tables by name; each table becomes NAME.parquet in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = count()
    with TemporaryDirectory(prefix=".parts-", dir=folder) as scratch:

        def add(tables: Mapping[str, pl.DataFrame]) -> None:
            number = next(numbers)
            for name, table in tables.items():
                table.write_parquet(Path(scratch, name, f"{number:06}.parquet"), mkdir=True)

        yield add
        for parts in sorted(Path(scratch).iterdir()):
            pl.scan_parquet(sorted(parts.glob("*.parquet")), glob=False).sink_parquet(folder / f"{parts.name}.parquet")


def _numbered(names: Iterable[str]) -> dict[str, int]:
    """Ids for names, from 1, in the order in which they first appear."""
    return {name: row + 1 for row, name in enumerate(dict.fromkeys(names))}


def write_yandex(world: World, folder: Path) -> None:
    """The three files of the Yandex Music log."""
    with _parts(folder) as add:
        for events in world.blocks():
            # The original counts a user's tracks from 1 and knows only the day.
            add(
                {
                    "interactions": pl.DataFrame(
                        {
                            "user_id": events.user_rows + 1,
                            "track_id": events.track_rows + 1,
                            "track_seq": np.minimum(events.positions + 1, 32_767).astype(np.int16),
                            "started_at": pl.Series(events.times - events.times % 86_400).cast(pl.Int64) * 1_000_000,
                        }
                    ).with_columns(pl.col("started_at").cast(pl.Datetime("us")))
                }
            )
    tracks = world.tracks
    # Ids count from 1 per type, so that the same id names an artist, an album and a track.
    artists, albums = _numbered(chain.from_iterable(tracks.artists)), _numbered(tracks.albums)
    pl.DataFrame(
        {
            "track_id": np.arange(1, len(tracks) + 1),
            "albums": [[albums[name]] for name in tracks.albums],
            "artists": [[artists[name] for name in names] for names in tracks.artists],
            "genres": [[int(row) + _GENRE_ID_OFFSET] for row in tracks.style_rows],
        }
    ).write_parquet(folder / "tracks.parquet")
    named_genres = [pair for pair in enumerate(tracks.style_names) if (pair[0] + 1) % _NAMELESS_GENRES]
    named = [
        *((number, "artist", name) for name, number in artists.items()),
        *((number, "album", name) for name, number in albums.items()),
        *((row + 1, "track", name) for row, name in enumerate(tracks.titles)),
        *((row + _GENRE_ID_OFFSET, "genre", name) for row, name in named_genres),
    ]
    schema = {"id": pl.Int64, "type": pl.String, "name": pl.String}
    pl.DataFrame(named, schema=schema, orient="row").write_parquet(folder / "catalog_names.parquet")


def write_yambda(world: World, folder: Path) -> None:
    """listens, likes, dislikes, unlikes and undislikes, and the tables of embeddings, artists and albums."""
    rng = np.random.default_rng([world.options.seed, 3])
    with _parts(folder) as add:
        for events in world.blocks():
            add(_yambda_tables(world, events, rng))
    tracks = world.tracks
    sound = tracks.sound.astype(np.float64)
    lengths = np.maximum(np.linalg.norm(sound, axis=1, keepdims=True), 1e-12)
    items = np.arange(1, len(tracks) + 1, dtype=np.uint32)
    embeddings = {"item_id": items, "embed": sound, "normalized_embed": sound / lengths}
    columns = [pl.col(name).arr.to_list() for name in ("embed", "normalized_embed")]
    pl.DataFrame(embeddings).with_columns(columns).write_parquet(folder / "embeddings.parquet")
    for kind, groups in (("artist", tracks.artists), ("album", tuple((name,) for name in tracks.albums))):
        numbers = _numbered(chain.from_iterable(groups))
        pairs = [(numbers[name], row + 1) for row, names in enumerate(groups) for name in names]
        schema = {f"{kind}_id": pl.UInt32, "item_id": pl.UInt32}
        pl.DataFrame(pairs, schema=schema, orient="row").write_parquet(folder / f"{kind}_item_mapping.parquet")


def _yambda_tables(world: World, events: Events, rng: np.random.Generator) -> dict[str, pl.DataFrame]:
    """One block's rows of the five event files, in order of uid and timestamp."""
    # Seconds since the log began, in the original's steps of 5.
    stamps = ((events.times - EPOCH_SECONDS) // 5 * 5).astype(np.uint32)
    rows = pl.DataFrame(
        {
            "uid": (events.user_rows + 1).astype(np.uint32),
            "timestamp": stamps,
            "item_id": (events.track_rows + 1).astype(np.uint32),
            "is_organic": events.organic.astype(np.uint8),
            "played_ratio_pct": np.round(100 * events.played_ratios).astype(np.uint16),
            "track_length_seconds": world.tracks.duration_seconds[events.track_rows].astype(np.uint32),
        }
    )
    flat = rows.select("uid", "timestamp", "item_id", "is_organic")
    likes, dislikes = (
        flat.filter(pl.Series(chosen)).unique(["uid", "item_id"], keep="first", maintain_order=True)
        for chosen in (events.liked > 0, events.liked < 0)
    )

    def taken_back(table: pl.DataFrame) -> pl.DataFrame:
        """A few change their mind within a day."""
        some = table.filter(pl.Series(rng.random(table.height) < 0.05))
        later = pl.Series(5 * rng.integers(1, 17_000, some.height), dtype=pl.UInt32)
        return some.with_columns(timestamp=pl.col("timestamp") + later).sort("uid", "timestamp")

    return {
        "listens": rows,
        "likes": likes,
        "dislikes": dislikes,
        "unlikes": taken_back(likes),
        "undislikes": taken_back(dislikes),
    }
