"""The hybrid index: nearest tracks by taste, by sound, or by any blend of the two.

    score(q, t) = blend * cos(taste of q, taste of t) + (1 - blend) * similarity(sound of q, sound of t)

The similarity of sound is the locally scaled cosine, at least -1, so that no track is near to everything (see
`local_scaling`). A track is the concatenation of both halves, each of length 1. A half that is missing on either side
is left out and the score divided by what is left of the weights: a track without sound is compared by its taste, apart
from the others. All tracks are compared; in a `compressed` index of more than `EXACT_ROWS` tracks, those of a shortlist
with the largest blended cosines. Where `candidates` leaves no more than `EXACT_ROWS` tracks, all of them are compared.

A saved index has all that a search needs, the shortlist's codes and the local scaling included; a loaded one is
memory-mapped.

Shapes: T tracks, B queries, F factors of taste, D dimensions of sound, k answers each; N rows, n of them, S blends.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import DataError, LibraryError, UsageError
from ..arrays import Answers, GrowingRows, Mask, Rows, Scores, l2_normalize, no_answers, top_k
from ..recommenders.base import rank
from ..storage import Arrays, load_model, prefixed, save_model
from .compressed_scan import EXACT_ROWS, CompressedScan
from .local_scaling import LocalScaling

_SHORTLIST = 1000
_LISTS = 5
_SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Comparison:
    """What one query is compared with, at several blends."""

    rows: Rows
    """[n] in order of row"""
    by_taste: Scores
    """[n], NaN where the query or the track has none"""
    by_sound: Scores
    """[n], likewise"""
    answers: list[Answers]
    """[S] of each blend the rows and scores of the nearest"""


class HybridIndex:
    """Never changes: one with more or other tracks is a new one that shares the vectors with this."""

    name = "index"

    def __init__(self, vectors: Scores, factors: int) -> None:
        self.vectors, self.factors = vectors, factors
        """[T, F + D] each half of length 1 or 0; F"""
        self._growing = GrowingRows(vectors)
        self._scan: CompressedScan | None = None

    @cached_property
    def _has_taste(self) -> Mask:
        return np.asarray(np.any(self.vectors[:, : self.factors] != 0, axis=1))

    @cached_property
    def _has_sound(self) -> Mask:
        return np.asarray(np.any(self.vectors[:, self.factors :] != 0, axis=1))

    @cached_property
    def _scaling(self) -> LocalScaling:
        """Of the sound, made by the first search by sound: in .2 s for 5,000 tracks, in 3 s for 100,000 (200 wide)."""
        return LocalScaling(self.vectors[:, self.factors :])

    @classmethod
    def of(cls, taste: Scores, sound: Scores) -> Self:
        """From [T, F] and [T, D], zeros for a missing half; F or D may be 0."""
        return cls(np.hstack([l2_normalize(taste), l2_normalize(sound)]), taste.shape[1])

    def compressed(self, *, exact_rows: int = EXACT_ROWS) -> HybridIndex:
        """The same for many queries: of more than `exact_rows` tracks it compares a shortlist.

        To prepare it takes as long as some hundred queries without.
        """
        if self._scan is not None and self._scan.exact_rows == exact_rows:
            return self
        # Before the copy: both share it, and no query waits for it.
        _ = self._scaling
        other = copy(self)
        other._scan = CompressedScan(self.vectors, exact_rows=exact_rows)
        return other

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"HybridIndex({len(self):,} tracks, {self.factors} + {self.sound_width})"

    @property
    def sound_width(self) -> int:
        """D"""
        return int(self.vectors.shape[1]) - self.factors

    def append_tracks(self, taste: Scores, sound: Scores) -> HybridIndex:
        """With n tracks behind these: [n, F] and [n, D], zeros for a missing half."""
        more = np.hstack(self._normalized(taste, sound))
        longer = copy(self)
        longer._growing, longer.vectors = self._growing.plus(len(self), more)
        if "_scaling" in self.__dict__:
            longer._scaling = self._scaling.append(more[:, self.factors :], longer.vectors[:, self.factors :])
        added = HybridIndex(more, self.factors)
        longer._has_taste = np.concatenate([self._has_taste, added._has_taste])
        longer._has_sound = np.concatenate([self._has_sound, added._has_sound])
        longer._scan = self._scan and self._scan.append_rows(more, lambda: longer.vectors)
        return longer

    def replace_tracks(self, track_rows: Rows, taste: Scores, sound: Scores) -> HybridIndex:
        """With other halves, [n, F] and [n, D], for some tracks."""
        vectors = self.vectors.copy()
        vectors[track_rows] = np.hstack(self._normalized(taste, sound))
        other = HybridIndex(vectors, self.factors)
        return other if self._scan is None else other.compressed(exact_rows=self._scan.exact_rows)

    def sound_differs(self, track_rows: Rows, sound: Scores) -> Mask:
        """[n] whether `sound` [n, D] is not that of these rows; no columns or zeros stand for a missing half."""
        if sound.shape[1] not in (0, self.sound_width):
            return np.ones(len(track_rows), bool)
        held = self.vectors[track_rows, self.factors :]
        return np.asarray((np.abs(held - (l2_normalize(sound) if sound.shape[1] else 0)) > _SAME).any(axis=1))

    def search(
        self, taste: Scores, sound: Scores, k: int, *, blend: float = 0.5, candidates: Mask | None = None
    ) -> Answers:
        """The k tracks nearest to each of B queries [B, F] and [B, D], of those that `candidates` [T] allows.

        A query that lacks the half it is weighed by is compared by the other; one that lacks both has no answers.
        One query [F] and [D] is answered by ([at most k], [at most k]).
        """
        if taste.ndim == 1:
            ids, scores = self.search(taste[None], sound[None], k, blend=blend, candidates=candidates)
            return ids[0][ids[0] >= 0], scores[0][ids[0] >= 0]
        return self._search(*self._normalized(taste, sound), None, k, blend, candidates)

    def _search(
        self, taste: Scores, sound: Scores, scale: Scores | None, k: int, blend: float, candidates: Mask | None
    ) -> Answers:
        """`search` of queries that have length 1; `scale` [B] are their weights of local scaling, where known."""
        if not 0 <= blend <= 1:
            raise UsageError(f"blend: {blend:g}; it has to be from 0 (sound) to 1 (taste)")
        by_taste, by_sound = np.any(taste != 0, axis=1), np.any(sound != 0, axis=1)
        weights = np.where(by_taste & by_sound, blend, by_taste).astype(np.float32)
        ids, scores = no_answers(len(taste), k)
        for weight in np.unique(weights[by_taste | by_sound]):
            asked = np.flatnonzero((weights == weight) & (by_taste | by_sound))
            known = None if scale is None else scale[asked]
            ids[asked], scores[asked] = self._nearest(taste[asked], sound[asked], known, float(weight), k, candidates)
        return ids, scores

    def similar(self, track_rows: Rows | int, k: int, *, blend: float = 0.5, candidates: Mask | None = None) -> Answers:
        """The k tracks nearest to each of B tracks of the index, or to one, the track itself left out."""
        rows = np.atleast_1d(np.asarray(track_rows))
        taste, sound = np.split(self.vectors[rows], [self.factors], axis=1)
        # By taste alone nothing is scaled.
        scale = self._scaling.weights[rows] if blend < 1 or not self.factors else None
        ids, scores = self._search(taste, sound, scale, k + 1, blend, candidates)
        ids, scores = top_k(np.where(ids == rows[:, None], -np.inf, scores), k, rows=ids)
        return (ids, scores) if np.ndim(track_rows) else (ids[0][ids[0] >= 0], scores[0][ids[0] >= 0])

    def similarities(self, taste: Scores, sound: Scores, track_rows: Rows) -> tuple[Scores, Scores]:
        """What `search` blends, of one query [F] and [D] with n rows: ([n] of taste, [n] of sound).

        NaN where the query or the track lacks this half.
        """
        return self._halves(*self._normalized(taste[None], sound[None]), None, track_rows)

    def _halves(self, taste: Scores, sound: Scores, scale: Scores | None, track_rows: Rows) -> tuple[Scores, Scores]:
        """`similarities` of a query [1, F] and [1, D] of length 1 or 0."""
        by_taste = by_sound = np.full(len(track_rows), np.nan, np.float32)
        if taste.any():
            by_taste = np.where(self._has_taste[track_rows], self._by_taste(taste, track_rows)[0], by_taste)
        if sound.any():
            by_sound = np.where(self._has_sound[track_rows], self._by_sound(sound, scale, track_rows)[0], by_sound)
        return by_taste, by_sound

    def compare(
        self, taste: Scores, sound: Scores, k: int, blends: Sequence[float], *, candidates: Mask | None = None
    ) -> Comparison:
        """One query [F] and [D] by several blends at once: `search` at each of them, and what it blends."""
        return self._compare(*self._normalized(taste[None], sound[None]), None, k, blends, candidates)

    def _compare(
        self,
        taste: Scores,
        sound: Scores,
        scale: Scores | None,
        k: int,
        blends: Sequence[float],
        candidates: Mask | None,
    ) -> Comparison:
        """`compare` of a query [1, F] and [1, D] of length 1 or 0."""
        has_taste, has_sound = bool(taste.any()), bool(sound.any())
        if not has_taste and not has_sound:
            nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
            return Comparison(np.zeros(0, np.intp), nothing[1], nothing[1], [nothing] * len(blends))
        weights = [float(blend) if has_taste and has_sound else float(has_taste) for blend in blends]
        lists = [
            self._shortlist(taste[0], sound[0], weight, max(_SHORTLIST, 4 * k), candidates)
            for weight in _spread(sorted(set(weights)))
        ]
        rows = np.unique(np.concatenate(lists)) if len(lists) > 1 else np.sort(lists[0])
        by_taste, by_sound = self._halves(taste, sound, scale, rows)
        answers = [top_k(_at(weight, by_taste, by_sound), k, rows=rows) for weight in weights]
        return Comparison(rows, by_taste, by_sound, answers)

    def arrays(self) -> Arrays:
        """What `restore` takes; of a compressed index."""
        scan = self._scan.arrays() if self._scan else {}
        scaling = {f"scaling_{name}": array for name, array in self._scaling.arrays().items()}
        halves = {"has_taste": self._has_taste, "has_sound": self._has_sound}
        return {"vectors": self.vectors, **halves, **scaling, **scan}

    def facts(self) -> dict[str, Any]:
        return {"factors": self.factors, "exact_rows": self._scan.exact_rows if self._scan else None}

    @classmethod
    def restore(cls, arrays: Arrays, facts: dict[str, Any]) -> Self:
        index = cls(arrays["vectors"], facts["factors"])
        if facts.get("exact_rows") is not None:
            index._has_taste, index._has_sound = arrays["has_taste"], arrays["has_sound"]
            index._scaling = LocalScaling.from_arrays(prefixed(arrays, "scaling_"))
            index._scan = CompressedScan.from_arrays(arrays, len(index), exact_rows=facts["exact_rows"])
        return index

    def save(self, folder: Path) -> None:
        """Compressed."""
        index = self if self._scan else self.compressed()
        save_model(folder, self.name, index.arrays(), facts=index.facts())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Of a version that kept its vectors alone, not compressed."""
        arrays, header = load_model(folder, cls.name)
        facts = header["facts"]
        if "vectors" not in arrays:
            width = facts["factors"] + facts["sound_width"]
            arrays["vectors"] = _vectors_of_faiss(folder, len(arrays["has_taste"]), width)
        return cls.restore(arrays, facts)

    def _nearest(
        self, taste: Scores, sound: Scores, scale: Scores | None, weight: float, k: int, candidates: Mask | None
    ) -> Answers:
        """The k tracks with the highest scores for queries [B, F] and [B, D], `weight` of it by taste."""
        if scale is None and weight < 1:
            scale = self._scaling.of(sound)
        if self._compares_all:
            mask = np.logical_or.reduce([group for _, group in self._groups(weight)])
            return rank(
                lambda start, stop: self._scores(
                    taste[start:stop], sound[start:stop], None if scale is None else scale[start:stop], weight
                ),
                len(taste),
                k,
                len(self),
                candidates=mask if candidates is None else mask & candidates,
            )
        ids, scores = no_answers(len(taste), k)
        taste, sound = taste * (weight > 0), sound * (weight < 1)
        for place in range(len(taste)):
            one = slice(place, place + 1)
            known = None if scale is None else scale[one]
            found, values = self._compare(taste[one], sound[one], known, k, [weight], candidates).answers[0]
            ids[place, : len(found)], scores[place, : len(found)] = found, values
        return ids, scores

    @property
    def _compares_all(self) -> bool:
        return self._scan is None or len(self) <= self._scan.exact_rows

    def _groups(self, weight: float) -> list[tuple[float, Mask]]:
        """(weight of taste, tracks [T] that are compared by it) for a query that has the halves it is weighed by.

        At 0 and 1 tracks that lack the half are no answers.
        """
        if weight in (0, 1):
            return [(weight, self._has_taste if weight else self._has_sound)]
        both = self._has_taste & self._has_sound
        return [(weight, both), (1.0, self._has_taste & ~both), (0.0, self._has_sound & ~both)]

    def _shortlist(self, taste: Scores, sound: Scores, weight: float, count: int, candidates: Mask | None) -> Rows:
        """Rows of the candidates that a query is compared with, nearly all `count` with the highest scores among them.

        Of each group with few candidates all, else those with the largest blended cosines.
        """
        parts: list[Rows] = []
        for share, group in self._groups(weight):
            mask = group if candidates is None else group & candidates
            allowed = int(np.count_nonzero(mask))
            if self._scan is None or self._compares_all or allowed <= self._scan.exact_rows:
                parts.append(np.flatnonzero(mask))
                continue
            # The scan does not take the mask: as many more as it hides.
            longer = min(int(count * len(self) / allowed), len(self))
            rows = self._scan.shortlist(np.concatenate([share * taste, (1 - share) * sound]), longer)
            parts.append(rows[mask[rows]])
        return np.concatenate(parts)

    def _scores(self, taste: Scores, sound: Scores, scale: Scores | None, weight: float) -> Scores:
        """[B, T] of queries [B, F] and [B, D]; what is in none of `_groups` may have any."""
        if weight == 1:
            return self._by_taste(taste, slice(None))
        by_sound = self._by_sound(sound, scale, slice(None))
        if weight == 0:
            return by_sound
        by_taste = self._by_taste(taste, slice(None))
        cells = np.float32(weight) * by_taste + np.float32(1 - weight) * by_sound
        for half, lone in ((by_taste, ~self._has_sound), (by_sound, ~self._has_taste)):
            if lone.any():
                cells[:, lone] = half[:, lone]
        return cells

    def _by_taste(self, taste: Scores, rows: Rows | slice) -> Scores:
        return np.asarray(taste @ self.vectors[rows, : self.factors].T)

    def _by_sound(self, sound: Scores, scale: Scores | None, rows: Rows | slice) -> Scores:
        """The locally scaled cosines of queries [B, D] with some rows; `scale` [B] are the queries' weights."""
        scale = self._scaling.of(sound) if scale is None else scale
        cosines = sound @ self.vectors[rows, self.factors :].T
        weights = np.multiply.outer(scale, self._scaling.weights[rows])
        return np.asarray(np.maximum(1 - (1 - cosines) * weights, -1))

    def _normalized(self, taste: Scores, sound: Scores) -> tuple[Scores, Scores]:
        if taste.shape[1] != self.factors or sound.shape[1] != self.sound_width:
            raise DataError(
                f"index: halves of {taste.shape[1]} and {sound.shape[1]}, but it was built for {self.factors} and "
                f"{self.sound_width}; train again"
            )
        return l2_normalize(taste), l2_normalize(sound)


def blended(by_taste: Scores, by_sound: Scores, blend: float) -> Scores:
    """The scores of similarities of any shape; by the other half alone where one is NaN."""
    both = np.float32(blend) * by_taste + np.float32(1 - blend) * by_sound
    return np.where(np.isnan(by_taste), by_sound, np.where(np.isnan(by_sound), by_taste, both))


def _at(weight: float, by_taste: Scores, by_sound: Scores) -> Scores:
    """[n] the same, NaN where the half is missing that decides alone."""
    return by_taste if weight == 1 else by_sound if weight == 0 else blended(by_taste, by_sound, weight)


def _spread(weights: Sequence[float]) -> Sequence[float]:
    """At most `_LISTS` of them, the first and the last included: who is near at one blend is so at those beside it."""
    places = np.linspace(0, len(weights) - 1, min(len(weights), _LISTS))
    return [weights[round(place)] for place in places]


def _vectors_of_faiss(folder: Path, count: int, width: int) -> Scores:
    """[T, F + D] of a version that kept them in faiss's own format."""
    import faiss

    if not count:
        return np.zeros((0, width), np.float32)
    file = folder / "index.faiss"
    try:
        index = faiss.read_index(str(file))
    except RuntimeError:
        raise LibraryError(f"{file}: missing or damaged; train again") from None
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    return np.asarray(index.reconstruct_n(0, index.ntotal), np.float32)
