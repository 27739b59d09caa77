"""The hybrid index: nearest tracks by taste, by sound, or by any blend of the two, from one faiss index.

    score(q, t) = blend * cos(taste of q, taste of t) + (1 - blend) * cos(sound of q, sound of t)

A track is the concatenation of both halves, each of length 1; the blend weighs the halves of the query. A half that is
missing on either side is left out and the score divided by what is left of the weights: a track without sound is
judged by its taste. Up to `EXACT_TRACKS` tracks every one is compared; beyond, faiss visits the nearest of many cells.

Shapes: T tracks, B queries, F factors of taste, D dimensions of sound, k answers each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, LibraryError, UsageError
from ..arrays import Answers, Ids, Scores, l2_normalize, top_k
from ..storage import load_model, save_model

Mask = NDArray[np.bool_]

EXACT_TRACKS = 200_000


class HybridIndex:
    """Grows by `add`; rows are numbered in the order in which they came."""

    name = "index"

    def __init__(self, factors: int, sound_width: int, *, exact_tracks: int = EXACT_TRACKS) -> None:
        """Empty; `factors` or `sound_width` may be 0."""
        self.factors, self.sound_width = factors, sound_width
        self.exact_tracks = exact_tracks
        self._index: Any = None
        self._has_taste = np.zeros(0, bool)
        self._has_sound = np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self._has_taste)

    def __repr__(self) -> str:
        kind = "empty" if self._index is None else type(self._index).__name__
        return f"HybridIndex({len(self):,} tracks, {self.factors} + {self.sound_width}, {kind})"

    def add(self, taste: Scores, sound: Scores) -> Ids:
        """Makes tracks searchable at once: [n, F] and [n, D], zeros for a missing half. Gives their rows [n].

        The first call decides how the index searches, by the number of its tracks.
        """
        import faiss

        taste, sound = self._halves(taste, sound)
        vectors = np.hstack([taste, sound])
        if self._index is None:
            count, width = vectors.shape
            if count <= self.exact_tracks:
                self._index = faiss.IndexFlatIP(width)
            else:
                cells = int(4 * np.sqrt(count))
                self._index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
                self._index.nprobe = max(8, cells // 4)
                sample = np.random.default_rng(0).permutation(count)[: 64 * cells]
                self._index.train(vectors[np.sort(sample)])
        start = len(self)
        self._index.add(vectors)
        self._has_taste = np.concatenate([self._has_taste, np.any(taste != 0, axis=1)])
        self._has_sound = np.concatenate([self._has_sound, np.any(sound != 0, axis=1)])
        return np.arange(start, len(self), dtype=np.int32)

    def search(
        self, taste: Scores, sound: Scores, k: int, *, blend: float = 0.5, candidates: Mask | None = None
    ) -> Answers:
        """The k nearest of each query, [B, F] and [B, D] with zeros for a missing half; `candidates` [T] limits them.

        Raises UsageError for a blend outside 0 … 1. Shape: -> ([B, k], [B, k])
        """
        if not 0 <= blend <= 1:
            raise UsageError(f"blend: {blend:g}; it has to be from 0 (sound) to 1 (taste)")
        taste, sound = self._halves(taste, sound)
        ids, scores = np.full((len(taste), k), -1, np.int32), np.full((len(taste), k), -np.inf, np.float32)
        if not len(self) or not k:
            return ids, scores
        allowed = np.ones(len(self), bool) if candidates is None else candidates
        by_taste, by_sound = np.any(taste != 0, axis=1) & (blend > 0), np.any(sound != 0, axis=1) & (blend < 1)
        # A query asked by one half that it does not have is asked by the other.
        by_taste |= np.any(taste != 0, axis=1) & ~by_sound
        by_sound |= np.any(sound != 0, axis=1) & ~by_taste
        for has_taste, has_sound in ((True, True), (True, False), (False, True)):
            asked = np.flatnonzero((by_taste == has_taste) & (by_sound == has_sound))
            if len(asked):
                weight = (blend if has_sound else 1.0) if has_taste else 0.0
                ids[asked], scores[asked] = self._search(taste[asked], sound[asked], k, weight, allowed)
        return ids, scores

    def similar(self, track_rows: Ids, k: int, *, blend: float = 0.5, candidates: Mask | None = None) -> Answers:
        """The k tracks nearest to each of B tracks of the index, the track itself left out."""
        vectors = self.vectors(track_rows)
        found, scores = self.search(
            vectors[:, : self.factors], vectors[:, self.factors :], k + 1, blend=blend, candidates=candidates
        )
        return top_k(np.where(found == np.asarray(track_rows)[:, None], -np.inf, scores), k, rows=found)

    def vectors(self, track_rows: Ids) -> Scores:
        """[B, F + D] both halves of tracks in the index."""
        if self._index is None:
            return np.zeros((len(track_rows), self.factors + self.sound_width), np.float32)
        if hasattr(self._index, "make_direct_map"):
            self._index.make_direct_map()
        rows = np.asarray(track_rows, np.int64)
        return np.asarray(self._index.reconstruct_batch(rows), np.float32)

    def with_rows(self, track_rows: Ids, taste: Scores, sound: Scores) -> HybridIndex:
        """An index where some tracks have other halves, [n, F] and [n, D]; this one stays as it is."""
        vectors = self.vectors(np.arange(len(self), dtype=np.int32))
        vectors[track_rows] = np.hstack(self._halves(taste, sound))
        other = HybridIndex(self.factors, self.sound_width, exact_tracks=self.exact_tracks)
        other.add(vectors[:, : self.factors], vectors[:, self.factors :])
        return other

    def save(self, folder: Path) -> None:
        """faiss's own format, with which halves there are beside it."""
        import faiss

        arrays = {"has_taste": self._has_taste, "has_sound": self._has_sound}
        facts = {"factors": self.factors, "sound_width": self.sound_width, "exact_tracks": self.exact_tracks}
        save_model(folder, self.name, arrays, facts=facts)
        if self._index is not None:
            faiss.write_index(self._index, str(folder / "index.faiss"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        import faiss

        arrays, header = load_model(folder, cls.name)
        index = cls(**header["facts"])
        index._has_taste, index._has_sound = arrays["has_taste"], arrays["has_sound"]
        file = folder / "index.faiss"
        if len(index):
            try:
                index._index = faiss.read_index(str(file))
            except RuntimeError:
                raise LibraryError(f"{file}: missing or damaged; train again") from None
            if index._index.ntotal != len(index):
                raise LibraryError(f"{file}: {index._index.ntotal} tracks instead of {len(index)}; train again")
        return index

    def _search(self, taste: Scores, sound: Scores, k: int, blend: float, allowed: Mask) -> Answers:
        """Queries that all have the halves that `blend` asks for."""
        groups: list[tuple[float, Mask]] = []
        both = self._has_taste & self._has_sound
        if blend == 1:
            groups.append((1.0, self._has_taste))
        elif blend == 0:
            groups.append((0.0, self._has_sound))
        else:
            groups += [(blend, both), (1.0, self._has_taste & ~both), (0.0, self._has_sound & ~both)]
        found: list[Answers] = [
            self._faiss(np.hstack([np.float32(weight) * taste, np.float32(1 - weight) * sound]), k, mask & allowed)
            for weight, mask in groups
            if (mask & allowed).any()
        ]
        if not found:
            return np.full((len(taste), k), -1, np.int32), np.full((len(taste), k), -np.inf, np.float32)
        ids = np.hstack([part[0] for part in found])
        scores = np.hstack([part[1] for part in found])
        return top_k(scores, k, rows=ids)

    def _faiss(self, queries: Scores, k: int, mask: Mask) -> Answers:
        import faiss

        selector = None
        if not mask.all():
            bits = np.packbits(mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(bits))
        parameters: Any = faiss.SearchParametersIVF() if hasattr(self._index, "nprobe") else faiss.SearchParameters()
        if hasattr(self._index, "nprobe"):
            parameters.nprobe = self._index.nprobe
        parameters.sel = selector
        ids, scores = np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        asked, width = np.arange(len(queries)), k + 1
        while len(asked):
            width = min(width, len(self))
            values, rows = self._index.search(np.ascontiguousarray(queries[asked]), width, params=parameters)
            ids[asked], scores[asked] = top_k(np.where(rows >= 0, values, -np.inf), k, rows=rows)
            # While the last one found is as good as the last answer, others may be, too, and faiss gives any of them.
            tied = (rows[:, -1] >= 0) & (values[:, -1] == scores[asked, -1])
            asked, width = asked[tied] if width < len(self) else asked[:0], 8 * width
        return ids, scores

    def _halves(self, taste: Scores, sound: Scores) -> tuple[Scores, Scores]:
        if taste.shape[1] != self.factors or sound.shape[1] != self.sound_width:
            raise DataError(
                f"index: halves of {taste.shape[1]} and {sound.shape[1]}, but it was built for {self.factors} and "
                f"{self.sound_width}; train again"
            )
        return l2_normalize(taste), l2_normalize(sound)
