"""What is drawn of a library: every track that has a place on its map, with what it is coloured by.

The file is little-endian: uint32 bytes of a header, the header (JSON, padded by spaces so that the columns begin at a
multiple of four), then one column after the other, N values each, in the header's order:

    x, y        uint16   0 … 65535 over the map
    genre       uint8    place in the header's `genres`; 255 where unknown
    listeners   uint8    8 log2(1 + listeners), rounded, at most 254; 255 where the library is not trained
    weight      uint8    254 times the crossfade weight, rounded; 255 where the library is not trained
    year        uint8    of its release, less 1900, within 0 … 254; 255 where unknown

Shapes: N tracks of the map, T rows of the snapshot.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...models.analysis.track_map import TrackMap
from ...models.arrays import Floats, Rows
from ...models.storage import content_hash
from ...pipelines.analysis.track_map import library_map
from ...pipelines.library.store import Library
from ..compressed_content import CompressedContent
from .follower import LibraryFollower
from .snapshot import Snapshot, TrackTable

UNKNOWN = 255
COLUMNS = ("x", "y", "genre", "listeners", "weight", "year")
MEDIA_TYPE = "application/octet-stream"
_STEPS_OF_LISTENERS = 8
_YEAR_0 = 1900
_SECONDS_OF_YEAR = 365.2425 * 86_400

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LibraryMap:
    snapshot: Snapshot
    rows: Rows
    """[N] of the snapshot"""
    file: CompressedContent
    revision: str
    """of the file: places in it mean the same tracks while it is the same"""

    @cached_property
    def _place_of(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(self.rows.tolist())}

    def place_of(self, row: int) -> int | None:
        """Where in the map's columns a row of the snapshot is; None where it is not on the map."""
        return self._place_of.get(row)


class MapMaker:
    """Makes the map of the newest snapshot when it is first asked for. Thread-safe."""

    def __init__(self, follower: LibraryFollower) -> None:
        self._follower = follower
        self._making = threading.Lock()
        self._map: LibraryMap | None = None
        self._layout: TrackMap | None = None
        self._table: TrackTable | None = None
        self._positions: Floats = np.zeros((0, 2), np.float32)

    @property
    def newest(self) -> LibraryMap:
        """Raises a Problem (503) while no library is loaded."""
        snapshot = self._follower.snapshot
        with self._making:
            if self._map is None or self._map.snapshot is not snapshot:
                with Library.open(self._follower.folder) as library:
                    self._map = self._make(snapshot, library)
            return self._map

    def _make(self, snapshot: Snapshot, library: Library) -> LibraryMap:
        tracks = snapshot.tracks
        positions = self._place(snapshot, library)
        rows = np.flatnonzero(tracks.in_library & ~np.isnan(positions[:, 0]))
        track_ids = [tracks.track_ids[row] for row in rows.tolist()]
        genres, genre = _genres(library, track_ids)
        listeners, weight = _crossfade(snapshot, rows)
        columns = {
            "x": np.rint(positions[rows, 0] * 65_535).astype("<u2"),
            "y": np.rint(positions[rows, 1] * 65_535).astype("<u2"),
            "genre": genre,
            "listeners": listeners,
            "weight": weight,
            "year": _years(library, track_ids),
        }
        content = b"".join(columns[name].tobytes() for name in COLUMNS)
        revision = content_hash(content + "\0".join(track_ids).encode("utf-8", "surrogatepass"))[:16]
        header = {
            "revision": revision,
            "count": len(rows),
            "columns": COLUMNS,
            "genres": genres,
            "method": self._layout.method if self._layout else "",
            "version": snapshot.version,
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 4)
        whole = len(text).to_bytes(4, "little") + text + content
        file = CompressedContent.of(whole, MEDIA_TYPE, {"Cache-Control": "private, no-cache"})
        return LibraryMap(snapshot, rows, file, revision)

    def _place(self, snapshot: Snapshot, library: Library) -> Floats:
        """[T, 2]; of rows that were placed before nothing is computed again."""
        index = snapshot.tracks.index
        sound = index.vectors[:, index.factors :]
        layout = library_map(library, snapshot.tracks.sound, sound)
        # Rows of a version keep their tracks, whose sound stays the same; they share the table.
        stays = self._table is snapshot.table and self._layout is not None and self._layout.same_as(layout)
        placed = self._positions if stays else np.zeros((0, 2), np.float32)
        self._positions = np.concatenate([placed, layout.place(sound[len(placed) :])])
        self._layout, self._table = layout, snapshot.table
        return self._positions


def _genres(library: Library, track_ids: Sequence[str]) -> tuple[list[str], Bytes]:
    """(names, the commonest first; [N] the likeliest of each track, else the first label of the catalogue)"""
    table = library.genre_table()
    names = table.columns[1:]
    likeliest: dict[str, str] = {}
    if len(table) and names:
        best = table.drop("track_id").fill_null(-1.0).to_numpy().argmax(axis=1)
        likeliest = dict(zip(table["track_id"].to_list(), (names[column] for column in best.tolist()), strict=True))
    else:
        labelled = library.tracks().filter(pl.col("genres").list.len() > 0)
        likeliest = dict(zip(labelled["track_id"].to_list(), labelled["genres"].list.first().to_list(), strict=True))
    counts = Counter(likeliest[track_id] for track_id in track_ids if track_id in likeliest)
    common = [name for name, _ in counts.most_common(UNKNOWN)]
    place = {name: place for place, name in enumerate(common)}
    return common, _bytes(place.get(likeliest.get(track_id, ""), UNKNOWN) for track_id in track_ids)


def _crossfade(snapshot: Snapshot, rows: Rows) -> tuple[Bytes, Bytes]:
    if snapshot.model is None:
        nothing = np.full(len(rows), UNKNOWN, np.uint8)
        return nothing, nothing
    hybrid = snapshot.model.hybrid
    steps = np.rint(_STEPS_OF_LISTENERS * np.log2(1 + hybrid.listeners[rows]))
    return np.minimum(steps, UNKNOWN - 1).astype(np.uint8), np.rint(hybrid.weights[rows] * (UNKNOWN - 1)).astype(
        np.uint8
    )


def _years(library: Library, track_ids: Sequence[str]) -> Bytes:
    released = library.tracks().select("track_id", "released_at").drop_nulls()
    years = (1970 + released["released_at"].to_numpy() / _SECONDS_OF_YEAR).astype(np.int64) - _YEAR_0
    of = dict(zip(released["track_id"].to_list(), np.clip(years, 0, UNKNOWN - 1).tolist(), strict=True))
    return _bytes(of.get(track_id, UNKNOWN) for track_id in track_ids)


def _bytes(values: Iterable[int]) -> Bytes:
    return np.frombuffer(bytes(values), np.uint8)
