"""The hybrid index: nearest tracks by taste, by sound, or by any blend of the two.

    score(q, t) = blend * cos(taste of q, taste of t) + (1 - blend) * similarity(sound of q, sound of t)

The similarity of sound is the locally scaled cosine, at least -1, so that no track is near to everything (see
`local_scaling`). A track is the concatenation of both halves, each of length 1. A half that is missing on either side
is left out and the score divided by what is left of the weights: a track without sound is compared by its taste, apart
from the others. All tracks are compared; in a `compressed` index of more than `EXACT_ROWS` tracks, those of a shortlist
with the largest blended cosines.

Why the shortlist is written here and faiss's own indexes don't serve (100,000 x 328, a mask that hides a fifth of the
rows, a query on one core): `IndexFlatIP` with a selector takes 4.3 ms; `IndexRefineFlat(IndexPQFastScan)` refuses a
mask and holds every vector a second time; `IndexIVFFlat` with a selector takes .2 to .7 ms, as the shortlist does (.5
ms, recall 1.00), but is built in 8 s rather than .8 s and copies all vectors for every snapshot with a track more.

Shapes: T tracks, B queries, F factors of taste, D dimensions of sound, k answers each; N rows, n new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import DataError, LibraryError, UsageError
from ..arrays import Answers, GrowingRows, Mask, Rows, Scores, l2_normalize, top_k
from ..recommenders.base import rank
from ..storage import load_model, save_model
from .local_scaling import LocalScaling

EXACT_ROWS = 20_000
_SHORTLIST = 1000
_SAMPLE = 4096
_ITERATIONS = 8
_ROWS_PER_BATCH = 1 << 14
_SAME = 1e-6


class CompressedScan:
    """The rows of a large matrix with the largest inner products with a query, approximately.

    4-bit product quantization of pairs of columns (André et al. 2017, "Accelerated Nearest Neighbor Search with Quick
    ADC"; faiss's fast scan): a sixteenth of the bytes of float32. Whoever asks computes the products of the shortlist
    exactly. In a matrix of at most `exact_rows` the shortlist is every row. Never changes: threads may share it.
    """

    def __init__(self, vectors: Scores, *, exact_rows: int = EXACT_ROWS, seed: int = 0) -> None:
        self.count, width = vectors.shape
        self.exact_rows, self._seed = exact_rows, seed
        self._codes: Any = None
        self._padding = width % 2
        if self.count > exact_rows and width:
            import faiss

            columns = width + self._padding
            sample = np.sort(np.random.default_rng(seed).permutation(self.count)[:_SAMPLE])
            self._codes = faiss.IndexPQFastScan(columns, columns // 2, 4, faiss.METRIC_INNER_PRODUCT)
            self._codes.pq.cp.niter = _ITERATIONS
            self._codes.pq.cp.seed = seed
            self._codes.train(self._padded(vectors[sample]))
            self._add(vectors)

    def append_rows(self, more: Scores, whole: Callable[[], Scores]) -> CompressedScan:
        """With rows [n, D] behind these, in the same code; this one stays as it is.

        `whole` gives all N + n rows; it is called when there are enough of them for the first time.
        """
        longer = copy(self)
        longer.count += len(more)
        if self._codes is not None:
            import faiss

            longer._codes = faiss.clone_index(self._codes)
            longer._add(more)
        elif longer.count > self.exact_rows:
            return CompressedScan(whole(), exact_rows=self.exact_rows, seed=self._seed)
        return longer

    def shortlist(self, query: Scores, count: int) -> Rows:
        """About `count` rows, in any order, that hold nearly all with the largest products with `query` [D]."""
        if self._codes is None or count >= self.count:
            return np.arange(self.count)
        _, found = self._codes.search(self._padded(query[None]), count)
        return np.asarray(found[0][found[0] >= 0], np.intp)

    def _add(self, vectors: Scores) -> None:
        for start in range(0, len(vectors), _ROWS_PER_BATCH):
            self._codes.add(self._padded(vectors[start : start + _ROWS_PER_BATCH]))

    def _padded(self, vectors: Scores) -> Scores:
        return np.ascontiguousarray(np.pad(vectors, ((0, 0), (0, self._padding))), np.float32)


class HybridIndex:
    """Never changes: one with more or other tracks is a new one that shares the vectors with this."""

    name = "index"

    def __init__(self, vectors: Scores, factors: int) -> None:
        self.vectors, self.factors = vectors, factors
        """[T, F + D] each half of length 1 or 0; F"""
        self._has_taste, self._has_sound = self._halves_of(vectors)
        self._growing = GrowingRows(vectors)
        self._scan: CompressedScan | None = None

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
        has_taste, has_sound = self._halves_of(more)
        longer._has_taste = np.concatenate([self._has_taste, has_taste])
        longer._has_sound = np.concatenate([self._has_sound, has_sound])
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
        if not 0 <= blend <= 1:
            raise UsageError(f"blend: {blend:g}; it has to be from 0 (sound) to 1 (taste)")
        if taste.ndim == 1:
            ids, scores = self.search(taste[None], sound[None], k, blend=blend, candidates=candidates)
            return ids[0][ids[0] >= 0], scores[0][ids[0] >= 0]
        taste, sound = self._normalized(taste, sound)
        allowed = np.ones(len(self), bool) if candidates is None else candidates
        by_taste, by_sound = np.any(taste != 0, axis=1), np.any(sound != 0, axis=1)
        weights = np.where(by_taste & by_sound, blend, by_taste).astype(np.float32)
        both = self._has_taste & self._has_sound
        ids, scores = np.full((len(taste), k), -1, np.int32), np.full((len(taste), k), -np.inf, np.float32)
        for weight in np.unique(weights[by_taste | by_sound]):
            lone_taste, lone_sound = self._has_taste & ~both, self._has_sound & ~both
            groups = [(weight, both), (np.float32(1), lone_taste), (np.float32(0), lone_sound)]
            if weight in (0, 1):
                groups = [(weight, self._has_taste if weight else self._has_sound)]
            asked = np.flatnonzero((weights == weight) & (by_taste | by_sound))
            found = [
                self._nearest(taste[asked], sound[asked], share, k, mask)
                for share, group in groups
                if (mask := group & allowed).any()
            ]
            if found:
                rows, values = (np.hstack([part[place] for part in found]) for place in (0, 1))
                ids[asked], scores[asked] = found[0] if len(found) == 1 else top_k(values, k, rows=rows)
        return ids, scores

    def similar(self, track_rows: Rows | int, k: int, *, blend: float = 0.5, candidates: Mask | None = None) -> Answers:
        """The k tracks nearest to each of B tracks of the index, or to one, the track itself left out."""
        vectors = self.vectors[track_rows]
        ids, scores = self.search(
            vectors[..., : self.factors], vectors[..., self.factors :], k + 1, blend=blend, candidates=candidates
        )
        return top_k(np.where(ids == np.asarray(track_rows)[..., None], -np.inf, scores), k, rows=ids)

    def similarities(self, taste: Scores, sound: Scores, track_rows: Rows) -> tuple[Scores, Scores]:
        """What `search` blends, of one query [F] and [D] with n rows: ([n] of taste, [n] of sound).

        NaN where the query or the track lacks this half.
        """
        taste, sound = self._normalized(taste[None], sound[None])
        by_taste = by_sound = np.full(len(track_rows), np.nan, np.float32)
        if taste.any():
            products = (taste @ self.vectors[track_rows, : self.factors].T)[0]
            by_taste = np.where(self._has_taste[track_rows], products, by_taste)
        if sound.any():
            scaled = self._by_sound(sound, self._scaling.of(sound), track_rows)[0]
            by_sound = np.where(self._has_sound[track_rows], scaled, by_sound)
        return by_taste, by_sound

    def save(self, folder: Path) -> None:
        save_model(folder, self.name, {"vectors": self.vectors}, facts={"factors": self.factors})

    @classmethod
    def load(cls, folder: Path) -> Self:
        arrays, header = load_model(folder, cls.name)
        facts = header["facts"]
        if "vectors" not in arrays:
            width = facts["factors"] + facts["sound_width"]
            arrays["vectors"] = _vectors_of_faiss(folder, len(arrays["has_taste"]), width)
        return cls(arrays["vectors"], facts["factors"])

    def _nearest(self, taste: Scores, sound: Scores, share: np.float32, k: int, mask: Mask) -> Answers:
        """The k tracks of the mask with the highest scores for queries [B, F] and [B, D], `share` of it by taste."""
        scale = self._scaling.of(sound) if share < 1 else np.ones(len(sound), np.float32)

        def scores_of(queries: slice | int, rows: Rows | slice) -> Scores:
            by_taste = share * (taste[queries] @ self.vectors[rows, : self.factors].T)
            if share == 1:
                return np.asarray(by_taste)
            return np.asarray(by_taste + (1 - share) * self._by_sound(sound[queries], scale[queries], rows))

        count = int(np.count_nonzero(mask))
        if self._scan is None or len(self) <= self._scan.exact_rows:
            return rank(
                lambda start, stop: scores_of(slice(start, stop), slice(None)),
                len(taste),
                k,
                len(self),
                candidates=mask,
            )
        ids, scores = np.full((len(taste), k), -1, np.int32), np.full((len(taste), k), -np.inf, np.float32)
        # The scan does not take the mask: as many more as it hides.
        longer = min(int(max(_SHORTLIST, 4 * k) * len(self) / count), len(self))
        few = np.flatnonzero(mask) if count <= self._scan.exact_rows else None
        queries = np.hstack([share * taste, (1 - share) * sound])
        for place, query in enumerate(queries):
            rows = self._scan.shortlist(query, longer) if few is None else few
            rows = np.sort(rows[mask[rows]])
            found, values = top_k(scores_of(place, rows), k, rows=rows)
            ids[place, : len(found)], scores[place, : len(found)] = found, values
        return ids, scores

    def _by_sound(self, sound: Scores, scale: Scores, rows: Rows | slice) -> Scores:
        """The locally scaled cosines of queries [B, D] or one [D], whose weights are [B] or one, with some rows."""
        cosines = sound @ self.vectors[rows, self.factors :].T
        weights = np.multiply.outer(scale, self._scaling.weights[rows])
        return np.asarray(np.maximum(1 - (1 - cosines) * weights, -1))

    def _halves_of(self, vectors: Scores) -> tuple[Mask, Mask]:
        return np.any(vectors[:, : self.factors] != 0, axis=1), np.any(vectors[:, self.factors :] != 0, axis=1)

    def _normalized(self, taste: Scores, sound: Scores) -> tuple[Scores, Scores]:
        if taste.shape[1] != self.factors or sound.shape[1] != self.sound_width:
            raise DataError(
                f"index: halves of {taste.shape[1]} and {sound.shape[1]}, but it was built for {self.factors} and "
                f"{self.sound_width}; train again"
            )
        return l2_normalize(taste), l2_normalize(sound)


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
