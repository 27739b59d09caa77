"""Uploads: a file that came with a request becomes a file on disk, and perhaps a track of the library."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated

from fastapi import File, UploadFile

from ..audio.metadata import read_tags
from ..models.storage import content_hash, move_durably
from ..pipelines.audio_analysis.analyzer import AudioAnalyzer, TrackAnalysis
from ..pipelines.library.store import Library
from ..pipelines.library.tracks import StoredFile
from .errors import Problem

AudioFile = Annotated[UploadFile, File(description="an audio file of any common format")]

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}")


@contextmanager
def on_disk(upload: UploadFile) -> Iterator[Path]:
    """The upload as a file, for as long as the block lasts. Only the ending of its name is the client's."""
    ending = PurePosixPath(upload.filename or "").suffix
    with tempfile.TemporaryDirectory(prefix="crossfade-upload-") as folder:
        path = Path(folder) / f"upload{ending if _ENDING.fullmatch(ending) else ''}"
        with path.open("wb") as out:
            shutil.copyfileobj(upload.file, out)
        yield path


def add_track(
    folder: Path, path: Path, analysis: TrackAnalysis, *, track_id: str | None, title: str | None, artists: list[str]
) -> tuple[str, bool]:
    """Puts an analyzed file into the library; gives its track_id, and whether it is new.

    The same audio is the same track however often and under whatever id it is uploaded. A track_id that another track
    has is a Problem (409).
    """
    digest = content_hash(path)
    with Library.open(folder) as library:
        library.claim_encoder(AudioAnalyzer().encoder.name)
        name = track_id or f"uploads/{digest}{path.suffix.lower()}"
        kept = library.folder.absolute() / "uploads" / f"{digest}{path.suffix.lower()}"
        kept.parent.mkdir(exist_ok=True)
        tags = read_tags(path)
        tags = replace(tags, title=title or tags.title, artists=tuple(artists) or tags.artists)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=kept.parent) as scratch:
            new = Path(shutil.copyfile(path, Path(scratch) / kept.name))
            # Looked for and entered under one lock: the same file may be uploaded twice at once.
            with library.transaction():
                if known := library.tracks_with(digest):
                    return known[0], False
                if library.has_track(name):
                    raise Problem(409, f"{name}: the library has another track of this track_id")
                move_durably(new, kept)
                library.add_analysis(digest, analysis)
                library.set_file(name, StoredFile.of(kept), digest)
                library.describe_track(name, tags)
    return name, True
