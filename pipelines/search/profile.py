"""A listener's profile: what they listen to, when, and what they listened to often but not for long.

Shapes: L tracks of the listener.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ...models.catalogue import release_years
from ..library.store import Library

MOST_TRACKS = 500
"""of the listener, the most certain ones, that genres and decades are counted of"""
MONTHS = 24
FORGOTTEN_DAYS = 90
OFTEN = 3
_LISTENED_SHARE = 0.5
"""of a track, below which a listen is a skip"""
_DAY = 86_400
_YEAR_10_000 = 253_402_300_800

Shares = dict[str, float]


@dataclass(frozen=True)
class Profile:
    genres: Shares
    """the likeliest genre of each track -> its share of the weights, the largest first"""
    decades: Shares
    """`1990s` -> its share of the weights of the tracks whose release is known, in order of time"""
    artists: dict[str, int]
    """artist -> tracks, the most first"""


def profile(library: Library, track_ids: Sequence[str], weights: Sequence[float]) -> Profile:
    """Of the tracks [L] that a listener likes, and how sure that is [L]."""
    genres: dict[str, float] = defaultdict(float)
    decades: dict[str, float] = defaultdict(float)
    artists: Counter[str] = Counter()
    surest = sorted(zip(track_ids, weights, strict=True), key=lambda pair: -pair[1])[:MOST_TRACKS]
    for track_id, weight in surest:
        if (track := library.track(track_id)) is None:
            continue
        probable = library.genres_of(track_id)
        artists.update(track["artists"])
        if probable:
            genres[max(probable, key=lambda genre: probable[genre])] += weight
        elif track["genres"]:
            genres[track["genres"][0]] += weight
        if track["released_at"] is not None:
            decades[f"{release_years(np.array(track['released_at'])) // 10 * 10}s"] += weight
    return Profile(_shares(genres), dict(sorted(_shares(decades).items())), dict(artists.most_common()))


@dataclass(frozen=True)
class Past:
    months: dict[str, int]
    """`2024-07` -> listens, in order of time without gaps, the last `MONTHS` that there are"""
    forgotten: tuple[str, ...]
    """track_ids, the most listened to first: at least `OFTEN` times or liked, and not in their last
    `FORGOTTEN_DAYS` days"""


def past(listens: Iterable[Mapping[str, Any]]) -> Past:
    """Of a listener's rows of the log, and of events: track_id, and perhaps time, plays, played_ratio and liked."""
    often: Counter[str] = Counter()
    newest: dict[str, int] = {}
    opinion: dict[str, tuple[int, int]] = {}
    months: Counter[str] = Counter()
    for one in listens:
        track_id, time = one["track_id"], one.get("time")
        if time is None or not 0 <= time < _YEAR_10_000:
            continue
        ratio, liked = one.get("played_ratio"), one.get("liked")
        if liked is not None:
            opinion[track_id] = max(opinion.get(track_id, (0, 0)), (time, liked))
        if ratio is not None and ratio < _LISTENED_SHARE:
            continue
        count = round(one.get("plays") or 1)
        often[track_id] += count
        months[f"{datetime.fromtimestamp(time, UTC):%Y-%m}"] += count
        newest[track_id] = max(newest.get(track_id, 0), time)
    last = max(newest.values(), default=0)

    def is_forgotten(track_id: str) -> bool:
        said = opinion.get(track_id, (0, 0))[1]
        return said >= 0 and (said > 0 or often[track_id] >= OFTEN) and newest[track_id] < last - FORGOTTEN_DAYS * _DAY

    forgotten = tuple(track_id for track_id, _ in often.most_common() if is_forgotten(track_id))
    return Past({month: months[month] for month in _between(months)}, forgotten)


def _between(months: Iterable[str]) -> Iterable[str]:
    """All months from the first to the last of these."""
    places = [12 * int(month[:4]) + int(month[5:]) - 1 for month in months]
    last = max(places, default=-1)
    for place in range(max(min(places, default=0), last + 1 - MONTHS), last + 1):
        yield f"{place // 12:04}-{place % 12 + 1:02}"


def _shares(weights: Mapping[str, float]) -> Shares:
    total = sum(weights.values())
    largest = sorted(weights.items(), key=lambda pair: -pair[1])
    return {name: weight / total for name, weight in largest} if total > 0 else {}
