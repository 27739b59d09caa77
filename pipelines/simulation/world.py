"""A synthetic world of listeners and tracks, whose truth is known.

A track is a unit vector in a latent space, near its artist, which is near a style; its sound reveals that vector to the
degree `link`. Listeners are directions in the same space, around the centre of their group, and they drift. A listen
draws a few tracks by popularity and chooses one of them by a softmax over how well they match the listener
(sampling-importance-resampling), so that a log of any size costs the same per row. `habits` adds further behaviour.

Shapes: T tracks, U users, K latent dimensions, D dimensions of the sound, E events of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...errors import UsageError
from ...models.arrays import l2_normalize
from ...models.catalogue import Catalogue
from ...models.interactions import Clock, Interactions
from ..interactions.schema import user_blocks
from ..interactions.statistics import DAY_SECONDS
from .habits import HabitEffects, Habits
from .tracks import EPOCH_SECONDS, Floats, WorldTracks, artist_names, title

_SESSION_LISTENS = 8
_BLOCK_EVENTS = 60_000


@dataclass(frozen=True, kw_only=True)
class WorldOptions:
    """How large the world is, and how its listeners choose."""

    users: int = 1_000
    tracks: int = 2_000
    artists: int = 200
    groups: int = 6
    """of listeners with like taste: the segments that an analysis should find"""
    styles: int = 12
    seed: int = 0
    link: float = 0.8
    """how much of a track's latent point its sound reveals: 0 nothing … 1 all of it"""
    within_artist: float = 0.6
    """the share of the spread around a style that is between the tracks of one artist, not between artists"""
    listens_per_user: float = 60.0
    """on average; activity has a heavy tail"""
    days: int = 300
    latent_dimensions: int = 8
    sound_dimensions: int = 32
    taste_strength: float = 6.0
    """log-odds between the best and a neutral match"""
    personal: float = 0.5
    """how far a listener is from the group's centre, as a length beside 1"""
    drift: float = 0.3
    """how far taste moves over the whole log, in the same unit"""
    candidates: int = 24
    """tracks that compete for each listen"""
    repeat: float = 0.2
    """the share of listens that go back to a track heard before"""
    fresh: float = 0.15
    """the share of tracks that are released while the log runs"""
    habits: Habits = field(default_factory=Habits)

    def __post_init__(self) -> None:
        for name in ("users", "tracks", "artists", "groups", "styles", "days", "latent_dimensions", "sound_dimensions"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: {getattr(self, name)}, but a world needs at least 1")
        for name in ("link", "within_artist", "repeat", "fresh"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: {getattr(self, name)}, outside 0 … 1")


@dataclass(frozen=True, eq=False)
class Events:
    """E listens of whole users, each user's in order of time."""

    user_rows: NDArray[np.int32]
    track_rows: NDArray[np.int32]
    times: NDArray[np.int64]
    """seconds since 1970"""
    positions: NDArray[np.int64]
    """0, 1, … of each user"""
    played_ratios: Floats
    """0 … 1, and a little above where parts were replayed"""
    liked: NDArray[np.int8]
    """1 liked, -1 disliked, 0 neither"""
    organic: NDArray[np.bool_]
    """whether the listener found it without being led"""

    def __len__(self) -> int:
        return len(self.user_rows)


class World:
    """Listeners, tracks and the truth about them; everything follows from the options.

    Its arrays are small (users and tracks, not listens). Events come in blocks of users, each with a seed of its own.
    """

    def __init__(self, options: WorldOptions | None = None, tracks: WorldTracks | None = None) -> None:
        """`tracks` are given where they exist already, as in the demo."""
        self.options = options = options or WorldOptions()
        self.tracks = tracks = tracks if tracks is not None else synthetic_tracks(options)
        rng = np.random.default_rng([options.seed, 1])
        self.group_centres: Floats = l2_normalize(_distant_points(rng, options.groups, tracks.latents))
        """[groups, K]"""
        self.user_groups: NDArray[np.int32] = rng.integers(options.groups, size=options.users).astype(np.int32)
        """[U]"""
        shape = (options.users, tracks.latents.shape[1])
        personal = l2_normalize(rng.normal(size=shape).astype(np.float32))
        self.user_tastes: Floats = l2_normalize(self.group_centres[self.user_groups] + options.personal * personal)
        """[U, K] of length 1, at the beginning of the log"""
        self.user_drifts: Floats = options.drift * l2_normalize(rng.normal(size=shape).astype(np.float32))
        """[U, K] added by the end of it"""
        activity = np.minimum(rng.pareto(1.8, options.users) + 0.3, 30.0)
        listens = np.round(activity * options.listens_per_user / activity.mean())
        self.user_listens: NDArray[np.int64] = np.maximum(3, listens).astype(np.int64)
        """[U]"""
        self.habit_effects = HabitEffects(options.habits, tracks, options.users, options.days, options.seed)

    def __repr__(self) -> str:
        rows = int(self.user_listens.sum())
        return f"World({self.options.users:,} users, {len(self.tracks):,} tracks, {rows:,} listens)"

    @cached_property
    def user_ids(self) -> tuple[str, ...]:
        """[U] external ids"""
        return tuple(str(row + 1) for row in range(self.options.users))

    def blocks(self) -> Iterator[Events]:
        """All events, in blocks of consecutive users."""
        for block, (first, end) in enumerate(user_blocks(self.user_listens, _BLOCK_EVENTS)):
            yield self._events(first, end, np.random.default_rng([self.options.seed, 2, block]))

    @cached_property
    def _rows_by_popularity(self) -> NDArray[np.int32]:
        """Rows of tracks, each as often as it is popular: a uniform draw of them is a draw by popularity."""
        size = max(1 << 18, 16 * len(self.tracks))
        edges = np.cumsum(self.tracks.popularity)
        return np.searchsorted(edges / edges[-1], (np.arange(size) + 0.5) / size).astype(np.int32)

    def _events(self, low: int, high: int, rng: np.random.Generator) -> Events:
        """The events of users low … high - 1."""
        options, draws = self.options, self._rows_by_popularity
        counts = self.user_listens[low:high]
        users = np.repeat(np.arange(low, high, dtype=np.int32), counts)
        total = len(users)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.arange(total) - firsts
        times = _session_times(users, positions, options.days, rng)

        progress = ((times - EPOCH_SECONDS) / (options.days * DAY_SECONDS)).astype(np.float32)
        tastes = l2_normalize(self.user_tastes[users] + progress[:, None] * self.user_drifts[users])
        candidates = draws[rng.integers(len(draws), size=(total, options.candidates))]
        chosen = self._choose(users, candidates, times, tastes, rng)
        rows = np.arange(total)
        # A repeated listen points at an earlier one of the same listener; follow the pointers to their origin.
        source = np.where(
            rng.random(total) < options.repeat, firsts + (rng.random(total) * positions).astype(np.int64), rows
        )
        if options.habits:
            habit_rng = np.random.default_rng([options.seed, 5, low])
            back = self.habit_effects.back_to_artist(positions, habit_rng)
            loyal = back > 0
            source[loyal] = rows[loyal]
            earlier = chosen[_origins(np.where(loyal, rows - back, source))[loyal]]
            others = self.habit_effects.others(earlier, options.candidates, habit_rng)
            chosen[loyal] = self._choose(users[loyal], others, times[loyal], tastes[loyal], habit_rng)
        played = chosen[_origins(source)]
        match = np.einsum("ek,ek->e", self.tracks.latents[played], tastes)

        finished = rng.random(total) < _sigmoid(6 * (match - 0.1))
        ratios = np.where(
            finished, np.where(rng.random(total) < 0.9, 1.0, rng.uniform(0.7, 1.3, total)), rng.beta(1, 4, total)
        )
        liked = (rng.random(total) < 0.15 * _sigmoid(10 * (match - 0.6))).astype(np.int8)
        liked[rng.random(total) < 0.03 * _sigmoid(-10 * (match + 0.1))] = -1
        return Events(users, played, times, positions, ratios.astype(np.float32), liked, rng.random(total) < 0.6)

    def _choose(
        self,
        users: NDArray[np.int32],
        candidates: NDArray[np.int32],
        times: NDArray[np.int64],
        tastes: Floats,
        rng: np.random.Generator,
    ) -> NDArray[np.int32]:
        """[E] one of the candidates [E, C] of each of E users of tastes [E, K]; never one that is not released yet."""
        tracks = self.tracks
        matches = np.einsum("eck,ek->ec", tracks.latents[candidates], tastes)
        age_days = (times[:, None] - tracks.released_at[candidates]) / DAY_SECONDS
        newness = np.where(age_days < 0, -1e9, np.exp(-np.maximum(age_days, 0) / 20))
        appeal = self.options.taste_strength * matches + newness
        if self.options.habits:
            appeal += self.habit_effects.appeal(users, candidates, times)
        picks = np.argmax(appeal - np.log(rng.exponential(size=appeal.shape)), axis=1)  # the Gumbel-max trick
        return np.asarray(candidates[np.arange(len(candidates)), picks])

    def listens(self) -> Interactions:
        """All listens as the recommenders take them: 1 for a track half played, more if liked, less if skipped."""
        blocks = list(self.blocks())
        users, tracks, times, ratios, liked = (
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("user_rows", "track_rows", "times", "played_ratios", "liked")
        )
        weights = np.where(liked < 0, -1, np.where(ratios >= 0.5, 1, 0.1) + 2 * (liked > 0)).astype(np.float32)
        return Interactions(users, tracks, weights, self.options.users, len(self.tracks), times, Clock.TIME)

    def catalogue(self) -> Catalogue:
        """The tracks with their sound, artists and dates of release."""
        tracks = self.tracks
        genres = tuple((tracks.style_names[row],) for row in tracks.style_rows)
        return Catalogue(tracks.track_ids, tracks.artists, tracks.sound, genres, released_at=tracks.released_at)

    def track_table(self) -> pl.DataFrame:
        """The tracks as a library takes them: track_id, title, artists, album, genres, released_at."""
        tracks = self.tracks
        return pl.DataFrame(
            {
                "track_id": list(tracks.track_ids),
                "title": list(tracks.titles),
                "artists": [list(names) for names in tracks.artists],
                "album": list(tracks.albums),
                "genres": [[tracks.style_names[row]] for row in tracks.style_rows],
                "released_at": tracks.released_at,
            }
        )

    def event_table(self) -> pl.DataFrame:
        """All events with external ids: user_id, track_id, time, position, played_ratio, liked, organic."""
        return pl.concat(
            pl.DataFrame(
                {
                    "user_id": pl.Series(self.user_ids).gather(events.user_rows),
                    "track_id": pl.Series(self.tracks.track_ids).gather(events.track_rows),
                    "time": events.times,
                    "position": events.positions,
                    "played_ratio": events.played_ratios,
                    "liked": pl.Series(events.liked).replace(0, None),
                    "organic": events.organic,
                }
            )
            for events in self.blocks()
        )


def synthetic_tracks(options: WorldOptions) -> WorldTracks:
    """Tracks of artists of styles, with sound that reveals `options.link` of their latent points."""
    rng = np.random.default_rng([options.seed, 0])
    count = options.tracks
    # Artists are unequal in how much they release and in how popular they are.
    artist_share = 1 / np.arange(1, options.artists + 1) ** 0.5
    artist_rows = rng.choice(options.artists, count, p=artist_share / artist_share.sum())
    artist_rows[: min(count, options.artists)] = np.arange(options.artists)[:count]
    artist_styles = rng.integers(options.styles, size=options.artists)

    shape = (options.artists, options.latent_dimensions)
    latents = _family(rng, artist_rows, artist_styles, options)
    nuisance = _family(rng, artist_rows, rng.integers(options.styles, size=options.artists), options)
    seen = options.link * latents + np.sqrt(1 - options.link**2) * nuisance
    hidden = np.tanh(1.5 * seen @ rng.normal(size=(shape[1], 64)) + rng.normal(0, 0.3, 64))
    sound = hidden @ rng.normal(size=(64, options.sound_dimensions)) / 8 + rng.normal(
        0, 0.1, (count, options.sound_dimensions)
    )

    fame = rng.permutation(options.artists)[artist_rows] + 1.0
    popularity = fame**-0.6 * (rng.permutation(count) + 10.0) ** -0.7
    fresh = rng.random(count) < options.fresh
    released = EPOCH_SECONDS + DAY_SECONDS * np.where(
        fresh, rng.integers(0, options.days, count), -rng.integers(1, 5_000, count)
    )
    names = artist_names(options.artists, rng)
    guests = np.where(rng.random(count) < 0.06, rng.integers(options.artists, size=count), -1)
    collective = rng.random(count) < 0.01
    artists = tuple(
        ("Various Artists",)
        if shared
        else tuple(dict.fromkeys((names[own], names[guest]) if guest >= 0 else (names[own],)))
        for own, guest, shared in zip(artist_rows.tolist(), guests.tolist(), collective.tolist(), strict=True)
    )
    return WorldTracks(
        track_ids=tuple(str(row + 1) for row in range(count)),
        titles=tuple(title(rng) for _ in range(count)),
        artists=artists,
        albums=tuple(
            f"{names[own]} {number}" for own, number in zip(artist_rows, rng.integers(1, 5, count), strict=True)
        ),
        style_names=tuple(f"style {number + 1}" for number in range(options.styles)),
        style_rows=artist_styles[artist_rows].astype(np.int32),
        latents=latents,
        sound=sound.astype(np.float32),
        popularity=popularity / popularity.sum(),
        released_at=released.astype(np.int64),
        duration_seconds=rng.integers(120, 420, count),
    )


def _family(
    rng: np.random.Generator, artist_rows: NDArray[np.int64], artist_styles: NDArray[np.int64], options: WorldOptions
) -> Floats:
    """[T, K] unit points: style + artist + track."""
    dimensions = options.latent_dimensions
    styles = l2_normalize(rng.normal(size=(options.styles, dimensions)))
    between, within = np.sqrt(1 - options.within_artist), np.sqrt(options.within_artist)
    artists = styles[artist_styles] + between * l2_normalize(rng.normal(size=(options.artists, dimensions)))
    return l2_normalize(
        (artists[artist_rows] + within * l2_normalize(rng.normal(size=(options.tracks, dimensions)))).astype(np.float32)
    )


def _origins(source: NDArray[np.int64]) -> NDArray[np.int64]:
    """[E] each event's pointer to an earlier one or to itself, followed to the end."""
    while (source != source[source]).any():
        source = source[source]
    return source


def _distant_points(rng: np.random.Generator, groups: int, latents: Floats) -> Floats:
    """[groups, K] points of the tracks' own cloud that are far from each other."""
    pool = latents[rng.permutation(len(latents))[:2_000]]
    chosen = [int(rng.integers(len(pool)))]
    while len(chosen) < groups:
        nearest = (pool @ pool[chosen].T).max(axis=1)
        chosen.append(int(np.argmin(nearest)))
    return pool[chosen]


def _session_times(
    users: NDArray[np.int32], positions: NDArray[np.int64], days: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[E] sorted within each user: sessions of a few tracks, most of them in the evening."""
    new = positions % _SESSION_LISTENS == 0
    owner = users[new]
    day = rng.integers(days, size=owner.size)
    hour = np.clip(rng.normal(18, 4, owner.size), 0, 21.5)
    begins = (day * DAY_SECONDS + hour * 3_600).astype(np.int64)
    begins = begins[np.lexsort((begins, owner))]
    times = begins[np.cumsum(new) - 1] + (positions % _SESSION_LISTENS) * 230 + rng.integers(0, 60, positions.size)
    # Two sessions may overlap; a listener's events stay in order.
    return np.asarray(EPOCH_SECONDS + times[np.lexsort((times, users))], np.int64)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)
