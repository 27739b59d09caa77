"""The chain: candidates from many sources, their features, the ranker, and what makes a list of them.

Fitted on a split: sources and features on the history before the label period, the ranker on the label period; then
the sources are fitted again on all listens, and the ranker meets them with what it learned.

Shapes: U users, T tracks, B users asked for, k answers each, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..audio.errors import DataError, LibraryError
from .candidates import CandidateOptions, Candidates, Sources
from .catalogue import Catalogue
from .history import unit_rows
from .hybrid import Hybrid
from .listens import Listens
from .ranker import Ranker, RankerOptions
from .ranking_features import Facts, FeatureTable, features
from .recommender import Answers, Ids, Scores, best
from .reranking import RerankingOptions, rerank
from .splits import Split, fitting
from .storage import load_model, save_model

USERS_PER_BATCH = 256
_CELLS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class ChainOptions:
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    ranker: RankerOptions = field(default_factory=RankerOptions)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a ranker learns from: pairs, labels, and how well the candidates held what was turned to."""

    table: FeatureTable
    labels: NDArray[np.bool_]
    """[N]"""
    groups: NDArray[np.intp]
    """[N] users"""
    recall: dict[str, float]
    """source -> the share of what users turned to that it nominated; `all`: that is among the candidates"""


class Chain:
    """Recommends to warm users; to others the hybrid does."""

    name = "ranking"

    def __init__(self, sources: Sources, facts: Facts, ranker: Ranker, options: ChainOptions) -> None:
        self.sources, self.facts, self.ranker, self.options = sources, facts, ranker, options
        self.recall: dict[str, float] = {}

    @classmethod
    def fit(
        cls,
        listens: Listens,
        catalogue: Catalogue,
        hybrid: Hybrid,
        *,
        albums: NDArray[np.int32] | None = None,
        options: ChainOptions | None = None,
        seed: int = 0,
    ) -> Self:
        """`hybrid` is fitted on `listens`; DataError where there is too little to learn a ranking from."""
        options = options or ChainOptions()
        lesson = lesson_of(listens, catalogue, hybrid, albums=albums, options=options, seed=seed)
        ranker = Ranker(options.ranker).fit(lesson.table, lesson.labels, lesson.groups)
        sources = Sources(hybrid, options.candidates).fit(listens)
        chain = cls(sources, Facts.of(listens, catalogue, albums), ranker, options)
        chain.recall = lesson.recall
        return chain

    def recommend(
        self,
        user_rows: Ids,
        k: int,
        *,
        allow_seen: bool = False,
        candidates: NDArray[np.bool_] | None = None,
    ) -> Answers:
        """See `Recommender.recommend`; scores are probabilities where the ranker is a classifier.

        A user without listens gets the hybrid's answer. Behind the candidates come the hybrid's further tracks, with
        scores that go on falling.
        """
        rows = np.asarray(user_rows, np.int32)
        hybrid = self.sources.hybrid
        ids, scores = np.full((len(rows), k), -1, np.int32), np.full((len(rows), k), -np.inf, np.float32)
        warm = np.flatnonzero(rows >= 0)
        warm = warm[hybrid.history.warm_users[rows[warm]]]
        batch = max(1, min(USERS_PER_BATCH, _CELLS // max(self.sources.track_count, 1)))
        for start in range(0, len(warm), batch):
            asked = warm[start : start + batch]
            found = self.sources.gather(
                self.sources.audience(rows[asked]), allow_seen=allow_seen, candidates=candidates
            )
            order, ranked = best(self.rank(found), k)
            ids[asked] = np.where(order >= 0, np.take_along_axis(found.ids, np.maximum(order, 0), axis=1), -1)
            scores[asked] = worth(ranked)
        scores[ids < 0] = -np.inf
        short = np.flatnonzero(ids[:, -1] < 0) if k else np.zeros(0, np.intp)
        further, values = hybrid.recommend(rows[short], k, allow_seen=allow_seen, candidates=candidates)
        for row, others, theirs in zip(short, further, values, strict=True):
            if ids[row, 0] < 0:
                ids[row], scores[row] = others, theirs
            else:
                follow(ids[row], scores[row], others)
        return ids, scores

    def rank(self, found: Candidates) -> NDArray[np.float32]:
        """[B, C] the ranker's scores, -inf where there is no candidate."""
        table = features(self.sources, self.facts.extended(self.sources.track_count), found)
        cells = np.full(found.ids.shape, -np.inf, np.float32)
        cells[found.there] = self.ranker.scores(table)
        return cells

    def following(self, hybrid: Hybrid) -> Self:
        """This chain over the tracks that `hybrid` knows, some of which may be newer than the training."""
        sources = self.sources.following(hybrid)
        if sources is self.sources:
            return self
        chain = type(self)(sources, self.facts, self.ranker, self.options)
        chain.recall = self.recall
        return chain

    def save(self, folder: Path) -> None:
        arrays = {f"sources_{name}": array for name, array in self.sources.save_arrays().items()}
        arrays |= {f"facts_{name}": array for name, array in self.facts.arrays().items()}
        about = {
            "sources": self.sources.facts(),
            "genres": list(self.facts.genre_names),
            "recall": self.recall,
        }
        save_model(folder, self.name, arrays, facts=about)
        self.ranker.save(folder)

    @classmethod
    def load(cls, folder: Path, hybrid: Hybrid) -> Self:
        arrays, header = load_model(folder, cls.name)
        about: dict[str, Any] = header["facts"]

        def part(prefix: str) -> dict[str, NDArray[Any]]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        try:
            sources = Sources.from_arrays(part("sources_"), about["sources"], hybrid)
            facts = Facts.from_arrays(part("facts_"), about["genres"])
        except (KeyError, TypeError) as error:
            raise LibraryError(f"{folder / cls.name}.json: saved by another program ({error}); train again") from None
        ranker = Ranker.load(folder)
        options = ChainOptions(candidates=sources.options, ranker=ranker.options)
        chain = cls(sources, facts, ranker, options)
        chain.recall = about["recall"]
        return chain.following(hybrid)


def relist(hybrid: Hybrid, answers: Answers, k: int, options: RerankingOptions) -> Answers:
    """The first k of longer answers, chosen by `options` besides by score. Scores stay with their tracks."""
    ids, scores = answers
    chosen = np.full((len(ids), k), -1, np.int32), np.full((len(ids), k), -np.inf, np.float32)
    for row, (mine, worth) in enumerate(zip(ids, scores, strict=True)):
        there = mine >= 0
        mine, worth = mine[there], worth[there]
        artists = [hybrid.artists.indices[slice(*hybrid.artists.indptr[track : track + 2])].tolist() for track in mine]
        sound = unit_rows(hybrid.sound[mine]) if hybrid.sound.shape[1] else np.zeros((len(mine), 0), np.float32)
        places = rerank(worth, sound, artists, hybrid.listeners[mine] == 0, k, options)
        chosen[0][row, : len(places)], chosen[1][row, : len(places)] = mine[places], worth[places]
    return chosen


def lesson_of(
    listens: Listens,
    catalogue: Catalogue,
    hybrid: Hybrid,
    *,
    albums: NDArray[np.int32] | None = None,
    options: ChainOptions | None = None,
    seed: int = 0,
) -> Lesson:
    """Splits the listens as the log allows, fits the sources on the history, and labels their candidates.

    `hybrid` gives its choices only; DataError where there is too little to learn from.
    """
    options = options or ChainOptions()
    rng = np.random.default_rng([seed, 7])
    split = fitting(listens, rng)
    if not np.any(split.train.weights > 0) or not np.any(split.test.weights > 0):
        raise DataError("ranker: the label period or the history before it has no listens")
    before = Hybrid(catalogue, als=hybrid.als.options, choices=hybrid.choices, seed=seed).fit(split.train)
    sources = Sources(before, options.candidates).fit(split.train)
    lesson = learn(sources, Facts.of(split.train, catalogue, albums), split, options.ranker, rng)
    found = int(lesson.labels.sum())
    if found < options.ranker.least_positives:
        needed = options.ranker.least_positives
        raise DataError(f"ranker: {found} listens of the label period are among the candidates; {needed} are needed")
    return lesson


def learn(sources: Sources, facts: Facts, split: Split, options: RankerOptions, rng: np.random.Generator) -> Lesson:
    """Candidates of the history with labels of the label period, some of the users and some of the negatives."""
    facts.forbid(split.test, within_user=split.within_user)
    truth = (split.test.matrix > 0).astype(np.float32).tocsr()
    heard = sources.hybrid.history.heard
    truth = (truth - truth.multiply(heard != 0)).tocsr()
    truth.eliminate_zeros()
    users = np.flatnonzero((np.diff(truth.indptr) > 0) & sources.hybrid.history.warm_users)
    if not len(users):
        raise DataError("ranker: no user has listens both in the label period and before it")
    if len(users) > options.users:
        users = np.sort(rng.choice(users, options.users, replace=False))
    batch = max(1, min(USERS_PER_BATCH, _CELLS // sources.track_count))
    tables, labels, groups = [], [], []
    reached: dict[str, int] = {}
    for start in range(0, len(users), batch):
        rows = users[start : start + batch].astype(np.int32)
        found = sources.gather(sources.audience(rows))
        wanted = np.take_along_axis(truth[rows].toarray() > 0, np.maximum(found.ids, 0), axis=1) & found.there
        for name, flags in found.nominated.items():
            reached[name] = reached.get(name, 0) + int((wanted & flags).sum())
        reached["all"] = reached.get("all", 0) + int(wanted.sum())
        # A user's negatives: those with the smallest of random numbers.
        lots = np.where(wanted | ~found.there, np.inf, rng.random(wanted.shape))
        most = min(options.negatives, lots.shape[1] - 1)
        cut = np.partition(lots, most, axis=1)[:, [most]]
        kept = wanted | (lots < cut)
        kept &= wanted.any(axis=1, keepdims=True)
        here = kept[found.there]
        tables.append(features(sources, facts, found).take(here))
        labels.append(wanted[found.there][here])
        groups.append(np.repeat(rows, found.there.sum(axis=1))[here])
    table = FeatureTable(
        np.concatenate([part.numbers for part in tables]),
        tables[0].names,
        np.concatenate([part.genres for part in tables]),
        tables[0].genre_names,
    )
    total = max(int(truth[users].nnz), 1)
    recall = {name: count / total for name, count in sorted(reached.items(), key=lambda pair: -pair[1])}
    return Lesson(table, np.concatenate(labels), np.concatenate(groups).astype(np.intp), recall)


def worth(ranked: Scores) -> Scores:
    """What the ranker says as probabilities, where it is a classifier."""
    return np.asarray(1 / (1 + np.exp(-ranked)), np.float32)


def follow(ids: Ids, scores: Scores, further: Ids) -> None:
    """Fills a row's free places with tracks that are not in it."""
    count = int((ids >= 0).sum())
    rest = further[(further >= 0) & ~np.isin(further, ids)][: len(ids) - count]
    ids[count : count + len(rest)] = rest
    scores[count : count + len(rest)] = scores[count - 1] / (2 + np.arange(len(rest)))
