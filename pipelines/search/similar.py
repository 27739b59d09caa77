"""Similar tracks: the nearest of a library to one of its tracks, or to any audio file.

By sound alone in a library that was only embedded, by taste alone in one that only has listens, by any blend of the two
where there are both.

Shapes: D dimensions.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ...errors import LibraryError, UsageError
from ...models.arrays import Floats, Mask, l2_normalize
from ...models.catalogue import COLLECTIVE_ARTISTS, Catalogue
from ...models.encoders.transformers import PREFIX
from ...models.storage import content_hash, replacing
from ..library.playlist_files import ListedFile, m3u
from ..library.scan import is_gone, readable
from ..library.store import Library
from ..library.tracks import TrackFilter

if TYPE_CHECKING:
    # One answer takes less time than these to import, and needs few of them.
    from ..versions.track_index import TrackIndex
    from .duplicates import Recordings, VersionsToKeep

_SAME_COSINE = 1 - 1e-5
_SAME_SECONDS = 0.1
"""two tracks this near in sound and length are the same audio in different files"""


@dataclass(frozen=True, eq=False)
class Query:
    """The track or file whose neighbours are searched, and how it is recognised among them."""

    track: str | Catalogue
    """a track_id of the library, or a file that is no track of it"""
    embedding: Floats | None
    """[D] what the library's encoder makes of its audio; None where it was heard by another (`embed --encoder`)"""
    duration_seconds: float | None
    content_hash: str | None
    path: Path | None = None
    """of a file that is no track of the library"""


@dataclass(frozen=True)
class Neighbour:
    """One answer."""

    track_id: str
    path: str | None
    artist: str | None
    title: str | None
    score: float
    """-1 … 1: the locally scaled cosine of sound, the cosine of taste, or the blend of the two"""

    @classmethod
    def of(cls, library: Library, track: dict[str, Any], score: float) -> Self:
        """`track` is one of `Library.track`."""
        # Not the path of the row: what is not UTF-8 is escaped there, and would not name the file any more.
        path = library.path_of(track["track_id"])
        artist = ", ".join(track["artists"]) or None
        return cls(track["track_id"], None if path is None else str(path), artist, track["title"], score)


def query_for(library: Library, track_or_file: str, *, vectors: str | None = None) -> Query:
    """A track_id of the library, else an audio file, which need not be in it. The track_id wins.

    `vectors` names the set that is searched. Raises UsageError where it is neither, AudioError where the file can't be
    decoded.
    """
    name = library.vector_name(vectors)
    track_id, path = readable(track_or_file), Path(track_or_file)
    if not library.has_track(track_id):
        if path.is_dir():
            raise UsageError(f"{track_id}: a folder; name an audio file or a track_id of {library.folder}")
        if not path.exists() and (path.suffix or "/" in track_id):
            raise UsageError(f"{track_id}: no such file, nor a track_id of {library.folder}")
        if not path.is_file():
            raise UsageError(f"{track_id}: neither a track_id of {library.folder} nor an audio file")
        from ...audio.decoding import quiet_decoders

        digest = content_hash(path)
        further = name if name is not None and name.startswith(PREFIX) else None
        copies = library.tracks_with(digest) if name == "encoder" or further else []
        if not copies and further:
            from ..audio_analysis.feature_sources import extract

            with quiet_decoders():
                vector = extract(path, further).mean(axis=0)
            return Query(Catalogue.of_one(track_id, vector), None, None, digest)
        if not copies:
            _check_is_of_encoder(library, name)
            with quiet_decoders():
                found = library.analyzer().analyze(path)
            file = Catalogue.of_one(track_id, found.embedding, found.genres, found.vocabulary.genres)
            return Query(file, found.embedding, found.duration_seconds, digest, path)
        track_id = copies[0]
    track = library.track(track_id)
    if track is None:
        raise UsageError(f"{track_id}: no such track")
    embedding = library.vector(track_id, "encoder")
    return Query(track_id, embedding, track["duration_seconds"], track["content_hash"])


def _check_is_of_encoder(library: Library, vectors: str | None) -> None:
    """Raises where the vectors that are searched are not such as an audio file is given here."""
    if vectors is None:
        raise LibraryError(
            f"{library.folder}: nothing in it is embedded, so no file can be compared; run crossfade embed FOLDER"
        )
    from ..audio_analysis.analyzer import AudioAnalyzer

    expected = AudioAnalyzer().encoder.name
    if vectors != "encoder":
        raise UsageError(f"{library.folder}: searches imported vectors ({vectors}), which an audio file does not have")
    if (found := library.about("encoder")) != expected:
        raise LibraryError(f"{library.folder}: embedded with {found}, this program embeds with {expected}")


def similar(
    library: Library,
    query: Query,
    *,
    blend: float | None = None,
    vectors: str | None = None,
    duplicates: bool = True,
    wanted: TrackFilter | None = None,
) -> Iterator[Neighbour]:
    """All tracks of the library that a filter allows, nearest first; the same audio as the query left out.

    Without `duplicates` so are other versions of its recording, and of each recording all but the one that
    `find_duplicates` would keep, as far as their fingerprints are known or their files are there.

    `blend` says how much taste (1) counts against sound (0); None is half and half where the library has both, and the
    one it has where not. `vectors` names a set to go by alone. Raises UsageError outside 0 … 1, and where `blend`
    asks for a half that is not there: of the library, or (at 0 and 1) of the track.
    """
    if blend is not None and not 0 <= blend <= 1:
        raise UsageError(f"blend: {blend:g}; it has to be from 0 (sound) to 1 (taste)")
    index: TrackIndex
    if vectors is None and library.current_name is not None:
        from ..versions.model_version import ModelVersion

        index = ModelVersion.load(library)
    elif blend:
        why = f"{vectors} is sound alone" if vectors else f"{library.folder} is not trained, so it has no taste"
        raise UsageError(f"blend: {blend:g}; {why}: leave it out" + ("" if vectors else ", or run crossfade train"))
    elif library.vector_name(vectors) is None:
        raise LibraryError(
            f"{library.folder}: nothing in it is embedded and it is not trained yet; run crossfade embed FOLDER, or "
            f"crossfade train --library {library.folder}"
        )
    else:
        from ..versions.track_index import TrackIndex

        index = TrackIndex.of_sound(library, vectors)
    recordings: Recordings | None = None
    to_keep: VersionsToKeep | None = None
    if not duplicates:
        from .duplicates import Recordings, VersionsToKeep

        recordings = Recordings(library)
        to_keep = VersionsToKeep(library, recordings)
    given: list[tuple[str, float]] = []
    """content hash and seconds"""
    if recordings is not None and query.content_hash is not None and query.duration_seconds is not None:
        given.append((query.content_hash, query.duration_seconds))
        if query.path is not None:
            recordings.add_file(query.content_hash, query.path)
    candidates = index.mask_of(library.matching(wanted)) if wanted else None
    for track_id, score in _ranked(index, query, blend, library.folder, candidates):
        track = library.track(track_id)
        if track is None or _same(library, query, track):
            continue
        if recordings is not None and to_keep is not None and track["content_hash"] is not None:
            audio = track["content_hash"], track["duration_seconds"]
            if any((found := recordings.compare(audio, other)) is not None and found.same for other in given):
                continue
            if not to_keep.keeps(track_id, track["content_hash"]):
                continue
            given.append(audio)
        yield Neighbour.of(library, track, round(score, 6))


def _ranked(
    index: TrackIndex, query: Query, blend: float | None, folder: Path, candidates: Mask | None
) -> Iterator[tuple[str, float]]:
    """(track_id, score) of all candidates, best first."""
    track = query.track
    if isinstance(track, str):
        vector = index.index.vectors[index.row(track)]
        taste, sound = vector[: index.index.factors].any(), vector[index.index.factors :].any()
        if not taste and not sound:
            halves = "neither taste nor sound" if index.index.factors else "no sound"
            raise LibraryError(f"{track}: has {halves} in {folder}, so nothing can be compared")
        if blend == 0 and not sound and index.index.sound_width:
            raise UsageError(f"blend: 0; {track} has no sound: only 1 (taste) can be asked")
        if blend == 1 and not taste:
            raise UsageError(f"blend: 1; {track} has no taste: only 0 (sound) can be asked")
    if blend is not None and blend < 1 and not index.index.sound_width:
        raise UsageError(f"blend: {blend:g}; {folder} was trained without sound: only 1 (taste) can be asked")
    share, given, k = 0.5 if blend is None else blend, 0, 64
    while True:
        if isinstance(track, str):
            rows, scores = index.similar(track, k, blend=share, candidates=candidates)
        else:
            rows, scores = index.similar_to(track, k, blend=share, candidates=candidates)
        for row, score in zip(rows[given:].tolist(), scores[given:].tolist(), strict=True):
            yield index.track_ids[row], score
        # Most callers take a few; more are searched for only as these are used up.
        if len(rows) < k:
            return
        given, k = len(rows), k * 8


def _same(library: Library, query: Query, track: dict[str, Any]) -> bool:
    """Whether it is the query itself, a copy of it, or the same audio in another file."""
    if track["track_id"] == query.track:
        return True
    if track["content_hash"] is None or query.embedding is None or query.duration_seconds is None:
        return False
    if track["content_hash"] == query.content_hash:
        return True
    if abs(track["duration_seconds"] - query.duration_seconds) > _SAME_SECONDS:
        return False
    embedding = library.vector(track["track_id"], "encoder")
    if embedding is None:
        return False
    return bool(l2_normalize(embedding) @ l2_normalize(query.embedding) > _SAME_COSINE)


def limit_per_artist(neighbours: Iterator[Neighbour], k: int, per_artist: int | None = None) -> Iterator[Neighbour]:
    """The first k, with at most `per_artist` of one artist; tracks of nobody in particular are not counted."""
    given: Counter[str] = Counter()
    for neighbour in neighbours:
        if k <= 0:
            return
        artist = (neighbour.artist or "").lower()
        if artist not in COLLECTIVE_ARTISTS:
            if per_artist is not None and given[artist] >= per_artist:
                continue
            given[artist] += 1
        k -= 1
        yield neighbour


def years_of(text: str) -> tuple[int, int]:
    """A year or a range of them.

    >>> years_of("1975"), years_of("1970-1979")
    ((1975, 1975), (1970, 1979))
    """
    first, _, last = text.partition("-")
    try:
        years = int(first), int(last or first)
    except ValueError:
        raise UsageError(f"--years {text}: neither a year nor two, as in 1970-1979") from None
    if not 0 < years[0] <= years[1] < 9999:
        raise UsageError(f"--years {text}: the first one comes first, as in 1970-1979")
    return years


def check_m3u(file: Path) -> None:
    """UsageError where no playlist can be written there."""
    if file.is_dir():
        raise UsageError(f"--m3u {readable(file)}: a folder; name a file in it")
    if not file.parent.is_dir():
        raise UsageError(f"--m3u {readable(file)}: its folder is not there; make it first")


def write_m3u(file: Path, neighbours: list[Neighbour], paths: dict[str, bytes]) -> int:
    """A playlist of those whose files are there; returns how many are left out."""
    files = [
        ListedFile(path, one.title or ("" if one.artist else one.track_id), one.artist)
        for one in neighbours
        if one.track_id in paths and not is_gone(path := Path(os.fsdecode(paths[one.track_id])))
    ]
    with replacing(file) as part:
        part.write_bytes(m3u(files))
    return len(neighbours) - len(files)
