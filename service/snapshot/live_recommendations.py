"""Advice: what to recommend to a listener, from what a version learned and from what they did since.

live       history and new events folded into one taste, ranked: `/v1/recommendations`
offline    the history alone, as the version was trained
online     the newest events alone
blended    online and offline in turns: [online0, offline0, online1, …], duplicates removed in order
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Lock
from typing import NamedTuple

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from ...errors import LibraryError
from ...models.arrays import Ids, Scores, top_k
from ...models.confidence import ConfidenceOptions, Signals, States
from ...models.hybrid.online import NO_HISTORY, UserHistory
from ...models.ranking.candidates import NO_TRACKS
from ..errors import Problem
from ..events.client import EventSource, Unreachable
from ..events.store import RecentEvents, StoredEvent
from .follower import Follower
from .snapshot import Snapshot

ALIKE = 300
EVENTS_FOLDED_IN = 500
EVENTS_ONLINE = 20
PLACES = 2
"""one ranks, and one waits for that"""

NO_EVENTS = RecentEvents(())


class Note(NamedTuple):
    """What an answer had to do without."""

    part: str
    """`events` or `ranking`"""
    text: str


@dataclass(frozen=True, eq=False)
class Advice:
    """Tracks for a listener, best first."""

    snapshot: Snapshot
    rows: Ids
    """[k]"""
    scores: Scores
    """[k]"""
    personal: bool
    because: Ids | None = None
    """[k] rows of what the listener listened to, -1 where nothing speaks for the track"""
    notes: tuple[Note, ...] = ()

    @property
    def track_ids(self) -> list[str]:
        return [self.snapshot.shelf.track_ids[row] for row in self.rows]


@dataclass(frozen=True, eq=False)
class _Known:
    """What a listener is known by."""

    history: UserHistory
    user_row: int = -1
    """of the training; -1 where it never met them or may not remember them"""
    newest: Ids = field(default_factory=lambda: NO_TRACKS)
    """what they liked since, the newest first"""


STRANGER = _Known(NO_HISTORY)
BUSY = Note("ranking", "many ask at once: the hybrid's order, not the ranker's")


class Adviser:
    """Thread-safe."""

    def __init__(self, follower: Follower, events: EventSource) -> None:
        self._follower = follower
        self._events = events
        # Requests that rank beside each other pass the interpreter's lock to and fro, and all of them are late.
        self._turn, self._places = Lock(), BoundedSemaphore(PLACES)

    def live(self, user_id: str, k: int, *, allow_seen: bool = False) -> Advice:
        snapshot = self._follower.snapshot
        recent, notes = self._recent(user_id, EVENTS_FOLDED_IN, after=_trained_on(snapshot, user_id))
        known = _folded(snapshot, _history(snapshot, user_id, recent), recent.events)
        return self._best(snapshot, known, k, allow_seen, notes)

    def session(self, track_ids: Sequence[str], k: int) -> Advice:
        """For somebody unknown who has just listened to these tracks; a Problem (404) for one that is not there."""
        snapshot = self._follower.snapshot
        for track_id in track_ids:
            if snapshot.row(track_id) is None:
                raise Problem(404, f"{track_id}: no such track")
        events = [
            StoredEvent(event_id=str(n), user_id="", track_id=track_id, time=n) for n, track_id in enumerate(track_ids)
        ]
        return self._best(snapshot, _folded(snapshot, STRANGER, events[::-1]), k, False, ())

    def offline(self, user_id: str, k: int) -> Advice:
        recent, notes = self._recent(user_id, 1)
        return self._offline(self._follower.snapshot, user_id, k, recent, notes)

    def online(self, user_id: str, k: int) -> Advice:
        """Where there are no events, the offline list."""
        recent, notes = self._recent(user_id, EVENTS_ONLINE)
        return self._online(self._follower.snapshot, user_id, k, recent, notes)

    def blended(self, user_id: str, k: int) -> Advice:
        recent, notes = self._recent(user_id, EVENTS_ONLINE)
        snapshot = self._follower.snapshot
        online = self._online(snapshot, user_id, k, recent, notes)
        if snapshot.trained is None or not recent.events:
            return online
        offline = self._offline(snapshot, user_id, k, recent, notes)
        score_of = dict(zip([*offline.rows, *online.rows], [*offline.scores, *online.scores], strict=True))
        rows = in_turns(online.rows.tolist(), offline.rows.tolist())[:k]
        scores: Scores = np.array([score_of[row] for row in rows], np.float32)
        return Advice(
            snapshot, np.array(rows, np.int32), scores, online.personal or offline.personal, notes=tuple(notes)
        )

    def _offline(self, snapshot: Snapshot, user_id: str, k: int, recent: RecentEvents, notes: Iterable[Note]) -> Advice:
        return self._best(snapshot, _history(snapshot, user_id, recent), k, False, notes)

    def _online(self, snapshot: Snapshot, user_id: str, k: int, recent: RecentEvents, notes: Iterable[Note]) -> Advice:
        history = _history(snapshot, user_id, recent)
        session = _folded(snapshot, STRANGER, recent.events)
        if session.history.is_cold:
            return self._best(snapshot, history, k, False, notes)
        # What they knew before is no news, either.
        seen = session.history.with_seen(history.history.track_rows)
        return self._best(snapshot, replace(session, history=seen), k, False, notes)

    def _recent(self, user_id: str, k: int, *, after: str | None = None) -> tuple[RecentEvents, list[Note]]:
        try:
            return self._events.recent(user_id, k, after=after), []
        except (Unreachable, SQLAlchemyError, LibraryError) as error:
            what = error if isinstance(error, Unreachable) else f"events: the store fails ({type(error).__name__})"
            return NO_EVENTS, [Note("events", f"{what}: what was listened to since the training is left out")]

    def _best(self, snapshot: Snapshot, known: _Known, k: int, allow_seen: bool, notes: Iterable[Note]) -> Advice:
        listened, trained = known.history, snapshot.trained
        if trained is None:
            return self._by_sound(snapshot, known, k, allow_seen, notes)
        # Who finds no place gets the hybrid's order at once: under load answers stay quick, not best.
        ranks = snapshot.ranking is not None and not listened.is_cold
        placed = ranks and self._places.acquire(blocking=False)
        try:
            with self._turn if placed else nullcontext():
                rows, scores = snapshot.recommend(
                    listened, k, user_row=known.user_row, newest=known.newest, allow_seen=allow_seen, quickly=not placed
                )
        finally:
            if placed:
                self._places.release()
        if ranks and not placed:
            notes = [*notes, BUSY]
        if listened.is_cold:
            return Advice(snapshot, rows, scores, False, notes=tuple(notes))
        return Advice(snapshot, rows, scores, True, trained.hybrid.because(listened, rows), tuple(notes))

    @staticmethod
    def _by_sound(snapshot: Snapshot, known: _Known, k: int, allow_seen: bool, notes: Iterable[Note]) -> Advice:
        """What sounds like the newest of the liked tracks, for a library that is not trained."""
        liked = list(dict.fromkeys(known.newest.tolist()))[:EVENTS_ONLINE]
        if not liked:
            raise Problem(503, "library: not trained yet, and nothing is known of this listener; run crossfade train")
        total = np.zeros(len(snapshot), np.float32)
        best = np.full(len(snapshot), -np.inf, np.float32)
        reason = np.full(len(snapshot), -1, np.int32)
        for row in liked:
            ids, scores = snapshot.similar(row, ALIKE)
            total[ids] += scores
            louder = scores > best[ids]
            best[ids[louder]], reason[ids[louder]] = scores[louder], row
        if not allow_seen:
            total[known.history.track_rows] = 0
        rows, _ = top_k(np.where(total > 0, total, -np.inf), k)
        return Advice(snapshot, rows, np.asarray(total[rows] / len(liked)), True, reason[rows], tuple(notes))


def in_turns(online: Sequence[int], offline: Sequence[int]) -> list[int]:
    """[online0, offline0, online1, …], the rest of the longer one at the end, duplicates removed in order.

    >>> in_turns([1, 2, 3], [2, 4])
    [1, 2, 4, 3]
    """
    common = min(len(online), len(offline))
    pairs = [row for pair in zip(online, offline, strict=False) for row in pair]
    return list(dict.fromkeys([*pairs, *online[common:], *offline[common:]]))


def _history(snapshot: Snapshot, user_id: str, recent: RecentEvents) -> _Known:
    """What the version knows of a listener; nothing where they had it deleted since."""
    if snapshot.trained is None:
        return STRANGER
    row = snapshot.trained.user_rows.get(user_id)
    forgotten = recent.forgotten_at is not None and recent.forgotten_at >= snapshot.trained_at
    return STRANGER if row is None or forgotten else _Known(snapshot.trained.hybrid.user_history(row), row)


def _trained_on(snapshot: Snapshot, user_id: str) -> str | None:
    """The mark of the events that are in the listener's history already."""
    if snapshot.trained is None or user_id not in snapshot.trained.user_rows:
        return None
    found: str | None = snapshot.trained.metadata.get("events")
    return found


def _folded(snapshot: Snapshot, before: _Known, events: Sequence[StoredEvent]) -> _Known:
    """`before` and the events, the newest first; those on tracks that the snapshot does not know are left out."""
    # In order of time; of equal times those that came first are the last of the newest first.
    news = [(row, one) for one in reversed(events) if (row := snapshot.known_row(one.track_id)) is not None]
    if not news:
        return before
    rows = np.array([row for row, _ in news], np.int32)
    times = np.array([one.time for _, one in news], np.int64)

    def column(name: str) -> Scores:
        values = (getattr(one, name) for _, one in news)
        return np.array([np.nan if value is None else value for value in values], np.float32)

    options = _confidence(snapshot)
    said = States.of(Signals(played_ratio=column("played_ratio"), liked=column("liked")), len(rows), options)
    listened = before.history.with_events(rows, said, times, options)
    newest = rows[(said.confidences(options) > 0) & np.isin(rows, listened.track_rows[listened.weights > 0])][::-1]
    return _Known(listened, before.user_row, newest)


def _confidence(snapshot: Snapshot) -> ConfidenceOptions:
    """What the version was trained with."""
    if snapshot.trained is None:
        return ConfidenceOptions()
    return ConfidenceOptions(**snapshot.trained.metadata.get("cleaning", {}).get("confidence", {}))
