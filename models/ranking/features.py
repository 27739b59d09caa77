"""Features: what the ranker looks at of a user and a candidate, all of it known at the end of one history.

`Facts` are computed from listens before the label period only. `Facts.forbid` raises where that is not so, and the
ranker refuses a feature that alone tells the labels: the two ways in which a leak shows.

Shapes: U users, T tracks, B users, C candidates of each, N pairs of a user and a candidate, F features, G genres.

Over 400 lines by a few: one list of features, each with the function that computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Ids, l2_normalize, row_entries
from ..catalogue import Catalogue
from ..interactions import Clock, Interactions
from ..recommenders.base import RECENT_SECONDS
from ..storage import Arrays
from .candidates import SOURCES, CandidateGenerator, Candidates, UserProfile

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]
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
_ORDERING = ("hybrid", "als", "items", "last", "artist")
"""sources whose order and relative height are features, too"""
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

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> FeatureTable:
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
        self, users: Floats, tracks: Floats, genre_of: NDArray[np.int32], genre_names: tuple[str, ...]
    ) -> None:
        self.users = users
        """[U, len(USER_FACTS)]"""
        self.tracks = tracks
        """[T, len(TRACK_FACTS)]"""
        self.genre_of = genre_of
        """[T] rows of `genre_names`"""
        self.genre_names = genre_names
        self.ends: NDArray[np.int64] | None = None
        """[U] each user's last moment in the history, the minimum of int64 for nobody; only while training"""
        self.pairs: NDArray[np.int64] | None = None
        """sorted (user, track) pairs of the history; only while training"""

    @classmethod
    def of(cls, listens: Interactions, catalogue: Catalogue, albums: NDArray[np.int32] | None = None) -> Self:
        """`albums` [T]: on how many albums a track's artists are, where that is known."""
        now = int(listens.times.max()) if listens.clock is Clock.TIME and listens.times is not None else None
        statistics = cls(
            user_statistics(listens, catalogue), _of_tracks(listens, catalogue, albums, now), *genres_of(catalogue)
        )
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
        wanted = _pairs(labels)
        known = np.isin(wanted, self.pairs).mean() if len(wanted) else 0.0
        if known > 0.5:
            raise DataError(f"features: a leak; {known:.0%} of the labels are among the listens behind the features")

    def user_columns(self, profiles: UserProfile) -> Floats:
        """[B, len(USER_FACTS)]; what was listened to since counts as tracks, and a stranger has no months."""
        rows, heard = profiles.user_rows, profiles.heard
        statistics = np.full((len(rows), len(USER_STATISTICS)), np.nan, np.float32)
        met = rows >= 0
        statistics[met] = self.users[rows[met]]
        tracks = np.diff(heard.indptr)
        if not met.all():
            owners = np.repeat(np.arange(len(rows)), tracks)
            fame = np.bincount(owners, self.tracks[heard.indices, 0], minlength=len(rows))
            strange, count = ~met, np.maximum(tracks, 1)
            statistics[strange, 3] = (np.diff(profiles.liked.indptr) / count)[strange]
            statistics[strange, 4] = (fame / count)[strange]
        statistics[:, 1] = tracks
        statistics[:, 2] = tracks / statistics[:, 0]
        return statistics

    def arrays(self) -> Arrays:
        return {"users": self.users, "tracks": self.tracks, "genre_of": self.genre_of}

    @classmethod
    def from_arrays(cls, arrays: Arrays, genre_names: list[str]) -> Self:
        return cls(arrays["users"], arrays["tracks"], arrays["genre_of"], tuple(genre_names))

    def append_tracks(self, count: int) -> HistoryStatistics:
        """With more tracks, of which nothing is known."""
        more = count - len(self.tracks)
        if not more:
            return self
        nothing = np.full((more, self.tracks.shape[1]), np.nan, np.float32)
        nothing[:, [TRACK_STATISTICS.index(name) for name in _COUNTS]] = 0
        unknown = np.full(more, self.genre_names.index(NO_GENRE), np.int32)
        return HistoryStatistics(
            self.users, np.vstack([self.tracks, nothing]), np.concatenate([self.genre_of, unknown]), self.genre_names
        )

    @cached_property
    def leanings(self) -> Floats:
        """[T, 4] what adds up to a listener's leanings: log of listeners, age, its square, whether the age is known."""
        ages = self.tracks[:, TRACK_STATISTICS.index("released_days")] / 365
        known = np.isfinite(ages)
        ages = np.where(known, ages, 0)
        return np.stack([np.log1p(self.tracks[:, 0]), ages, ages**2, known], axis=1).astype(np.float32)

    @cached_property
    def genre_score_mean(self) -> Floats:
        """[G] the mean logarithm of listeners of the genre's tracks."""
        counts = np.maximum(np.bincount(self.genre_of, minlength=len(self.genre_names)), 1)
        totals = np.bincount(self.genre_of, np.log1p(self.tracks[:, 0]), minlength=len(self.genre_names))
        return np.asarray(totals / counts, np.float32)


def features(generator: CandidateGenerator, statistics: HistoryStatistics, candidates: Candidates) -> FeatureTable:
    """One row for each candidate that is there, user by user; a source that is not there knows nothing of any."""
    there = candidates.there
    users, _ = np.nonzero(there)
    tracks = candidates.ids[there]
    columns = _of_sources(candidates)
    profiles = candidates.profile
    columns |= _of_genres(statistics, profiles, users, tracks)
    columns |= _of_artists(generator, profiles, users, tracks)
    columns |= _of_likeness(generator, profiles, candidates.ids, there)
    columns |= _of_leanings(statistics, profiles, users, tracks)
    columns |= {name: statistics.tracks[tracks, place] for place, name in enumerate(TRACK_STATISTICS)}
    columns |= dict(zip(USER_STATISTICS, statistics.user_columns(profiles)[users].T, strict=True))
    columns["popularity_ratio"] = np.log1p(columns["listeners"]) - np.log1p(columns["user_mean_listeners"])
    columns["crossfade"] = generator.hybrid.choices.crossfade.weights(generator.hybrid.listeners[tracks])
    numbers = np.empty((len(tracks), len(columns)), np.float32)
    for place, column in enumerate(columns.values()):
        numbers[:, place] = column
    return FeatureTable(numbers, tuple(columns), statistics.genre_of[tracks], statistics.genre_names)


def genres_of(catalogue: Catalogue) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """[T] each track's genre and the genres' names: the catalogue's own first label, else the likeliest heard one."""
    heard = catalogue.genre_probabilities
    labels: list[str] = []
    for row in range(len(catalogue)):
        own = catalogue.genres[row] if catalogue.genres else ()
        if own:
            labels.append(own[0])
        elif len(heard) and heard[row].any():
            labels.append(f"heard {int(heard[row].argmax())}")
        else:
            labels.append(NO_GENRE)
    names = (NO_GENRE, *sorted(set(labels) - {NO_GENRE}))
    code = {name: number for number, name in enumerate(names)}
    return np.array([code[label] for label in labels], np.int32), names


def user_statistics(listens: Interactions, catalogue: Catalogue | None = None) -> Floats:
    """[U, len(USER_FACTS)]; listening_month counts the months from the first listen to the last.

    user_fresh_share needs the catalogue's dates: the share of listens to tracks in their first month.
    """
    users = listens.user_count
    matrix = listens.matrix
    tracks = np.diff(matrix.indptr)
    events = np.maximum(np.bincount(listens.user_rows, minlength=users), 1)
    played = np.bincount(listens.user_rows, listens.weights > 0, minlength=users) / events
    fame = np.bincount(listens.user_rows, listens.listeners[listens.track_rows], minlength=users) / events
    months, fresh = np.full(users, np.nan), np.full(users, np.nan)
    if listens.clock is Clock.TIME and listens.times is not None:
        first, last = np.full(users, np.iinfo(np.int64).max), np.full(users, _UNKNOWN_TIME)
        np.minimum.at(first, listens.user_rows, listens.times)
        np.maximum.at(last, listens.user_rows, listens.times)
        met = tracks > 0
        months[met] = np.ceil(np.maximum(last[met] - first[met], 1) / MONTH_SECONDS)
        if catalogue is not None and catalogue.released_at is not None:
            released = catalogue.released_at[listens.track_rows]
            new = (released != _UNKNOWN_TIME) & (listens.times - released < _FRESH_DAYS * DAY_SECONDS)
            fresh = np.bincount(listens.user_rows, new, minlength=users) / events
    return np.stack([months, tracks, tracks / months, played, fame, fresh], axis=1).astype(np.float32)


def _of_tracks(
    listens: Interactions, catalogue: Catalogue, albums: NDArray[np.int32] | None, now: int | None
) -> Floats:
    """[T, len(TRACK_FACTS)]"""
    count = listens.track_count
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
    number = unknown if albums is None else albums
    # By the best known of a track's artists.
    artists = catalogue.artist_matrix
    famous = (artists.multiply(artists.T @ listeners)).max(axis=1).toarray().ravel() if artists.shape[1] else unknown
    columns = [listeners, recent, trend, age, number, played, week, since, famous]
    return np.stack(columns, axis=1).astype(np.float32)


def _of_sources(candidates: Candidates) -> dict[str, NDArray[Any]]:
    there, names = candidates.there, SOURCES
    missing = np.full(there.shape, np.nan, np.float32)
    scores = np.stack([candidates.scores.get(name, missing) for name in names])
    scores = np.where(there & np.isfinite(scores), scores, np.nan)
    ordering = [place for place, name in enumerate(names) if name in _ORDERING]
    ranks, tops = _ranks(scores[ordering])[:, there], (scores[ordering] / _tops(scores[ordering]))[:, there]
    columns: dict[str, NDArray[Any]] = {}
    for name, values in zip(names, scores[:, there], strict=True):
        key = name.replace("-", "_")
        columns[f"{key}_score"] = values
        if name in _ORDERING:
            place = ordering.index(names.index(name))
            columns[f"{key}_rank"], columns[f"{key}_share"] = ranks[place], tops[place]
    votes = np.stack(list(candidates.nominated.values())).sum(axis=0, dtype=np.float32)
    return columns | {"sources": votes[there]}


def _of_genres(
    statistics: HistoryStatistics, profiles: UserProfile, users: NDArray[np.intp], tracks: Ids
) -> dict[str, NDArray[Any]]:
    number = len(statistics.genre_names)
    mine = statistics.genre_of[profiles.liked.indices]
    counts = np.bincount(mine, minlength=number)
    shares = counts / max(counts.sum(), 1)
    genres = statistics.genre_of[tracks]
    return {"genre_share": shares[genres], "genre_score_mean": statistics.genre_score_mean[genres]}


def _of_leanings(
    statistics: HistoryStatistics, profiles: UserProfile, users: NDArray[np.intp], tracks: Ids
) -> dict[str, NDArray[Any]]:
    """How far a track is from the fame and the age of what the user likes."""
    sums = statistics.leanings[profiles.liked.indices].sum(axis=0, keepdims=True)
    fame = sums[:, 0] / np.maximum(np.diff(profiles.liked.indptr), 1)
    dated = np.where(sums[:, 3] > 0, sums[:, 3], np.nan)
    age, square = sums[:, 1] / dated, sums[:, 2] / dated
    spread = np.sqrt(np.maximum(square - age**2, 0))
    own = statistics.leanings[tracks]
    years = np.where(own[:, 3] > 0, own[:, 1], np.nan)
    return {
        "fame_gap": own[:, 0] - fame[users],
        "age_gap": np.abs(years - age[users]),
        "age_spread": spread[users],
    }


def _of_artists(
    generator: CandidateGenerator, profiles: UserProfile, users: NDArray[np.intp], tracks: Ids
) -> dict[str, NDArray[Any]]:
    artists = generator.hybrid.artists
    places, owners = row_entries(artists, tracks)
    asked = users[owners], artists.indices[places]
    # A track of two artists counts for the one that the user knows better.
    count, late = np.zeros(len(tracks), np.float32), np.zeros(len(tracks), np.float32)
    np.maximum.at(count, owners, _by_artist(profiles.liked, artists, once=True)[asked])
    np.maximum.at(late, owners, _by_artist(profiles.newest, artists)[asked])
    total = np.maximum(np.diff(profiles.liked.indptr), 1)[users]
    return {"artist_count": count, "artist_share": count / total, "artist_lately": late}


def _by_artist(tracks: csr_matrix, artists: csr_matrix, *, once: bool = False) -> Floats:
    """[B, A] what a user's tracks weigh, by artist; `once`, how many they are. Shapes: tracks [B, T], artists [T, A]"""
    places, which = row_entries(artists, tracks.indices)
    users = np.repeat(np.arange(tracks.shape[0]), np.diff(tracks.indptr))[which]
    found = np.zeros((tracks.shape[0], artists.shape[1]), np.float32)
    weights = np.ones(1, np.float32) if once else tracks.data[which]
    np.add.at(found.ravel(), users * artists.shape[1] + artists.indices[places], weights)
    return found


def _of_likeness(
    generator: CandidateGenerator, profiles: UserProfile, ids: Ids, there: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Cosines of taste and sound to the user's profile and last tracks."""
    hybrid, last = generator.hybrid, profiles.last
    known = last >= 0
    counts = np.where(known.any(axis=1), known.sum(axis=1), np.nan)[:, None]
    found: dict[str, NDArray[Any]] = {}
    for name, vectors in (("taste", hybrid.taste), ("sound", hybrid.sound)):
        asked = vectors[np.maximum(ids, 0)]
        recent = l2_normalize(vectors[np.maximum(last, 0).ravel()]).reshape(*last.shape, vectors.shape[1])
        towards = np.concatenate([recent, profiles.mean_directions(vectors)[:, None]], axis=1)
        lengths = np.sqrt(np.einsum("bcd,bcd->bc", asked, asked))[:, :, None]
        cosines = (asked @ np.swapaxes(towards, 1, 2)) / np.where(lengths > 0, lengths, 1)
        cosines, profile = cosines[:, :, :-1], cosines[:, :, -1]
        means = np.where(known[:, None, :], cosines, 0).sum(axis=2) / counts
        peaks = np.where(known[:, None, :], cosines, -np.inf).max(axis=2, initial=-np.inf)
        found[f"{name}_last_mean"] = means[there]
        found[f"{name}_last_best"] = np.where(np.isfinite(peaks), peaks, np.nan)[there]
        found[f"{name}_newest"] = np.where(known[:, 0, None], cosines[:, :, 0], np.nan)[there]
        found[f"{name}_profile"] = profile[there]
    return found


def _ranks(values: NDArray[Any]) -> Floats:
    """[…, C] places among the candidates, 1 the best; NaN where there is no score."""
    order = np.argsort(np.where(np.isnan(values), np.inf, -values), axis=-1, kind="stable")
    ranks = np.empty(values.shape, np.float32)
    places = np.broadcast_to(np.arange(1, values.shape[-1] + 1, dtype=np.float32), values.shape)
    np.put_along_axis(ranks, order, places, axis=-1)
    ranks[np.isnan(values)] = np.nan
    return ranks


def _tops(values: NDArray[Any]) -> NDArray[Any]:
    """[…, 1] the largest absolute value, 1 where there is none."""
    tops = np.max(np.where(np.isnan(values), 0, np.abs(values)), axis=-1, keepdims=True, initial=0)
    return np.where(tops > 0, tops, 1)


def _pairs(listens: Interactions) -> NDArray[np.int64]:
    liked = listens.weights > 0
    return listens.user_rows[liked].astype(np.int64) * listens.track_count + listens.track_rows[liked]
