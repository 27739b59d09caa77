"""What is drawn of a library: every track that has a place on one of its maps, with what it is coloured by.

There are up to three layouts of the same tracks: by sound, by taste, and by both as they are blended. The file of one
is little-endian: uint32 bytes of a header, the header (JSON, padded by spaces so that the columns begin at a multiple
of four), then one column after the other, N values each, in the header's order:

    x, y        uint16   0 … 65534 over the map; both 65535 where a track has no place on this one
    genre       uint8    place in the header's `genres`; 255 where unknown
    listeners   uint8    8 log2(1 + listeners), rounded, at most 254; 255 where the library is not trained
    weight      uint8    254 times the crossfade weight, rounded; 255 where the library is not trained
    year        uint8    of its release, less 1900, within 0 … 254; 255 where unknown
    artist      uint8    place in the header's `artists`, the commonest; 255 for all others
    group       uint8    place in the header's `groups` of tracks that the same people listen to; 255 where unknown

Shapes: N tracks of the map, T rows of the snapshot, G genres.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...models.analysis.listener_clusters import Labels, Segments
from ...models.analysis.map_regions import artist_regions, genre_regions, telling_names
from ...models.analysis.track_map import TrackMap
from ...models.arrays import Floats, Mask, Rows
from ...models.catalogue import release_years
from ...models.storage import content_hash
from ...pipelines.analysis.track_map import Layout, laid_out, layouts_of, taste_groups
from ...pipelines.library.store import Library
from ..compressed_content import CompressedContent
from .follower import LibraryFollower
from .snapshot import Snapshot, TrackTable

UNKNOWN = 255
NOWHERE = 65_535
COLUMNS = ("x", "y", "genre", "listeners", "weight", "year", "artist", "group")
MEDIA_TYPE = "application/octet-stream"
_ROWS_PER_BATCH = 1 << 16
_STEPS_OF_LISTENERS = 8
_YEAR_0 = 1900

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Coloured:
    """What the N tracks of a snapshot are coloured and lettered by, whatever the layout."""

    columns: dict[str, Bytes]
    """[N] each"""
    names: dict[str, list[str]]
    """genres, artists, groups"""
    shares: Floats
    """[N, G] how much of each genre a track has; zeros where unknown"""


@dataclass(frozen=True, eq=False)
class LibraryMap:
    snapshot: Snapshot
    rows: Rows
    """[N] of the snapshot"""
    revision: str
    """places mean the same tracks, in the same colours, while it is the same"""
    coloured: Coloured
    layouts: tuple[Layout, ...]
    """those that there is something to lay out by"""

    @cached_property
    def _place_of(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(self.rows.tolist())}

    def place_of(self, row: int) -> int | None:
        """Where in the map's columns a row of the snapshot is; None where it is not on the map."""
        return self._place_of.get(row)


class _Positions:
    """Where the rows of a version lie in one layout; of rows that were placed before nothing is computed again."""

    def __init__(self) -> None:
        self.layout: TrackMap | None = None
        self._table: TrackTable | None = None
        self.of: Floats = np.zeros((0, 2), np.float32)

    def update(self, layout: TrackMap, table: TrackTable, vectors: Floats) -> Floats:
        """[T, 2] of vectors [T, D]; NaN for those without a place."""
        # Rows of a version keep their tracks, whose vectors stay the same; they share the table.
        stays = self._table is table and self.layout is not None and self.layout.same_as(layout)
        placed = self.of if stays else np.zeros((0, 2), np.float32)
        self.of = np.concatenate([placed, layout.place(vectors[len(placed) :])])
        self.layout, self._table = layout, table
        return self.of


class _Groups:
    """Which tracks of a version the same people listen to; tracks that come change no group."""

    def __init__(self) -> None:
        self._segments: Segments | None = None
        self._table: TrackTable | None = None
        self._of: Labels = np.zeros(0, np.int32)

    def update(self, snapshot: Snapshot) -> Labels:
        """[T] -1 where a track is in none."""
        taste = snapshot.tracks.index.vectors[:, : snapshot.tracks.index.factors]
        if self._table is not snapshot.table:
            model = snapshot.model
            heard = np.zeros(0, np.intp) if model is None else np.flatnonzero(model.hybrid.listeners > 0)
            self._segments, self._table, self._of = taste_groups(taste[heard]), snapshot.table, self._of[:0]
        parts = [self._of]
        for start in range(len(self._of), len(taste), _ROWS_PER_BATCH):
            part = taste[start : start + _ROWS_PER_BATCH]
            parts.append(np.full(len(part), -1, np.int32) if self._segments is None else self._segments.assign(part))
        self._of = np.concatenate(parts)
        return self._of


class MapMaker:
    """Makes the map of the newest snapshot, and each layout of it, when it is first asked for. Thread-safe."""

    def __init__(self, follower: LibraryFollower) -> None:
        self._follower = follower
        self._making = threading.RLock()
        self._map: LibraryMap | None = None
        self._files: dict[Layout, CompressedContent] = {}
        self._positions: dict[Layout, _Positions] = {}
        self._groups = _Groups()

    @property
    def newest(self) -> LibraryMap:
        """Raises a Problem (503) while no library is loaded."""
        snapshot = self._follower.snapshot
        with self._making:
            if self._map is None or self._map.snapshot is not snapshot:
                with Library.open(self._follower.folder) as library:
                    self._map, self._files = self._make(snapshot, library), {}
            return self._map

    def file(self, layout: Layout | None = None) -> CompressedContent:
        """The file of one layout, None of the first that there is."""
        with self._making:
            drawn = self.newest
            chosen: Layout = layout if layout is not None else next(iter(drawn.layouts), "sound")
            if chosen not in self._files:
                self._files[chosen] = self._file(drawn, chosen)
            return self._files[chosen]

    def places(self, vectors: Floats) -> Floats:
        """[n, 2] where vectors of sound [n, D] would lie on the map by sound, 0 … 1; NaN where that has no place."""
        with self._making:
            self.file("sound")
            layout = self._positions["sound"].layout
        if layout is None or layout.anchors.shape[1] != vectors.shape[1]:
            return np.full((len(vectors), 2), np.nan, np.float32)
        return layout.place(vectors)

    def _make(self, snapshot: Snapshot, library: Library) -> LibraryMap:
        tracks = snapshot.tracks
        rows = np.flatnonzero(tracks.in_library & np.any(tracks.index.vectors != 0, axis=1))
        coloured = self._coloured(snapshot, library, rows)
        content = b"".join(column.tobytes() for column in coloured.columns.values())
        known = "\0".join([snapshot.version or "", *(tracks.track_ids[row] for row in rows.tolist())])
        revision = content_hash(content + known.encode("utf-8", "surrogatepass"))[:16]
        return LibraryMap(snapshot, rows, revision, coloured, layouts_of(tracks))

    def _coloured(self, snapshot: Snapshot, library: Library, rows: Rows) -> Coloured:
        track_ids = [snapshot.tracks.track_ids[row] for row in rows.tolist()]
        genres, genre, shares = _genres(library, track_ids)
        listeners, weight = _crossfade(snapshot, rows)
        summaries = snapshot.table.summaries
        artists, artist = _commonest([next(iter(summaries[row].artists), None) for row in rows.tolist()])
        groups = self._groups.update(snapshot)[rows]
        columns = {
            "genre": genre,
            "listeners": listeners,
            "weight": weight,
            "year": _years(library, track_ids),
            "artist": artist,
            "group": np.where(groups < 0, UNKNOWN, groups).astype(np.uint8),
        }
        names = {"genres": genres, "artists": artists, "groups": _group_names(groups, shares, genres)}
        return Coloured(columns, names, shares)

    def _file(self, drawn: LibraryMap, layout: Layout) -> CompressedContent:
        with Library.open(self._follower.folder) as library:
            positions = self._place(drawn.snapshot, library, layout)[drawn.rows]
        known = ~np.isnan(positions[:, 0])
        # One less than the sentinel.
        x, y = np.where(known[:, None], np.rint(positions * (NOWHERE - 1)), NOWHERE).astype("<u2").T
        coloured = drawn.coloured
        columns: dict[str, NDArray[Any]] = {"x": x, "y": y, **coloured.columns}
        header = {
            "revision": drawn.revision,
            "count": len(drawn.rows),
            "columns": COLUMNS,
            "layout": layout,
            "layouts": drawn.layouts,
            **coloured.names,
            "regions": _regions(positions, known, coloured),
            "method": self._positions[layout].layout.method,  # type: ignore[union-attr]
            "version": drawn.snapshot.version,
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 4)
        content = b"".join(columns[name].tobytes() for name in COLUMNS)
        whole = len(text).to_bytes(4, "little") + text + content
        return CompressedContent.of(whole, MEDIA_TYPE, {"Cache-Control": "private, no-cache"})

    def _place(self, snapshot: Snapshot, library: Library, layout: Layout) -> Floats:
        """[T, 2]"""
        layout_map, vectors = laid_out(library, snapshot.tracks, snapshot.version, layout)
        return self._positions.setdefault(layout, _Positions()).update(layout_map, snapshot.table, vectors)


def _regions(positions: Floats, known: Mask, coloured: Coloured) -> list[dict[str, Any]]:
    """Genres, and artists who keep together."""
    artists = coloured.columns["artist"].astype(np.intp)
    found = {
        "genre": genre_regions(positions[known], coloured.shares[known], coloured.names["genres"]),
        "artist": artist_regions(positions[known], artists[known], coloured.names["artists"]),
    }
    return [
        {"kind": kind}
        | {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(one).items()}
        for kind, regions in found.items()
        for one in regions
    ]


def _genres(library: Library, track_ids: Sequence[str]) -> tuple[list[str], Bytes, Floats]:
    """(G names, the commonest first; [N] the likeliest of each track, else the first label of the catalogue; [N, G] how
    much it has of each)"""
    row_of = {track_id: row for row, track_id in enumerate(track_ids)}
    table = library.genre_table()
    names = table.columns[1:]
    if len(table) and names:
        probabilities = table.drop("track_id").fill_null(0.0).to_numpy()
        places = np.array([row_of.get(track_id, -1) for track_id in table["track_id"]], np.intp)
        shares = np.zeros((len(track_ids), len(names)), np.float32)
        shares[places[places >= 0]] = probabilities[places >= 0]
        best = np.where(shares.any(axis=1), shares.argmax(axis=1), -1)
        common, genre = _commonest([names[place] if place >= 0 else None for place in best.tolist()])
        column = {name: place for place, name in enumerate(names)}
        return common, genre, shares[:, [column[name] for name in common]]
    labelled = library.tracks().filter(pl.col("genres").list.len() > 0)
    label = dict(zip(labelled["track_id"].to_list(), labelled["genres"].list.first().to_list(), strict=True))
    common, genre = _commonest([label.get(track_id) for track_id in track_ids])
    return common, genre, (genre[:, None] == np.arange(len(common))).astype(np.float32)


def _commonest(values: Sequence[Hashable | None]) -> tuple[list[Any], Bytes]:
    """(the commonest values, at most 255; [N] the place in them of each, 255 for others and None)"""
    common = [value for value, _ in Counter(value for value in values if value is not None).most_common(UNKNOWN)]
    place = {value: place for place, value in enumerate(common)}
    return common, _bytes(place.get(value, UNKNOWN) for value in values)


def _group_names(groups: Labels, shares: Floats, genres: Sequence[str]) -> list[str]:
    """After the genres that set each apart."""
    overall, names = shares.sum(axis=0), []
    for group in range(groups.max(initial=-1) + 1):
        told = " + ".join(telling_names(shares[groups == group].sum(axis=0), overall, genres)) if len(genres) else ""
        names.append(f"{group + 1}: {told}" if told else f"group {group + 1}")
    return names


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
    released = library.releases()
    known = np.array([track_id in released for track_id in track_ids], bool)
    years = np.full(len(track_ids), UNKNOWN, np.uint8)
    found = release_years(np.array([released[track_id] for track_id in track_ids if track_id in released], np.int64))
    years[known] = np.clip(found - _YEAR_0, 0, UNKNOWN - 1)
    return years


def _bytes(values: Iterable[int]) -> Bytes:
    return np.frombuffer(bytes(values), np.uint8)
