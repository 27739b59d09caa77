"""What a synthetic world is like: its size, how its listeners choose, and the habits that they have."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ...errors import UsageError


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


@dataclass(frozen=True, kw_only=True)
class WorldOptions:
    """How large the world is, and how its listeners choose."""

    users: int = 1_000
    tracks: int = 2_000
    artists: int = 200
    groups: int = 6
    """of listeners, planted for whoever looks for segments"""
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
