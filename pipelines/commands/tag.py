"""The command `tag`: genres into files' own tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ...errors import AudioError, UsageError
from .options import Flag, GenreModelFolder, Paths, Screen, option

if TYPE_CHECKING:
    from ..genres.tag_writer import Change


def tag(
    places: Paths = (),
    /,
    *,
    genre_model: GenreModelFolder = None,
    write: Annotated[Flag, option("do it")] = False,
    undo: Annotated[Flag, option("put back what the files said before")] = False,
    journal: Annotated[Path | None, option("where changes are noted, for --undo")] = None,
    console: Screen,
) -> int:
    """Genres into the files' own tags; only shown, unless --write.

    Example: crossfade tag ~/Music --write
    """
    from ...models.genres.model import PARENT_SEPARATOR
    from ..genres.tag_writer import Change, Journal, default_journal, files_of, namer, read_genre

    log = Journal(journal or default_journal())
    failed, count = 0, 0
    if undo:
        for change, reason in log.undo(places):
            failed += bool(reason)
            console.record(**_fields(change), written=not reason, **({"reason": reason} if reason else {}))
        return int(failed > 0)
    if not places:
        raise UsageError("tag: name files or folders")
    name = namer(genre_model)
    for path in files_of(places):
        try:
            genre = name(path)
            before = read_genre(path)
            change = Change(path, before, tuple(genre.split(PARENT_SEPARATOR)) if genre else before)
            if change and write:
                log.apply(change)
        except AudioError as error:
            failed += 1
            console.message(f"crossfade: {path}: {error.reason}")
            continue
        count += bool(change)
        extra = {} if genre else {"reason": "not confident"}
        console.record(**_fields(change), written=bool(change) and write, **extra)
    if count:
        console.message(f"{count} written; take it back with --undo" if write else "shown only: --write")
    return int(failed > 0)


def _fields(change: Change) -> dict[str, Any]:
    return {"path": str(change.path), "before": list(change.before), "after": list(change.after)}
