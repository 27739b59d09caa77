"""The tracks of a library that can be searched: all of them by sound, and by taste where there is a trained version.

An index never changes. Tracks that come are put behind those that are there, in another index that shares the rest: it
costs as much as the tracks that came. Rows keep their numbers; tracks that the library lost are no answers any more.

The index of a library that is not trained is kept in `L/search/`, so that not every search reads all vectors and finds
out anew what is usual around them. It is a copy: whoever deletes it loses some seconds.

Shapes: T tracks, n new ones, F factors of taste, D dimensions of sound, k answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...errors import LibraryError, UsageError
from ...models.arrays import Answers, Mask, Scores
from ...models.catalogue import Catalogue
from ...models.hybrid.index import Comparison, HybridIndex
from ...models.storage import Arrays, hash_of_values, load_model, save_model
from ..library.store import ChangeCounter, Library

Rows = NDArray[np.intp]

_FOLDER, _NAME = "search", "tracks"
_KEPT_FROM = 5000
"""tracks; with fewer an index is made in a fraction of a second"""
_FEW_LOOKUPS = 8
"""of rows, which are searched for: a table of a million ids takes longer to make than one answer"""
_KEPT_CHANGES = 0.01
"""share of new tracks from which on it is written again, of lost ones from which on it is made anew"""


class TrackIndex:
    """T tracks with their external ids and vectors. This one has sound alone; `ModelVersion` has taste, too."""

    def __init__(
        self, index: HybridIndex, track_ids: Sequence[str], sound: str | None, changes: ChangeCounter | None
    ) -> None:
        self.index = index
        self.track_ids = list(track_ids)
        """external ids of the first T rows; a later index appends its own"""
        self.sound = sound
        """name of the sound vectors"""
        self.changes = changes
        """how far the library's changes are in it; None where that is not known"""
        self.in_library = np.ones(len(self.track_ids), bool)
        """[T] whether the library still has the track"""
        self._lookups = 0

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(self.track_ids, range(len(self.track_ids)), strict=True))

    @classmethod
    def of_sound(cls, library: Library, vectors: str | None = None) -> TrackIndex:
        """All tracks of a library that need not be trained, by a set of vectors (see `Library.vector_name`)."""
        name = library.vector_name(vectors)
        folder = library.folder / _FOLDER / hash_of_values(name)
        kept = cls._kept(folder, name, library)
        now = kept and kept.updated(library)
        # What is gone still counts in what is usual around the others.
        if kept is not None and now is not None and now.in_library.mean() >= 1 - _KEPT_CHANGES:
            if len(now) > (1 + _KEPT_CHANGES) * len(kept):
                now._keep(folder)
            return now
        changes, track_ids = library.change_counter(), library.track_ids()
        index = HybridIndex.of(np.zeros((len(track_ids), 0), np.float32), library.vectors(name))
        made = cls(index, track_ids, name, changes)
        if len(made) >= _KEPT_FROM:
            made = made.compressed()
            made._keep(folder)
        return made

    @classmethod
    def _kept(cls, folder: Path, name: str | None, library: Library) -> TrackIndex | None:
        """What `_keep` wrote; None where it is not there or cannot be used."""
        try:
            arrays, header = load_model(folder, _NAME)
            facts = header["facts"]
            if facts["token"] != arrays["token"].tobytes().hex() or facts["sound"] != name:
                return None
            index, changes = HybridIndex.restore(arrays, facts), ChangeCounter(**facts["changes"])
            track_ids = arrays["track_ids"].tobytes().decode("utf-8", "surrogatepass").split("\0")
            kept = cls(index, track_ids, name, changes)
            kept.in_library = arrays["in_library"]
        except (LibraryError, OSError, KeyError, TypeError, ValueError):
            return None
        return kept if len(kept) == len(track_ids) == len(index) else None

    def _keep(self, folder: Path) -> None:
        """The two files are replaced one after the other: they belong together where they have the same token."""
        token, index = uuid.uuid4(), self.index
        if self.changes is None:
            return
        ids = "\0".join(self.track_ids[: len(self)]).encode("utf-8", "surrogatepass")
        arrays: Arrays = {
            **index.arrays(),
            "track_ids": np.frombuffer(ids, np.uint8),
            "in_library": self.in_library,
            "token": np.frombuffer(token.bytes, np.uint8),
        }
        facts = {**index.facts(), "sound": self.sound, "changes": asdict(self.changes), "token": token.hex}
        # Who may read a library need not be allowed to write into it, and the disk may be full: it is a copy.
        with suppress(OSError):
            save_model(folder, _NAME, arrays, facts=facts)

    def compressed(self) -> Self:
        """The same for many questions, one at a time (see `HybridIndex.compressed`)."""
        other = copy(self)
        other.index = self.index.compressed()
        return other

    def __len__(self) -> int:
        return len(self.in_library)

    def __contains__(self, track_id: str) -> bool:
        """Whether the library has the track."""
        row = self.row_of(track_id)
        return row is not None and bool(self.in_library[row])

    def row_of(self, track_id: str) -> int | None:
        """The track's row, also where the library does not have it any more."""
        self._lookups += 1
        if self._lookups > _FEW_LOOKUPS or "_row_of" in self.__dict__:
            row = self._row_of.get(track_id)
        else:
            row = self.track_ids.index(track_id) if track_id in self.track_ids else None
        return row if row is not None and row < len(self) else None

    def row(self, track_id: str) -> int:
        """The row of a track of the library; UsageError where it has none of this id."""
        row = self.row_of(track_id)
        if row is None or not self.in_library[row]:
            raise UsageError(f"{track_id}: no such track")
        return row

    def append_tracks(self, tracks: Catalogue) -> Self:
        """With n tracks behind these, which can be found at once. UsageError for a track_id that is there already."""
        if not len(tracks):
            return self
        for track_id in tracks.track_ids:
            if self.row_of(track_id) is not None:
                raise UsageError(f"{track_id}: in the index already")
        longer, start = copy(self), len(self)
        if len(self.track_ids) > start:
            # Another index was continued from this one: its ids are not ours.
            longer.track_ids = self.track_ids[:start]
            longer._row_of = {track_id: row for track_id, row in self._row_of.items() if row < start}
        longer.index = self.index.append_tracks(*self.vectors_of(tracks))
        longer.in_library = np.concatenate([self.in_library, np.ones(len(tracks), bool)])
        longer.track_ids += tracks.track_ids
        longer._row_of |= {track_id: start + place for place, track_id in enumerate(tracks.track_ids)}
        return longer

    def updated(self, library: Library) -> Self | None:
        """Over the tracks that the library has now; None where it has to be loaded anew.

        That is where a track sounds otherwise than it did or has other artists, and where other tracks took the place
        of all that were there.
        """
        return self._updated(library, loading=False)

    def _updated(self, library: Library, *, loading: bool) -> Self | None:
        """`loading`: sound that differs is replaced, which takes long; None is never the answer."""
        now = library.change_counter()
        if now == self.changes:
            return self
        after = self.changes if self.changes is not None and now.follows(self.changes) else None
        if after is None and not loading:
            return None
        changed = library.catalogue(self.sound, after=after, artists=self._artist_names if after else ())
        if changed.sound.shape[1] not in (0, self.index.sound_width) and not loading:
            return None
        changed = self.adapt(changed)
        found = np.array([-1 if (row := self.row_of(name)) is None else row for name in changed.track_ids], np.intp)
        known, new = np.flatnonzero(found >= 0), np.flatnonzero(found < 0)
        rows, differs = found[known], self.index.sound_differs(found[known], changed.sound[known])
        if not loading and (differs.any() or self._artists_differ(rows, changed.take(known))):
            return None
        other = self._replace_sound(rows[differs], changed.take(known[differs])) if differs.any() else copy(self)
        other.changes = now
        other.in_library = np.zeros(len(self), bool) if after is None else self.in_library.copy()
        removed = library.removed(after) if after else []
        other.in_library[[row for track_id in removed if (row := self.row_of(track_id)) is not None]] = False
        other.in_library[rows] = True
        return other.append_tracks(changed.take(new))

    def mask_of(self, track_ids: Iterable[str]) -> Mask:
        """[T] which tracks of the library are among these."""
        mask = np.zeros(len(self), bool)
        mask[[row for track_id in track_ids if (row := self.row_of(track_id)) is not None]] = True
        return mask & self.in_library

    def similar(self, track_id: str, k: int, *, blend: float = 0.5, candidates: Mask | None = None) -> Answers:
        """Rows and scores (-1 … 1) of the k tracks nearest to one of the library, itself left out.

        None where neither its sound nor its taste is known. `blend` 0 is by sound alone, 1 by taste alone;
        `candidates` [T] are the tracks that may be answers, None all of the library.
        """
        allowed = self.in_library if candidates is None else candidates
        ids, scores = self.index.similar(self.row(track_id), k, blend=blend, candidates=allowed)
        return ids[ids >= 0], scores[ids >= 0]

    def similar_to(self, track: Catalogue, k: int, *, blend: float = 0.5, candidates: Mask | None = None) -> Answers:
        """The same for one track that need not be in the library; its taste is what is predicted of it."""
        taste, sound = self.vectors_of(track)
        allowed = self.in_library if candidates is None else candidates
        return self.index.search(taste[0], sound[0], k, blend=blend, candidates=allowed)

    def compare(self, track: str | Catalogue, k: int, blends: Sequence[float]) -> Comparison:
        """`similar` or `similar_to` at several blends at once, and both similarities."""
        if isinstance(track, str):
            row = self.row(track)
            taste, sound = np.split(self.index.vectors[row], [self.index.factors])
            others = self.in_library.copy()
            others[row] = False
            return self.index.compare(taste, sound, k, blends, candidates=others)
        taste, sound = (half[0] for half in self.vectors_of(track))
        return self.index.compare(taste, sound, k, blends, candidates=self.in_library)

    def vectors_of(self, tracks: Catalogue) -> tuple[Scores, Scores]:
        """What the index holds of tracks without listeners: [n, F] predicted taste and [n, D] sound."""
        return np.zeros((len(tracks), self.index.factors), np.float32), self.adapt(tracks).sound

    def adapt(self, tracks: Catalogue) -> Catalogue:
        """The same tracks with sound of the index's width: zeros where no track has sound; LibraryError for another."""
        width = self.index.sound_width
        if tracks.sound.shape[1] == width:
            return tracks
        if tracks.has_sound.any():
            raise LibraryError(
                f"sound: {tracks.sound.shape[1]} dimensions, but the version was trained on {width}; train again"
            )
        return replace(tracks, sound=np.zeros((len(tracks), width), np.float32))

    @property
    def _artist_names(self) -> tuple[str, ...]:
        """Artists that credits are split by."""
        return ()

    def _artists_differ(self, rows: Rows, tracks: Catalogue) -> bool:
        """Whether a track of these rows would be placed otherwise for its artists."""
        return False

    def _replace_sound(self, rows: Rows, tracks: Catalogue) -> Self:
        other = copy(self)
        other.index = self.index.replace_tracks(rows, *self.vectors_of(tracks))
        return other
