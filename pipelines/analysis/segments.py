"""Segments of a library's listeners or tracks, described in words that a person understands.

Shapes: U users, T tracks, S segments, N members.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...models.analysis.projection import flat_map
from ...models.analysis.segments import Segments, lift
from ...models.arrays import top_k
from ...models.catalogue import Catalogue
from ...models.interactions import Interactions
from ...models.recommenders.als import ALS, ALSOptions
from ..charts.chart import Chart, draw
from ..interactions.schema import listed_ids, read_listens, to_listens
from ..library.store import Library

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FACTORS = 64
MAP_POINTS = 20_000
KINDS = ("listeners", "tracks")
POPULAR = 200
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """Who is in a segment, and what sets it apart."""

    segment: int
    size: int
    share: float
    """of all members"""
    description: str
    genres: tuple[str, ...]
    """most typical first"""
    artists: tuple[str, ...]
    listens_each: float
    tempo_bpm: float | None
    loudness_lufs: float | None
    tracks: tuple[str, ...]
    """ids of the most popular ones, for people to look at"""
    popular: tuple[int, ...]
    """rows of the most popular ones, at most `POPULAR`: what a newcomer who fits the description is recommended"""

    def record(self) -> dict[str, Any]:
        record = asdict(self)
        del record["popular"]
        return record


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments, their portraits and a map."""

    kind: str
    segments: Segments
    ids: Sequence[str]
    """[N] of users or tracks"""
    portraits: tuple[Portrait, ...]
    positions: NDArray[np.float32]
    """[N, 2]; zeros for members beyond the first `MAP_POINTS`"""
    mapped: NDArray[np.bool_]
    """[N] which are on the map"""
    map_method: str
    track_ids: Sequence[str]

    def for_newcomer(self, segment: int | None, k: int) -> list[tuple[int, str]]:
        """k (segment, track id) for somebody without listens who fits a segment; None where none is known.

        Then the segments take turns, so that everybody finds something of theirs.
        """
        if segment is not None and not 0 <= segment < len(self.portraits):
            raise UsageError(f"segment {segment}: there are 0 to {len(self.portraits) - 1}")
        chosen = self.portraits if segment is None else (self.portraits[segment],)
        rows = turns([portrait.popular for portrait in chosen], [portrait.size for portrait in chosen], k)
        return [(chosen[owner].segment, self.track_ids[row]) for row, owner in rows]

    def table(self) -> pl.DataFrame:
        """One row per member: id, segment (null for none), x, y (null where not mapped)."""
        there = pl.Series(self.mapped)
        labels = pl.Series(self.segments.labels)
        return pl.DataFrame({"id": pl.Series(self.ids, dtype=pl.String), "segment": labels}).with_columns(
            pl.when(pl.col("segment") >= 0).then("segment"),
            x=pl.when(there).then(pl.Series(self.positions[:, 0])),
            y=pl.when(there).then(pl.Series(self.positions[:, 1])),
        )

    def newcomer_table(self) -> pl.DataFrame:
        """segment (null: for everybody), rank (from 1), track_id: see `for_newcomer`."""
        rows = [
            (segment, rank, track_id)
            for segment in (None, *(portrait.segment for portrait in self.portraits))
            for rank, (_, track_id) in enumerate(self.for_newcomer(segment, POPULAR), 1)
        ]
        return pl.DataFrame(rows, {"segment": pl.Int32, "rank": pl.Int32, "track_id": pl.String}, orient="row")

    def charts(self) -> Iterator[Chart]:
        """The map, and the figures that the number of segments was chosen by."""
        names = {portrait.segment: f"{portrait.segment + 1}: {_short(portrait)}" for portrait in self.portraits}
        points = self.table().drop_nulls().with_columns(name=pl.col("segment").replace_strict(names, default=""))
        yield Chart(
            name=f"map-of-{self.kind}",
            title=f"{self.kind.capitalize()} by taste",
            frame=points.sort("segment"),
            kind="points",
            x="x",
            y="y",
            series="name",
            text="id",
            plain_axes=True,
            wide=True,
            note=f"{self.map_method.upper()}: near means alike; far distances and axes mean nothing.",
        )
        choices = pl.DataFrame([asdict(choice) for choice in self.segments.choices])
        figures = choices.unpivot(["silhouette", "stability"], index="count", variable_name="figure")
        yield Chart(
            name=f"number-of-{self.kind}-segments",
            title="How many segments",
            frame=figures,
            kind="line",
            x="count",
            y="value",
            series="figure",
            x_title="segments",
            note="The number with the highest sum is taken.",
        )

    def write(self, folder: Path) -> list[Path]:
        """Parquet tables, the model and pictures."""
        folder.mkdir(parents=True, exist_ok=True)
        names = (f"{self.kind}.parquet", f"{self.kind}-segments.jsonl", f"{self.kind}-newcomers.parquet")
        written = [folder / name for name in names]
        self.table().write_parquet(written[0])
        self.newcomer_table().write_parquet(written[2])
        lines = [json.dumps(portrait.record(), ensure_ascii=False) for portrait in self.portraits]
        written[1].write_text("\n".join(lines) + "\n")
        self.segments.save(folder / self.kind)
        for chart in self.charts():
            written.append(folder / f"{chart.name}.png")
            draw(chart, written[-1])
        return written


def turns(lists: Sequence[Sequence[int]], sizes: Sequence[int], k: int) -> list[tuple[int, int]]:
    """k (item, the list it is from), none twice: each list's turn comes as often as its size calls for (d'Hondt)."""
    left = [list(reversed(items)) for items in lists]
    taken = [0] * len(lists)
    found: dict[int, int] = {}
    while len(found) < k and any(left):
        here = max((row for row, items in enumerate(left) if items), key=lambda row: sizes[row] / (taken[row] + 1))
        item = left[here].pop()
        if item not in found:
            found[item] = here
            taken[here] += 1
    return list(found.items())


def segment_listeners(
    library: Library, segments: Segments, *, sound: str | None = None, vectors: NDArray[np.float32] | None = None
) -> Segmentation:
    """Segments of the users by their taste vectors, or by `vectors` [U, D] given for them in the order of their ids."""
    users, listens, catalogue = _read(library, sound)
    if vectors is None:
        vectors = _als(listens).user_factors
    if len(vectors) != len(users):
        raise DataError(f"vectors: {len(vectors)}, but the log has {len(users)} users")
    segments.fit(vectors)
    genres = genre_matrix(library, catalogue)
    portraits = tuple(_portraits(segments.labels, listens, catalogue, _sounds(library), genres))
    return _segmentation("listeners", segments, users.to_list(), portraits, vectors, catalogue.track_ids)


def segment_tracks(library: Library, segments: Segments, *, sound: str | None = None) -> Segmentation:
    """Segments of the tracks with listeners, by their taste vectors."""
    _, listens, catalogue = _read(library, sound)
    vectors = _als(listens).track_factors
    segments.fit(vectors)
    genres = genre_matrix(library, catalogue)
    portraits = tuple(_track_portraits(segments.labels, listens, catalogue, _sounds(library), genres))
    return _segmentation("tracks", segments, list(catalogue.track_ids), portraits, vectors, catalogue.track_ids)


def _read(library: Library, sound: str | None) -> tuple[pl.Series, Interactions, Catalogue]:
    log = read_listens(library)
    catalogue = library.catalogue(sound)
    users, _ = listed_ids(log)
    return users, to_listens(log, users, catalogue.track_ids), catalogue


def _als(listens: Interactions) -> ALS:
    return ALS(ALSOptions(factors=min(FACTORS, max(2, min(listens.user_count, listens.track_count) - 1)))).fit(listens)


def _segmentation(
    kind: str,
    segments: Segments,
    ids: Sequence[str],
    portraits: tuple[Portrait, ...],
    vectors: NDArray[np.float32],
    track_ids: Sequence[str],
) -> Segmentation:
    if kind not in KINDS:
        raise UsageError(f"{kind}: has to be one of {', '.join(KINDS)}")
    there = np.flatnonzero(segments.labels >= 0)
    seed = segments.options.seed
    if len(there) > MAP_POINTS:
        there = np.sort(np.random.default_rng(seed).choice(there, MAP_POINTS, replace=False))
    mapped = np.zeros(len(vectors), bool)
    mapped[there] = True
    positions = np.zeros((len(vectors), 2), np.float32)
    positions[there], method = flat_map(vectors[there], seed=seed)
    return Segmentation(kind, segments, ids, portraits, positions, mapped, method, track_ids)


def _portraits(
    labels: NDArray[np.int32],
    listens: Interactions,
    catalogue: Catalogue,
    sounds: dict[str, NDArray[np.float64]],
    genres: tuple[tuple[str, ...], csr_matrix],
) -> Iterator[Portrait]:
    """Of listeners: by what the users of a segment like, against what everybody likes."""
    liked = (listens.matrix > 0).astype(np.float32)
    events = np.bincount(listens.user_rows, minlength=listens.user_count)
    members = np.bincount(labels[labels >= 0])
    for segment, size in enumerate(members):
        inside = labels == segment
        counts = np.asarray(liked[np.flatnonzero(inside)].sum(axis=0), np.float64).ravel()
        yield _portrait(
            segment,
            int(size),
            int(members.sum()),
            counts,
            liked,
            catalogue,
            sounds,
            genres,
            float(events[inside].mean()),
        )


def _track_portraits(
    labels: NDArray[np.int32],
    listens: Interactions,
    catalogue: Catalogue,
    sounds: dict[str, NDArray[np.float64]],
    genres: tuple[tuple[str, ...], csr_matrix],
) -> Iterator[Portrait]:
    """Of tracks: by the tracks themselves, as often as they are liked."""
    liked = (listens.matrix > 0).astype(np.float32)
    listeners = np.asarray(liked.sum(axis=0), np.float64).ravel()
    members = np.bincount(labels[labels >= 0])
    for segment, size in enumerate(members):
        counts = np.where(labels == segment, listeners, 0)
        each = float(counts.sum() / size)
        yield _portrait(segment, int(size), int(members.sum()), counts, liked, catalogue, sounds, genres, each)


def _portrait(
    segment: int,
    size: int,
    total: int,
    counts: NDArray[np.float64],
    liked: csr_matrix,
    catalogue: Catalogue,
    sounds: dict[str, NDArray[np.float64]],
    genres: tuple[tuple[str, ...], csr_matrix],
    listens_each: float,
) -> Portrait:
    everybody = np.asarray(liked.sum(axis=0), np.float64).ravel()
    names, matrix = genres
    typical_genres = _typical(names, matrix, counts, everybody)
    artists = _typical(catalogue.artist_names, catalogue.artist_matrix, counts, everybody)
    means = {name: _mean(values, counts) for name, values in sounds.items()}
    usual = {name: _mean(values, everybody) for name, values in sounds.items()}
    best, _ = top_k(counts, POPULAR)
    best = best[counts[best] > 0]
    parts = [" and ".join(typical_genres[:2]) or "no genre of its own"]
    if artists:
        parts.append("mostly " + ", ".join(artists))
    if (tempo := means["tempo_bpm"]) is not None:
        parts.append(f"{_compared(tempo, usual['tempo_bpm'], 4, 'slower', 'faster')} ({tempo:.0f} BPM)")
    if (loudness := means["loudness_lufs"]) is not None:
        parts.append(_compared(loudness, usual["loudness_lufs"], 1, "quieter", "more energetic"))
    return Portrait(
        segment=segment,
        size=size,
        share=round(size / total, 4),
        description="; ".join(parts),
        genres=typical_genres,
        artists=artists,
        listens_each=round(listens_each, 1),
        tempo_bpm=None if tempo is None else round(tempo, 1),
        loudness_lufs=None if loudness is None else round(loudness, 1),
        tracks=tuple(catalogue.track_ids[row] for row in best[:10]),
        popular=tuple(best.tolist()),
    )


def _typical(
    names: Sequence[str], matrix: csr_matrix, counts: NDArray[np.float64], everybody: NDArray[np.float64]
) -> tuple[str, ...]:
    """The names with the highest lift among those that matter, at most three."""
    if not names:
        return ()
    inside, outside = matrix.T @ counts, matrix.T @ everybody
    lifts = lift(inside, outside)
    # A name with less than a hundredth of the listens does not stand for the segment.
    lifts[inside < 0.01 * max(inside.sum(), 1e-9)] = 0
    order, _ = top_k(lifts, _NAMED)
    return tuple(names[row] for row in order if lifts[row] > 1)


def _sounds(library: Library) -> dict[str, NDArray[np.float64]]:
    """[T] tempo and loudness of each track, NaN where it was not heard."""
    ids = library.track_ids()
    row_of = {track_id: row for row, track_id in enumerate(ids)}
    found = {name: np.full(len(ids), np.nan) for name in ("tempo_bpm", "loudness_lufs")}
    for track_id, text in library.query("SELECT track_id, description FROM tracks JOIN heard USING (content_hash)"):
        description = json.loads(text)
        for name, values in found.items():
            if description.get(name) is not None:
                values[row_of[track_id]] = description[name]
    return found


def genre_matrix(library: Library, catalogue: Catalogue) -> tuple[tuple[str, ...], csr_matrix]:
    """([G] names, [T, G]): the catalogue's own labels, else what the encoder heard."""
    from scipy.sparse import csr_matrix

    if any(catalogue.genres):
        names = tuple(dict.fromkeys(name for labels in catalogue.genres for name in labels))
        row_of = {name: row for row, name in enumerate(names)}
        pairs = [(track, row_of[name]) for track, labels in enumerate(catalogue.genres) for name in set(labels)]
        tracks, rows = np.array(sorted(pairs), np.int32).T
        return names, csr_matrix((np.ones(len(pairs), np.float32), (tracks, rows)), (len(catalogue), len(names)))
    if catalogue.genre_names:
        return catalogue.genre_names, csr_matrix(catalogue.genre_probabilities)
    return (), csr_matrix((len(catalogue), 0), dtype=np.float32)


def _mean(values: NDArray[np.float64], counts: NDArray[np.float64]) -> float | None:
    weights = np.where(np.isnan(values), 0, counts)
    return float(np.nan_to_num(values) @ weights / weights.sum()) if weights.sum() > 0 else None


def _compared(value: float, usual: float | None, step: float, less: str, more: str) -> str:
    if usual is None or abs(value - usual) < step:
        return f"neither {less} nor {more} than others"
    return f"{less if value < usual else more} than others"


def _short(portrait: Portrait) -> str:
    return " and ".join(portrait.genres[:2]) or ", ".join(portrait.artists[:1]) or f"{portrait.size} members"
