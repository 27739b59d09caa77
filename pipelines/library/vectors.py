"""The sound vectors of a library's tracks: embeddings of their audio, and sets that were computed elsewhere.

Shapes: T tracks, D dimensions of a set of vectors, n some of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, UsageError
from .schema import Database

WITH_ANALYSIS = "FROM tracks LEFT JOIN heard USING (content_hash)"


class Vectors(Database):
    """The sets of vectors."""

    def add_vectors(
        self, name: str, track_ids: Sequence[str], vectors: NDArray[np.float32], *, features: bool = False
    ) -> None:
        """Precomputed sound vectors [T, D] under a name; tracks that are not known yet are added.

        `features`: the columns have units of their own (BPM, decibels), so they are standardised before they are
        compared. The constants are taken when they are first read and then stay, so that later tracks move no score.
        """
        if name == "encoder" or not name.strip():
            raise UsageError(f"vectors {name!r}: `encoder` is what embed makes; give these a name of their own")
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(track_ids):
            raise DataError(f"vectors {name}: {vectors.shape} for {len(track_ids)} tracks")
        if not np.isfinite(vectors).all():
            raise DataError(f"vectors {name}: NaN or infinite values")
        known = self._query("SELECT length(vector) / 4 FROM vectors WHERE name = ? LIMIT 1", (name,))
        if known and known[0][0] != vectors.shape[1]:
            raise DataError(f"vectors {name}: {vectors.shape[1]} dimensions, but the library has {known[0][0]}")
        with self.transaction() as db:
            if features:
                db.execute("INSERT OR IGNORE INTO about VALUES (?, '')", (f"scale:{name}",))
            db.executemany(
                "INSERT OR IGNORE INTO tracks (track_id) VALUES (?)", ((track_id,) for track_id in track_ids)
            )
            db.executemany(
                "INSERT OR REPLACE INTO vectors SELECT ?, track_row, ? FROM tracks WHERE track_id = ?",
                ((name, vector.tobytes(), track_id) for track_id, vector in zip(track_ids, vectors, strict=True)),
            )

    def vector_names(self) -> list[str]:
        """Names of the sound vectors there are: `encoder` for embeddings of audio, and those of imported vectors."""
        # DISTINCT would read every vector; this asks the index for the next name.
        imported = [
            row[0]
            for row in self._query(
                "WITH RECURSIVE names(name) AS (SELECT min(name) FROM vectors UNION ALL "
                "SELECT (SELECT min(vectors.name) FROM vectors WHERE vectors.name > names.name) FROM names "
                "WHERE names.name NOTNULL) SELECT name FROM names WHERE name NOTNULL"
            )
        ]
        return ["encoder", *imported] if self._query("SELECT 1 FROM heard LIMIT 1") else imported

    def vector_name(self, name: str | None = None) -> str | None:
        """The set of vectors of that name; without one embeddings, else the first set; None where there is none.

        UsageError where there is no such set.
        """
        names = self.vector_names()
        if name is not None and name not in names:
            raise UsageError(f"{name}: no such vectors in {self.folder}; there are: {', '.join(names) or 'none'}")
        return name or next(iter(names), None)

    def vector(self, track_id: str, name: str | None) -> NDArray[np.float32] | None:
        """[D] one track's of these; None where it has none."""
        found = self.vectors(name, "WHERE track_id = ?", (track_id,))
        return found[0] if found.any() else None

    def tracks_without_vector(self, name: str) -> dict[str, bytes]:
        """track_id -> path, of the tracks with a file that have no vector of a set of imported ones."""
        sql = (
            "SELECT track_id, path FROM tracks WHERE path NOTNULL AND track_row NOT IN "
            "(SELECT track_row FROM vectors WHERE name = ?) ORDER BY track_row"
        )
        return dict(self._query(sql, (name,)))

    def vectors(self, name: str | None, where: str = "", parameters: Sequence[Any] = ()) -> NDArray[np.float32]:
        """[T, D] a set's vectors as they are compared; zeros where a track has none, D = 0 where no track has one.

        `where` is SQL that leaves some of the tracks.
        """
        if name == "encoder":
            return self.blobs(f"SELECT embedding {WITH_ANALYSIS} {where} ORDER BY track_row", parameters)
        vectors = self.blobs(
            "SELECT vector FROM tracks LEFT JOIN vectors ON vectors.track_row = tracks.track_row AND name = ? "
            f"{where} ORDER BY tracks.track_row",
            (name, *parameters),
        )
        known = np.any(vectors != 0, axis=1)
        if name is None or not known.any():
            return vectors
        scaled = np.zeros_like(vectors)
        scaled[known] = self._standardised(name, vectors[known])
        return scaled

    def _standardised(self, name: str, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Imported vectors [n, D]: features standardised, others as they are."""
        stored = self.about(f"scale:{name}")
        if stored is None:
            return vectors
        if not stored:
            blobs = self._query("SELECT vector FROM vectors WHERE name = ?", (name,))
            table = np.frombuffer(b"".join(blob for (blob,) in blobs), np.float32).reshape(len(blobs), -1)
            deviations = table.std(axis=0, dtype=np.float64)
            scale = [table.mean(axis=0, dtype=np.float64).tolist(), np.where(deviations > 0, deviations, 1).tolist()]
            stored = json.dumps(scale)
            with self.transaction() as db:
                db.execute("UPDATE about SET value = ? WHERE key = ?", (stored, f"scale:{name}"))
        means, deviations = np.array(json.loads(stored))
        return np.asarray((vectors - means) / deviations, np.float32)

    def blobs(self, sql: str, parameters: Sequence[Any] = ()) -> NDArray[np.float32]:
        """[T, D]: one float32 blob per track, zeros where it is null."""
        blobs = [row[0] for row in self._query(sql, parameters)]
        width = next((len(blob) for blob in blobs if blob is not None), 0)
        zeros = bytes(width)
        joined = b"".join(zeros if blob is None else blob for blob in blobs)
        return np.frombuffer(joined, np.float32).reshape(len(blobs), width // 4)
