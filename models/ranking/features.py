"""Features: what the ranker is given about a user and a candidate, all of it known at the end of one history.

`HistoryStatistics` are computed from listens before the label period only. `HistoryStatistics.check_no_leak` raises
where that is not so, and the ranker refuses a single feature that separates the labels: the two signs of a leak.

Shapes: U users, B of them, T tracks, N pairs of a user and a candidate, F features, G genres, D dimensions of an
embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Floats, Mask, l2_normalize, row_entries, top_k_of_lists
from ..catalogue import Catalogue
from ..interactions import Clock, Interactions
from ..recommenders.base import RECENT_SECONDS
from ..storage import Arrays
from .candidates import SOURCES, CandidateGenerator, Candidates
from .sources import Pairs
from .user_profile import UserProfile

Columns = dict[str, NDArray[Any]]
DAY_SECONDS = 86_400
MONTH_SECONDS = 30.44 * DAY_SECONDS
NO_GENRE = "unknown"
USER_STATISTICS = (
    "listening_month",
    "tracks_listened",
    "tracks_per_month",
    "user_played_share",
    "user_mean_listeners",
    "user_fresh_share",
)
TRACK_STATISTICS = (
    "listeners",
    "recent_listeners",
    "trend",
    "released_days",
    "num_albums",
    "track_played_share",
    "week_listeners",
    "first_days",
    "artist_listeners",
)
_COUNTS = ("listeners", "recent_listeners", "week_listeners", "artist_listeners")
_RANKED_SOURCES = ("hybrid", "als", "als-last", "items", "last", "sequence", "next", "ease", "artist")
"""sources of which the rank, and the score relative to the highest, are features, too"""
_WEEK_SECONDS = 7 * DAY_SECONDS
_FRESH_DAYS = 30
_UNKNOWN_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """N pairs as the ranker takes them."""

    numbers: Floats
    """[N, F]; NaN where nothing is known"""
    names: tuple[str, ...]
    """[F]"""
    genres: NDArray[np.int32]
    """[N] rows of `genre_names`"""
    genre_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, which: NDArray[np.intp] | Mask) -> FeatureTable:
        return FeatureTable(self.numbers.T[:, which].T, self.names, self.genres[which], self.genre_names)

    def select(self, names: tuple[str, ...]) -> FeatureTable:
        """The same pairs with these features only, in this order."""
        if names == self.names:
            return self
        places = [self.names.index(name) for name in names]
        return FeatureTable(self.numbers[:, places], names, self.genres, self.genre_names)


def joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    """The pairs of tables with the same features and genres, one after the other."""
    return FeatureTable(
        np.concatenate([table.numbers.T for table in tables], axis=1).T,
        tables[0].names,
        np.concatenate([table.genres for table in tables]),
        tables[0].genre_names,
    )


class HistoryStatistics:
    """What is known of users, tracks and genres at the end of a history."""

    def __init__(
        self,
        users: dict[str, Floats],
        tracks: dict[str, Floats],
        genre_of: NDArray[np.int32],
        genre_names: tuple[str, ...],
    ) -> None:
        self.users = users
        """name in USER_STATISTICS -> [U]"""
        self.tracks = tracks
        """name in TRACK_STATISTICS -> [T]"""
        self.genre_of = genre_of
        """[T] rows of `genre_names`"""
        self.genre_names = genre_names
        self.listens: Interactions | None = None
        """the history; only while training"""

    @classmethod
    def of(cls, listens: Interactions, catalogue: Catalogue) -> Self:
        tracks = _track_statistics(listens, catalogue)
        statistics = cls(user_statistics(listens, catalogue), tracks, *genres_of(catalogue))
        statistics.listens = listens
        return statistics

    def check_no_leak(self, labels: Interactions, *, within_user: bool) -> None:
        """DataError where the history holds what is to be predicted, or something that came after it.

        `within_user`: the history ends for each user at a moment of their own.
        """
        history = self.listens
        if history is None:
            raise DataError("features: loaded from a file, so what they were computed from is not known any more")
        if labels.times is not None and history.times is not None and len(labels):
            ends = np.full(history.user_count, _UNKNOWN_TIME)
            np.maximum.at(ends, history.user_rows, history.times)
            late = labels.times < (ends[labels.user_rows] if within_user else ends.max())
            if late.any():
                raise DataError(
                    f"features: a leak; {int(late.sum()):,} of {len(labels):,} labels are older than the newest listen "
                    "that the features were computed from"
                )
            return
        pairs = _pairs(labels)
        known = np.isin(pairs, _pairs(history)).mean() if len(pairs) else 0.0
        if known > 0.5:
            raise DataError(f"features: a leak; {known:.0%} of the labels are among the listens behind the features")

    def of_users(self, users: Sequence[UserProfile]) -> dict[str, Floats]:
        """name in USER_STATISTICS -> [B]. Listens after the training count as tracks; a new user has no months."""
        rows = np.array([user.user_row for user in users])
        values = {name: np.where(rows >= 0, column[rows], np.float32(np.nan)) for name, column in self.users.items()}
        for place in np.flatnonzero(rows < 0).tolist():
            user = users[place]
            tracks = user.history.track_rows
            values["user_played_share"][place] = len(user.liked) / max(len(tracks), 1)
            values["user_mean_listeners"][place] = self.tracks["listeners"][tracks].mean(dtype=float)
        values["tracks_listened"] = np.array([len(user.history.track_rows) for user in users], np.float32)
        values["tracks_per_month"] = values["tracks_listened"] / values["listening_month"]
        return values

    def arrays(self) -> Arrays:
        users, tracks = (np.stack(list(columns.values()), axis=1) for columns in (self.users, self.tracks))
        return {"users": users, "tracks": tracks, "genre_of": self.genre_of}

    @classmethod
    def from_arrays(cls, arrays: Arrays, genre_names: list[str]) -> Self:
        users, tracks = (np.ascontiguousarray(arrays[name].T) for name in ("users", "tracks"))
        return cls(
            dict(zip(USER_STATISTICS, users, strict=True)),
            dict(zip(TRACK_STATISTICS, tracks, strict=True)),
            arrays["genre_of"],
            tuple(genre_names),
        )

    def append_tracks(self, count: int) -> HistoryStatistics:
        """With more tracks, of which nothing is known."""
        more = count - len(self.genre_of)
        if not more:
            return self
        tracks = {
            name: np.append(column, np.full(more, 0 if name in _COUNTS else np.nan, np.float32))
            for name, column in self.tracks.items()
        }
        unknown = np.full(more, self.genre_names.index(NO_GENRE), np.int32)
        return HistoryStatistics(self.users, tracks, np.append(self.genre_of, unknown), self.genre_names)

    @cached_property
    def moments(self) -> Floats:
        """[T, 4] the logarithm of a track's listeners, its age in years, the age's square, and 1 where it is known."""
        age = self.tracks["released_days"] / 365
        known = np.isfinite(age)
        age = np.where(known, age, 0)
        return np.stack([np.log1p(self.tracks["listeners"]), age, age**2, known], axis=1).astype(np.float32)

    @cached_property
    def genre_score_mean(self) -> Floats:
        """[G] the mean logarithm of listeners of the genre's tracks."""
        counts = np.maximum(np.bincount(self.genre_of, minlength=len(self.genre_names)), 1)
        totals = np.bincount(self.genre_of, self.moments[:, 0], minlength=len(self.genre_names))
        return np.asarray(totals / counts, np.float32)


def features(
    generator: CandidateGenerator, statistics: HistoryStatistics, candidates: Candidates, kept: Mask | None = None
) -> FeatureTable:
    """One row for each candidate of B users, or for those of the mask `kept` [N]; NaN where nothing is known.

    Ranks and relative scores are those among all candidates of the user.
    """
    users, pairs, columns = candidates.users, candidates.pairs, _source_features(candidates)
    if kept is not None:
        pairs, columns = pairs.take(kept), {name: column[kept] for name, column in columns.items()}
    tracks, owners = pairs.rows, pairs.owners
    liked = Pairs.of_lists([user.liked for user in users])
    columns |= _genre_features(statistics, liked, pairs)
    columns |= _artist_features(generator, users, liked, pairs)
    for name, vectors in (("taste", generator.hybrid.taste), ("sound", generator.hybrid.sound)):
        cosines = _similarities(vectors, users, pairs, generator.options.last_tracks)
        columns |= {f"{name}_{kind}": column for kind, column in cosines.items()}
    columns |= _popularity_and_age_features(statistics, liked, pairs)
    columns |= {name: column[tracks] for name, column in statistics.tracks.items()}
    columns |= {name: values[owners] for name, values in statistics.of_users(users).items()}
    columns["popularity_ratio"] = np.log1p(columns["listeners"]) - np.log1p(columns["user_mean_listeners"])
    columns["crossfade"] = generator.hybrid.options.crossfade.weights(generator.hybrid.listeners[tracks])
    # Column after column in memory: they are written and read one by one.
    numbers = np.empty((len(columns), len(tracks)), np.float32)
    for place, column in enumerate(columns.values()):
        numbers[place] = column
    return FeatureTable(numbers.T, tuple(columns), statistics.genre_of[tracks], statistics.genre_names)


def genres_of(catalogue: Catalogue) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """[T] each track's genre and the genres' names: the catalogue's first label, else the likeliest predicted one."""
    predicted = catalogue.genre_probabilities
    labels: list[str] = []
    for row in range(len(catalogue)):
        own = catalogue.genres[row] if catalogue.genres else ()
        if own:
            labels.append(own[0])
        elif len(predicted) and predicted[row].any():
            labels.append(f"predicted {int(predicted[row].argmax())}")
        else:
            labels.append(NO_GENRE)
    names = (NO_GENRE, *sorted(set(labels) - {NO_GENRE}))
    code = {name: number for number, name in enumerate(names)}
    return np.array([code[label] for label in labels], np.int32), names


def user_statistics(listens: Interactions, catalogue: Catalogue | None = None) -> dict[str, Floats]:
    """name in USER_STATISTICS -> [U]; listening_month counts the months from the first listen to the last.

    user_fresh_share needs the catalogue's dates: the share of listens to tracks in their first month.
    """
    users = listens.user_count
    tracks = np.diff(listens.matrix.indptr)
    events = np.maximum(np.bincount(listens.user_rows, minlength=users), 1)
    played = np.bincount(listens.user_rows, listens.weights > 0, minlength=users) / events
    mean_listeners = np.bincount(listens.user_rows, listens.listeners[listens.track_rows], minlength=users) / events
    months, fresh = np.full(users, np.nan), np.full(users, np.nan)
    if listens.clock is Clock.TIME and listens.times is not None:
        first, last = np.full(users, np.iinfo(np.int64).max), np.full(users, _UNKNOWN_TIME)
        np.minimum.at(first, listens.user_rows, listens.times)
        np.maximum.at(last, listens.user_rows, listens.times)
        active = tracks > 0
        months[active] = np.ceil(np.maximum(last[active] - first[active], 1) / MONTH_SECONDS)
        if catalogue is not None and catalogue.released_at is not None:
            released = catalogue.released_at[listens.track_rows]
            new = (released != _UNKNOWN_TIME) & (listens.times - released < _FRESH_DAYS * DAY_SECONDS)
            fresh = np.bincount(listens.user_rows, new, minlength=users) / events
    return _named(USER_STATISTICS, months, tracks, tracks / months, played, mean_listeners, fresh)


def _track_statistics(listens: Interactions, catalogue: Catalogue) -> dict[str, Floats]:
    """name in TRACK_STATISTICS -> [T]"""
    count, now = listens.track_count, listens.newest
    unknown = np.full(count, np.nan)
    listeners = listens.listeners.astype(np.float64)
    recent, week, trend, age, since = listeners, unknown, unknown, unknown.copy(), unknown
    if now is not None and listens.times is not None:
        times = listens.times

        def within(begin: float, end: float) -> NDArray[np.float64]:
            return listens.take((times > now - begin) & (times <= now - end)).listeners.astype(np.float64)

        recent, week = within(RECENT_SECONDS, 0), within(_WEEK_SECONDS, 0)
        trend = np.log1p(recent) - np.log1p(within(2 * RECENT_SECONDS, RECENT_SECONDS))
        first = np.full(count, now)
        np.minimum.at(first, listens.track_rows, times)
        since = np.where(listeners > 0, (now - first) / DAY_SECONDS, np.nan)
        if catalogue.released_at is not None:
            known = catalogue.released_at != _UNKNOWN_TIME
            age[known] = np.maximum(now - catalogue.released_at[known], 0) / DAY_SECONDS
    events = np.bincount(listens.track_rows, minlength=count)
    finished = np.bincount(listens.track_rows, listens.weights > 0, minlength=count)
    played = np.divide(finished, events, out=np.full(count, np.nan), where=events > 0)
    number = unknown if catalogue.album_counts is None else catalogue.album_counts
    # By the best known of a track's artists.
    artists = catalogue.artist_matrix
    by_artist = artists.multiply(artists.T @ listeners).max(axis=1).toarray().ravel() if artists.shape[1] else unknown
    return _named(TRACK_STATISTICS, listeners, recent, trend, age, number, played, week, since, by_artist)


def _named(names: Sequence[str], *columns: NDArray[Any]) -> dict[str, Floats]:
    return {name: column.astype(np.float32) for name, column in zip(names, columns, strict=True)}


def _source_features(candidates: Candidates) -> Columns:
    """The score of each source, the rank and the relative height by some, and how many sources nominated a track."""
    pairs, missing = candidates.pairs, np.full(len(candidates), np.nan, np.float32)
    columns: Columns = {}
    for name in SOURCES:
        scores, key = candidates.scores.get(name, missing), name.replace("-", "_")
        columns[f"{key}_score"] = scores = np.where(np.isfinite(scores), scores, np.nan)
        if name in _RANKED_SOURCES:
            ranks, highest = np.full(len(scores), np.nan, np.float32), np.zeros(len(candidates.users), np.float32)
            if name in candidates.scores:
                best = Pairs(*top_k_of_lists(scores, pairs.ends, len(scores)))
                ranks[best.rows] = best.places + 1
                np.maximum.at(highest, pairs.owners[best.rows], np.abs(scores[best.rows]))
            columns[f"{key}_rank"] = ranks
            columns[f"{key}_share"] = scores / np.where(highest > 0, highest, 1)[pairs.owners]
    return columns | {"sources": np.asarray(np.sum(list(candidates.nominated.values()), axis=0, dtype=np.float32))}


def _genre_features(statistics: HistoryStatistics, liked: Pairs, pairs: Pairs) -> Columns:
    users, genres = len(liked.ends) - 1, len(statistics.genre_names)
    counts = np.bincount(liked.owners * genres + statistics.genre_of[liked.rows], minlength=users * genres)
    genre, total = statistics.genre_of[pairs.rows], np.maximum(np.diff(liked.ends), 1)
    share = counts[pairs.owners * genres + genre] / total[pairs.owners]
    return {"genre_share": share, "genre_score_mean": statistics.genre_score_mean[genre]}


def _popularity_and_age_features(statistics: HistoryStatistics, liked: Pairs, pairs: Pairs) -> Columns:
    """How far a track is from what the user, who likes something, likes in the log of its listeners and in age."""
    sums = np.add.reduceat(statistics.moments[liked.rows], liked.ends[:-1], axis=0)
    dated = np.where(sums[:, 3] > 0, sums[:, 3], np.float32(np.nan))
    mean_age, fame = sums[:, 1] / dated, sums[:, 0] / np.maximum(np.diff(liked.ends), 1)
    spread = np.sqrt(np.maximum(sums[:, 2] / dated - np.square(mean_age), 0))
    moments = statistics.moments[pairs.rows]
    ages = np.where(moments[:, 3] > 0, moments[:, 1], np.nan)
    return {
        "fame_gap": moments[:, 0] - fame[pairs.owners],
        "age_gap": np.abs(ages - mean_age[pairs.owners]),
        "age_spread": spread[pairs.owners],
    }


def _artist_features(
    generator: CandidateGenerator, users: Sequence[UserProfile], liked: Pairs, pairs: Pairs
) -> Columns:
    """How many of the liked tracks, and of the last ones, are by a track's artist, the one of more such tracks."""
    artists = generator.hybrid.artists
    places, which = row_entries(artists, pairs.rows)
    asked = pairs.owners[which] * artists.shape[1] + artists.indices[places]

    def by_artist(lists: Pairs, weights: Floats) -> Floats:
        """[N]"""
        entries, credited = row_entries(artists, lists.rows)
        totals = np.zeros(len(users) * artists.shape[1], np.float32)
        np.add.at(totals, lists.owners[credited] * artists.shape[1] + artists.indices[entries], weights[credited])
        most = np.zeros(len(pairs.rows), np.float32)
        np.maximum.at(most, which, totals[asked])
        return most

    last = Pairs.of_lists([user.last for user in users])
    count = by_artist(liked, np.ones(len(liked.rows), np.float32))
    lately = by_artist(last, np.concatenate([user.last_weights for user in users]))
    share = count / np.maximum(np.diff(liked.ends), 1)[pairs.owners]
    return {"artist_count": count, "artist_share": share, "artist_lately": lately}


def _similarities(vectors: Floats, users: Sequence[UserProfile], pairs: Pairs, most: int) -> Columns:
    """Cosines [N] with the user's last tracks, `most` of them if there are so many, and with the mean liked one."""
    names = ("last_mean", "last_best", "newest", "profile")
    columns = np.full((len(names), len(pairs.rows)), np.nan, np.float32)
    # One user at a time: the last digits of a matrix product depend on its size.
    for place, user in enumerate(users):
        part, count = slice(pairs.ends[place], pairs.ends[place + 1]), len(user.last)
        candidates = vectors[pairs.rows[part]]
        others = np.zeros((most + 1, vectors.shape[1]), np.float32)
        others[:count], others[-1] = l2_normalize(vectors[user.last]), user.mean_direction(vectors)
        lengths = np.sqrt(np.einsum("cd,cd->c", candidates, candidates))
        cosines = (others @ candidates.T) / np.where(lengths > 0, lengths, 1)
        columns[3, part] = cosines[-1]
        if count:
            columns[0, part] = cosines[:count].sum(axis=0) / count
            columns[1, part] = cosines[:count].max(axis=0)
            columns[2, part] = cosines[0]
    return dict(zip(names, columns, strict=True))


def _pairs(listens: Interactions) -> NDArray[np.int64]:
    liked = listens.weights > 0
    return listens.user_rows[liked].astype(np.int64) * listens.track_count + listens.track_rows[liked]
