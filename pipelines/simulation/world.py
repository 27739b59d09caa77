"""A synthetic world of listeners and tracks, whose truth is known.

Listeners are directions in the tracks' latent space (`simulation.tracks`): around the centre of their group, and they
drift. A listen chooses softly among a few tracks that popularity put in front of the listener, by how well they match:
sampling-importance-resampling, so that a log of any size costs the same per row. Habits that real listeners are known
for can be added (see `habits`).

Shapes: T tracks, U users, K latent dimensions, E events of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ...models.arrays import l2_normalize
from ...models.catalogue import Catalogue
from ...models.interactions import Clock, Interactions
from .habits import Habitual
from .options import WorldOptions
from .tracks import DAY_SECONDS, EPOCH_SECONDS, WorldTracks, synthetic_tracks

_SESSION_LISTENS = 8
_BLOCK_EVENTS = 60_000

Floats = NDArray[np.float32]


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
        self.options = options or WorldOptions()
        self.tracks = tracks if tracks is not None else synthetic_tracks(self.options)
        chosen = self.options
        rng = np.random.default_rng([chosen.seed, 1])
        self.group_centres: Floats = l2_normalize(_spread(rng, chosen.groups, self.tracks.latents))
        """[groups, K]"""
        self.user_groups: NDArray[np.int32] = rng.integers(chosen.groups, size=chosen.users).astype(np.int32)
        """[U]"""
        dimensions = self.tracks.latents.shape[1]
        own = l2_normalize(rng.normal(size=(chosen.users, dimensions)).astype(np.float32))
        self.user_tastes: Floats = l2_normalize(self.group_centres[self.user_groups] + chosen.personal * own)
        """[U, K] of length 1, at the beginning of the log"""
        drifts = l2_normalize(rng.normal(size=(chosen.users, dimensions)).astype(np.float32))
        self.user_drifts: Floats = chosen.drift * drifts
        """[U, K] added by the end of it"""
        activity = np.minimum(rng.pareto(1.8, chosen.users) + 0.3, 30.0)
        self.user_listens: NDArray[np.int64] = np.maximum(
            3, np.round(activity * chosen.listens_per_user / activity.mean())
        ).astype(np.int64)
        """[U]"""
        self.habitual = Habitual(chosen.habits, self.tracks, chosen.users, chosen.days, chosen.seed)

    def __repr__(self) -> str:
        rows = int(self.user_listens.sum())
        return f"World({self.options.users:,} users, {len(self.tracks):,} tracks, {rows:,} listens)"

    @cached_property
    def user_ids(self) -> tuple[str, ...]:
        """[U] external ids"""
        return tuple(str(row + 1) for row in range(self.options.users))

    def blocks(self) -> Iterator[Events]:
        """All events, in blocks of consecutive users."""
        starts = np.flatnonzero(np.diff(np.cumsum(self.user_listens) // _BLOCK_EVENTS, prepend=-1))
        for block, (low, high) in enumerate(zip(starts, [*starts[1:], self.options.users], strict=True)):
            yield self._events(int(low), int(high), np.random.default_rng([self.options.seed, 2, block]))

    @cached_property
    def _shelf(self) -> NDArray[np.int32]:
        """Rows of tracks, each as often as it is popular: a uniform draw from it is a draw by popularity."""
        size = max(1 << 18, 16 * len(self.tracks))
        edges = np.cumsum(self.tracks.popularity)
        return np.searchsorted(edges / edges[-1], (np.arange(size) + 0.5) / size).astype(np.int32)

    def _events(self, low: int, high: int, rng: np.random.Generator) -> Events:
        """The events of users low … high - 1."""
        chosen, tracks = self.options, self.tracks
        counts = self.user_listens[low:high]
        users = np.repeat(np.arange(low, high, dtype=np.int32), counts)
        total = len(users)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.arange(total) - firsts
        times = _session_times(users, positions, chosen.days, rng)

        progress = ((times - EPOCH_SECONDS) / (chosen.days * DAY_SECONDS)).astype(np.float32)
        tastes = l2_normalize(self.user_tastes[users] + progress[:, None] * self.user_drifts[users])
        offered = self._shelf[rng.integers(len(self._shelf), size=(total, chosen.candidates))]
        found = self._choose(users, offered, times, tastes, rng)
        rows = np.arange(total)
        # A repeated listen points at an earlier one of the same listener; follow the pointers to their origin.
        source = np.where(
            rng.random(total) < chosen.repeat, firsts + (rng.random(total) * positions).astype(np.int64), rows
        )
        if chosen.habits:
            own = np.random.default_rng([chosen.seed, 5, low])
            back = self.habitual.back_to_artist(positions, own)
            loyal = back > 0
            source[loyal] = rows[loyal]
            met = found[_origins(np.where(loyal, rows - back, source))[loyal]]
            others = self.habitual.others(met, chosen.candidates, own)
            found[loyal] = self._choose(users[loyal], others, times[loyal], tastes[loyal], own)
        heard = found[_origins(source)]
        match = np.einsum("ek,ek->e", tracks.latents[heard], tastes)

        finished = rng.random(total) < _sigmoid(6 * (match - 0.1))
        ratios = np.where(
            finished, np.where(rng.random(total) < 0.9, 1.0, rng.uniform(0.7, 1.3, total)), rng.beta(1, 4, total)
        )
        liked = (rng.random(total) < 0.15 * _sigmoid(10 * (match - 0.6))).astype(np.int8)
        liked[rng.random(total) < 0.03 * _sigmoid(-10 * (match + 0.1))] = -1
        return Events(users, heard, times, positions, ratios.astype(np.float32), liked, rng.random(total) < 0.6)

    def _choose(
        self,
        users: NDArray[np.int32],
        offered: NDArray[np.int32],
        times: NDArray[np.int64],
        tastes: Floats,
        rng: np.random.Generator,
    ) -> NDArray[np.int32]:
        """[E] of the tracks offered [E, C] to each of E users of tastes [E, K]; what is not released yet, never."""
        tracks = self.tracks
        matches = np.einsum("eck,ek->ec", tracks.latents[offered], tastes)
        age_days = (times[:, None] - tracks.released_at[offered]) / DAY_SECONDS
        fresh = np.where(age_days < 0, -1e9, np.exp(-np.maximum(age_days, 0) / 20))
        appeal = self.options.taste_strength * matches + fresh
        if self.options.habits:
            appeal += self.habitual.appeal(users, offered, times)
        picks = np.argmax(appeal - np.log(rng.exponential(size=appeal.shape)), axis=1)  # Gumbel's way to draw a softmax
        return np.asarray(offered[np.arange(len(offered)), picks])

    def listens(self) -> Interactions:
        """All listens as the recommenders take them: 1 for a track half played, more if liked, less if skipped."""
        blocks = list(self.blocks())
        ratios = np.concatenate([block.played_ratios for block in blocks])
        liked = np.concatenate([block.liked for block in blocks])
        weights = np.where(liked < 0, -1, np.where(ratios >= 0.5, 1, 0.1) + 2 * (liked > 0)).astype(np.float32)
        return Interactions(
            np.concatenate([block.user_rows for block in blocks]),
            np.concatenate([block.track_rows for block in blocks]),
            weights,
            self.options.users,
            len(self.tracks),
            np.concatenate([block.times for block in blocks]),
            Clock.TIME,
        )

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
        return pl.concat(self.event_frame(block) for block in self.blocks())

    def event_frame(self, events: Events) -> pl.DataFrame:
        """One block of them."""
        users = pl.Series(self.user_ids, dtype=pl.String)
        tracks = pl.Series(self.tracks.track_ids, dtype=pl.String)
        return pl.DataFrame(
            {
                "user_id": users.gather(events.user_rows),
                "track_id": tracks.gather(events.track_rows),
                "time": events.times,
                "position": events.positions,
                "played_ratio": events.played_ratios,
                "liked": pl.Series(events.liked).replace(0, None),
                "organic": events.organic,
            }
        )


def _origins(source: NDArray[np.int64]) -> NDArray[np.int64]:
    """[E] each event's pointer to an earlier one or to itself, followed to the end."""
    while (source != source[source]).any():
        source = source[source]
    return source


def _spread(rng: np.random.Generator, groups: int, latents: Floats) -> Floats:
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
