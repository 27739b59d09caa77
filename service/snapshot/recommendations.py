"""What to recommend to a listener: from what a version learned of them and from what they did since.

live       history and new events folded into one taste, ranked: `/v1/recommendations`
offline    the history alone, as the version was trained
online     the newest events alone
blended    online and offline in turns: [online0, offline0, online1, …], duplicates removed in order
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore, Lock
from typing import NamedTuple

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from ...errors import LibraryError
from ...models.arrays import Ids, Scores, top_k
from ...models.confidence_weights import ConfidenceOptions, States
from ...models.hybrid.online import NO_HISTORY, UserHistory
from ...models.ranking.user_profile import NO_TRACKS
from ...pipelines.search.recommend import recommend_one
from ..errors import Problem
from ..events.client import EventSource, Unreachable
from ..events.store import RecentEvents, StoredEvent
from .follower import LibraryFollower
from .snapshot import Snapshot

NEIGHBOURS = 300
EVENTS_FOLDED_IN = 500
EVENTS_ONLINE = 20
RANKING_SLOTS = 6
"""one request ranks, and the others wait for that: the last one for some 40 ms"""


class Note(NamedTuple):
    """What an answer had to do without."""

    part: str
    """`events` or `ranking`"""
    text: str


BUSY = Note("ranking", "many requests at once: the hybrid's order, not the ranker's")


@dataclass(frozen=True, eq=False)
class RecommendedTracks:
    """Tracks for a listener, best first."""

    snapshot: Snapshot
    rows: Ids
    """[k]"""
    scores: Scores
    """[k]"""
    personal: bool
    because: Ids | None = None
    """[k] rows of what the listener listened to, -1 where none of it adds to the score"""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, eq=False)
class Listener:
    """What the recommendations of one user are made from."""

    history: UserHistory = NO_HISTORY
    user_row: int = -1
    """of the training; -1 for somebody who was no part of it or had their data deleted"""
    newest: Ids = field(default_factory=lambda: NO_TRACKS)
    """what they liked since, the newest first"""


class RecommendationService:
    """Thread-safe."""

    def __init__(self, follower: LibraryFollower, events: EventSource) -> None:
        self._follower = follower
        self._events = events
        # Requests that rank beside each other pass the interpreter's lock to and fro, and all of them are late.
        self._ranking, self._slots = Lock(), BoundedSemaphore(RANKING_SLOTS)

    def live(self, user_id: str, k: int, *, allow_seen: bool = False) -> RecommendedTracks:
        snapshot, listener, notes = self.listener(user_id)
        return self._best(snapshot, listener, k, notes, allow_seen=allow_seen)

    def listener(self, user_id: str) -> tuple[Snapshot, Listener, Sequence[Note]]:
        """As they are now, history and new events together."""
        snapshot = self._follower.snapshot
        recent, notes = self._recent(user_id, EVENTS_FOLDED_IN, after=trained_events(snapshot, user_id))
        return snapshot, with_events(snapshot, trained_listener(snapshot, user_id, recent), recent.events), notes

    def newest(self, user_id: str, *, after: str | None = None) -> Sequence[StoredEvent]:
        """Their newest events, none where the store can't be read."""
        return self._recent(user_id, EVENTS_FOLDED_IN, after=after)[0].events

    def session(self, track_ids: Sequence[str], k: int) -> RecommendedTracks:
        """For somebody unknown who has just listened to these tracks; a Problem (404) for one that does not exist."""
        snapshot = self._follower.snapshot
        events = []
        for time, track_id in enumerate(track_ids):
            snapshot.check_track(track_id)
            events.append(StoredEvent(event_id=str(time), user_id="", track_id=track_id, time=time))
        return self._best(snapshot, with_events(snapshot, Listener(), events[::-1]), k, ())

    def offline(self, user_id: str, k: int) -> RecommendedTracks:
        recent, notes = self._recent(user_id, 1)
        snapshot = self._follower.snapshot
        return self._best(snapshot, trained_listener(snapshot, user_id, recent), k, notes)

    def online(self, user_id: str, k: int) -> RecommendedTracks:
        """Where there are no events, the offline list."""
        recent, notes = self._recent(user_id, EVENTS_ONLINE)
        snapshot = self._follower.snapshot
        return self._online(snapshot, trained_listener(snapshot, user_id, recent), recent, k, notes)

    def blended(self, user_id: str, k: int) -> RecommendedTracks:
        recent, notes = self._recent(user_id, EVENTS_ONLINE)
        snapshot = self._follower.snapshot
        listener = trained_listener(snapshot, user_id, recent)
        online = self._online(snapshot, listener, recent, k, notes)
        if snapshot.model is None or not recent.events:
            return online
        offline = self._best(snapshot, listener, k, notes)
        score_of = dict(zip([*offline.rows, *online.rows], [*offline.scores, *online.scores], strict=True))
        rows = in_turns(online.rows.tolist(), offline.rows.tolist())[:k]
        scores: Scores = np.array([score_of[row] for row in rows], np.float32)
        is_personal = online.personal or offline.personal
        return RecommendedTracks(snapshot, np.array(rows, np.int32), scores, is_personal, notes=tuple(notes))

    def _online(
        self, snapshot: Snapshot, listener: Listener, recent: RecentEvents, k: int, notes: Sequence[Note]
    ) -> RecommendedTracks:
        session = with_events(snapshot, Listener(), recent.events)
        if session.history.is_cold:
            return self._best(snapshot, listener, k, notes)
        # What they listened to before is not new, either.
        seen = session.history.with_seen(listener.history.track_rows)
        return self._best(snapshot, replace(session, history=seen), k, notes)

    def _recent(self, user_id: str, k: int, *, after: str | None = None) -> tuple[RecentEvents, Sequence[Note]]:
        try:
            return self._events.recent(user_id, k, after=after), ()
        except (Unreachable, SQLAlchemyError, LibraryError) as error:
            what = error if isinstance(error, Unreachable) else f"events: the store fails ({type(error).__name__})"
            note = Note("events", f"{what}: what was listened to since the training is left out")
            return RecentEvents(()), (note,)

    def _best(
        self, snapshot: Snapshot, listener: Listener, k: int, notes: Sequence[Note], *, allow_seen: bool = False
    ) -> RecommendedTracks:
        history, model = listener.history, snapshot.model
        if model is None:
            return _by_sound(snapshot, listener, k, notes, allow_seen=allow_seen)
        has_ranking = model.two_stage is not None and not history.is_cold
        # Who finds no slot gets the hybrid's order at once: under load answers stay quick, not best.
        ranked = has_ranking and self._slots.acquire(blocking=False)
        try:
            with self._ranking if ranked else nullcontext():
                rows, scores = recommend_one(
                    *(model, history, k),
                    user_row=listener.user_row,
                    newest=listener.newest,
                    allow_seen=allow_seen,
                    ranked=ranked,
                )
        finally:
            if ranked:
                self._slots.release()
        if has_ranking and not ranked:
            notes = [*notes, BUSY]
        because = None if history.is_cold else model.hybrid.because(history, rows)
        return RecommendedTracks(snapshot, rows, scores, not history.is_cold, because, tuple(notes))


def _by_sound(
    snapshot: Snapshot, listener: Listener, k: int, notes: Sequence[Note], *, allow_seen: bool
) -> RecommendedTracks:
    """What sounds like the newest of the liked tracks, for a library that is not trained."""
    liked = np.array(list(dict.fromkeys(listener.newest.tolist()))[:EVENTS_ONLINE], np.int32)
    if not len(liked):
        raise Problem(503, "library: not trained yet, and nothing is known of this listener; run crossfade train")
    cosines = np.zeros((len(liked), len(snapshot)), np.float32)
    ids, scores = snapshot.tracks.index.similar(liked, NEIGHBOURS, candidates=snapshot.tracks.in_library)
    places, columns = np.nonzero(ids >= 0)
    cosines[places, ids[places, columns]] = scores[places, columns]
    total = cosines.mean(axis=0)
    if not allow_seen:
        total[listener.history.track_rows] = 0
    rows, best = top_k(np.where(total > 0, total, -np.inf), k)
    return RecommendedTracks(snapshot, rows, best, True, liked[cosines[:, rows].argmax(axis=0)], tuple(notes))


def in_turns(online: Sequence[int], offline: Sequence[int]) -> list[int]:
    """[online0, offline0, online1, …], the rest of the longer one at the end, duplicates removed in order.

    >>> in_turns([1, 2, 3], [2, 4])
    [1, 2, 4, 3]
    """
    common = min(len(online), len(offline))
    pairs = [row for pair in zip(online, offline, strict=False) for row in pair]
    return list(dict.fromkeys([*pairs, *online[common:], *offline[common:]]))


def trained_listener(snapshot: Snapshot, user_id: str, recent: RecentEvents) -> Listener:
    """As of the training; an unknown one where they were no part of it, or had their data deleted since."""
    if snapshot.model is None:
        return Listener()
    row = snapshot.model.user_rows.get(user_id)
    forgotten = recent.forgotten_at is not None and recent.forgotten_at >= snapshot.trained_at
    return Listener() if row is None or forgotten else Listener(snapshot.model.hybrid.user_history(row), row)


def trained_events(snapshot: Snapshot, user_id: str) -> str | None:
    """The mark of the events that are in the listener's history already."""
    if snapshot.model is None or user_id not in snapshot.model.user_rows:
        return None
    mark: str | None = snapshot.model.metadata.get("events")
    return mark


def with_events(snapshot: Snapshot, listener: Listener, events: Sequence[StoredEvent]) -> Listener:
    """With further events, the newest first; those on tracks that the snapshot does not have are left out."""
    # In order of time; of equal times those that came first are the last of the newest first.
    known = [(row, one) for one in reversed(events) if (row := snapshot.tracks.row_of(one.track_id)) is not None]
    if not known:
        return listener
    rows = np.array([row for row, _ in known], np.int32)
    times = np.array([one.time for _, one in known], np.int64)

    def column(name: str) -> Scores:
        values = (getattr(one, name) for _, one in known)
        return np.array([np.nan if value is None else value for value in values], np.float32)

    options = ConfidenceOptions() if snapshot.model is None else snapshot.model.confidence_options
    states = States.of(len(rows), options, played_ratio=column("played_ratio"), liked=column("liked"))
    history = listener.history.with_events(rows, states, times, options)
    liked = (states.confidences(options) > 0) & np.isin(rows, history.track_rows[history.liked])
    return Listener(history, listener.user_row, rows[liked][::-1])
