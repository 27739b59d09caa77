"""Writing genres into files' own tags, and taking that back.

Before a file is touched, its genre tag goes into a journal (JSON lines, flushed to disk), so that an
interrupted run can be undone as well. Only the genre is written; the rest of the file stays as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import AudioError, DataError
from ...models.storage import replacing
from ..library.scan import walk
from .labels import AUDIO_SUFFIXES


def default_journal() -> Path:
    """$XDG_STATE_HOME/crossfade/tagged.jsonl, else in ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "crossfade" / "tagged.jsonl"


def files_of(places: Sequence[Path]) -> Iterator[Path]:
    """Files as they are named, and the audio files of folders in order of name."""
    for place in places:
        if place.is_dir():
            yield from (place / name for path, name in walk([place]) if path.suffix.lower() in AUDIO_SUFFIXES)
        else:
            yield place


def namer(model_folder: Path | None) -> Callable[[Path], str | None]:
    """A function from a file to its genre, None where the answer is not confident. It raises AudioError."""
    from ..audio_analysis.analyzer import AudioAnalyzer

    analyzer = AudioAnalyzer.with_genre_model(model_folder)

    def name(path: Path) -> str | None:
        analysis = analyzer.analyze(path)
        return analysis.vocabulary.genres[int(analysis.genres.argmax())] if analysis.description.confident else None

    return name


@dataclass(frozen=True)
class Change:
    """What becomes of a file's genre tag."""

    path: Path
    before: tuple[str, ...]
    after: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return self.before != self.after

    def line(self) -> bytes:
        """As a journal has it."""
        entry = {"path": os.fspath(self.path.absolute()), "before": self.before, "after": self.after}
        return json.dumps(entry).encode("ascii") + b"\n"


def read_genre(path: Path) -> tuple[str, ...]:
    """The genres a file's tags name. Raises AudioError where its kind holds no tags."""
    from mutagen.id3 import ID3

    tags = _opened(path).tags
    if isinstance(tags, ID3):
        frames: list[Any] = tags.getall("TCON")  # type: ignore[no-untyped-call]
        return tuple(genre for frame in frames for genre in frame.genres)
    return () if tags is None else tuple(str(value) for value in tags.get(_field(tags), ()))


def write_genre(path: Path, genres: Sequence[str]) -> None:
    """Sets (or, for none, removes) the genre in a file's tags. Raises AudioError."""
    import mutagen
    from mutagen.id3 import ID3, TCON

    file = _opened(path)
    try:
        if file.tags is None:
            if not genres:
                return
            file.add_tags()
        if isinstance(file.tags, ID3):
            frame: Any = TCON(encoding=3, text=list(genres))  # type: ignore[no-untyped-call]
            file.tags.setall("TCON", [frame] if genres else [])  # type: ignore[no-untyped-call]
        elif genres:
            file.tags[_field(file.tags)] = list(genres)
        elif _field(file.tags) in file.tags:
            del file.tags[_field(file.tags)]
        file.save()
    except OSError as error:
        raise AudioError(f"not writable: {error.strerror or error}") from error
    except (mutagen.MutagenError, NotImplementedError, KeyError, TypeError, ValueError) as error:
        raise AudioError(f"its tags cannot be written: {error}") from error


def _opened(path: Path) -> Any:
    import mutagen

    try:
        file: Any = mutagen.File(path)
    except (mutagen.MutagenError, OSError, ValueError) as error:
        raise AudioError(f"its tags cannot be read: {error}") from error
    if file is None:
        raise AudioError("no tags are known for this kind of file")
    return file


def _field(tags: Any) -> str:
    """The name of the genre in tags that are not ID3: MP4's, ASF's, else that of Vorbis comments and APE."""
    return {"MP4Tags": "\xa9gen", "ASFTags": "WM/Genre"}.get(type(tags).__name__, "genre")


@dataclass(frozen=True)
class Journal:
    """A file of changes that were made, oldest first."""

    path: Path

    def apply(self, change: Change) -> None:
        """Notes the change, then makes it. Raises AudioError; a change that failed is harmless to undo."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            # A line that a crash cut off would swallow this one.
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(change.line())
            file.flush()
            os.fsync(file.fileno())
        write_genre(change.path, change.after)

    def changes(self) -> list[Change]:
        """All of them; DataError where the file is not a journal. A last line cut off by a crash was never acted on."""
        try:
            lines = self.path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such journal; nothing was written from here") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: not a journal of crossfade tag") from error
        changes = []
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                changes.append(Change(Path(entry["path"]), tuple(entry["before"]), tuple(entry["after"])))
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines):
                    raise DataError(f"{self.path}: line {number}: not a journal of crossfade tag") from error
        return changes

    def undo(self, within: Sequence[Path] = ()) -> Iterator[tuple[Change, str]]:
        """Puts each file back to its genre before the first change, with a reason where that did not happen.

        `within` limits it to some files and folders. A genre that somebody else has set since is left alone.
        The journal keeps what was not undone.
        """
        first: dict[Path, Change] = {}
        last: dict[Path, Change] = {}
        for change in self.changes():
            first.setdefault(change.path, change)
            last[change.path] = change
        places = [place.absolute() for place in within]
        remaining = b""
        for path, change in first.items():
            whole, back = Change(path, change.before, last[path].after), Change(path, last[path].after, change.before)
            if places and not any(path.is_relative_to(place) for place in places):
                remaining += whole.line()
                continue
            reason = ""
            try:
                now = read_genre(path)
                if now not in (back.before, back.after):
                    reason = f"was changed since, to {', '.join(now) or 'nothing'}"
                elif now != back.after:
                    write_genre(path, back.after)
            except AudioError as error:
                reason = error.reason
            if reason:
                remaining += whole.line()
            yield back, reason
        if not remaining:
            self.path.unlink()
            return
        with replacing(self.path) as new:
            new.write_bytes(remaining)
