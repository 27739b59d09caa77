"""Habits: what listeners do besides following their taste, each an option of a synthetic world.

    loyalty       listeners go on with an artist they have met: the most popular tracks of the artists at hand predict
                  what comes next as well as most models do (Bonnin & Jannach 2014, ACM Computing Surveys 47)
    mainstream    they differ in how much they keep to what is popular (Bauer & Schedl 2019, PLoS ONE 14)
    eras          they prefer music of a time of their own (Holbrook & Schindler 1989, J. of Consumer Research 16)
    novelty       they differ in how much they seek what is new (Kapoor et al. 2015, RecSys)
    trends        what a track is worth to everybody changes over months (Koenigstein et al. 2011, RecSys)

How strong they are is an option each, not a figure of those papers.

Shapes: T tracks, U users, E events of a block, C tracks that compete for each, P periods.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ..interactions.statistics import DAY_SECONDS
from .tracks import EPOCH_SECONDS, Floats, WorldTracks

_PERIOD_SECONDS = 15 * DAY_SECONDS
_FASHION_PERIODS = 3.0
"""after which a fashion has lost half of its strength"""
_ERA_DAYS = 900.0
_NEW_DAYS = 30.0
_MEMORY_LISTENS = 20.0
"""how far back, on average, the artist was met that a listener goes on with"""


@dataclass(frozen=True, kw_only=True)
class Habits:
    """All 0 by default: only taste, popularity and chance count."""

    loyalty: float = 0.0
    """the share of listens that go on with the artist of an earlier one"""
    mainstream: float = 0.0
    """the spread between listeners of the power of popularity"""
    eras: float = 0.0
    """log-odds of a track of the listener's own time over one of another"""
    novelty: float = 0.0
    """log-odds of a track on the day of its release over an old one, for the average listener"""
    trends: float = 0.0
    """the spread of a track's log popularity over time"""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 0 or (name == "loyalty" and value > 1):
                raise UsageError(f"{name}: {value}, outside 0 … {'1' if name == 'loyalty' else ''}".rstrip())

    def __bool__(self) -> bool:
        return any(asdict(self).values())


STRONG = Habits(loyalty=0.3, mainstream=0.5, eras=2.0, novelty=1.5, trends=0.7)
"""a world in which all of them matter"""


class HabitEffects:
    """The habits of one world's listeners and tracks; random draws of their own, so that the rest stays as it was."""

    def __init__(self, habits: Habits, tracks: WorldTracks, users: int, days: int, seed: int) -> None:
        self.habits, self._tracks = habits, tracks
        rng = np.random.default_rng([seed, 4])
        fame = np.log(np.maximum(tracks.popularity, 1e-12))
        self._fame: Floats = (fame - fame.mean()).astype(np.float32)
        self.mainstream: Floats = rng.normal(0, habits.mainstream, users).astype(np.float32)
        """[U] added to the power of popularity"""
        self.eras: NDArray[np.int64] = tracks.released_at[rng.integers(len(tracks), size=users)]
        """[U] seconds since 1970: the middle of the time whose music they prefer"""
        self.novelty: Floats = (habits.novelty * rng.exponential(1, users)).astype(np.float32)
        """[U]"""
        periods = 2 + days * DAY_SECONDS // _PERIOD_SECONDS
        self._fashions = _walk(rng, periods if habits.trends else 0, len(tracks), habits.trends)
        # Tracks by the same first artist stand together; what nobody in particular made stands alone.
        names = [f"\0{row}" if names == ("Various Artists",) else names[0] for row, names in enumerate(tracks.artists)]
        _, self._artist_of = np.unique(names, return_inverse=True)
        self._order = np.argsort(self._artist_of, kind="stable").astype(np.int32)
        self._edges = np.concatenate([[0.0], np.cumsum(tracks.popularity[self._order])])
        self._starts = np.searchsorted(self._artist_of[self._order], np.arange(self._artist_of.max() + 2))

    def appeal(self, users: NDArray[np.int32], offered: NDArray[np.int32], times: NDArray[np.int64]) -> Floats:
        """[E, C] log-odds that the habits add to tracks offered to users at times [E]."""
        released = self._tracks.released_at[offered]
        added = self.mainstream[users, None] * self._fame[offered]
        if self.habits.eras:
            away = (released - self.eras[users, None]) / (DAY_SECONDS * _ERA_DAYS)
            added += (self.habits.eras * np.exp(-(away**2) / 2)).astype(np.float32)
        if self.habits.novelty:
            age_days = np.maximum(times[:, None] - released, 0) / DAY_SECONDS
            added += self.novelty[users, None] * np.exp(-age_days / _NEW_DAYS).astype(np.float32)
        if self.habits.trends:
            added += self._fashions[((times - EPOCH_SECONDS) // _PERIOD_SECONDS)[:, None], offered]
        return np.asarray(added, np.float32)

    def back_to_artist(self, positions: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """[E] how many listens ago the artist was met that a listen goes on with; 0 where it does not."""
        back = rng.geometric(1 / _MEMORY_LISTENS, len(positions))
        return np.where((rng.random(len(positions)) < self.habits.loyalty) & (back <= positions), back, 0)

    def others(self, tracks: NDArray[np.int32], count: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """[n] tracks -> [n, count]: each itself, then tracks by the same artist, drawn by popularity."""
        artists = self._artist_of[tracks]
        starts, ends = self._starts[artists], self._starts[artists + 1]
        low, high = self._edges[starts][:, None], self._edges[ends][:, None]
        places = (
            np.searchsorted(self._edges, low + rng.random((len(tracks), count - 1)) * (high - low), side="right") - 1
        )
        return np.column_stack([tracks, self._order[np.clip(places, starts[:, None], ends[:, None] - 1)]])


def _walk(rng: np.random.Generator, periods: int, tracks: int, spread: float) -> Floats:
    """[P, T] a stationary walk that forgets half of itself in _FASHION_PERIODS."""
    kept = 0.5 ** (1 / _FASHION_PERIODS)
    steps = rng.normal(0, spread, (periods, tracks)).astype(np.float32)
    for period in range(1, periods):
        steps[period] = kept * steps[period - 1] + np.sqrt(1 - kept**2) * steps[period]
    return steps
