"""The library: all that is kept of one collection, in one folder.

    library.db          SQLite, WAL: tracks, analyses and fingerprints of their audio, precomputed vectors, failures
    listens/            the listening log, Parquet (see `interactions.schema`)
    models/<version>/   trained things; the file `models/current` names the version in use
    places.json         the folders and files that were embedded here; not in library.db, which may be somebody else's

A track's row and its vector are committed together or not at all, so a killed run loses the batch in flight and
nothing else. Paths are bytes (`os.fsencode`): SQLite text refuses names that are not valid UTF-8.

Shapes: T tracks, D dimensions of a set of vectors, G genres.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, LibraryError, UsageError
from ...models.catalogue import Catalogue
from ...models.genres.vocabulary import BUILT_IN, Vocabulary
from .artist_credits import Credits
from .folder_layout import LibraryFolder
from .playlists import Playlists
from .schema import vocabulary_number
from .tracks import CURRENT_VOCABULARY

if TYPE_CHECKING:
    import polars as pl

    from ...audio.fingerprint import Signs
    from ..audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis

_WITH_ANALYSIS = "FROM tracks LEFT JOIN heard USING (content_hash)"


@dataclass(frozen=True)
class ChangeCounter:
    """How far the changes of a library's tracks have been read."""

    history: str
    """random id: revisions of different histories cannot be compared"""
    revision: int

    def follows(self, other: ChangeCounter) -> bool:
        """Whether the changes after `other` are all that lies between the two."""
        return self.history == other.history and self.revision >= other.revision


class TrackSummary(NamedTuple):
    """What is shown of a track in lists."""

    track_id: str
    title: str | None = None
    artists: tuple[str, ...] = ()
    has_audio: bool = False


class Library(Playlists, LibraryFolder):
    """One collection; a context manager. Raises LibraryError where it cannot be opened or written."""

    # Analyses

    def claim_encoder(self, name: str) -> None:
        """A library holds one encoder's embeddings; LibraryError where it has others, which can't be compared."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO about VALUES ('encoder', ?)", (name,))
        if (found := self.about("encoder")) != name:
            raise LibraryError(f"{self.folder}: embedded with {found}, not {name}; use another library")

    def vocabulary(self) -> Vocabulary:
        """The names of this library's genres now; single tracks may still have those of an earlier one."""
        found = self._query(
            f"SELECT genres, model_hash, model_path FROM vocabularies WHERE vocabulary = {CURRENT_VOCABULARY}"
        )
        if not found:
            return BUILT_IN
        genres, model_hash, path = found[0]
        return Vocabulary(tuple(json.loads(genres)), model_hash, None if path is None else Path(os.fsdecode(path)))

    def analyzer(self, *, threads: int | None = None, all_windows: bool = False) -> AudioAnalyzer:
        """Analyses files as this library's tracks were, with its genre model."""
        from ..audio_analysis.analyzer import AudioAnalyzer

        try:
            return AudioAnalyzer.with_genre_model(self.vocabulary().model, threads=threads, all_windows=all_windows)
        except LibraryError as error:
            raise LibraryError(
                f"{self.folder}: its genre model is gone ({error}); "
                f"name one: crossfade embed FOLDER --library {self.folder} --genre-model M"
            ) from error

    def use_vocabulary(self, analyzer: AudioAnalyzer) -> None:
        """From now on these are the library's genres.

        Tracks keep the ones they have, with their names, until they are analysed again; where a genre model needs
        no more than the stored embeddings, it names all of them here.
        """
        model, encoder = analyzer.model, analyzer.encoder
        with self.transaction() as db:
            number = vocabulary_number(db, analyzer.vocabulary)
            db.execute("INSERT OR REPLACE INTO about VALUES ('vocabulary', ?)", (number,))
            if model is None or not model.needs_only_mean(encoder.name, encoder.dimensions):
                return
            rows = db.execute(
                "SELECT content_hash, embedding, description FROM heard WHERE vocabulary IS NOT ?", (number,)
            ).fetchall()
            if not rows:
                return
            found = model.predict({encoder.name: [np.frombuffer(row[1], np.float32)[None] for row in rows]})
            for probabilities, (content_hash, _, text) in zip(found, rows, strict=True):
                description = json.loads(text) | {"confident": model.confident(probabilities)}
                genres = probabilities.astype(np.float32).tobytes()
                db.execute(
                    "UPDATE heard SET genres = ?, vocabulary = ?, description = ? WHERE content_hash = ?",
                    (genres, number, json.dumps(description, ensure_ascii=False), content_hash),
                )

    def add_analysis(self, content_hash: str, analysis: TrackAnalysis) -> None:
        """Keeps the analysis of a content; of one that is known, its genres and its description.

        LibraryError where the vectors are not as wide as they have to be.
        """
        embedding, genres = (np.asarray(vector, np.float32) for vector in (analysis.embedding, analysis.genres))
        known = self._query("SELECT length(embedding) / 4 FROM heard LIMIT 1")
        if known and known[0][0] != embedding.size:
            raise LibraryError(f"{self.folder}: embeddings of {known[0][0]} dimensions, not {embedding.size}")
        if genres.size != len(analysis.vocabulary.genres):
            raise LibraryError(
                f"{self.folder}: {genres.size} probabilities for {len(analysis.vocabulary.genres)} genres"
            )
        described = asdict(analysis.description) | {"strongest_seconds": analysis.strongest_seconds}
        description = json.dumps(described, ensure_ascii=False)
        with self.transaction() as db:
            number = vocabulary_number(db, analysis.vocabulary)
            db.execute("INSERT OR IGNORE INTO about VALUES ('vocabulary', ?)", (number,))
            db.execute(
                "INSERT INTO heard VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "genres = excluded.genres, description = excluded.description, vocabulary = excluded.vocabulary",
                (content_hash, analysis.duration_seconds, embedding.tobytes(), genres.tobytes(), description, number),
            )

    def has_analysis(self, content_hash: str) -> bool:
        """Whether a content was analysed, and its genres are named by the library's vocabulary of now."""
        sql = f"SELECT 1 FROM heard WHERE content_hash = ? AND vocabulary = {CURRENT_VOCABULARY}"
        return bool(self._query(sql, (content_hash,)))

    def loudness_and_tempo(self) -> pl.DataFrame:
        """track_id, loudness_lufs, tempo_bpm in row order, of tracks whose audio was analysed."""
        import polars as pl

        rows = self._query(
            "SELECT track_id, json_extract(description, '$.loudness_lufs'), json_extract(description, '$.tempo_bpm') "
            "FROM tracks JOIN heard USING (content_hash) ORDER BY track_row"
        )
        schema = {"track_id": pl.String, "loudness_lufs": pl.Float64, "tempo_bpm": pl.Float64}
        return pl.DataFrame(rows, schema, orient="row")

    def description_of(self, track_id: str) -> dict[str, Any]:
        """The fields of `Description`, and `strongest_seconds`; empty where the track was not analysed."""
        sql = "SELECT description FROM tracks JOIN heard USING (content_hash) WHERE track_id = ?"
        found = self._query(sql, (track_id,))
        return dict(json.loads(found[0][0])) if found else {}

    def genres_of(self, track_id: str) -> dict[str, float]:
        """Genre -> probability, by the vocabulary of the track's analysis; empty where it has none."""
        rows = self._query(
            "SELECT vocabularies.genres, heard.genres FROM tracks JOIN heard USING (content_hash) "
            "JOIN vocabularies USING (vocabulary) WHERE track_id = ?",
            (track_id,),
        )
        if not rows:
            return {}
        return dict(zip(json.loads(rows[0][0]), np.frombuffer(rows[0][1], np.float32).tolist(), strict=True))

    def genre_table(self) -> pl.DataFrame:
        """track_id and a column per genre, of the tracks whose genres are known, in row order.

        Columns of the library's vocabulary come first. A genre that a track's vocabulary does not have is null.
        """
        import polars as pl

        rows = self._query(
            "SELECT track_id, vocabulary, heard.genres FROM tracks JOIN heard USING (content_hash) "
            "WHERE vocabulary NOTNULL ORDER BY track_row"
        )
        names = {key: json.loads(genres) for key, genres in self._query("SELECT vocabulary, genres FROM vocabularies")}
        ids = {"row": pl.Int64, "track_id": pl.String}
        parts = [pl.DataFrame(schema=ids | dict.fromkeys(self.vocabulary().genres, pl.Float32))]
        for key, genres in names.items():
            named = [(row, track_id, blob) for row, (track_id, of, blob) in enumerate(rows) if of == key]
            if named:
                table = np.frombuffer(b"".join(blob for _, _, blob in named), np.float32).reshape(len(named), -1)
                who = pl.DataFrame([row[:2] for row in named], schema=ids, orient="row")
                parts.append(who.hstack(pl.DataFrame(table, schema=genres)))
        return pl.concat(parts, how="diagonal").sort("row").drop("row")

    def add_fingerprints(self, signs: Mapping[str, Signs]) -> None:
        """Keeps audio fingerprints by content hash; those of contents that were not analysed are left out."""
        from ...audio.fingerprint import pack

        with self.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO fingerprints SELECT content_hash, ? FROM heard WHERE content_hash = ?",
                ((pack(found), content_hash) for content_hash, found in signs.items()),
            )

    def fingerprint(self, content_hash: str) -> Signs | None:
        """[N, B] of `audio.fingerprint`; None where it was not made yet."""
        from ...audio.fingerprint import unpack

        found = self._query("SELECT signs FROM fingerprints WHERE content_hash = ?", (content_hash,))
        return unpack(found[0][0]) if found else None

    def fingerprinted(self) -> set[str]:
        """Content hashes of all audio fingerprints there are."""
        return {row[0] for row in self._query("SELECT content_hash FROM fingerprints")}

    # Vectors

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
            return self._blobs(f"SELECT embedding {_WITH_ANALYSIS} {where} ORDER BY track_row", parameters)
        vectors = self._blobs(
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

    def _blobs(self, sql: str, parameters: Sequence[Any] = ()) -> NDArray[np.float32]:
        """[T, D]: one float32 blob per track, zeros where it is null."""
        blobs = [row[0] for row in self._query(sql, parameters)]
        width = next((len(blob) for blob in blobs if blob is not None), 0)
        zeros = bytes(width)
        joined = b"".join(zeros if blob is None else blob for blob in blobs)
        return np.frombuffer(joined, np.float32).reshape(len(blobs), width // 4)

    # The catalogue and its changes

    def change_counter(self) -> ChangeCounter:
        """How far the changes of tracks have come."""
        revision = self._query("SELECT coalesce(max(revision), 0) FROM changes")[0][0]
        return ChangeCounter(self.about("history") or "", revision)

    def begin_history(self) -> None:
        """Makes all counters read before incomparable: other tracks took the place of those that were here."""
        with self.transaction() as db:
            db.execute("UPDATE about SET value = lower(hex(randomblob(16))) WHERE key = 'history'")

    def removed(self, after: ChangeCounter) -> list[str]:
        """External ids of tracks that changed since and are gone."""
        sql = "SELECT track_id FROM changes LEFT JOIN tracks USING (track_id) WHERE revision > ? AND track_row ISNULL"
        return [row[0] for row in self._query(sql, (after.revision,))]

    def catalogue(
        self, vectors: str | None = None, *, after: ChangeCounter | None = None, artists: Iterable[str] = ()
    ) -> Catalogue:
        """All tracks as arrays; `vectors` names their set, None means embeddings, else the only imported ones.

        Artists are all that are credited, those of the title included (see `credits`); `tracks` has them as they came.
        `after` gives only the tracks that changed since; `artists` are then those of the others.
        """
        if vectors is None and "encoder" not in (names := self.vector_names()) and len(names) > 1:
            raise UsageError(f"{self.folder}: several sets of vectors, say which: {', '.join(names)}")
        chosen = self.vector_name(vectors)
        where, parameters = _changed_after(after)
        rows = self._query(
            f"SELECT track_id, artists, genres, released_at, title, album FROM tracks {where} ORDER BY track_row",
            parameters,
        )
        unknown = np.iinfo(np.int64).min
        named = [(json.loads(row[1]), row[4]) for row in rows]
        known = ([name] for name in artists)
        credits = Credits(chain(known, (names for names, _ in named)), (title for _, title in named))
        probabilities = np.zeros((0, 0), np.float32)
        if chosen == "encoder":
            probabilities = self._blobs(
                f"SELECT CASE WHEN vocabulary = {CURRENT_VOCABULARY} THEN heard.genres END {_WITH_ANALYSIS} {where} "
                "ORDER BY track_row",
                parameters,
            )
        return Catalogue(
            tuple(row[0] for row in rows),
            tuple(credits.of(names, title) for names, title in named),
            self.vectors(chosen, where, parameters),
            tuple(tuple(json.loads(row[2])) for row in rows),
            probabilities,
            np.array([unknown if row[3] is None else row[3] for row in rows], np.int64),
            self.vocabulary().genres if chosen == "encoder" else (),
            tuple(row[5] for row in rows),
        )

    def summaries(self, after: ChangeCounter | None = None) -> dict[str, TrackSummary]:
        """By track_id, of all tracks or of those that changed since."""
        where, parameters = _changed_after(after)
        rows = self._query(f"SELECT track_id, title, artists, path NOTNULL FROM tracks {where}", parameters)
        # Many tracks have the same artists.
        artists = cache(lambda text: tuple(json.loads(text)))
        return {row[0]: TrackSummary(row[0], row[1], artists(row[2]), bool(row[3])) for row in rows}


def _changed_after(after: ChangeCounter | None) -> tuple[str, tuple[int, ...]]:
    """SQL that leaves only the tracks that changed since, and its parameters; for None it leaves all."""
    if after is None:
        return "", ()
    return "WHERE track_id IN (SELECT track_id FROM changes WHERE revision > ?)", (after.revision,)
