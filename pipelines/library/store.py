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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import LibraryError, UsageError
from ...models.catalogue import Catalogue
from ...models.genres.vocabulary import BUILT_IN, Vocabulary
from .artist_credits import Credits
from .folder_layout import LibraryFolder
from .playlists import Playlists
from .schema import vocabulary_number
from .tracks import CURRENT_VOCABULARY
from .vectors import WITH_ANALYSIS, Vectors

if TYPE_CHECKING:
    import polars as pl

    from ...audio.fingerprint import Signs
    from ..audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis


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


class Library(Playlists, Vectors, LibraryFolder):
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
            probabilities = self.blobs(
                f"SELECT CASE WHEN vocabulary = {CURRENT_VOCABULARY} THEN heard.genres END {WITH_ANALYSIS} {where} "
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
