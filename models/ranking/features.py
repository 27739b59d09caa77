"""Features: what the ranker is given about a user and a candidate, all of it known at the end of one history.

`HistoryStatistics` are computed from listens before the label period only. `HistoryStatistics.check_no_leak` raises
where that is not so, and the ranker refuses a single feature that separates the labels: the two signs of a leak.

Shapes: U users, T tracks, C candidates of one user, L last tracks of the user, N pairs of a user and a candidate,
F features, G genres, D dimensions of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Floats, Ids, Mask, l2_normalize, row_entries
from ..catalogue import Catalogue
from ..interactions import Clock, Interactions
from ..recommenders.base import RECENT_SECONDS
from ..storage import Arrays
from .candidates import SOURCES, CandidateGenerator, Candidates, UserProfile

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
        return FeatureTable(self.numbers[which], self.names, self.genres[which], self.genre_names)

    def select(self, names: tuple[str, ...]) -> FeatureTable:
        """The same pairs with these features only, in this order."""
        if names == self.names:
            return self
        places = [self.names.index(name) for name in names]
        return FeatureTable(self.numbers[:, places], names, self.genres, self.genre_names)


def joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    """The pairs of tables with the same features and genres, one after the other."""
    return FeatureTable(
        np.concatenate([table.numbers for table in tables]),
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
        self.ends: NDArray[np.int64] | None = None
        """[U] each user's last moment in the history, the minimum of int64 for nobody; only while training"""
        self.pairs: NDArray[np.int64] | None = None
        """sorted (user, track) pairs of the history; only while training"""

    @classmethod
    def of(cls, listens: Interactions, catalogue: Catalogue) -> Self:
        tracks = _track_statistics(listens, catalogue)
        statistics = cls(user_statistics(listens, catalogue), tracks, *genres_of(catalogue))
        if listens.times is not None:
            statistics.ends = np.full(listens.user_count, _UNKNOWN_TIME)
            np.maximum.at(statistics.ends, listens.user_rows, listens.times)
        statistics.pairs = np.unique(_pairs(listens))
        return statistics

    def check_no_leak(self, labels: Interactions, *, within_user: bool) -> None:
        """DataError where the history holds what is to be predicted, or something that came after it.

        `within_user`: the history ends for each user at a moment of their own.
        """
        if self.pairs is None:
            raise DataError("features: loaded from a file, so what they were computed from is not known any more")
        if labels.times is not None and self.ends is not None and len(labels):
            late = labels.times < (self.ends[labels.user_rows] if within_user else self.ends.max())
            if late.any():
                raise DataError(
                    f"features: a leak; {int(late.sum()):,} of {len(labels):,} labels are older than the newest listen "
                    "that the features were computed from"
                )
            return
        pairs = _pairs(labels)
        known = np.isin(pairs, self.pairs).mean() if len(pairs) else 0.0
        if known > 0.5:
            raise DataError(f"features: a leak; {known:.0%} of the labels are among the listens behind the features")

    def of_user(self, user: UserProfile) -> dict[str, float]:
        """name in USER_STATISTICS -> value. Listens after the training count as tracks; a new user has no months."""
        rows = user.history.track_rows
        if user.user_row >= 0:
            values = {name: column[user.user_row] for name, column in self.users.items()}
        else:
            values = dict.fromkeys(USER_STATISTICS, np.float32(np.nan))
            values["user_played_share"] = len(user.liked) / max(len(rows), 1)
            values["user_mean_listeners"] = self.tracks["listeners"][rows].sum(dtype=float) / max(len(rows), 1)
        values["tracks_listened"] = np.float32(len(rows))
        values["tracks_per_month"] = len(rows) / values["listening_month"]
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
    """One row for each candidate, or for those of the mask `kept` [C]; NaN where nothing is known.

    Ranks and relative scores are those among all candidates.
    """
    tracks, user = candidates.ids, candidates.profile
    columns = _source_features(candidates)
    if kept is not None:
        tracks, columns = tracks[kept], {name: column[kept] for name, column in columns.items()}
    columns |= _genre_features(statistics, user, tracks)
    columns |= _artist_features(generator, user, tracks)
    for name, vectors in (("taste", generator.hybrid.taste), ("sound", generator.hybrid.sound)):
        cosines = _similarities(vectors, user, tracks, generator.options.last_tracks)
        columns |= {f"{name}_{kind}": column for kind, column in cosines.items()}
    columns |= _popularity_and_age_features(statistics, user, tracks)
    columns |= {name: column[tracks] for name, column in statistics.tracks.items()}
    columns |= {name: np.full(len(tracks), value) for name, value in statistics.of_user(user).items()}
    columns["popularity_ratio"] = np.log1p(columns["listeners"]) - np.log1p(columns["user_mean_listeners"])
    columns["crossfade"] = generator.hybrid.options.crossfade.weights(generator.hybrid.listeners[tracks])
    numbers = np.empty((len(tracks), len(columns)), np.float32)
    for place, column in enumerate(columns.values()):
        numbers[:, place] = column
    return FeatureTable(numbers, tuple(columns), statistics.genre_of[tracks], statistics.genre_names)


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
    missing = np.full(len(candidates), np.nan, np.float32)
    columns: Columns = {}
    for name in SOURCES:
        scores, key = candidates.scores.get(name, missing), name.replace("-", "_")
        columns[f"{key}_score"] = scores = np.where(np.isfinite(scores), scores, np.nan)
        if name in _RANKED_SOURCES:
            known = np.flatnonzero(~np.isnan(scores))
            ranks = np.full(len(scores), np.nan, np.float32)
            ranks[known[np.argsort(-scores[known], kind="stable")]] = np.arange(1, len(known) + 1)
            highest = np.abs(scores[known]).max(initial=0)
            columns[f"{key}_rank"], columns[f"{key}_share"] = ranks, scores / (highest if highest > 0 else 1)
    return columns | {"sources": np.asarray(np.sum(list(candidates.nominated.values()), axis=0, dtype=np.float32))}


def _genre_features(statistics: HistoryStatistics, user: UserProfile, tracks: Ids) -> Columns:
    counts = np.bincount(statistics.genre_of[user.liked], minlength=len(statistics.genre_names))
    genres = statistics.genre_of[tracks]
    shares = counts / max(counts.sum(), 1)
    return {"genre_share": shares[genres], "genre_score_mean": statistics.genre_score_mean[genres]}


def _popularity_and_age_features(statistics: HistoryStatistics, user: UserProfile, tracks: Ids) -> Columns:
    """How far a track is from what the user likes in the logarithm of its listeners and in age."""
    sums, moments = statistics.moments[user.liked].sum(axis=0), statistics.moments[tracks]
    dated = sums[3] or np.nan
    mean_age = sums[1] / dated
    ages = np.where(moments[:, 3] > 0, moments[:, 1], np.nan)
    return {
        "fame_gap": np.asarray(moments[:, 0] - np.float64(sums[0]) / max(len(user.liked), 1)),
        "age_gap": np.asarray(np.abs(ages - mean_age)),
        "age_spread": np.full(len(tracks), np.sqrt(np.maximum(sums[2] / dated - np.square(mean_age), 0))),
    }


def _artist_features(generator: CandidateGenerator, user: UserProfile, tracks: Ids) -> Columns:
    """How many of the liked tracks, and of the last ones, are by a track's artist, the one of more such tracks."""
    artists = generator.hybrid.artists
    places, owners = row_entries(artists, tracks)

    def by_artist(rows: Ids, weights: Floats) -> Floats:
        """[C]"""
        entries, which = row_entries(artists, rows)
        totals, most = np.zeros(artists.shape[1], np.float32), np.zeros(len(tracks), np.float32)
        np.add.at(totals, artists.indices[entries], weights[which])
        np.maximum.at(most, owners, totals[artists.indices[places]])
        return most

    count = by_artist(user.liked, np.ones(len(user.liked), np.float32))
    lately = by_artist(user.last, user.last_weights)
    return {"artist_count": count, "artist_share": count / max(len(user.liked), 1), "artist_lately": lately}


def _similarities(vectors: Floats, user: UserProfile, tracks: Ids, most: int) -> Columns:
    """Cosines [C] with the user's last tracks, `most` of them if there are so many, and with the mean liked one."""
    candidates, count = vectors[tracks], len(user.last)
    others = np.zeros((most + 1, vectors.shape[1]), np.float32)
    others[:count], others[-1] = l2_normalize(vectors[user.last]), user.mean_direction(vectors)
    lengths = np.sqrt(np.einsum("cd,cd->c", candidates, candidates))[:, None]
    cosines = (candidates @ others.T) / np.where(lengths > 0, lengths, 1)
    last = cosines[:, :count] if count else np.full((len(tracks), 1), np.nan)
    return {
        "last_mean": cosines[:, :-1].sum(axis=1) / (count or np.nan),
        "last_best": last.max(axis=1),
        "newest": last[:, 0],
        "profile": cosines[:, -1],
    }


def _pairs(listens: Interactions) -> NDArray[np.int64]:
    liked = listens.weights > 0
    return listens.user_rows[liked].astype(np.int64) * listens.track_count + listens.track_rows[liked]
