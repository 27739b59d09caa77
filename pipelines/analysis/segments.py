"""Segments of a library's listeners or tracks, described by what sets each apart.

Shapes: U users, T tracks, S segments, N members.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from ...models.analysis.listener_clusters import Segments, lift
from ...models.analysis.projection import flat_map
from ...models.arrays import top_k
from ...models.catalogue import Catalogue
from ...models.interactions import Interactions
from ...models.recommenders.als import ALS, ALSOptions
from ..charts.chart import Chart, draw
from ..interactions.schema import read_interactions
from ..library.store import Library

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FACTORS = 64
MAP_POINTS = 20_000
POPULAR = 200


@dataclass(frozen=True, kw_only=True)
class SegmentProfile:
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
    """Segments, their profiles and a map."""

    kind: str
    segments: Segments
    ids: Sequence[str]
    """[N] of users or tracks"""
    profiles: tuple[SegmentProfile, ...]
    positions: NDArray[np.float32]
    """[N, 2]; NaN for those that are not on the map"""
    map_method: str
    track_ids: Sequence[str]

    def for_newcomer(self, segment: int | None, k: int) -> list[tuple[int, str]]:
        """k (segment, track id) for a user without listens who fits a segment; None where the segment is unknown.

        Then the segments take turns, as often as their sizes call for.
        """
        if segment is not None and not 0 <= segment < len(self.profiles):
            raise UsageError(f"segment {segment}: there are 0 to {len(self.profiles) - 1}")
        chosen = self.profiles if segment is None else (self.profiles[segment],)
        rows = turns([profile.popular for profile in chosen], [profile.size for profile in chosen], k)
        return [(chosen[owner].segment, self.track_ids[row]) for row, owner in rows]

    def table(self) -> pl.DataFrame:
        """One row per member: id, segment (null for none), x, y (null where not mapped)."""
        columns = {"segment": self.segments.labels, "x": self.positions[:, 0], "y": self.positions[:, 1]}
        frame = pl.DataFrame({"id": pl.Series(self.ids, dtype=pl.String), **columns})
        return frame.with_columns(pl.when(pl.col("segment") >= 0).then("segment"), pl.col("x", "y").fill_nan(None))

    def newcomer_table(self) -> pl.DataFrame:
        """segment (null: for everybody), rank (from 1), track_id: see `for_newcomer`."""
        rows = [
            (segment, rank, track_id)
            for segment in (None, *(profile.segment for profile in self.profiles))
            for rank, (_, track_id) in enumerate(self.for_newcomer(segment, POPULAR), 1)
        ]
        return pl.DataFrame(rows, {"segment": pl.Int32, "rank": pl.Int32, "track_id": pl.String}, orient="row")

    def charts(self) -> Iterator[Chart]:
        """The map, and the figures that the number of segments was chosen by."""
        names = {profile.segment: f"{profile.segment + 1}: {_short(profile)}" for profile in self.profiles}
        points = self.table().drop_nulls().with_columns(name=pl.col("segment").replace_strict(names, default=""))
        yield Chart(
            name=f"map-of-{self.kind}",
            title=f"{self.kind.capitalize()} by taste",
            frame=points.sort("segment", maintain_order=True),
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
        lines = [json.dumps(profile.record(), ensure_ascii=False) for profile in self.profiles]
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
    owner_of: dict[int, int] = {}
    while len(owner_of) < k and any(left):
        owner = max((row for row, items in enumerate(left) if items), key=lambda row: sizes[row] / (taken[row] + 1))
        item = left[owner].pop()
        if item not in owner_of:
            owner_of[item] = owner
            taken[owner] += 1
    return list(owner_of.items())


def find_segments(
    library: Library,
    kind: Literal["listeners", "tracks"],
    segments: Segments,
    *,
    sound: str | None = None,
    vectors: NDArray[np.float32] | None = None,
) -> Segmentation:
    """Segments of the users, or of the tracks with listeners, by their taste vectors.

    Or by `vectors` [N, D] given for them: users in the order of their ids.
    """
    catalogue = library.catalogue(sound)
    users, listens = read_interactions(library, catalogue)
    of_tracks = kind == "tracks"
    ids = catalogue.track_ids if of_tracks else users.to_list()
    if vectors is None:
        factors = min(FACTORS, max(2, min(listens.user_count, listens.track_count) - 1))
        als = ALS(ALSOptions(factors=factors)).fit(listens)
        vectors = als.track_factors if of_tracks else als.user_factors
    if len(vectors) != len(ids):
        raise DataError(f"vectors: {len(vectors)}, but the log has {len(ids)} users")
    describer = _Describer(library, listens, catalogue)
    events = np.bincount(listens.user_rows, minlength=listens.user_count)
    labels, seed = segments.fit(vectors).labels, segments.options.seed
    profiles = []
    for segment in range(labels.max() + 1):
        members = labels == segment
        if of_tracks:
            listeners, listens_each = np.where(members, describer.everybody, 0), describer.everybody[members].mean()
        else:
            liked = describer.liked[np.flatnonzero(members)].sum(axis=0)
            listeners, listens_each = np.asarray(liked, np.float64).ravel(), events[members].mean()
        profiles.append(describer.profile(labels, segment, listeners, float(listens_each)))
    mapped = np.flatnonzero(labels >= 0)
    if len(mapped) > MAP_POINTS:
        mapped = np.sort(np.random.default_rng(seed).choice(mapped, MAP_POINTS, replace=False))
    positions = np.full((len(vectors), 2), np.nan, np.float32)
    positions[mapped], method = flat_map(vectors[mapped], seed=seed)
    return Segmentation(kind, segments, ids, tuple(profiles), positions, method, describer.catalogue.track_ids)


class _Describer:
    """Sets a segment apart: what its members like, against what everybody likes."""

    def __init__(self, library: Library, listens: Interactions, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.liked = (listens.matrix > 0).astype(np.float32)
        """[U, T]"""
        self.everybody = np.asarray(self.liked.sum(axis=0), np.float64).ravel()
        """[T] listeners"""
        self.genre_names, self.genres = genre_matrix(library, catalogue)
        described = pl.DataFrame({"track_id": library.track_ids()}, {"track_id": pl.String}).join(
            library.loudness_and_tempo(), on="track_id", how="left", maintain_order="left"
        )
        self.tempo, self.loudness = (
            described.get_column(name).fill_null(np.nan).to_numpy() for name in ("tempo_bpm", "loudness_lufs")
        )

    def profile(
        self, labels: NDArray[np.int32], segment: int, counts: NDArray[np.float64], listens_each: float
    ) -> SegmentProfile:
        """Of a segment whose members like each track `counts` [T] times."""
        members, size = int((labels >= 0).sum()), int((labels == segment).sum())
        genres, artists = (
            typical(names, matrix.T @ counts, matrix.T @ self.everybody)
            for names, matrix in (
                (self.genre_names, self.genres),
                (self.catalogue.artist_names, self.catalogue.artist_matrix),
            )
        )
        tempo, loudness = _mean(self.tempo, counts), _mean(self.loudness, counts)
        popular, _ = top_k(counts, POPULAR)
        popular = popular[counts[popular] > 0]
        parts = [" and ".join(genres[:2]) or "no genre of its own"]
        if artists:
            parts.append("mostly " + ", ".join(artists))
        if tempo is not None:
            usual = _mean(self.tempo, self.everybody)
            parts.append(f"{_compared(tempo, usual, 4, 'slower', 'faster')} ({tempo:.0f} BPM)")
        if loudness is not None:
            parts.append(_compared(loudness, _mean(self.loudness, self.everybody), 1, "quieter", "more energetic"))
        return SegmentProfile(
            segment=segment,
            size=size,
            share=round(size / members, 4),
            description="; ".join(parts),
            genres=genres,
            artists=artists,
            listens_each=round(listens_each, 1),
            tempo_bpm=None if tempo is None else round(tempo, 1),
            loudness_lufs=None if loudness is None else round(loudness, 1),
            tracks=tuple(self.catalogue.track_ids[row] for row in popular[:10]),
            popular=tuple(popular.tolist()),
        )


def typical(
    names: Sequence[str] | NDArray[np.str_], inside: NDArray[np.floating], outside: NDArray[np.floating], most: int = 3
) -> tuple[str, ...]:
    """The names with the highest lift among those that matter: `inside` counts each in a segment, `outside` in all."""
    if not len(names):
        return ()
    lifts = lift(inside, outside)
    # A name with less than a hundredth of the listens does not stand for the segment.
    lifts[inside < 0.01 * max(inside.sum(), 1e-9)] = 0
    order, _ = top_k(lifts, most)
    return tuple(names[row] for row in order if lifts[row] > 1)


def genre_matrix(library: Library, catalogue: Catalogue) -> tuple[tuple[str, ...], csr_matrix]:
    """([G] names, [T, G]): the catalogue's own labels, else the genre model's probabilities."""
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


def _short(profile: SegmentProfile) -> str:
    return " and ".join(profile.genres[:2]) or ", ".join(profile.artists[:1]) or f"{profile.size} members"
