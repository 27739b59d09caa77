"""Live taste: a hybrid's answers for one listener at a time, fast enough to fold new listens in at every request.

The same numbers as `Hybrid.recommend_from` and `Hybrid.because_of`, with everything that does not depend on the
listener multiplied out once:

    score(u, t) = [x(u), s(u)] · row(t) + affinity(t) * log(1 + c(u, t))
    row(t)      = gain(t) * [taste(t), profile * (1 - w(t)) * sound(t)]

Shapes: T tracks, F factors, E sound features, L listened tracks of one user, k answers.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import GrowingRows, Ids, Scores, row_entries, top_k
from ..confidence import ConfidenceOptions, States, fading, merged
from .inner_product_scan import EXACT_ROWS, Rows, Scan
from .model import Hybrid

_NOMINEES_PER_CANDIDATE = 4


@dataclass(frozen=True, eq=False)
class Listened:
    """What one listener is known by: L different tracks and the confidence in each."""

    track_rows: Ids
    """[L]"""
    weights: Scores
    """[L]; above 0 liked, below 0 not, 0 skipped"""
    states: States | None = None
    """[L] what the weights are worked out from; None for weights that came as numbers"""
    moment: int | None = None
    """seconds, when the states were so; None where it is not known"""

    @property
    def is_cold(self) -> bool:
        return not bool(np.any(self.weights > 0))

    def plus(
        self, track_rows: Ids, events: States, times: NDArray[np.int64], options: ConfidenceOptions | None = None
    ) -> Listened:
        """With n further events, as if they had been part of the log: tracks [n], what they say [n], seconds [n].

        They come after what is known already.
        """
        if not len(track_rows):
            return self
        options = options or ConfidenceOptions()
        count, more = len(self.track_rows), len(track_rows)
        newest = int(times.max())
        moment = newest if self.moment is None else max(self.moment, newest)
        then = np.concatenate([np.full(count, moment if self.moment is None else self.moment), times])
        rows = np.concatenate([self.track_rows, track_rows])
        order = np.lexsort((then, np.arange(count + more) >= count, rows))
        before = States(given=self.weights) if self.states is None else self.states
        left = fading(then[order], moment, options)
        starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        states = merged(before.joined(events, count, more).take(order), starts, left)
        return Listened(rows[order][starts].astype(np.int32), states.confidences(options), states, moment)

    def also_seen(self, track_rows: Ids) -> Listened:
        """With further tracks that are no answers and say nothing."""
        rows, first = np.unique(np.concatenate([self.track_rows, track_rows]), return_index=True)
        return Listened(rows, np.concatenate([self.weights, np.zeros(len(track_rows), np.float32)])[first])


@dataclass(frozen=True, eq=False)
class Wish:
    """A listener's part of all scores."""

    vector: Scores
    """[F] taste"""
    query: Scores
    """[F + E] taste and the sound of what was liked"""
    familiar: Rows
    """the tracks by artists of what was liked, in order of row"""
    shared: Scores
    """how many of what was liked these artists have"""


NOTHING = Listened(np.zeros(0, np.int32), np.zeros(0, np.float32))


class LiveTaste:
    """Made from a hybrid; never changes, so that any number of threads may ask."""

    def __init__(self, hybrid: Hybrid, *, exact_rows: int = EXACT_ROWS) -> None:
        popularity = hybrid.history.popularity
        self._popular, _ = top_k(popularity, len(popularity))
        self._take(hybrid)
        rows = self._made(slice(None))
        self._growing, self._rows = GrowingRows(rows), rows
        self._known_rows = np.flatnonzero(hybrid.known)
        self._scan = Scan(rows[self._known_rows], exact_rows=exact_rows)

    def following(self, hybrid: Hybrid) -> LiveTaste:
        """The same over the tracks of `hybrid`, which are this one's and perhaps cold ones behind them; quickly."""
        count = len(hybrid.taste) - len(self)
        if not count:
            return self
        new = slice(len(self), None)
        longer = copy(self)
        longer._take(hybrid)
        more = longer._made(new)
        longer._growing, longer._rows = self._growing.plus(len(self), more)
        known = hybrid.known[new]
        longer._known_rows = np.concatenate([self._known_rows, len(self) + np.flatnonzero(known)])
        longer._scan = self._scan.plus(more[known], lambda: longer._rows[longer._known_rows])
        return longer

    def _take(self, hybrid: Hybrid) -> None:
        """What costs little to work out again."""
        self.hybrid = hybrid
        choices = hybrid.choices
        self._gains = choices.crossfade.gains(hybrid.listeners)
        self._left = 1 - hybrid.weights
        self._sound = hybrid.sound if choices.profile else hybrid.sound[:, :0]
        self._affinity = (choices.affinity * self._gains * self._left * hybrid.rarity).astype(np.float32)
        self._artists = hybrid.artists.tocsr()
        self._tracks_of = hybrid.artists.T.tocsr()

    def _made(self, part: slice) -> Scores:
        """[n, F + E] rows of some tracks."""
        halves = [self.hybrid.taste[part]]
        if self._sound.shape[1]:
            halves.append(self.hybrid.choices.profile * self._left[part, None] * self._sound[part])
        return np.ascontiguousarray(self._gains[part, None] * np.hstack(halves), np.float32)

    def __len__(self) -> int:
        return len(self._rows)

    def history(self, user_row: int) -> Listened:
        """What the user listened to in the training period."""
        history = self.hybrid.history
        part = slice(history.heard.indptr[user_row], history.heard.indptr[user_row + 1])
        states = None if history.states is None else history.states.take(part)
        rows = history.heard.indices[part].astype(np.int32)
        return Listened(rows, history.heard.data[part], states, history.moment)

    def fold_in(self, listened: Listened) -> Scores:
        """[F] the taste vector of somebody who listened to this."""
        return self.hybrid.folding.one(listened.track_rows, listened.weights)

    def candidates(
        self, listened: Listened, count: int, *, allow_seen: bool = False, there: NDArray[np.bool_] | None = None
    ) -> tuple[Ids, Scores]:
        """Up to `count` best tracks and their scores, best first; the popular ones for a cold listener.

        `there` [T] says which tracks may be answers.
        """
        if listened.is_cold:
            rows: Rows = self._popular
            scores = self.hybrid.history.popularity[rows]
        else:
            rows, scores = self._scored(listened, count + len(listened.track_rows))
        kept = np.ones(len(rows), bool) if there is None else there[rows]
        if not allow_seen:
            kept &= ~np.isin(rows, listened.track_rows)
        rows, scores = rows[kept], scores[kept]
        if listened.is_cold:
            return rows[:count].astype(np.int32), scores[:count]
        return top_k(scores, count, rows=rows)

    def because(self, listened: Listened, track_rows: Ids) -> Ids:
        """[k] the listened track that speaks loudest for each of `track_rows` [k]; -1 where none does."""
        liked = listened.weights > 0
        rows, weights = listened.track_rows[liked], listened.weights[liked]
        if not len(rows) or not len(track_rows):
            return np.full(len(track_rows), -1, np.int32)
        return self.hybrid.because_of_one(rows, weights, np.asarray(track_rows))

    def wish(self, listened: Listened) -> Wish:
        """Of somebody who likes something."""
        liked = listened.track_rows[listened.weights > 0]
        vector = self.fold_in(listened)
        query = np.concatenate([vector, self._sound[liked].mean(axis=0)]) if self._sound.shape[1] else vector
        return Wish(vector, query, *self._familiar(liked))

    def nominees(self, wish: Wish, count: int) -> Rows:
        """Rows among which the best `count` are, in order of row."""
        rows = self._known_rows[self._scan.nominees(wish.query, _NOMINEES_PER_CANDIDATE * count)]
        if not self.hybrid.choices.affinity:
            return np.sort(rows)
        return np.union1d(rows, wish.familiar[self.hybrid.known[wish.familiar]])

    def scores(self, wish: Wish, rows: Rows) -> Scores:
        """What the hybrid says of these rows, which are in order."""
        found: Scores = self._rows[rows] @ wish.query if len(rows) < len(self._rows) else self._rows @ wish.query
        if self.hybrid.choices.affinity and len(rows):
            places = np.minimum(np.searchsorted(rows, wish.familiar), len(rows) - 1)
            there = rows[places] == wish.familiar
            familiar = wish.familiar[there]
            found[places[there]] += self._affinity[familiar] * np.log1p(wish.shared[there])
        return found

    def _scored(self, listened: Listened, count: int) -> tuple[Rows, Scores]:
        """Rows that hold the best `count`, in order of row, and their scores."""
        wish = self.wish(listened)
        rows = self.nominees(wish, count)
        return rows, self.scores(wish, rows)

    def _familiar(self, liked: Ids) -> tuple[Rows, Scores]:
        """The tracks by artists of `liked`, in order of row, and how many of `liked` their artists have."""
        credited, _ = row_entries(self._artists, liked)
        artists, counts = np.unique(self._artists.indices[credited], return_counts=True)
        theirs, owners = row_entries(self._tracks_of, artists)
        tracks, places = np.unique(self._tracks_of.indices[theirs], return_inverse=True)
        shared = np.bincount(places, counts[owners], minlength=len(tracks))
        return tracks.astype(np.intp), shared.astype(np.float32)
